"""A broker that dies, hangs, refuses or was never there: nothing stops for it, and everything goes on with it."""

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
from tests.wakeups.dramatiq.support import APPID, SOON, Ear, Server, queued, reading, users, waits_for, wake, waking
from wxbot.errors import StoreUnavailable
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq import waker as waker_module
from wxbot.wakeups.dramatiq.waker import DramatiqWaker, WakeupReader

OUT = "broker unavailable"
BACK = "broker available again"
HANGING_SECONDS = 40.0
"""RabbitMQ's connections are given up when heartbeats have been missing for long enough."""


@contextmanager
def stopwatch(limit: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < limit, f"took {took:.1f} s"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.partition(",")[0] for record in caplog.records if record.name == "wxbot.wakeups"]


def hears_again(waker: DramatiqWaker, ear: Ear) -> None:
    """Hints flow once more, maybe not the first of them."""
    names = iter(range(10**6))

    def flows() -> bool:
        wake(waker, f"again {next(names)}")
        return any(name.startswith("again") for name in ear.users)

    wait_until(flows, "no hint arrives", HANGING_SECONDS)


def no_sockets(before: set[str]) -> None:
    left = sockets() - before
    assert not left, f"left open: {left}"


def sockets() -> set[str]:
    folder = Path("/proc/self/fd")
    found = set()
    for entry in folder.iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # that of this listing
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def test_a_broker_is_killed_and_comes_back_while_hints_flow(
    server: Server, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def keep_on(waker: DramatiqWaker) -> None:
        number = 0
        while not over.wait(0.005):
            wake(waker, f"user {number}")
            number += 1

    with reading(server.url, ear) as reader, waking(server.url) as waker:
        wake(waker, "first")
        ear.hears("first")
        flow = threading.Thread(target=keep_on, args=(waker,))
        flow.start()
        try:
            ear.hears_in_all(20)
            server.kill()
            problem = waits_for(waker.problem, True)
            waits_for(reader.problem, True)
            assert "reached" in problem or "closed" in problem
            server.start()
            waits_for(waker.problem, False)
            waits_for(reader.problem, False)
            ear.hears_in_all(len(ear.heard) + 20)
        finally:
            over.set()
            flow.join()
    assert sorted(told(caplog)) == [BACK, BACK, OUT, OUT]


def test_a_broker_hangs_for_longer_than_anybody_waits(server: Server, ear: Ear) -> None:
    with reading(server.url, ear) as reader, waking(server.url) as waker:
        wake(waker, "first")
        ear.hears("first")
        server.pause()
        wake(waker, "meanwhile")
        waits_for(waker.problem, True)
        if not isinstance(server, RabbitServer):  # it shows only by its heartbeats
            waits_for(reader.problem, True)
        server.resume()
        waits_for(waker.problem, False, HANGING_SECONDS)
        waits_for(reader.problem, False, HANGING_SECONDS)
        hears_again(waker, ear)


def test_a_broker_that_is_not_there_at_the_start(server: Server, ear: Ear) -> None:
    server.kill()
    before = sockets()
    waker = DramatiqWaker(make_broker(server.url), APPID)
    with stopwatch(SOON), pytest.raises(StoreUnavailable, match="cannot be reached"):
        waker.open()
    no_sockets(before)
    with reading(server.url, ear) as reader, waking(server.url) as later:
        waits_for(reader.problem, True)
        waits_for(later.problem, True)
        server.start()
        waits_for(reader.problem, False)
        waits_for(later.problem, False)
        hears_again(later, ear)


def test_closing_and_stopping_during_an_outage(server: Server, ear: Ear) -> None:
    before = sockets()
    with reading(server.url, ear) as reader, waking(server.url) as waker:
        wake(waker, *users(5))
        ear.hears(*users(5))
        server.kill()
        wake(waker, *users(100))
        waits_for(waker.problem, True)
        waits_for(reader.problem, True)
        with stopwatch(1.5):
            waker.close()
        with stopwatch(2.5):
            reader.stop()
    no_sockets(before)


def test_closing_and_stopping_while_the_broker_hangs(server: Server, ear: Ear) -> None:
    with reading(server.url, ear) as reader, waking(server.url) as waker:
        wake(waker, "first")
        ear.hears("first")
        server.pause()
        wake(waker, *users(100))
        with stopwatch(4.0):
            waker.close()
        with stopwatch(4.0):
            reader.stop()
        server.resume()
    wait_until(lambda: not threads_of_ours(), "a thread is left", HANGING_SECONDS)


def threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("wxbot")]


def test_stopping_while_the_process_is_full(server: Server, ear: Ear) -> None:
    ear.fills_up()
    with waking(server.url) as waker, reading(server.url, ear) as reader:
        wake(waker, *users(20))
        ear.hears_in_all(1)
        with stopwatch(4.0):
            reader.stop()


def test_a_wrong_password(tmp_path: Path, ear: Ear) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, password="right") as server:
        _refused(server.url.replace("right", "hunter2"), ear, "user, password and rights")


@pytest.mark.parametrize(
    ("place", "reason"),
    [("guest:hunter2@127.0.0.1:{}/", "user and password"), ("guest:guest@127.0.0.1:{}/hunter2vhost", "virtual host")],
)
def test_rabbitmq_refuses(rabbit_server: RabbitServer, ear: Ear, place: str, reason: str) -> None:
    _refused("amqp://" + place.format(rabbit_server.port), ear, reason)


