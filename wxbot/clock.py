"""Real time: the machine's own, or that of the store's server, which all machines of a deployment share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class SystemClock:
    """wxbot.ports.Clock on the machine's own time."""

    def now(self) -> float:
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)


LONGEST_WAY = 0.5
"""Seconds there and back after which an answer says too little about the time."""


class SharedClock(SystemClock):
    """wxbot.ports.Clock on the time of a server that several machines share.

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
