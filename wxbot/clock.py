"""The real clock."""

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
