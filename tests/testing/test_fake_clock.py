"""The clock that is turned by hand, and the one that runs and can leap ahead."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from wxbot.testing import FakeWeChat, LeapingClock, ManualClock, RealClock
from wxbot.testing.background import Background

START = 1_700_000_000.0


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("test-loop")
    yield background
    background.close()


def test_it_stands_still_until_it_is_turned() -> None:
    clock = ManualClock()
    assert clock.now() == START
    clock.advance(2.5)
    assert clock.now() == START + 2.5
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_timers_run_in_the_order_of_their_deadlines_each_at_its_own_time(background: Background) -> None:
    clock = ManualClock()
    ran: list[tuple[str, float]] = []

    async def arm() -> None:
        for name, delay in [("late", 9.0), ("early", 1.0), ("middle", 4.0), ("never", 11.0)]:
            clock.call_later(delay, lambda name=name: ran.append((name, clock.now() - START)))  # type: ignore[misc]

    background.run(arm())
    clock.advance(10)
    assert ran == [("early", 1.0), ("middle", 4.0), ("late", 9.0)]
    assert clock.timers == 1


def test_a_cancelled_timer_does_not_run_and_is_not_counted(background: Background) -> None:
    clock = ManualClock()
    ran: list[str] = []

    async def arm() -> None:
        clock.call_later(1.0, lambda: ran.append("cancelled")).cancel()
        for _ in range(500):
            clock.call_later(1.0, lambda: ran.append("cancelled")).cancel()
        clock.call_later(2.0, lambda: ran.append("kept"))

    background.run(arm())
    assert clock.timers == 1
    clock.advance(5)
    assert ran == ["kept"]
    assert clock.timers == 0


def test_one_turn_wakes_a_sleeping_loop_as_often_as_it_should(background: Background) -> None:
    clock = ManualClock()
    woken: list[float] = []

    async def tick() -> None:
        while True:
            await clock.sleep(1.0)
            woken.append(clock.now() - START)

    background.call(lambda: asyncio.ensure_future(tick()))
    background.run(asyncio.sleep(0))
    clock.advance(10)
    assert woken == [float(second) for second in range(1, 11)]


def test_it_may_be_turned_on_the_loop_that_waits() -> None:
    async def story() -> None:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(clock.sleep(3))
        await asyncio.sleep(0)
        clock.advance(3)
        await asyncio.wait_for(sleeper, 5)
        assert clock.timers == 0

    asyncio.run(story())


def test_timers_of_a_closed_loop_are_let_go() -> None:
    clock = ManualClock()

    async def arm() -> None:
        clock.call_later(1.0, lambda: None)

    asyncio.run(arm())
    clock.advance(2)
    assert clock.timers == 0


def test_a_timer_that_is_due_already_runs_without_a_turn() -> None:
    async def story() -> None:
        clock = ManualClock()
        await asyncio.wait_for(clock.sleep(0), 5)

    asyncio.run(story())


def test_many_threads_may_use_it(background: Background) -> None:
    clock = ManualClock()
    ran: list[float] = []

    async def arm() -> None:
        for _ in range(100):
            clock.call_later(8.0, lambda: ran.append(clock.now()))

    background.run(arm())
    threads = [threading.Thread(target=clock.advance, args=(1.0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == START + 8
    assert ran == [START + 8] * 100


def test_the_real_clock_has_the_same_face() -> None:
    async def story() -> float:
        clock = RealClock()
        before = clock.now()
        await clock.sleep(0.001)
        done = asyncio.Event()
        clock.call_later(0.001, done.set)
        await asyncio.wait_for(done.wait(), 5)
        return clock.now() - before

    assert asyncio.run(story()) > 0


# -- the clock that can leap


@pytest.fixture
def stands_still(monkeypatch: pytest.MonkeyPatch) -> float:
    """The computer's own time, which does not go on by itself."""
    monkeypatch.setattr(time, "time", lambda: START)
    return START


HOUR = 3600.0
"""Longer than any test: what waits for it rings by a leap only."""


