"""Dramatiq's own tools work: its keys, messages, dead letters and metrics are unchanged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from tests.servers.processes import wait_until
from tests.servers.redis_server import RedisServer
from tests.wakeups.dramatiq.support import APPID, QUEUE, Listener, flush_wakeups, queued, reading, users, wake, waking
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq.redis import NAMESPACE
from wxbot.wakeups.dramatiq.waker import to_message

ALICE = ConversationKey(APPID, "alice")


@pytest.fixture(params=["redis", "valkey", "cluster"])
def keys(request: pytest.FixtureRequest) -> RedisServer:
    server: RedisServer = request.getfixturevalue(f"{request.param}_server")
    server.flush()
    return server


def plain_broker(url: str) -> RedisBroker:
    """Return a broker of a tool that knows only the address and the namespace."""
    broker = RedisBroker(url=url, namespace=NAMESPACE, middleware=[])  # type: ignore[no-untyped-call]
    broker.declare_queue(QUEUE)
    return broker


def test_a_tool_can_read_wakeups(keys: RedisServer) -> None:
    with waking(keys.url) as waker:
        wake(waker, "alice")
    tool = plain_broker(keys.url)
    try:
        assert tool.do_qsize(QUEUE) == 1
        message = next(tool.consume(QUEUE, timeout=5))
        assert message is not None
        assert (message.actor_name, message.args) == ("adopt", ())
        assert message.kwargs == {"v": 1, "appid": APPID, "openid": "alice", "at": 1.5}
    finally:
        tool.client.close()


def test_a_wakeup_requeued_by_a_dashboard_is_received(keys: RedisServer, listener: Listener) -> None:
    """dramatiq-dashboard sets a past time, so the message goes through the delay queue."""
    tool = plain_broker(keys.url)
    with reading(keys.url, listener):
        message = to_message(ALICE, 1.0)
        tool.enqueue(message.copy(options={"eta": message.message_timestamp, "retries": 0}))
        listener.receives("alice")
        wait_until(lambda: queued(keys.url) == 0, "it is still there")
    tool.client.close()


def test_a_message_for_an_unknown_actor_becomes_a_dead_letter(keys: RedisServer, listener: Listener) -> None:
    tool = plain_broker(keys.url)
    with reading(keys.url, listener), waking(keys.url) as waker:
        tool.enqueue(to_message(ALICE, 1.0).copy(actor_name="nobody"))
        wait_until(lambda: keys.cli("ZCARD", f"{NAMESPACE}:{QUEUE}.XQ") == 1, "it is no dead letter")
        wake(waker, "bob")
        listener.receives("bob")
    tool.client.close()


def test_an_unreadable_message_does_not_stop_the_reader(keys: RedisServer, listener: Listener) -> None:
    with reading(keys.url, listener), waking(keys.url) as waker:
        keys.cli("HSET", f"{NAMESPACE}:{QUEUE}.msgs", "1", "no JSON")
        keys.cli("RPUSH", f"{NAMESPACE}:{QUEUE}", "1")
        wake(waker, *users(3))
        listener.receives(*users(3))


def test_all_keys_are_in_one_slot_of_a_cluster(cluster_server: RedisServer, listener: Listener) -> None:
    cluster_server.flush()
    seen: set[str] = set()
    tool = plain_broker(cluster_server.url)
    listener.fills_up()
    with reading(cluster_server.url, listener) as reader, waking(cluster_server.url) as waker:
        reader._broker.maintenance_chance = 1_000_000  # type: ignore[attr-defined]  # of RedisBroker
        tool.enqueue(to_message(ALICE, 1.0).copy(actor_name="nobody"))
        wake(waker, *users(10))
        listener.receives_in_all(1)
        wait_until(lambda: bool(cluster_server.cli("ZCARD", f"{NAMESPACE}:{QUEUE}.XQ")), "it is no dead letter")
        seen.update(cluster_server.cli("KEYS", "*"))
        listener.has_room()
        listener.receives(*users(10))
        seen.update(cluster_server.cli("KEYS", "*"))
    tool.client.close()
    assert len({cluster_server.cli("CLUSTER", "KEYSLOT", key) for key in seen}) == 1, seen
    assert {f"{NAMESPACE}:__heartbeats__", f"{NAMESPACE}:{QUEUE}.msgs", f"{NAMESPACE}:{QUEUE}.XQ"} <= seen


def test_wakeups_of_a_dead_process_go_to_another(keys: RedisServer, listener: Listener) -> None:
    """Dramatiq's own maintenance requeues them, because the heartbeat is too old."""
    dead = plain_broker(keys.url)
    dead.enqueue(to_message(ALICE, 1.0))
    assert next(dead.consume(QUEUE, timeout=5)) is not None
    dead.client.close()
    keys.cli("ZADD", f"{NAMESPACE}:__heartbeats__", 1, dead.broker_id)
    with reading(keys.url, listener) as reader:
        reader._broker.maintenance_chance = 1_000_000  # type: ignore[attr-defined]  # of RedisBroker
        tool = plain_broker(keys.url)
        tool.enqueue(to_message(ConversationKey(APPID, "bob"), 1.0))
        listener.receives("alice", "bob")
        tool.client.close()


