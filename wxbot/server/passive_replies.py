"""The waiter for passive replies: it holds the pushes of one process until their reply is stored."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from wxbot.clock import Clock, time_limit
from wxbot.errors import ReplyNotReady
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey

DELIVERY_TIMEOUT = 5.0
"""Seconds that WeChat waits for the response to one delivery of a push."""

LAST_REPLY_AFTER = 4.5
"""Seconds after which the last delivery gets a response, even if there is no reply yet."""

LAST_DELIVERY_FROM = 1.7 * DELIVERY_TIMEOUT
"""Seconds after the first delivery. A delivery that arrives later than this is assumed to be the last. The third
delivery arrives after about 10 seconds. If this value is too small, the user must write again. If it is too large, the
user sees WeChat's text "service unavailable"."""

POLL_INTERVAL = 0.25
"""Seconds between polls of the store, because another process may store the reply."""


class PassiveReplyWaiter:
    """A waiter for passive replies. It holds the pushes of one process that wait for one."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: defaultdict[ConversationKey, set[asyncio.Event]] = defaultdict(set)

    def on_reply(self, key: ConversationKey) -> None:
        """Wake the pushes that wait for a reply to this user."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def reply_to(self, key: ConversationKey, dedup_key: str, first_at: float) -> Mapping[str, Any] | None:
        """Return the reply to a push whose first delivery was at ``first_at``: a stored reply, or ``{}`` for none.

        None means that the reply is too late and will be deferred to the user's next message. Raises ReplyNotReady if
        WeChat will deliver the push again, and StoreUnavailable.
        """
        began_at = self._clock.now()
        is_last = began_at - first_at >= LAST_DELIVERY_FROM
        reply = await self._wait(key, dedup_key, began_at + (LAST_REPLY_AFTER if is_last else DELIVERY_TIMEOUT))
        if reply is None and is_last:
            return await self._store.give_up(key, dedup_key)
        if reply is None:
            raise ReplyNotReady("the reply is not ready; WeChat delivers the push again and waits once more")
        return reply

    async def _wait(self, key: ConversationKey, dedup_key: str, until: float) -> Mapping[str, Any] | None:
        stored = asyncio.Event()
        self._waiting[key].add(stored)
        try:
            while True:
                reply = (await self._store.find(key, dedup_key)).reply
                left = until - self._clock.now()
                if reply is not None or left <= 0:
                    return reply
                await self._sleep(stored, min(left, POLL_INTERVAL))
        finally:
            self._waiting[key].discard(stored)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _sleep(self, stored: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with time_limit(self._clock, seconds):
                await stored.wait()
        stored.clear()
