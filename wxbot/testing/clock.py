"""Clocks for tests: ManualClock is advanced by the test, RealClock is real time, LeapingClock can jump ahead of it.

All match the bot's ``Clock`` protocol (``now`` and ``call_later``). All times are in seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_LOOP_ITERATIONS = 10  # event-loop iterations that a resumed task needs to set its next timer
_BUSY_LOOP_SECONDS = 2.0  # real seconds to wait for an event loop that is busy or has stopped


class Handle(Protocol):
    """A scheduled call, which can be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The methods of a clock that FakeWeChat uses."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle: ...


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait until ``seconds`` have passed by ``clock``."""
    is_over = asyncio.Event()
    handle = clock.call_later(seconds, is_over.set)
    try:
        await is_over.wait()
    finally:
        handle.cancel()


class RealClock:
    """A clock with the time of the computer."""

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` on the running event loop in ``delay`` seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)


class LeapingClock:
    """A clock with the time of the computer, which ``advance`` moves ahead. Thread-safe.

    ``file``: the file to which it writes how many seconds it is ahead, for a bot in another process (WXBOT_CLOCK_FILE).
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._ahead = 0.0
        self._timers: set[_LeapingTimer] = set()
        self._lock = threading.Lock()
        self._write_file()

    @property
    def ahead(self) -> float:
        """Return how many seconds the clock is ahead of the computer."""
        return self._ahead

    def now(self) -> float:
        """Return the seconds since 1970 by this clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock ahead. All timers that fall due run now, at the same time. Raises ValueError if negative."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go backwards: seconds={seconds:g}")
        with self._lock:
            self._ahead += seconds
            self._write_file()
            timers = list(self._timers)
        for timer in timers:
            timer.check_soon()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run ``callback`` on the running event loop in ``delay`` seconds by this clock."""
        timer = _LeapingTimer(self, self.now() + delay, callback, self._timers.discard)
        with self._lock:
            self._timers.add(timer)
        timer.check()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` by this clock."""
        await sleep(self, seconds)

    def _write_file(self) -> None:
        if self.file is not None:
            fresh = self.file.with_name(self.file.name + ".new")
            fresh.write_text(repr(self._ahead), "ascii")
            fresh.replace(self.file)


class _LeapingTimer:
    """A call that is due at ``deadline``. All methods except ``check_soon`` run on the timer's event loop."""

    def __init__(
        self,
        clock: LeapingClock,
        deadline: float,
        callback: Callable[[], None],
        done: Callable[[_LeapingTimer], None],
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._callback = callback
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._step: asyncio.Handle | None = None
        self._over = False

    def cancel(self) -> None:
        self._over = True
        self._done(self)
        if self._step is not None:
            self._step.cancel()

    def check_soon(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and its timers never run
            self._loop.call_soon_threadsafe(self.check)

    def check(self) -> None:
        if self._over:
            return
        if self._step is not None:
            self._step.cancel()
        left = self._deadline - self._clock.now()
        if left > 0:
            self._step = self._loop.call_later(left, self.check)
        else:
            self._step = self._loop.call_soon(self._run)  # never before ``call_later`` has returned

    def _run(self) -> None:
        if not self._over:
            self.cancel()
            self._callback()


class _Timer:
    """A call that is due at ``deadline`` on ``loop``. Timers are sorted by deadline, then by creation."""

    __slots__ = ("_callback", "_clock", "_number", "deadline", "loop")

    def __init__(self, clock: ManualClock, deadline: float, number: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._number = number
        self._callback: Callable[[], None] | None = callback
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()

    def __lt__(self, other: _Timer) -> bool:
        return (self.deadline, self._number) < (other.deadline, other._number)

    def cancel(self) -> None:
        self._callback = None
        self._clock._forget(self)  # noqa: SLF001 (same module)

    def run(self) -> None:
        """Run the callback on the timer's loop, unless the timer was cancelled after it was scheduled there."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class ManualClock:
    """A clock whose time changes only when ``advance`` is called. Thread-safe.

    ``advance`` returns after the timers that fell due have run on their event loops and each task that they resumed
    could set its next timer. So a loop of ``sleep(1)`` resumes ten times in ``advance(10)``. Other work of the tasks
    (I/O, other threads) may continue after ``advance``; wait for its effect. If ``advance`` is called on the event
    loop of the timers, they run when the caller next awaits.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._heap: list[_Timer] = []
        self._pending: set[_Timer] = set()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._advancing = threading.Lock()

    def now(self) -> float:
        """Return the seconds since 1970 by this clock."""
        return self._now

    @property
    def timers(self) -> int:
        """Return the number of pending timers."""
        with self._lock:
            return len(self._pending)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run ``callback`` on the running event loop when the clock was advanced by ``delay`` seconds."""
        with self._lock:
            timer = _Timer(self, self._now + max(0.0, delay), next(self._numbers), callback)
            heapq.heappush(self._heap, timer)
            self._pending.add(timer)
        if delay <= 0:
            self._due_now()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by ``seconds``."""
        await sleep(self, seconds)

    def advance(self, seconds: float) -> None:
        """Advance the time by ``seconds``. Each timer runs at its deadline, in order. Raises ValueError if negative."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go backwards: seconds={seconds:g}")
        with self._advancing:
            goal = self._now + seconds
            while due := self._next(goal):
                _run_timers(due)
            with self._lock:
                self._now = max(self._now, goal)

    def _due_now(self) -> None:
        for timer in self._next(self._now):
            timer.loop.call_soon_threadsafe(timer.run)

    def _next(self, goal: float) -> list[_Timer]:
        """Set the time to the earliest deadline up to ``goal`` and return the timers of that deadline."""
        with self._lock:
            self._drop_cancelled()
            if not self._heap or self._heap[0].deadline > goal:
                return []
            self._now = max(self._now, self._heap[0].deadline)
            due: list[_Timer] = []
            while self._heap and self._heap[0].deadline <= self._now:
                due.append(heapq.heappop(self._heap))
            alive = [timer for timer in due if timer in self._pending]
            self._pending.difference_update(alive)
            return alive

    def _drop_cancelled(self) -> None:
        while self._heap and self._heap[0] not in self._pending:
            heapq.heappop(self._heap)

    def _forget(self, timer: _Timer) -> None:
        with self._lock:
            self._pending.discard(timer)
            if len(self._heap) > 64 and len(self._heap) > 2 * len(self._pending):
                self._heap = sorted(self._pending)


def _run_timers(due: list[_Timer]) -> None:
    """Run the timers of one deadline on their loops, and wait until the resumed tasks could set new timers."""
    waits = []
    for loop in dict.fromkeys(timer.loop for timer in due):
        settled = threading.Event()
        if _on_loop(loop, [timer.run for timer in due if timer.loop is loop], settled):
            waits.append(settled)
    for settled in waits:
        settled.wait(_BUSY_LOOP_SECONDS)


def _on_loop(loop: asyncio.AbstractEventLoop, calls: list[Callable[[], None]], settled: threading.Event) -> bool:
    """Schedule ``calls`` on ``loop``. Return True if another thread runs the loop, so that ``settled`` will be set."""
    try:
        for call in calls:
            loop.call_soon_threadsafe(call)
        loop.call_soon_threadsafe(_count_down, loop, _LOOP_ITERATIONS, settled)
    except RuntimeError:  # the loop is closed, and its timers never run
        return False
    return loop.is_running() and loop is not _running_loop()


def _count_down(loop: asyncio.AbstractEventLoop, iterations: int, settled: threading.Event) -> None:
    if iterations:
        loop.call_soon(_count_down, loop, iterations - 1, settled)
    else:
        settled.set()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
