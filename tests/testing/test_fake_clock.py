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
HOUR = 3600.0
"""Longer than any test, so that such a timer runs only if the clock is advanced."""

AnyClock = ManualClock | LeapingClock


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("test-loop")
    yield background
    background.close()


@pytest.fixture(autouse=True)
def frozen_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the time of the computer, which LeapingClock adds to."""
    monkeypatch.setattr(time, "time", lambda: START)


@pytest.fixture(params=[ManualClock, LeapingClock])
def clock(request: pytest.FixtureRequest) -> AnyClock:
    made: AnyClock = request.param()
    return made


async def _let_loop_settle() -> None:
    """Give the event loop enough iterations to run all scheduled callbacks."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _arm(clock: AnyClock, event: threading.Event, delay: float = HOUR) -> None:
    clock.call_later(delay, event.set)


# -- both clocks


def test_a_clock_changes_only_when_it_is_advanced(clock: AnyClock) -> None:
    assert clock.now() == START
    clock.advance(31)
    clock.advance(0)
    clock.advance(0.5)
    assert clock.now() == START + 31.5
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    assert clock.now() == START + 31.5


def test_an_advance_runs_once_only_the_timers_that_fall_due(clock: AnyClock, background: Background) -> None:
    ran: list[str] = []
    last = threading.Event()

    async def arm() -> None:
        clock.call_later(30, last.set)
        clock.call_later(10, lambda: ran.append("early"))
        clock.call_later(20, lambda: ran.append("cancelled")).cancel()
        clock.call_later(HOUR, lambda: ran.append("never"))

    background.run(arm())
    clock.advance(9.5)
    background.run(_let_loop_settle())
    assert ran == []
    for _ in range(3):
        clock.advance(20.5)
        background.run(_let_loop_settle())
    assert last.wait(10)
    assert ran == ["early"]


def test_a_clock_may_be_advanced_on_the_loop_of_its_timers(clock: AnyClock) -> None:
    async def scenario() -> None:
        sleeper = asyncio.ensure_future(clock.sleep(HOUR))
        await _let_loop_settle()
        assert not sleeper.done()
        clock.advance(HOUR)
        await asyncio.wait_for(sleeper, 10)
        await asyncio.wait_for(clock.sleep(0), 10)

    asyncio.run(scenario())


def test_advances_from_several_threads_run_timers_of_several_loops(clock: AnyClock) -> None:
    ran = [threading.Event() for _ in range(100)]
    with ExitStack() as stack:
        loops = [Background("test-loop") for _ in range(4)]
        for loop in loops:
            stack.callback(loop.close)
        for n, event in enumerate(ran):
            loops[n % 4].run(_arm(clock, event))
        threads = [threading.Thread(target=clock.advance, args=(HOUR / 8,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert clock.now() == START + HOUR
        assert all(event.wait(10) for event in ran)


def test_an_advance_ignores_timers_of_a_closed_loop(clock: AnyClock) -> None:
    asyncio.run(_arm(clock, threading.Event()))
    clock.advance(HOUR * 2)
    assert not isinstance(clock, ManualClock) or clock.timers == 0


# -- ManualClock


def test_timers_run_in_order_each_at_its_deadline(background: Background) -> None:
    clock = ManualClock()
    ran: list[tuple[str, float]] = []

    async def arm() -> None:
        for name, delay in [("late", 9.0), ("early", 1.0), ("middle", 4.0), ("never", 11.0)]:
            clock.call_later(delay, lambda name=name: ran.append((name, clock.now() - START)))  # type: ignore[misc]
        for _ in range(500):
            clock.call_later(1.0, lambda: None).cancel()

    background.run(arm())
    assert clock.timers == 4
    clock.advance(10)
    assert ran == [("early", 1.0), ("middle", 4.0), ("late", 9.0)]
    assert clock.timers == 1


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


# -- RealClock and LeapingClock


def test_real_time_ends_a_sleep_and_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    async def scenario() -> float:
        clock = RealClock()
        before = clock.now()
        await clock.sleep(0.001)
        await asyncio.wait_for(LeapingClock().sleep(0.001), 10)
        done = asyncio.Event()
        clock.call_later(0.001, done.set)
        await asyncio.wait_for(done.wait(), 5)
        return clock.now() - before

    assert asyncio.run(scenario()) > 0


def test_a_timer_may_be_cancelled_after_the_advance_and_before_it_runs() -> None:
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


def test_a_leaping_clock_writes_how_far_it_is_ahead_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = LeapingClock(file)
    assert float(file.read_text()) == 0.0
    clock.advance(31)
    clock.advance(0.001)
    assert float(file.read_text()) == clock.ahead == pytest.approx(31.001)
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
