"""Test ManualClock, RealClock and LeapingClock."""

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


def test_a_manual_clock_changes_only_when_it_is_advanced() -> None:
    clock = ManualClock()
    assert clock.now() == START
    clock.advance(2.5)
    assert clock.now() == START + 2.5
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_timers_run_in_order_each_at_its_deadline(background: Background) -> None:
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
        clock.call_later(2.0, lambda: ran.append("not cancelled"))

    background.run(arm())
    assert clock.timers == 1
    clock.advance(5)
    assert ran == ["not cancelled"]
    assert clock.timers == 0


def test_one_advance_resumes_a_sleeping_task_several_times(background: Background) -> None:
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


def test_a_clock_may_be_advanced_on_the_loop_of_its_timers() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(clock.sleep(3))
        await asyncio.sleep(0)
        clock.advance(3)
        await asyncio.wait_for(sleeper, 5)
        assert clock.timers == 0

    asyncio.run(scenario())


def test_timers_of_a_closed_loop_are_dropped() -> None:
    clock = ManualClock()

    async def arm() -> None:
        clock.call_later(1.0, lambda: None)

    asyncio.run(arm())
    clock.advance(2)
    assert clock.timers == 0


def test_a_timer_without_delay_runs_without_an_advance() -> None:
    async def scenario() -> None:
        clock = ManualClock()
        await asyncio.wait_for(clock.sleep(0), 5)

    asyncio.run(scenario())


def test_a_manual_clock_is_thread_safe(background: Background) -> None:
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


def test_the_real_clock_has_the_same_methods() -> None:
    async def scenario() -> float:
        clock = RealClock()
        before = clock.now()
        await clock.sleep(0.001)
        done = asyncio.Event()
        clock.call_later(0.001, done.set)
        await asyncio.wait_for(done.wait(), 5)
        return clock.now() - before

    assert asyncio.run(scenario()) > 0


# -- LeapingClock


@pytest.fixture
def frozen_time(monkeypatch: pytest.MonkeyPatch) -> float:
    """Stop the time of the computer. Return it."""
    monkeypatch.setattr(time, "time", lambda: START)
    return START


HOUR = 3600.0
"""Longer than any test, so that such a timer runs only if the clock is advanced."""


def test_a_leaping_clock_shows_real_time_plus_all_advances(frozen_time: float) -> None:
    clock = LeapingClock()
    assert (clock.now(), clock.ahead) == (START, 0.0)
    clock.advance(31)
    clock.advance(0)
    clock.advance(0.5)
    assert (clock.now(), clock.ahead) == (START + 31.5, 31.5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.ahead == 31.5


def test_an_advance_runs_only_the_timers_that_fall_due(background: Background, frozen_time: float) -> None:
    clock = LeapingClock()
    ran: list[str] = []
    last = threading.Event()

    async def arm() -> None:
        clock.call_later(10, lambda: ran.append("early"))
        clock.call_later(20, lambda: ran.append("cancelled")).cancel()
        clock.call_later(30, last.set)
        clock.call_later(HOUR, lambda: ran.append("never"))

    background.run(arm())
    clock.advance(9.5)
    background.run(_let_loop_settle())
    assert ran == []
    clock.advance(20.5)
    assert last.wait(10)
    background.run(_let_loop_settle())
    assert ran == ["early"]


async def _let_loop_settle() -> None:
    """Give the event loop enough iterations to run all scheduled callbacks."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_timer_runs_once(background: Background, frozen_time: float) -> None:
    clock = LeapingClock()
    ran: list[int] = []

    async def arm() -> None:
        clock.call_later(1, lambda: ran.append(1))

    background.run(arm())
    for _ in range(3):
        clock.advance(5)
    background.run(_let_loop_settle())
    assert ran == [1]


def test_a_timer_may_be_cancelled_after_the_advance_and_before_it_runs(frozen_time: float) -> None:
    async def scenario() -> None:
        clock = LeapingClock()
        ran: list[int] = []
        handle = clock.call_later(5, lambda: ran.append(1))
        clock.advance(5)
        handle.cancel()
        handle.cancel()
        await _let_loop_settle()
        assert ran == []

    asyncio.run(scenario())


def test_an_advance_from_another_thread_runs_timers_of_several_loops(frozen_time: float) -> None:
    clock = LeapingClock()
    ran = [threading.Event() for _ in range(4)]
    with ExitStack() as stack:
        for event in ran:
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
        assert all(event.wait(10) for event in ran)


async def _arm(clock: LeapingClock, event: threading.Event) -> None:
    clock.call_later(HOUR, event.set)


def test_an_advance_ignores_timers_of_a_closed_loop() -> None:
    clock = LeapingClock()
    asyncio.run(_arm(clock, threading.Event()))
    clock.advance(HOUR * 2)


def test_a_sleep_ends_by_an_advance_or_by_real_time() -> None:
    async def scenario() -> None:
        clock = LeapingClock()
        sleeper = asyncio.ensure_future(clock.sleep(HOUR))
        await _let_loop_settle()
        assert not sleeper.done()
        clock.advance(HOUR)
        await asyncio.wait_for(sleeper, 10)
        await asyncio.wait_for(clock.sleep(0.001), 10)
        await asyncio.wait_for(clock.sleep(0), 10)

    asyncio.run(scenario())


def test_a_leaping_clock_writes_how_far_it_is_ahead_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = LeapingClock(file)
    assert float(file.read_text()) == 0.0
    clock.advance(31)
    clock.advance(0.001)
    assert float(file.read_text()) == clock.ahead
    assert list(tmp_path.iterdir()) == [file]


def test_the_platform_may_use_a_leaping_clock() -> None:
    clock = LeapingClock()
    with FakeWeChat(clock) as wechat:
        alice = wechat.user("alice")
        alice.says("hi")
        status = wechat.platform.status_of(alice.openid)
        assert status.may_send(clock.now()) == 0
        clock.advance(48 * HOUR)
        assert status.may_send(clock.now()) == 45015
