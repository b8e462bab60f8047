"""Real time: the machine's own, or that of the store's server, which all machines of a deployment share.

For simulators there is one that can be moved.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol


class Timer(Protocol):
    """A call that was asked for later and can still be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time as the bot sees it: real in production, turned by hand in tests."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run ``callback`` on the running event loop in ``delay`` seconds. Call from the loop's own thread."""
        ...


class SystemClock:
    """wxbot.clock.Clock on the machine's own time."""

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(delay, callback)


LONGEST_WAY = 0.5
"""Seconds there and back after which an answer says too little about the time."""


class SharedClock(SystemClock):
    """wxbot.clock.Clock on the time of a server that several machines share.

    Leases, typing notes and the 30-second window are times that one machine writes and another one reads. By this
    clock they mean the same on both, however wrong a machine's own clock is or becomes. Until ``follow`` is called for
    the first time it is the machine's own.
    """

    def __init__(self) -> None:
        self._ahead = time.time() - elapsed()
        self._following = False

    def now(self) -> float:
        return elapsed() + self._ahead

    def follow(self, server_time: float, asked_at: float, answered_at: float) -> None:
        """The server said ``server_time`` (seconds since 1970) between two moments of ``elapsed``."""
        if self._following and answered_at - asked_at > LONGEST_WAY:
            return  # nobody knows at which end of so long a way it was said
        self._following = True
        self._ahead = server_time - (asked_at + answered_at) / 2


def elapsed() -> float:
    """Seconds since some moment. It goes on while the machine sleeps, and nobody can set it."""
    return time.clock_gettime(_STEADY)


_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class MovedClock(SystemClock):
    """wxbot.clock.Clock that is ahead of the machine's own by the seconds that stand in ``file``: for simulators.

    Whoever writes the file moves every process that has this clock; a timer rings within ``LOOK_SECONDS`` of a leap. A
    file that is missing or holds no number moves nothing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> float:
        return time.time() + self._ahead()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return _LeapingTimer(self, self.now() + delay, callback)

    def _ahead(self) -> float:
        try:
            ahead = float(self._file.read_text("ascii"))
        except (OSError, ValueError):
            return 0.0
        return ahead if math.isfinite(ahead) else 0.0


LOOK_SECONDS = 0.05
"""How often a timer looks whether the time has leapt ahead."""


class _LeapingTimer:
    """Waits in small steps, since the time may leap."""

    def __init__(self, clock: MovedClock, deadline: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._deadline = deadline
        self._callback = callback
        self._step = self._next_step()

    def cancel(self) -> None:
        self._step.cancel()

    def _look(self) -> None:
        if self._clock.now() >= self._deadline:
            self._callback()
        else:
            self._step = self._next_step()

    def _next_step(self) -> asyncio.TimerHandle:
        left = max(0.0, self._deadline - self._clock.now())
        return asyncio.get_running_loop().call_later(min(left, LOOK_SECONDS), self._look)


@asynccontextmanager
async def time_limit(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the body after ``seconds`` and raise TimeoutError. ``asyncio.timeout`` does the hard part.

    What it gives knows whether it has ``expired()``: a body may raise a TimeoutError of its own.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def expire() -> None:
            with suppress(RuntimeError):  # the body ended in the same moment
                limit.reschedule(loop.time())

        timer = clock.call_later(seconds, expire)
        try:
            yield limit
        finally:
            timer.cancel()


async def pause(clock: Clock, seconds: float) -> None:
    """Do nothing for ``seconds`` of the clock."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = clock.call_later(seconds, lambda: None if over.done() else over.set_result(None))
    try:
        await over
    finally:
        timer.cancel()
