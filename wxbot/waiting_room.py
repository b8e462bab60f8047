"""Where WeChat's pushes wait for their answers, for accounts that may only answer a push.

WeChat waits 5 seconds for an answer, closes the connection and delivers the same push again, three times in all
(docs/wechat.md, section "Message push"). Every one of these deliveries waits for the same answer, in whatever process
it arrives; the last one must say something. Lives on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from wxbot.clock import Clock, time_limit
from wxbot.errors import AnswerLate
from wxbot.store.port import PassiveShelf
from wxbot.store.records import ConversationKey

PATIENCE = 5.0
"""Seconds that WeChat waits for an answer to one delivery."""

LAST_ANSWER = 4.5
"""Seconds after which the last delivery is answered, whether the handler is ready or not."""

LAST_FROM = 1.7 * PATIENCE
"""Seconds after the first delivery from which on a delivery is taken for the last: the third comes at about 10. Too
early costs a second message of the user's, too late costs them the words "service unavailable"."""

LOOK_AGAIN = 0.25
"""Seconds between looks into the store, where the answer of another process comes."""


class WaitingRoom:
    """All pushes of one process that wait."""

    def __init__(self, shelf: PassiveShelf, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._waiting: defaultdict[ConversationKey, set[asyncio.Event]] = defaultdict(set)

    def answered(self, key: ConversationKey) -> None:
        """There is an answer for this user: whoever waits for one looks."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def answer(self, key: ConversationKey, dedup_key: str, first_at: float) -> Mapping[str, Any] | None:
        """The answer to a push that was delivered first at ``first_at``: a stored reply, ``{}`` for silence.

        None: it will not be ready in time, and is kept for the user's next message. Raises AnswerLate if WeChat will
        ask again, StoreUnavailable.
        """
        began_at = self._clock.now()
        is_last = began_at - first_at >= LAST_FROM
        answer = await self._wait(key, dedup_key, began_at + (LAST_ANSWER if is_last else PATIENCE))
        if answer is None and is_last:
            return await self._shelf.passive_answer(key, dedup_key, give_up=True)
        if answer is None:
            raise AnswerLate("the answer is not ready; WeChat delivers the push again and waits on")
        return answer

    async def _wait(self, key: ConversationKey, dedup_key: str, until: float) -> Mapping[str, Any] | None:
        there = asyncio.Event()
        self._waiting[key].add(there)
        try:
            while True:
                answer = await self._shelf.passive_answer(key, dedup_key)
                left = until - self._clock.now()
                if answer is not None or left <= 0:
                    return answer
                await self._sleep(there, min(left, LOOK_AGAIN))
        finally:
            self._waiting[key].discard(there)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _sleep(self, there: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with time_limit(self._clock, seconds):
                await there.wait()
        there.clear()