def test_it_is_the_real_time_until_it_leaps(stands_still: float) -> None:
    clock = LeapingClock()
    assert (clock.now(), clock.ahead) == (START, 0.0)
    clock.advance(31)
    clock.advance(0)
    clock.advance(0.5)
    assert (clock.now(), clock.ahead) == (START + 31.5, 31.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.ahead == 31.5


def test_a_leap_rings_what_falls_due_by_it_and_nothing_else(background: Background, stands_still: float) -> None:
    clock = LeapingClock()
    rang: list[str] = []
    last = threading.Event()

    async def arm() -> None:
        clock.call_later(10, lambda: rang.append("early"))
        clock.call_later(20, lambda: rang.append("cancelled")).cancel()
        clock.call_later(30, last.set)
        clock.call_later(HOUR, lambda: rang.append("never"))

    background.run(arm())
    clock.advance(9.5)
    background.run(_passes())
    assert rang == []
    clock.advance(20.5)
    assert last.wait(10)
    background.run(_passes())
    assert rang == ["early"]


async def _passes() -> None:
    """Whatever a loop has been told is done by then."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_timer_rings_once(background: Background, stands_still: float) -> None:
    clock = LeapingClock()
    rang: list[int] = []

    async def arm() -> None:
        clock.call_later(1, lambda: rang.append(1))

    background.run(arm())
    for _ in range(3):
        clock.advance(5)
    background.run(_passes())
    assert rang == [1]


def test_a_timer_may_be_called_off_between_the_leap_and_its_ring(stands_still: float) -> None:
    async def story() -> None:
        clock = LeapingClock()
        rang: list[int] = []
        handle = clock.call_later(5, lambda: rang.append(1))
        clock.advance(5)
        handle.cancel()
        handle.cancel()
        await _passes()
        assert rang == []

    asyncio.run(story())


def test_timers_of_several_loops_are_rung_from_another_thread(stands_still: float) -> None:
    clock = LeapingClock()
    rang = [threading.Event() for _ in range(4)]
    with ExitStack() as stack:
        for event in rang:
            loop = Background("test-loop")
            stack.callback(loop.close)
            loop.run(_arm(clock, event))
        leaps = [threading.Thread(target=clock.advance, args=(HOUR / 10,)) for _ in range(10)]
        for leap in leaps:
            leap.start()
        for leap in leaps:
            leap.join()
        assert clock.ahead == pytest.approx(HOUR)
        clock.advance(1)
        assert all(event.wait(10) for event in rang)


async def _arm(clock: LeapingClock, event: threading.Event) -> None:
    clock.call_later(HOUR, event.set)


def test_timers_of_a_loop_that_has_ended_do_no_harm() -> None:
    clock = LeapingClock()
    asyncio.run(_arm(clock, threading.Event()))
    clock.advance(HOUR * 2)


def test_who_sleeps_by_it_wakes_by_a_leap_and_by_itself() -> None:
    async def story() -> None:
        clock = LeapingClock()
        sleeper = asyncio.ensure_future(clock.sleep(HOUR))
        await _passes()
        assert not sleeper.done()
        clock.advance(HOUR)
        await asyncio.wait_for(sleeper, 10)
        await asyncio.wait_for(clock.sleep(0.001), 10)
        await asyncio.wait_for(clock.sleep(0), 10)

    asyncio.run(story())


def test_it_writes_down_how_far_it_is_ahead(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = LeapingClock(file)
    assert float(file.read_text()) == 0.0
    clock.advance(31)
    clock.advance(0.001)
    assert float(file.read_text()) == clock.ahead
    assert list(tmp_path.iterdir()) == [file]


def test_wechat_may_live_by_it() -> None:
    clock = LeapingClock()
    with FakeWeChat(clock) as wechat:
        alice = wechat.user("alice")
        alice.says("hi")
        standing = wechat.platform.status_of(alice.openid)
        assert standing.may_send(clock.now()) == 0
        clock.advance(48 * HOUR)
        assert standing.may_send(clock.now()) == 45015
