"""Clocks: the machine's own clock, the clock of the store's server for several machines, and one for the playground."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol


class Timer(Protocol):
    """A scheduled call that can be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The time for a bot: real time in production, a manual clock in tests."""

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Schedule ``callback`` on the running event loop in ``delay`` seconds. Call it in the loop's own thread."""
        ...


class SystemClock:
    """A ``Clock`` that shows the machine's own time."""

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)


MAX_ROUND_TRIP = 0.5
"""Longest round trip of a time request, in seconds. The time in a slower response is too uncertain to be used."""


class SharedClock(SystemClock):
    """A ``Clock`` that shows the time of a server that several machines share.

    One machine writes the times of leases, typing notes and the 30-second window, and another machine reads them. With
    this clock they are right on both machines, even if a machine's own clock is wrong. Until the first ``follow`` it
    shows the machine's own time.
    """

    def __init__(self) -> None:
        self._offset = time.time() - elapsed()
        self._following = False

    def now(self) -> float:
        return elapsed() + self._offset

    def follow(self, server_time: float, asked_at: float, answered_at: float) -> None:
        """Use ``server_time`` (seconds since 1970), which the server read between two moments of ``elapsed``."""
        if self._following and answered_at - asked_at > MAX_ROUND_TRIP:
            return  # the moment at which the server read its clock is too uncertain
        self._following = True
        self._offset = server_time - (asked_at + answered_at) / 2


def elapsed() -> float:
    """Return the seconds since an arbitrary moment. They include the sleep of the machine, and never decrease."""
    return time.clock_gettime(_STEADY)


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class OffsetClock(SystemClock):
    """A ``Clock`` for the playground: the machine's time plus an offset, which is read from ``file`` in seconds.

    A change of the file changes the time in every process with this clock. A timer runs at most ``CHECK_SECONDS`` after
    its time has come. If the file is missing or contains no number, the offset is 0.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> float:
        return time.time() + self._offset()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return _OffsetTimer(self, self.now() + delay, callback)

    def _offset(self) -> float:
        try:
            offset = float(self._file.read_text("ascii"))
        except (OSError, ValueError):
            return 0.0
        return offset if math.isfinite(offset) else 0.0


CHECK_SECONDS = 0.05
"""Time between two checks of a timer, in seconds."""


class _OffsetTimer:
    """A timer that waits in small steps, because the offset may change."""

    def __init__(self, clock: OffsetClock, deadline: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._deadline = deadline
        self._callback = callback
        self._step = self._next_step()

    def cancel(self) -> None:
        self._step.cancel()

    def _check(self) -> None:
        if self._clock.now() >= self._deadline:
            self._callback()
        else:
            self._step = self._next_step()

    def _next_step(self) -> asyncio.TimerHandle:
        left = max(0.0, self._deadline - self._clock.now())
        return asyncio.get_running_loop().call_later(min(left, CHECK_SECONDS), self._check)


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the body after ``seconds`` of the clock and raise TimeoutError.

    Yield an ``asyncio.Timeout``. Its ``expired()`` distinguishes this timeout from a TimeoutError of the body.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def expire() -> None:
            with suppress(RuntimeError):  # the body ended at the same moment
                limit.reschedule(loop.time())

        timer = clock.call_later(seconds, expire)
        try:
            yield limit
        finally:
            timer.cancel()


async def pause(clock: Clock, seconds: float) -> None:
    """Wait for ``seconds`` of the clock."""
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if finished.done() else finished.set_result(None))
    try:
        await finished
    finally:
        timer.cancel()


class Signal:
    """A signal that one task waits for, with a limit in seconds of a clock."""

    __slots__ = ("_clock", "_is_set", "_waiter")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._wake()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the signal is set, or for ``seconds`` (None: without a limit). Return True if it is set."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            timer = None if seconds is None else self._clock.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                if timer is not None:
                    timer.cancel()
        return self._is_set

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
