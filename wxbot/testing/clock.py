"""Time for tests: a clock that is turned by hand, the real one with the same face, and one that can leap ahead.

All match the bot's ``Clock`` by structure (``now`` and ``call_later``). All times are seconds.
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

_PASSES = 10  # passes of an event loop in which a task that was woken can set its next timer
_PATIENCE = 2.0  # real seconds to wait for an event loop that is busy or no longer running


class Handle(Protocol):
    """Something asked for later that can still be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """What FakeWeChat needs of a clock."""

    def now(self) -> float: ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle: ...


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait until ``seconds`` have passed by ``clock``."""
    woken = asyncio.Event()
    handle = clock.call_later(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        handle.cancel()


class RealClock:
    """The computer's own time."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Run ``callback`` on the running event loop in ``delay`` seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)


class LeapingClock:
    """The computer's own time, until it is told to leap ahead. Safe to use from every thread.

    ``file``: where to write how many seconds it is ahead, for a bot in another process (WXBOT_CLOCK_FILE).
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._ahead = 0.0
        self._timers: set[_LeapingTimer] = set()
        self._lock = threading.Lock()
        self._tell()

    @property
    def ahead(self) -> float:
        """Seconds it has leapt in all."""
        return self._ahead

    def now(self) -> float:
        """Seconds since 1970, by this clock."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Leap ahead: what falls due by that happens now, all at once."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        with self._lock:
            self._ahead += seconds
            self._tell()
            timers = list(self._timers)
        for timer in timers:
            timer.look_soon()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run ``callback`` on the running event loop in ``delay`` seconds by this clock."""
        timer = _LeapingTimer(self, self.now() + delay, callback, self._timers.discard)
        with self._lock:
            self._timers.add(timer)
        timer.look()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` by this clock."""
        await sleep(self, seconds)

    def _tell(self) -> None:
        if self.file is not None:
            fresh = self.file.with_name(self.file.name + ".new")
            fresh.write_text(repr(self._ahead), "ascii")
            fresh.replace(self.file)


class _LeapingTimer:
    """One call that is due at ``deadline``; all but ``look_soon`` runs on its own loop."""

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

    def look_soon(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: its timers went with it
            self._loop.call_soon_threadsafe(self.look)

    def look(self) -> None:
        if self._over:
            return
        if self._step is not None:
            self._step.cancel()
        left = self._deadline - self._clock.now()
        if left > 0:
            self._step = self._loop.call_later(left, self.look)
        else:
            self._step = self._loop.call_soon(self._ring)  # never before ``call_later`` has returned

    def _ring(self) -> None:
        if not self._over:
            self.cancel()
            self._callback()


class _Timer:
    """One call that is due at ``deadline`` on ``loop``; in a heap it sorts by deadline, then by age."""

    __slots__ = ("_age", "_callback", "_clock", "deadline", "loop")

    def __init__(self, clock: ManualClock, deadline: float, age: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._age = age
        self._callback: Callable[[], None] | None = callback
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()

    def __lt__(self, other: _Timer) -> bool:
        return (self.deadline, self._age) < (other.deadline, other._age)

    def cancel(self) -> None:
        self._callback = None
        self._clock._forget(self)  # noqa: SLF001 (the clock and its timers are one thing)

    def run(self) -> None:
        """Called on the timer's own loop: what was cancelled after it was handed over does not run either."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class ManualClock:
    """A clock that stands still until ``turn`` is called. Safe to use from every thread.

    ``turn`` does not return before the timers that fell due have run on their event loops, and a task that was
    woken by one has had the chance to set its next timer; so a loop of ``sleep(1)`` wakes ten times in ``turn(10)``.
    What tasks do beyond that (I/O, other threads) goes on after ``turn``: wait for its effect. When ``turn`` is
    called on the event loop that owns the timers, they run after the caller gives way.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._heap: list[_Timer] = []
        self._pending: set[_Timer] = set()
        self._ages = itertools.count()
        self._lock = threading.Lock()
        self._turning = threading.Lock()

    def now(self) -> float:
        """Seconds since 1970, by this clock."""
        return self._now

    @property
    def timers(self) -> int:
        """How many timers are waiting."""
        with self._lock:
            return len(self._pending)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Handle:
        """Run ``callback`` on the running event loop once the clock was turned by ``delay`` seconds."""
        with self._lock:
            timer = _Timer(self, self._now + max(0.0, delay), next(self._ages), callback)
            heapq.heappush(self._heap, timer)
            self._pending.add(timer)
        if delay <= 0:
            self._due_now()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was turned by ``seconds``."""
        await sleep(self, seconds)

    def advance(self, seconds: float) -> None:
        """Move the time on by ``seconds``, handing over each timer at its own deadline, the earliest first."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        with self._turning:
            goal = self._now + seconds
            while due := self._next(goal):
                _hand_over(due)
            with self._lock:
                self._now = max(self._now, goal)

    def _due_now(self) -> None:
        for timer in self._next(self._now):
            timer.loop.call_soon_threadsafe(timer.run)

    def _next(self, goal: float) -> list[_Timer]:
        """The timers of the earliest deadline up to ``goal``; the time is now that deadline."""
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


def _hand_over(due: list[_Timer]) -> None:
    """Run timers of one deadline on their loops and wait until those have taken note."""
    waits = []
    for loop in dict.fromkeys(timer.loop for timer in due):
        settled = threading.Event()
        if _on_loop(loop, [timer.run for timer in due if timer.loop is loop], settled):
            waits.append(settled)
    for settled in waits:
        settled.wait(_PATIENCE)


def _on_loop(loop: asyncio.AbstractEventLoop, calls: list[Callable[[], None]], settled: threading.Event) -> bool:
    """True if somebody else's thread runs these calls now, so that waiting for ``settled`` makes sense."""
    try:
        for call in calls:
            loop.call_soon_threadsafe(call)
        loop.call_soon_threadsafe(_pass, loop, _PASSES, settled)
    except RuntimeError:  # the loop is closed: its timers went with it
        return False
    return loop.is_running() and loop is not _running_loop()


def _pass(loop: asyncio.AbstractEventLoop, passes: int, settled: threading.Event) -> None:
    if passes:
        loop.call_soon(_pass, loop, passes - 1, settled)
    else:
        settled.set()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
