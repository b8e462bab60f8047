"""Fault tests: a broker that dies, hangs, denies access or never ran blocks nothing, and works again after it."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.fixtures import needs
from tests.servers.processes import Port, wait_until
from tests.servers.programs import REDIS
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer
from tests.servers.sentinels import Sentinels
from tests.wakeups.dramatiq.support import (
    APPID,
    SOON,
    Listener,
    Server,
    queued,
    reading,
    users,
    waits_for,
    wake,
    waking,
)
from wxbot.errors import StoreUnavailable
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq import waker as waker_module
from wxbot.wakeups.dramatiq.waker import DramatiqWaker, WakeupReader

UNAVAILABLE = "broker unavailable"
AVAILABLE = "broker available again"
HANGING_SECONDS = 40.0
"""Seconds. RabbitMQ's connections end only after missing heartbeats."""


@contextmanager
def stopwatch(limit: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < limit, f"took {took:.1f} s"


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.partition(",")[0] for record in caplog.records if record.name == "wxbot.wakeups"]


def receives_again(waker: DramatiqWaker, listener: Listener) -> None:
    """Wait until wake-ups are received again. The first ones may be lost."""
    names = iter(range(10**6))

    def flows() -> bool:
        wake(waker, f"again {next(names)}")
        return any(name.startswith("again") for name in listener.users)

    wait_until(flows, "no wake-up arrives", HANGING_SECONDS)


def assert_no_new_sockets(before: set[str]) -> None:
    left = sockets() - before
    assert not left, f"left open: {left}"


def sockets() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for entry in folder.iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # the descriptor of this listing
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def test_a_broker_is_killed_and_restarted_while_wakeups_are_sent(
    server: Server, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def wake_repeatedly(waker: DramatiqWaker) -> None:
        number = 0
        while not over.wait(0.005):
            wake(waker, f"user {number}")
            number += 1

    with reading(server.url, listener) as reader, waking(server.url) as waker:
        wake(waker, "first")
        listener.receives("first")
        flow = threading.Thread(target=wake_repeatedly, args=(waker,))
        flow.start()
        try:
            listener.receives_in_all(20)
            server.kill()
            problem = waits_for(waker.problem, True)
            waits_for(reader.problem, True)
            assert "reached" in problem or "closed" in problem
            server.start()
            waits_for(waker.problem, False)
            waits_for(reader.problem, False)
            listener.receives_in_all(len(listener.received) + 20)
        finally:
            over.set()
            flow.join()
    assert sorted(logged(caplog)) == [AVAILABLE, AVAILABLE, UNAVAILABLE, UNAVAILABLE]


def test_a_broker_hangs_for_longer_than_the_time_limits(server: Server, listener: Listener) -> None:
    with reading(server.url, listener) as reader, waking(server.url) as waker:
        wake(waker, "first")
        listener.receives("first")
        server.pause()
        wake(waker, "meanwhile")
        waits_for(waker.problem, True)
        if not isinstance(server, RabbitServer):  # only missing heartbeats show it
            waits_for(reader.problem, True)
        server.resume()
        waits_for(waker.problem, False, HANGING_SECONDS)
        waits_for(reader.problem, False, HANGING_SECONDS)
        receives_again(waker, listener)


def test_a_broker_is_unavailable_at_the_start(server: Server, listener: Listener) -> None:
    server.kill()
    before = sockets()
    waker = DramatiqWaker(make_broker(server.url), APPID)
    with stopwatch(SOON), pytest.raises(StoreUnavailable, match="cannot be reached"):
        waker.open()
    assert_no_new_sockets(before)
    with reading(server.url, listener) as reader, waking(server.url) as later:
        waits_for(reader.problem, True)
        waits_for(later.problem, True)
        server.start()
        waits_for(reader.problem, False)
        waits_for(later.problem, False)
        receives_again(later, listener)


def test_closing_and_stopping_during_an_outage(server: Server, listener: Listener) -> None:
    before = sockets()
    with reading(server.url, listener) as reader, waking(server.url) as waker:
        wake(waker, *users(5))
        listener.receives(*users(5))
        server.kill()
        wake(waker, *users(100))
        waits_for(waker.problem, True)
        waits_for(reader.problem, True)
        with stopwatch(1.5):
            waker.close()
        with stopwatch(2.5):
            reader.stop()
    assert_no_new_sockets(before)


def test_closing_and_stopping_while_the_broker_hangs(server: Server, listener: Listener) -> None:
    with reading(server.url, listener) as reader, waking(server.url) as waker:
        wake(waker, "first")
        listener.receives("first")
        server.pause()
        wake(waker, *users(100))
        with stopwatch(4.0):
            waker.close()
        with stopwatch(4.0):
            reader.stop()
        server.resume()
    wait_until(lambda: not wxbot_threads(), "a thread is left", HANGING_SECONDS)


def wxbot_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wxbot")]


def test_stopping_while_the_process_is_full(server: Server, listener: Listener) -> None:
    listener.fills_up()
    with waking(server.url) as waker, reading(server.url, listener) as reader:
        wake(waker, *users(20))
        listener.receives_in_all(1)
        with stopwatch(4.0):
            reader.stop()


def test_a_wrong_password_is_explained(tmp_path: Path, listener: Listener) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, password="right") as server:
        _check_refusal(server.url.replace("right", "hunter2"), listener, "user and password")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [("guest:hunter2@127.0.0.1:{}/", "user and password"), ("guest:guest@127.0.0.1:{}/hunter2vhost", "virtual host")],
)
def test_rabbitmq_denies_access(rabbit_server: RabbitServer, listener: Listener, backend: str, reason: str) -> None:
    _check_refusal("amqp://" + backend.format(rabbit_server.port), listener, reason)


