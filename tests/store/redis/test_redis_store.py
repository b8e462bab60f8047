"""Tests of the Redis store: its keys, its errors and its recovery from faults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.processes import wait_until
from tests.servers.redis_server import RedisServer
from tests.servers.sentinels import Sentinels
from tests.store.redis.conftest import OpenWorker
from tests.store.support import ALICE, APPID, BOB, NOW, Worker, incoming, text_of
from wxbot.clock import SharedClock, elapsed
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.store.port import TOKEN
from wxbot.store.records import Handover, SharedValue
from wxbot.store.redis import address as redis_address
from wxbot.store.redis import link as redis_link
from wxbot.store.redis.store import FORMAT, FORMAT_KEY, RedisStore


def refusal(url: str) -> str:
    """Return the error text of a bot that starts with this store."""
    with pytest.raises(StoreUnavailable) as refused:
        RedisStore(url).open()
    return str(refused.value)


def complaint(worker: Worker, text: str = "hi") -> str:
    """Return the error text if a message cannot be stored."""
    with pytest.raises(StoreUnavailable) as refused:
        worker.accept(incoming(text))
    return str(refused.value)


@pytest.fixture
def short_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all time limits."""
    monkeypatch.setattr(redis_address, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(redis_address, "CONNECT_SECONDS", 0.2)


# Keys


def test_all_keys_but_pending_messages_expire(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    """Redis deletes old data even if no bot runs."""
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("done"), incoming("dead"))
    claim = worker.claims()
    worker.wait(worker.store.save_reply(claim.lease, claim.message.seq, {"kind": "text", "text": "hi"}))
    worker.delivers("a human, please", BOB, handover=Handover(NOW + 600), for_agents=True)
    worker.wait(worker.store.put(APPID, "media:cat", SharedValue("media id", NOW + 60), NOW))
    following = worker.completes(claim, state={"plugin": {"name": "Alice"}})
    assert following is not None
    worker.completes(following, "dead", reason="so")
    worker.wait(worker.store.lock(APPID, TOKEN, NOW, 10.0, outdated=None))
    worker.wait(worker.store.put(APPID, TOKEN, SharedValue("token", NOW + 7200), NOW))
    worker.wait(worker.store.ping())
    forever = {key for key in empty_redis.cli("KEYS", "*") if empty_redis.cli("PTTL", key) == -1}
    # The last seq, the format, and one entry for each dead letter and handover, which the purge deletes.
    prefix = f"wxbot:{{{APPID}}}:"
    assert forever == {FORMAT_KEY, prefix + "seq", prefix + "dead", prefix + "agents"}
    worker.purges(NOW + 600)
    assert empty_redis.cli("KEYS", prefix + "agents") == []


def test_a_handover_whose_conversation_has_expired_is_not_listed(
    empty_redis: RedisServer, worker_at: OpenWorker
) -> None:
    """An older wxbot lets a conversation expire during its handover."""
    worker = worker_at(empty_redis.url)
    for key in (ALICE, BOB):
        worker.delivers("a human, please", key, handover=Handover(NOW + 600), for_agents=True)
    empty_redis.cli("DEL", f"wxbot:{{{APPID}}}:c:alice")
    assert worker.wait(worker.store.handovers(APPID, NOW, 10)) == [(BOB, Handover(NOW + 600))]
    assert empty_redis.cli("ZRANGE", f"wxbot:{{{APPID}}}:agents", 0, -1) == ["bob"]
    assert worker.delivers("hello?", at=NOW + 1, for_agents=True).handover == Handover(0.0)


def test_pending_messages_do_not_expire(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("first"))
    worker.works_off()
    worker.accept(incoming("second"), incoming("third"))
    claim = worker.claims()
    worker.records_sent(claim, 1)
    ends = {key: empty_redis.cli("PTTL", key) for key in empty_redis.cli("KEYS", "wxbot:{*")}
    trace = f"wxbot:{{{APPID}}}:m:alice:msg:first"
    assert {key for key, left in ends.items() if left != -1} == {trace}


def test_the_users_text_is_deleted_when_the_message_is_done(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("my number is 4711-0815", dedup_key="msg:1"))
    worker.works_off()
    values = [empty_redis.cli("DUMP", key) for key in empty_redis.cli("KEYS", "*")]
    assert not any("4711-0815" in str(each) for each in values)


def test_a_newer_key_layout_is_refused(empty_redis: RedisServer) -> None:
    empty_redis.cli("SET", FORMAT_KEY, FORMAT + 1)
    assert "newer wxbot" in refusal(empty_redis.url)
    assert empty_redis.cli("GET", FORMAT_KEY) == str(FORMAT + 1)


# Starting


def test_an_unreachable_server_is_explained(empty_redis: RedisServer) -> None:
    text = refusal(f"redis://:s3cret@127.0.0.1:{_unused_port()}/0")
    assert "cannot be reached" in text
    assert "s3cret" not in text


@pytest.mark.usefixtures("own_servers")
def test_a_wrong_password_is_explained(tmp_path: Path, worker_at: OpenWorker) -> None:
    with RedisServer(tmp_path, password="right") as server:
        text = refusal(server.url.replace("right", "wrong-pass"))
        assert text.startswith("Redis denied access")
        assert "wrong-pass" not in text
        assert "Redis denied access" in refusal(f"redis://127.0.0.1:{server.port}/0")
        worker_at(server.url)


@pytest.mark.usefixtures("own_servers")
def test_a_replica_is_refused(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path / "master") as master,
        RedisServer(tmp_path / "replica", replica_of=master) as replica,
    ):
        assert "read-only replica" in refusal(replica.url)