def _refused(url: str, ear: Ear, reason: str) -> None:
    before = sockets()
    with stopwatch(SOON), pytest.raises(StoreUnavailable, match=reason) as caught:
        DramatiqWaker(make_broker(url), APPID).open()
    assert "hunter2@" not in str(caught.value)
    with reading(url, ear) as reader:
        assert reason in waits_for(reader.problem, True)
    no_sockets(before)


def test_a_user_without_the_rights(tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path) as server:
        server.cli("ACL", "SETUSER", "bot", "on", ">secret", "~other:*", "+@all")
        url = server.url.replace("//", "//bot:secret@")
        with pytest.raises(StoreUnavailable, match="permissions") as caught:
            DramatiqWaker(make_broker(url), APPID).open()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_nothing_is_told_between_the_beginning_and_the_end(
    ear: Ear, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """Also not by pika, which would tell of each try in many lines."""
    caplog.set_level(logging.INFO)
    tries: list[Exception] = []
    with reading(f"{scheme}://guest:hunter2@127.0.0.1:{Port()}/", ear) as reader:
        explain = reader._broker.explain

        def noted(error: Exception) -> str:
            tries.append(error)
            return explain(error)

        monkeypatch.setattr(reader._broker, "explain", noted)
        wait_until(lambda: len(tries) >= 3, "it gave up")
    assert told(caplog) == [OUT]
    assert not [record for record in caplog.records if record.name.startswith("pika")]
    assert "hunter2" not in caplog.text


def test_more_hints_than_this_process_keeps(
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


def test_a_hint_that_has_waited_for_too_long_is_dropped(
    tmp_path: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        with reading(server.url, ear):
            ear.hears("in time")
            assert ear.users == {"in time"}
    server.kill()


def test_sentinel_names_another_master(tmp_path: Path, ear: Ear) -> None:
    needs(REDIS)
    with (
        RedisServer(tmp_path / "one") as one,
        RedisServer(tmp_path / "two", replica_of=one) as two,
        Sentinels(tmp_path / "sentinels", one, [two]) as sentinels,
    ):
        before = sockets()
        with reading(sentinels.url, ear) as reader, waking(sentinels.url) as waker:
            wake(waker, "first")
            ear.hears("first")
            sentinels.fail_over(kill=True)
            hears_again(waker, ear)
            waits_for(reader.problem, False)
            waits_for(waker.problem, False)
        no_sockets(before)


def test_the_master_becomes_a_replica(tmp_path: Path, ear: Ear) -> None:
    """Without Sentinel: an address that leads to whichever server is the master, a moment too late."""
    needs(REDIS)
    with (
        RedisServer(tmp_path / "one") as one,
        RedisServer(tmp_path / "two") as two,
        reading(one.url, ear) as reader,
        waking(one.url) as waker,
    ):
        wake(waker, "first")
        ear.hears("first")
        one.cli("REPLICAOF", "127.0.0.1", two.port)
        wake(waker, *users(3))
        assert "replica" in waits_for(waker.problem, True)
        one.cli("REPLICAOF", "NO", "ONE")
        hears_again(waker, ear)
        waits_for(reader.problem, False)


def test_redis_has_no_memory_left(tmp_path: Path, ear: Ear) -> None:
    needs(REDIS)
    with RedisServer(tmp_path) as server, reading(server.url, ear), waking(server.url) as waker:
        wake(waker, "first")
        ear.hears("first")
        server.cli("CONFIG", "SET", "maxmemory", 1)
        assert "memory" in waits_for(waker.problem, True)
        server.cli("CONFIG", "SET", "maxmemory", 0)
        hears_again(waker, ear)


def test_an_acknowledgment_that_fails_is_made_up_for(tmp_path: Path, ear: Ear) -> None:
    """Else the hint would lie in Redis, as if it were worked, until this process has ended."""
    needs(REDIS)
    with (
        RedisServer(tmp_path, appendfsync="always") as server,
        reading(server.url, ear) as reader,
        waking(server.url) as waker,
    ):
        ear.fills_up()
        wake(waker, "first")
        ear.hears("first")
        server.kill()
        ear.has_room()
        waits_for(reader.problem, True)
        server.start()
        waits_for(waker.problem, False)
        wait_until(lambda: queued(server.url) == 0, "it was not acknowledged")
    assert ear.heard == [ConversationKey(APPID, "first")]


def test_a_connection_to_what_is_no_master_any_more_is_given_up(tmp_path: Path) -> None:
    """The same address may lead to the new master by then."""
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


def test_no_thread_stays_with_a_broker_that_hangs(tmp_path: Path, ear: Ear) -> None:
    """However long somebody allows it to take."""
    needs(REDIS)
    with RedisServer(tmp_path) as server:
        url = f"{server.url}?socket_timeout=30"
        with reading(url, ear) as reader, waking(url) as waker:
            wake(waker, "first")
            ear.hears("first")
            server.pause()
            wake(waker, "second")
            waits_for(waker.problem, True)
            waker.close()
            reader.stop()
            assert threads_of_ours() == []
        server.resume()


def test_a_reader_is_never_started(tmp_path: Path, ear: Ear) -> None:
    reader = WakeupReader(make_broker(f"redis://127.0.0.1:{Port()}/0"), APPID, ear.adopt)
    reader.refuse_new()
    reader.stop()
    assert reader.problem() is None


def test_a_waker_is_never_opened() -> None:
    waker = DramatiqWaker(make_broker(f"redis://127.0.0.1:{Port()}/0"), APPID)
    assert waker.problem() is not None
    wake(waker, "nobody")
    waker.close()
    waker.close()
