"""Tests of wake-ups between processes: content, limits, distribution and log lines."""

from __future__ import annotations

import logging

import pytest

from tests.servers.processes import wait_until
from tests.wakeups.dramatiq.support import APPID, QUEUE, Listener, queued, reading, users, wake, waking
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq import waker as waker_module
from wxbot.wakeups.dramatiq.broker import WakeupBroker
from wxbot.wakeups.dramatiq.waker import THREADS, read_wakeup, to_message

ALICE = ConversationKey(APPID, "alice")


def send(url: str, *fields: dict[str, object], actor: str = "adopt") -> None:
    """Send messages with any content, as another version or program would."""
    broker = make_broker(url)
    broker.declare_queue(QUEUE)
    for each in fields:
        message = to_message(ALICE, 1.0).copy(kwargs=each, actor_name=actor)
        broker.enqueue(message)
    broker.disconnect()
    broker.close()


def test_a_wakeup_contains_the_user_and_the_time(url: str, listener: Listener) -> None:
    with reading(url, listener), waking(url) as waker:
        waker.wake(ALICE, 1.25)
        listener.receives("alice")
        assert (listener.received, listener.times) == ([ALICE], {"alice": 1.25})
        wait_until(lambda: queued(url) == 0, "the wake-up is still queued")


def test_wakeups_sent_before_the_reader_starts_are_received(url: str, listener: Listener) -> None:
    with waking(url) as waker:
        wake(waker, *users(30))
    assert queued(url) == 30, "closing sends the remaining wake-ups"
    with reading(url, listener):
        listener.receives(*users(30))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"v": 2, "appid": APPID, "openid": "bob", "at": 1.0},
        {"v": "1", "appid": APPID, "openid": "bob", "at": 1.0},
        {"v": 1, "appid": "wxother", "openid": "bob", "at": 1.0},
        {"v": 1, "appid": APPID, "openid": 7, "at": 1.0},
        {"v": 1, "appid": APPID, "openid": "bob", "at": "yesterday"},
        {"v": 1, "appid": APPID, "openid": "bob", "at": float("nan")},
        {"v": 1, "appid": APPID, "openid": "bob"},
    ],
)
def test_an_invalid_wakeup_is_rejected(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"version|appid|openid"):
        read_wakeup(fields, APPID)


def test_unknown_fields_are_ignored() -> None:
    fields = {"v": 1, "appid": APPID, "openid": "bob", "at": 1, "colour": "green"}
    assert read_wakeup(fields, APPID) == (ConversationKey(APPID, "bob"), 1.0)


def test_unknown_wakeups_are_ignored_with_one_log_line(
    url: str, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wxbot")
    newer: dict[str, object] = {"v": 2, "user": "bob"}
    send(url, newer, newer, newer, dict(to_message(ALICE, 1.0).kwargs))
    with reading(url, listener):
        listener.receives("alice")
        wait_until(lambda: queued(url) == 0, "the unknown wake-ups are still queued")
    assert [record.message for record in caplog.records] == [
        "wake-ups ignored, polling finds their messages: reason=version 2 is not supported, only 1"
    ]


def test_a_failing_wakeup_is_logged_and_acknowledged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Listener):
        def adopt(self, key: ConversationKey, interacted_at: float) -> None:
            super().adopt(key, interacted_at)
            if key.openid == "user 0":
                raise ValueError("a fault of the listener")

    listener = Failing()
    with reading(url, listener, threads=1), waking(url) as waker:
        wake(waker, *users(3))
        listener.receives(*users(3))
        wait_until(lambda: queued(url) == 0, "the wake-up is still queued")
    assert [record.message for record in caplog.records if record.exc_info] == [
        "wake-up failed, polling finds its message"
    ]
    assert len(listener.received) == 3


def test_a_full_process_leaves_wakeups_to_others(url: str, listener: Listener) -> None:
    other = Listener()
    listener.fills_up()
    with reading(url, listener), waking(url) as waker:
        wake(waker, *users(50))
        listener.receives_in_all(THREADS)
        with reading(url, other):
            wait_until(
                lambda: listener.users | other.users == set(users(50)), "the remaining wake-ups were not received"
            )
            assert len(listener.received) == THREADS
            assert len(other.received) == 50 - THREADS
            listener.has_room()


def test_unfinished_wakeups_go_back_to_the_queue(url: str, listener: Listener) -> None:
    listener.fills_up()
    with waking(url) as waker:
        with reading(url, listener):
            wake(waker, *users(20))
            listener.receives_in_all(THREADS)
        # The process has ended before it handled the wake-ups that it held.
        after = Listener()
        with reading(url, after):
            after.receives(*users(20))


def test_wakeups_are_separate_for_each_account(url: str, listener: Listener) -> None:
    with reading(url, listener), waking(url) as waker:
        waker.wake(ConversationKey("wxother", "bob"), 1.0)
        waker.wake(ALICE, 1.0)
        listener.receives("alice")
        assert listener.received == [ALICE]


def test_the_queue_is_limited_without_a_reader(
    url: str, listener: Listener, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue must not grow without limit, and a new reader must not need minutes to empty it."""
    monkeypatch.setattr(waker_module, "QUEUED", 5)
    monkeypatch.setattr(waker_module, "PROBE_SECONDS", 0.05)
    with waking(url) as waker:
        wake(waker, *users(5))
        wait_until(lambda: len(caplog.records) == 1, "nothing was logged")
        wake(waker, *(f"late {i}" for i in range(100)))
        wait_until(lambda: waker._wakeups.empty(), "wake-ups still wait in this process")
        assert queued(url) == 5
        with reading(url, listener):
            listener.receives(*users(5))
            wait_until(lambda: _receives_again(waker, listener), "no wake-ups are sent again")
    assert [record.message for record in caplog.records] == [
        "wake-ups not sent, too many are queued and no worker fetches them: queued=5"
    ]


def _receives_again(waker: waker_module.DramatiqWaker, listener: Listener) -> bool:
    wake(waker, "again")
    return "again" in listener.users


@pytest.mark.parametrize("address", ["redis://:hunter2@host:port/0", "amqp://guest:hunter2@host:port/", "kafka://x"])
def test_an_invalid_address_is_not_quoted(address: str) -> None:
    with pytest.raises(ValueError, match=r"write|address") as caught:
        make_broker(address)
    assert "hunter2" not in str(caught.value)


def test_two_brokers_share_nothing() -> None:
    one, two = (make_broker("redis://127.0.0.1:1/0") for _ in range(2))
    assert isinstance(one, WakeupBroker)
    assert one.refusing is not two.refusing