@pytest.mark.usefixtures("own_servers")
def test_tls_connects(tmp_path: Path, worker_at: OpenWorker) -> None:
    with RedisServer(tmp_path, tls=True) as server:
        worker_at(server.url).accept(incoming("hi"))
        assert "cannot be reached" in refusal(server.url.partition("?")[0])  # the certificate authority is not trusted


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:26379",
        "redis://host:port/0",
        "redis://h/0?db=x",
        "redis://s3cret?x@host",
        "redis://:123/s3cret@host",
    ],
)
def test_an_invalid_address_raises_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        RedisStore(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?foo=bar", "redis://redis..x:1/0"])
def test_an_address_that_redis_py_fails_on_is_explained(url: str) -> None:
    assert "address" in refusal(url)


# Faults at run time


def test_a_restart_costs_nothing(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("before"))
    claim = worker.claims()
    empty_redis.restart()
    worker.completes(claim, "released")
    worker.accept(incoming("after"))
    assert worker.works_off() == ["before", "after"]


def test_the_store_works_again_after_an_outage(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("before"))
    empty_redis.kill()
    assert "cannot be reached" in complaint(worker)
    with pytest.raises(StoreUnavailable):
        worker.wait(worker.store.ping())
    empty_redis.start()
    assert worker.accept(incoming("before"), incoming("hi")) == [False, True]
    assert worker.works_off() == ["before", "hi"]


@pytest.mark.usefixtures("short_time_limits")
def test_a_hanging_server_fails_in_time(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    """A push that got HTTP 500 may have been stored all the same. Then its redelivery is recognized."""
    worker = worker_at(empty_redis.url)
    with paused(empty_redis):
        assert "did not answer in time" in complaint(worker)
        assert "did not answer in time" in complaint(worker)
    worker.accept(incoming("hi"))
    assert worker.works_off() == ["hi"]


def test_queued_operations_fail_together(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    empty_redis.kill()
    text: list[str] = []
    threads = [threading.Thread(target=lambda n=n: text.append(complaint(worker, f"{n}"))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(text) == 8


def test_a_full_memory_rejects_new_messages_only(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    """New messages are rejected, but accepted ones are processed, which frees memory."""
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("before"))
    with memory(empty_redis, "1mb"):
        assert "no memory left" in complaint(worker)
        with pytest.raises(StoreUnavailable, match="no memory left"):
            worker.wait(worker.store.ping())
        assert worker.waiting() == [ALICE]
        claim = worker.claims()
        worker.saves_typing(claim, NOW + 15)
        worker.records_sent(claim, 1)
        worker.renews()
        assert worker.completes(claim) is None
        assert "no memory left" in complaint(worker)
    worker.accept(incoming("hi"))
    assert worker.works_off() == ["hi"]


def test_a_lost_script_is_loaded_again(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    empty_redis.cli("SCRIPT", "FLUSH", "SYNC")
    worker.accept(incoming("hi"))
    empty_redis.cli("SCRIPT", "FLUSH", "SYNC")
    assert worker.works_off() == ["hi"]


def test_a_master_that_becomes_a_replica_is_noticed(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    empty_redis.cli("REPLICAOF", "127.0.0.1", _unused_port())
    try:
        assert "read-only replica" in complaint(worker)
    finally:
        empty_redis.cli("REPLICAOF", "NO", "ONE")
    worker.accept(incoming("hi"))
    assert worker.works_off() == ["hi"]


@pytest.mark.usefixtures("own_servers")
@pytest.mark.parametrize("kill", [False, True], ids=["ordered", "death"])
def test_the_store_follows_sentinel_to_another_master(tmp_path: Path, worker_at: OpenWorker, kill: bool) -> None:
    with (
        RedisServer(tmp_path / "a", password="pass word") as one,
        RedisServer(tmp_path / "b", replica_of=one) as other,
        Sentinels(tmp_path / "sentinels", one, [other]) as sentinels,
    ):
        worker = worker_at(sentinels.url)
        worker.accept(incoming("before"))
        one.cli("WAIT", 1, 5000)
        assert sentinels.fail_over(kill=kill) is other
        if not kill:  # until it notices, it accepts messages that will be lost; the next test prevents that
            wait_until(lambda: one.cli("INFO", "replication")["role"] == "slave", one.story)
        accept_until_stored(worker, "after")
        assert worker.works_off() == ["before", "after"]
        assert other.cli("GET", f"wxbot:{{{APPID}}}:m:alice:msg:after") is not None


@pytest.mark.usefixtures("own_servers")
def test_accept_can_wait_for_replicas(tmp_path: Path, worker_at: OpenWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no acknowledged message is lost in a failover."""
    with (
        RedisServer(tmp_path / "a") as master,
        RedisServer(tmp_path / "b", replica_of=master) as replica,
    ):
        worker = worker_at(master.url, replicas=1)
        assert worker.accept(incoming("first")) == [True]
        with paused(replica), monkeypatch.context() as patch:
            patch.setattr(redis_link, "REPLICA_SECONDS", 0.1)
            assert "only 0 replica(s)" in complaint(worker, "second")
            assert "only 0 replica(s)" in complaint(worker, "second")
            assert worker.waiting() == [ALICE]
        assert worker.accept(incoming("second")) == [False]
        assert worker.works_off() == ["first", "second"]


def test_a_failing_call_does_not_affect_others(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    worker = worker_at(empty_redis.url)
    with pytest.raises(UnicodeEncodeError):
        worker.accept(incoming("half an emoji \ud83d"))
    worker.accept(incoming("hi"))
    claim = worker.claims()
    empty_redis.cli("HSET", f"wxbot:{{{APPID}}}:m:alice:msg:hi", "fields", "no JSON")
    worker.completes(claim, "released")
    with pytest.raises(ValueError, match="Expecting value"):
        worker.tries_to_claim()
    worker.wait(worker.store.ping())


def test_a_repeated_complete_closes_no_other_message(empty_redis: RedisServer, worker_at: OpenWorker) -> None:
    """The response to the first call was lost."""
    worker = worker_at(empty_redis.url)
    worker.accept(incoming("first"), incoming("second"))
    claim = worker.claims()
    assert text_of(worker.completes(claim)) == "second"
    assert text_of(worker.completes(claim)) == "second"
    worker.completes(claim, go_on=False)
    with pytest.raises(LeaseLost):
        worker.completes(claim)
    assert worker.works_off() == ["second"]


def test_a_store_that_is_not_open_raises_an_error(empty_redis: RedisServer) -> None:
    store = RedisStore(empty_redis.url)
    with pytest.raises(StoreUnavailable, match="not open"):
        store.accept(incoming("hi"))
    store.open()
    store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        store.accept(incoming("hi"))
    store.open()
    assert store.accept(incoming("hi")).new
    store.close()


# Time


def test_on_time_is_called_with_the_servers_time(empty_redis: RedisServer) -> None:
    heard: list[tuple[float, float, float]] = []
    before = elapsed()
    store = RedisStore(empty_redis.url, on_time=lambda *times: heard.append(times))
    store.open()
    store.close()
    seconds, microseconds = map(int, empty_redis.cli("TIME"))
    server_time, asked_at, answered_at = heard[0]
    assert before <= asked_at <= answered_at <= elapsed()
    assert 0 <= seconds + microseconds / 1e6 - server_time <= elapsed() - before


def test_a_wrong_clock_is_corrected_by_the_servers_time(empty_redis: RedisServer) -> None:
    clock = SharedClock()
    clock.follow(NOW, elapsed(), elapsed())
    store = RedisStore(empty_redis.url, on_time=clock.follow)
    store.open()
    store.close()
    seconds, _ = map(int, empty_redis.cli("TIME"))
    assert abs(clock.now() - seconds) < 60


# Helpers


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def memory(server: RedisServer, limit: str) -> Iterator[None]:
    server.cli("CONFIG", "SET", "maxmemory", limit)
    try:
        yield
    finally:
        server.cli("CONFIG", "SET", "maxmemory", "0")


def accept_until_stored(worker: Worker, text: str) -> None:
    """Accept the message again and again, as WeChat redelivers it."""
    for _ in range(100):
        try:
            worker.accept(incoming(text))
        except StoreUnavailable:
            threading.Event().wait(0.05)
        else:
            return
    pytest.fail(complaint(worker, text))


def _unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