def test_a_stopped_process_is_not_treated_as_dead(keys: RedisServer, listener: Listener) -> None:
    """Dramatiq's maintenance scans every key of the database for a dead process."""
    with reading(keys.url, listener), waking(keys.url) as waker:
        wake(waker, "alice")
        listener.receives("alice")
        wait_until(lambda: keys.cli("EXISTS", f"{NAMESPACE}:{QUEUE}.msgs") == 0, "it is still there")
        assert keys.cli("ZCARD", f"{NAMESPACE}:__heartbeats__") == 2
    assert keys.cli("KEYS", "*") == []


def test_idle_readers_write_almost_nothing(redis_server: RedisServer, listener: Listener) -> None:
    flush_wakeups(redis_server.url)
    with reading(redis_server.url, listener), waking(redis_server.url) as waker:
        wake(waker, "alice")
        listener.receives("alice")
        wait_until(lambda: queued(redis_server.url) == 0, "it is still there")
        redis_server.cli("CONFIG", "RESETSTAT")

        def calls(command: str) -> int:
            stats = redis_server.cli("INFO", "commandstats").get(f"cmdstat_{command}", {})
            return int(stats.get("calls", 0))

        wait_until(lambda: calls("llen") >= 100, "it does not poll")
        assert calls("evalsha") < 10
        consumers = [thread for thread in threading.enumerate() if thread.name == "wxbot-wakeups"]
        assert len(consumers) == 1, "no message is delayed, so no consumer polls the delay queue"


def test_importing_sets_no_global_broker() -> None:
    """Plugins may use Dramatiq for their own purposes."""
    assert dramatiq.broker.global_broker is None
    make_broker("redis://127.0.0.1:1/0")
    assert dramatiq.broker.global_broker is None


@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="prometheus_client is not installed")
def test_prometheus_reads_the_counts(redis_server: RedisServer, tmp_path: Path) -> None:
    """Uses own processes, because importing prometheus_client decides the folder."""
    flush_wakeups(redis_server.url)
    with waking(redis_server.url) as waker:
        wake(waker, *users(7))
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "URL": redis_server.url}
    worker = subprocess.run(
        [sys.executable, "-c", _WORKER], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(worker.stdout) == 7
    web = subprocess.run(
        [sys.executable, "-c", _WEB], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert f'dramatiq_messages_total{{actor_name="adopt",queue_name="{QUEUE}"}} 7.0' in web.stdout


_WORKER = f"""
import os, threading
from wxbot.server.assembly import make_broker
from wxbot.wakeups.dramatiq.waker import WakeupReader
received = threading.Semaphore(0)
reader = WakeupReader(make_broker(os.environ["URL"]), {APPID!r}, lambda key, at: received.release())
reader.start()
print(sum(received.acquire(timeout=20) for _ in range(7)))
reader.stop()
"""
_WEB = """
import sys
from wxbot.wakeups.dramatiq.broker import metrics
sys.stdout.buffer.write(metrics())
"""
