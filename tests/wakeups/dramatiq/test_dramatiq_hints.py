"""Hints from process to process: what is said, what is dropped, who takes how many, and what the log says of it."""

from __future__ import annotations

import logging

import pytest

from tests.servers.processes import wait_until
from tests.wakeups.dramatiq.support import APPID, QUEUE, Ear, queued, reading, users, wake, waking
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq import waker as waker_module
from wxbot.wakeups.dramatiq.broker import WakeupBroker
from wxbot.wakeups.dramatiq.waker import THREADS, read_wakeup, to_message

ALICE = ConversationKey(APPID, "alice")


def send(url: str, *said: dict[str, object], actor: str = "adopt") -> None:
    """Messages with anything in them, as another version or another program would send them."""
    broker = make_broker(url)
    broker.declare_queue(QUEUE)
    for each in said:
        message = to_message(ALICE, 1.0).copy(kwargs=each, actor_name=actor)
        broker.enqueue(message)
    broker.disconnect()
    broker.close()


def test_a_hint_says_whose_and_when(url: str, ear: Ear) -> None:
    with reading(url, ear), waking(url) as waker:
        waker.wake(ALICE, 1.25)
        ear.hears("alice")
        assert (ear.heard, ear.times) == ([ALICE], {"alice": 1.25})
        wait_until(lambda: queued(url) == 0, "the hint is still there")


def test_what_was_sent_before_a_reader_starts_is_heard(url: str, ear: Ear) -> None:
    with waking(url) as waker:
        wake(waker, *users(30))
    assert queued(url) == 30, "closing hands over what is left"
    with reading(url, ear):
        ear.hears(*users(30))


@pytest.mark.parametrize(
    "said",
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
def test_what_is_no_hint_of_ours_is_not_read(said: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"version|appid|openid"):
        read_wakeup(said, APPID)


def test_a_later_version_may_say_more() -> None:
    said = {"v": 1, "appid": APPID, "openid": "bob", "at": 1, "colour": "green"}
    assert read_wakeup(said, APPID) == (ConversationKey(APPID, "bob"), 1.0)


def test_what_is_unknown_is_dropped_with_one_line(url: str, ear: Ear, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "wxbot")
    newer: dict[str, object] = {"v": 2, "user": "bob"}
    send(url, newer, newer, newer, dict(to_message(ALICE, 1.0).kwargs))
    with reading(url, ear):
        ear.hears("alice")
        wait_until(lambda: queued(url) == 0, "what is unknown is still there")
    assert [record.message for record in caplog.records] == [
        "wake-ups ignored, polling finds their messages: reason=version 2 is not supported, only 1"
    ]


def test_a_hint_that_cannot_be_followed_is_told_and_done_with(url: str, caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(Ear):
        def adopt(self, key: ConversationKey, interacted_at: float) -> None:
            super().adopt(key, interacted_at)
            if key.openid == "user 0":
                raise ValueError("a fault of the listener")

    ear = Deaf()
    with reading(url, ear, threads=1), waking(url) as waker:
        wake(waker, *users(3))
        ear.hears(*users(3))
        wait_until(lambda: queued(url) == 0, "the hint is still there")
    assert [record.message for record in caplog.records if record.exc_info] == [
        "wake-up failed, polling finds its message"
    ]
    assert len(ear.heard) == 3


def test_a_full_process_leaves_the_rest_to_others(url: str, ear: Ear) -> None:
    other = Ear()
    ear.fills_up()
    with reading(url, ear), waking(url) as waker:
        wake(waker, *users(50))
        ear.hears_in_all(THREADS)
        with reading(url, other):
            wait_until(lambda: ear.users | other.users == set(users(50)), "the rest was not taken")
            assert len(ear.heard) == THREADS
            assert len(other.heard) == 50 - THREADS
            ear.has_room()


def test_what_was_not_followed_goes_back(url: str, ear: Ear) -> None:
    ear.fills_up()
    with waking(url) as waker:
        with reading(url, ear):
            wake(waker, *users(20))
            ear.hears_in_all(THREADS)
        # That process has ended; what it held was not looked after.
        after = Ear()
        with reading(url, after):
            after.hears(*users(20))


def test_accounts_do_not_hear_each_other(url: str, ear: Ear) -> None:
    with reading(url, ear), waking(url) as waker:
        waker.wake(ConversationKey("wxother", "bob"), 1.0)
        waker.wake(ALICE, 1.0)
        ear.hears("alice")
        assert ear.heard == [ALICE]


def test_nobody_reads(url: str, ear: Ear, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the queue must not grow for ever, and must not be worked off for minutes when somebody comes."""
    monkeypatch.setattr(waker_module, "QUEUED", 5)
    monkeypatch.setattr(waker_module, "PROBE_SECONDS", 0.05)
    with waking(url) as waker:
        wake(waker, *users(5))
        wait_until(lambda: len(caplog.records) == 1, "nothing was told")
        wake(waker, *(f"late {i}" for i in range(100)))
        wait_until(lambda: waker._wakeups.empty(), "hints still wait in this process")
        assert queued(url) == 5
        with reading(url, ear):
            ear.hears(*users(5))
            wait_until(lambda: _heard_again(waker, ear), "no more hints are sent")
    assert [record.message for record in caplog.records] == [
        "wake-ups not sent, too many are queued and no worker fetches them: queued=5"
    ]


def _heard_again(waker: waker_module.DramatiqWaker, ear: Ear) -> bool:
    wake(waker, "again")
    return "again" in ear.users


@pytest.mark.parametrize("address", ["redis://:hunter2@host:port/0", "amqp://guest:hunter2@host:port/", "kafka://x"])
def test_an_address_that_cannot_be_read_is_not_quoted(address: str) -> None:
    with pytest.raises(ValueError, match=r"write|address") as caught:
        make_broker(address)
    assert "hunter2" not in str(caught.value)


def test_two_brokers_share_nothing() -> None:
    one, two = (make_broker("redis://127.0.0.1:1/0") for _ in range(2))
    assert isinstance(one, WakeupBroker)
    assert one.refusing is not two.refusing
