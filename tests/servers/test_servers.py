"""Test the real servers that other tests use: durability, failover, cleanup of processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from redis.exceptions import ClusterCrossSlotError

from tests.servers.fixtures import emptied, needs
from tests.servers.processes import Port, Process, wait_until, watched
from tests.servers.programs import FOLDER, RABBIT, REDIS, VALKEY
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_node import Flavour
from tests.servers.redis_server import RedisServer
from tests.servers.sentinels import Sentinels

FLAVOURS = pytest.mark.parametrize("flavour", ["redis", "valkey"])


def needs_flavour(flavour: Flavour) -> None:
    needs(VALKEY if flavour == "valkey" else REDIS)


@FLAVOURS
def test_written_data_survives_a_kill_and_a_restart(tmp_path: Path, flavour: Flavour) -> None:
    needs_flavour(flavour)
    with RedisServer(tmp_path, flavour=flavour, appendfsync="always") as server:
        address = server.url
        for word in ("one", "two", "three"):
            server.cli("RPUSH", "words", word)
            if word == "two":
                server.restart()
            else:
                server.kill()
                assert not server.alive
                server.start()
        assert server.cli("LRANGE", "words", 0, -1) == ["one", "two", "three"]
        assert server.url == address


def test_data_is_lost_at_a_restart_without_an_append_only_file(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, appendonly=False) as server:
        server.cli("SET", "word", "one")
        server.restart()
        assert server.cli("GET", "word") is None


def test_options_override_the_default_settings(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, options={"appendonly": "no", "maxmemory-policy": "allkeys-lru"}) as server:
        values = server.cli("CONFIG", "GET", "appendonly", "maxmemory-policy")
        assert values == {"appendonly": "no", "maxmemory-policy": "allkeys-lru"}


def test_a_paused_server_answers_after_resume(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path) as server:
        server.pause()
        with redis.Redis.from_url(server.url, socket_timeout=0.1) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        assert server.alive
        server.resume()
        assert server.cli("PING")
        server.pause()
        server.stop()
        assert not server.alive


def test_a_failed_start_raises_an_error_with_the_log(tmp_path: Path) -> None:
    needs(REDIS)
    with pytest.raises(AssertionError, match="nonsense"):
        RedisServer(tmp_path, options={"nonsense": "1"}).start()


def test_a_server_with_a_password_rejects_other_passwords(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, password="p@ss:w/rd %") as server:
        assert server.cli("PING")
        for wrong in (server.url.replace(server.user, ""), server.url.replace(server.user, ":other@")):
            with redis.Redis.from_url(wrong) as client, pytest.raises(redis.AuthenticationError):
                client.ping()


@FLAVOURS
def test_a_tls_server_is_trusted_only_with_its_authority(tmp_path: Path, flavour: Flavour) -> None:
    needs_flavour(flavour)
    with RedisServer(tmp_path / "one", flavour=flavour, tls=True) as server:
        assert server.url.startswith("rediss://")
        assert server.cli("PING")
        untrusting = redis.Redis.from_url(server.url.partition("?")[0])
        with untrusting, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            untrusting.ping()
        with RedisServer(tmp_path / "two", flavour=flavour, replica_of=server) as replica:
            assert replica.role == "slave"


@FLAVOURS
def test_a_replica_has_the_data_and_rejects_writes(tmp_path: Path, flavour: Flavour) -> None:
    needs_flavour(flavour)
    with RedisServer(tmp_path / "master", flavour=flavour, password="secret") as master:
        master.cli("SET", "word", "one")
        with RedisServer(tmp_path / "replica", flavour=flavour, replica_of=master) as replica:
            assert replica.cli("GET", "word") == "one"
            with pytest.raises(redis.ReadOnlyError):
                replica.cli("SET", "word", "two")


@pytest.mark.parametrize(("flavour", "kill"), [("redis", False), ("redis", True), ("valkey", True)])
def test_sentinels_fail_over_to_the_replica(tmp_path: Path, flavour: Flavour, kill: bool) -> None:
    needs_flavour(flavour)
    with (
        RedisServer(tmp_path / "one", flavour=flavour, password="secret") as one,
        RedisServer(tmp_path / "two", flavour=flavour, replica_of=one) as two,
        Sentinels(tmp_path, one, [two]) as sentinels,
    ):
        one.cli("SET", "word", "one")
        two.waits_for("one", "GET", "word")
        assert sentinels.master is one
        assert sentinels.fail_over(kill=kill) is two
        assert two.cli("GET", "word") == "one"
        two.cli("SET", "word", "two")
        if kill:
            one.start()
        one.waits_for("two", "GET", "word")


def test_sentinels_fail_over_with_tls(tmp_path: Path) -> None:
    needs(REDIS)
    with (
        RedisServer(tmp_path / "one", tls=True) as one,
        RedisServer(tmp_path / "two", replica_of=one) as two,
        Sentinels(tmp_path, one, [two]) as sentinels,
    ):
        assert sentinels.url.startswith("rediss+sentinel://127.0.0.1:")
        assert f"/mymaster/0?ssl_ca_certs={tmp_path}/one/ca.pem" in sentinels.url
        assert sentinels.fail_over() is two


def test_a_cluster_rejects_keys_of_several_slots(cluster_server: RedisServer) -> None:
    cluster_server.flush()
    cluster_server.cli("MSET", "{a}1", "one", "{a}2", "two")
    for words in (("MSET", "a", "one", "b", "two"), ("EVAL", "return 1", 2, "a", "b")):
        with pytest.raises(ClusterCrossSlotError):
            cluster_server.cli(*words)


def test_a_cluster_serves_its_slots_after_a_restart(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, cluster=True) as server:
        server.cli("SET", "word", "one")
        server.restart()
        assert server.cli("GET", "word") == "one"


def test_a_flushed_server_has_no_data_functions_or_scripts(empty_redis: RedisServer) -> None:
    empty_redis.cli("SET", "word", "one")
    empty_redis.cli("FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('one', function() return 1 end)")
    script = empty_redis.cli("SCRIPT", "LOAD", "return 1")
    empty_redis.flush()
    assert empty_redis.cli("DBSIZE") == 0
    assert empty_redis.cli("FUNCTION", "LIST") == []
    assert empty_redis.cli("SCRIPT", "EXISTS", script) == [False]


@pytest.mark.parametrize("harm", [RedisServer.kill, RedisServer.pause, RedisServer.stop])
def test_a_shared_server_is_restored_after_harm(
    valkey_server: RedisServer, empty_valkey: RedisServer, harm: Callable[[RedisServer], None]
) -> None:
    assert empty_valkey is valkey_server
    valkey_server.cli("SET", "word", "one")
    harm(valkey_server)
    assert emptied(valkey_server).cli("DBSIZE") == 0


def test_a_reserved_port_is_not_given_twice() -> None:
    ports = [Port() for _ in range(300)]
    assert len({port.number for port in ports}) == len(ports)


@pytest.mark.parametrize("program", ["exec sleep 600", "trap '' TERM INT HUP; sleep 600 & wait"])
def test_a_process_ends_when_its_starter_is_killed(tmp_path: Path, program: str) -> None:
    script = (
        "import sys, pathlib\nfrom tests.servers.processes import Process\n"
        "process = Process(['sh', '-c', sys.argv[1]], pathlib.Path(sys.argv[2]))\n"
        "print(process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, program, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=FOLDER.parent, stdin=pipe, stdout=pipe) as starter:
        assert starter.stdout is not None
        with watched(int(starter.stdout.readline())) as ends:
            starter.send_signal(signal.SIGKILL)
            assert ends(10.0)


def test_the_child_processes_end_with_a_process(tmp_path: Path) -> None:
    process = Process(["sh", "-c", "sleep 600 & echo $!; wait"], tmp_path)
    wait_until(lambda: process.story() != "", "the shell has not started sleep")
    with watched(int(process.story())) as ends:
        process.stop()
        assert ends(10.0)


def test_a_broker_starts_and_stops(tmp_path: Path) -> None:
    needs(RABBIT)
    with RabbitServer(tmp_path) as server:
        assert server.url == f"amqp://guest:guest@127.0.0.1:{server.port}/"
        server.stop()
        assert not server.alive
