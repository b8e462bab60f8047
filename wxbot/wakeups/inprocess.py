"""Wake-ups within one process: from the webhook's threads to the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from wxbot.store.records import Claim, ConversationKey

Wakeup = tuple[ConversationKey, float, Claim | None]
Wake = Callable[[ConversationKey, float, Claim | None], None]


HOLD_SECONDS = 4.0
"""Maximum delay of processing while pushes queue up. WeChat redelivers a push that is not acknowledged within 5 s."""

RECHECK_SECONDS = 0.01
SLICE = 2
"""Wake-ups delivered at each check after the maximum delay, if pushes still queue up."""


class InProcessWaker:
    """A ``wxbot.wakeups.port.Waker`` for one event loop. The wake-ups of a burst cost the loop one callback.

    While ``is_busy`` returns True because pushes queue up, wake-ups are delayed by ``HOLD_SECONDS`` at most: processing
    takes more CPU time than acknowledging, and only acknowledging has a deadline.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Wake, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._is_busy = is_busy
        self._wakeups: deque[Wakeup] = deque()
        self._is_scheduled = False
        self._held_since: float | None = None

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        self._wakeups.append((key, interacted_at, claim))
        if not self._is_scheduled:
            self._is_scheduled = True
            with suppress(RuntimeError):  # the loop is closing; the next owner polls the inbox
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        if self._is_busy():
            self._loop.call_later(RECHECK_SECONDS, self._deliver)
            if self._may_hold():
                return
        else:
            self._held_since = None
            self._is_scheduled = False  # set first, so that a wake-up during the delivery schedules another call
        for _ in range(min(len(self._wakeups), SLICE if self._is_scheduled else len(self._wakeups))):
            self._wake(*self._wakeups.popleft())

    def _may_hold(self) -> bool:
        now = self._loop.time()
        self._held_since = now if self._held_since is None else self._held_since
        return now - self._held_since < HOLD_SECONDS
