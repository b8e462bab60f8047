"""Wake-ups within one process: from the webhook's threads to the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from wxbot.ports import ConversationKey

Wake = Callable[[ConversationKey, float], None]


class InProcessWaker:
    """wxbot.ports.Waker for one event loop. Hints that gather in a burst cost the loop one wake-up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Wake) -> None:
        self._loop = loop
        self._wake = wake
        self._hints: deque[tuple[ConversationKey, float]] = deque()
        self._asked = False

    def wake(self, key: ConversationKey, interacted_at: float) -> None:
        self._hints.append((key, interacted_at))
        if not self._asked:
            self._asked = True
            with suppress(RuntimeError):  # the loop is closing: the next owner sweeps the inbox
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._asked = False  # before looking: a hint that just misses this look asks for another one
        while self._hints:
            self._wake(*self._hints.popleft())