def _check_refusal(url: str, listener: Listener, reason: str) -> None:
    before = sockets()
    with stopwatch(SOON), pytest.raises(StoreUnavailable, match=reason) as caught:
        DramatiqWaker(make_broker(url), APPID).open()
    assert "hunter2@" not in str(caught.value)
    with reading(url, listener) as reader:
        assert reason in waits_for(reader.problem, True)
    assert_no_new_sockets(before)


def test_a_user_without_permissions_is_refused(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path) as server:
        server.cli("ACL", "SETUSER", "bot", "on", ">secret", "~other:*", "+@all")
        url = server.url.replace("//", "//bot:secret@")
        with pytest.raises(StoreUnavailable, match="permissions") as caught:
            DramatiqWaker(make_broker(url), APPID).open()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_outage_is_logged_once(
    listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """pika, which would log many lines for each attempt, logs nothing."""
    caplog.set_level(logging.INFO)
    tries: list[Exception] = []
    with reading(f"{scheme}://guest:hunter2@127.0.0.1:{Port()}/", listener) as reader:
        explain = reader._broker.explain

        def noted(error: Exception) -> str:
            tries.append(error)
            return explain(error)

        monkeypatch.setattr(reader._broker, "explain", noted)
        wait_until(lambda: len(tries) >= 3, "it gave up")
    assert logged(caplog) == [UNAVAILABLE]
    assert not [record for record in caplog.records if record.name.startswith("pika")]
    assert "hunter2" not in caplog.text


def test_wakeups_beyond_the_backlog_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(REDIS)
    monkeypatch.setattr(waker_module, "BACKLOG", 10)
    with RedisServer(tmp_path) as server, waking(server.url) as waker:
        wake(waker, "first")
        wait_until(lambda: queued(server.url) == 1, "it did not arrive")
        server.pause()
        wake(waker, *users(100))
        assert waker._wakeups.qsize() <= 10
        server.resume()
        lines = [line for line in caplog.messages if "wake-ups dropped" in line]
        assert len(lines) == 1


def test_a_stale_wakeup_is_dropped(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(REDIS)
    monkeypatch.setattr(waker_module, "STALE_SECONDS", 0.2)
    server = RedisServer(tmp_path)
    server.start()
    with waking(server.url) as waker:
        waits_for(waker.problem, False)
        server.kill()
        waits_for(waker.problem, True)
        wake(waker, "too late")
        wait_until(waker._wakeups.empty, "it was not dropped")
        assert waker.problem() is not None
        server.start()
        waits_for(waker.problem, False)
        wake(waker, "in time")
        with reading(server.url, listener):
            listener.receives("in time")
            assert listener.users == {"in time"}
    server.kill()


def test_the_broker_follows_sentinel_to_another_master(tmp_path: Path, listener: Listener) -> None:
    needs(REDIS)
    with (
        RedisServer(tmp_path / "one") as one,
        RedisServer(tmp_path / "two", replica_of=one) as two,
        Sentinels(tmp_path / "sentinels", one, [two]) as sentinels,
    ):
        before = sockets()
        with reading(sentinels.url, listener) as reader, waking(sentinels.url) as waker:
            wake(waker, "first")
            listener.receives("first")
            sentinels.fail_over(kill=True)
            receives_again(waker, listener)
            waits_for(reader.problem, False)
            waits_for(waker.problem, False)
        assert_no_new_sockets(before)


def test_a_broker_that_becomes_a_replica_is_noticed(tmp_path: Path, listener: Listener) -> None:
    """There is no Sentinel. The address leads to the current master, but a moment too late."""
    needs(REDIS)
    with (
        RedisServer(tmp_path / "one") as one,
        RedisServer(tmp_path / "two") as two,
        reading(one.url, listener) as reader,
        waking(one.url) as waker,
    ):
        wake(waker, "first")
        listener.receives("first")
        one.cli("REPLICAOF", "127.0.0.1", two.port)
        wake(waker, *users(3))
        assert "replica" in waits_for(waker.problem, True)
        one.cli("REPLICAOF", "NO", "ONE")
        receives_again(waker, listener)
        waits_for(reader.problem, False)


def test_a_redis_without_memory_is_unavailable(tmp_path: Path, listener: Listener) -> None:
    needs(REDIS)
    with RedisServer(tmp_path) as server, reading(server.url, listener), waking(server.url) as waker:
        wake(waker, "first")
        listener.receives("first")
        server.cli("CONFIG", "SET", "maxmemory", 1)
        assert "memory" in waits_for(waker.problem, True)
        server.cli("CONFIG", "SET", "maxmemory", 0)
        receives_again(waker, listener)


def test_a_failed_acknowledgment_is_repeated(tmp_path: Path, listener: Listener) -> None:
    """Otherwise Redis would assign the wake-up to this process until the process ends."""
    needs(REDIS)
    with (
        RedisServer(tmp_path, appendfsync="always") as server,
        reading(server.url, listener) as reader,
        waking(server.url) as waker,
    ):
        listener.fills_up()
        wake(waker, "first")
        listener.receives("first")
        server.kill()
        listener.has_room()
        waits_for(reader.problem, True)
        server.start()
        waits_for(waker.problem, False)
        wait_until(lambda: queued(server.url) == 0, "it was not acknowledged")
    assert listener.received == [ConversationKey(APPID, "first")]


def test_the_connection_to_a_former_master_is_closed(tmp_path: Path) -> None:
    """The same address may lead to the new master."""
    needs(REDIS)
    with RedisServer(tmp_path / "one") as one, RedisServer(tmp_path / "two") as two, waking(one.url) as waker:

        def connections() -> set[str]:
            return set(re.findall(r"(?m)^id=(\d+) .*cmd=evalsha", one.cli("CLIENT", "LIST")))

        waits_for(waker.problem, False)
        before = connections()
        assert before
        one.cli("REPLICAOF", "127.0.0.1", two.port)
        waits_for(waker.problem, True)
        one.cli("REPLICAOF", "NO", "ONE")
        waits_for(waker.problem, False)
        assert not before & connections()


def test_no_thread_remains_after_stopping_with_a_hanging_broker(tmp_path: Path, listener: Listener) -> None:
    """This holds even with a long time limit in the address."""
    needs(REDIS)
    with RedisServer(tmp_path) as server:
        url = f"{server.url}?socket_timeout=30"
        with reading(url, listener) as reader, waking(url) as waker:
            wake(waker, "first")
            listener.receives("first")
            server.pause()
            wake(waker, "second")
            waits_for(waker.problem, True)
            waker.close()
            reader.stop()
            assert wxbot_threads() == []
        server.resume()


def test_a_reader_that_never_started_can_be_stopped(tmp_path: Path, listener: Listener) -> None:
    reader = WakeupReader(make_broker(f"redis://127.0.0.1:{Port()}/0"), APPID, listener.adopt)
    reader.refuse_new()
    reader.stop()
    assert reader.problem() is None


def test_a_waker_that_never_opened_can_be_closed() -> None:
    waker = DramatiqWaker(make_broker(f"redis://127.0.0.1:{Port()}/0"), APPID)
    assert waker.problem() is not None
    wake(waker, "nobody")
    waker.close()
    waker.close()
