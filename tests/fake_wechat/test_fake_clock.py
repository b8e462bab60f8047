"""The clock that is turned by hand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from wxbot.testing import ManualClock, RealClock
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
    clock.turn(2.5)
    assert clock.now() == START + 2.5
    with pytest.raises(ValueError, match="backwards"):
        clock.turn(-1)


def test_timers_run_in_the_order_of_their_deadlines_each_at_its_own_time(background: Background) -> None:
    clock = ManualClock()
    ran: list[tuple[str, float]] = []

    async def arm() -> None:
        for name, delay in [("late", 9.0), ("early", 1.0), ("middle", 4.0), ("never", 11.0)]:
            clock.call_later(delay, lambda name=name: ran.append((name, clock.now() - START)))  # type: ignore[misc]

    background.run(arm())
    clock.turn(10)
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
    clock.turn(5)
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
    clock.turn(10)
    assert woken == [float(second) for second in range(1, 11)]


def test_it_may_be_turned_on_the_loop_that_waits() -> None:
    async def story() -> None:
        clock = ManualClock()
        sleeper = asyncio.ensure_future(clock.sleep(3))
        await asyncio.sleep(0)
        clock.turn(3)
        await asyncio.wait_for(sleeper, 5)
        assert clock.timers == 0

    asyncio.run(story())


def test_timers_of_a_closed_loop_are_let_go() -> None:
    clock = ManualClock()

    async def arm() -> None:
        clock.call_later(1.0, lambda: None)

    asyncio.run(arm())
    clock.turn(2)
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
    threads = [threading.Thread(target=clock.turn, args=(1.0,)) for _ in range(8)]
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
