"""Wake-ups within one process: from the webhook's threads to the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from wxbot.store.records import Claim, ConversationKey

Hint = tuple[ConversationKey, float, Claim | None]
Wake = Callable[[ConversationKey, float, Claim | None], None]


HOLD_SECONDS = 4.0
"""How long answers may wait for acknowledgments: WeChat delivers again what is not acknowledged within 5 s."""

LOOK_AGAIN_SECONDS = 0.01
SLICE = 2
"""Hints delivered at each look once they were held for long enough and the pushes have still not ebbed."""


class InProcessWaker:
    """wxbot.wakeups.port.Waker for one event loop. Hints that gather in a burst cost the loop one wake-up.

    While ``is_busy`` says that pushes are queueing up, hints are held back, ``HOLD_SECONDS`` at most: answering takes
    more of the processor than acknowledging, and there is a deadline only for the latter.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Wake, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._is_busy = is_busy
        self._hints: deque[Hint] = deque()
        self._asked = False
        self._held_since: float | None = None

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        self._hints.append((key, interacted_at, claim))
        if not self._asked:
            self._asked = True
            with suppress(RuntimeError):  # the loop is closing: the next owner sweeps the inbox
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        if self._is_busy():
            self._loop.call_later(LOOK_AGAIN_SECONDS, self._deliver)
            if self._may_hold():
                return
        else:
            self._held_since = None
            self._asked = False  # before looking: a hint that just misses this look asks for another one
        for _ in range(min(len(self._hints), SLICE if self._asked else len(self._hints))):
            self._wake(*self._hints.popleft())

    def _may_hold(self) -> bool:
        now = self._loop.time()
        self._held_since = now if self._held_since is None else self._held_since
        return now - self._held_since < HOLD_SECONDS
