"""Passive replies, for accounts that may not call the API: one message in the response to each push.

A reply that does not fit or is too late is deferred to the user's next message (docs/wechat.md, section "Passive
answers").
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from wxbot.clock import Clock, pause, time_limit
from wxbot.delivery.channel import Channel
from wxbot.delivery.deferred import DeferredReplies, fit
from wxbot.delivery.outbox import RETRY_PAUSES, LeaseCheck, OutboxOptions, SendFailed
from wxbot.delivery.turn import Turn
from wxbot.errors import ReplyNotReady, WeChatError
from wxbot.model.messages import EventMessage
from wxbot.model.replies import Reply, TextReply, reply_to_json
from wxbot.store.port import PassiveReplyStore
from wxbot.store.records import ConversationKey
from wxbot.store.retry import retry_until_stored

log = logging.getLogger("wxbot.delivery")

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


class PassiveOutbox:
    """An outbox that collects the replies and stores one message for the response to the push.

    ``on_reply`` is called with the key of each conversation whose reply was stored.
    """

    def __init__(
        self,
        channel: Channel,
        store: PassiveReplyStore,
        clock: Clock,
        options: OutboxOptions,
        check_lease: LeaseCheck,
        on_reply: Callable[[ConversationKey], None],
    ) -> None:
        self._channel = channel
        self._store = store
        self._clock = clock
        self._options = options
        self._check_lease = check_lease
        self._on_reply = on_reply

    async def begin(self, turn: Turn) -> None:
        """Do nothing, because deferred replies go into the same message as the new reply."""

    async def deliver(self, turn: Turn) -> None:
        if not turn.handler_done:
            return
        turn.pending = [*self._take_deferred(turn), *turn.pending]
        try:
            reply, rest, announced = await self._one_message(turn.pending)
        except SendFailed as failure:
            if failure.final:  # the dead letter contains the replies; the user gets the error text
                await self._store_reply(turn, self._apology())
            raise
        if await self._store_reply(turn, reply):
            turn.defer(rest, announced=announced)
            turn.sent += bool(reply)
        elif turn.pending:
            log.info("passive reply too late, deferred to the user's next message")
            turn.defer(turn.pending, announced=False)
        turn.pending = []

    async def finish_with_failure(self, turn: Turn, text: str, reason: str) -> None:
        turn.fail(reason, [TextReply(text)] if text else [])
        await self.deliver(turn)

    def _take_deferred(self, turn: Turn) -> tuple[Reply, ...]:
        """Remove and return the replies that were too late. They precede the reply to the user's next message."""
        deferred = turn.deferred
        if not deferred.unannounced or isinstance(turn.message, EventMessage):
            return ()
        turn.new_deferred = DeferredReplies((), deferred.announced)
        return deferred.unannounced

    def _apology(self) -> Reply | None:
        return TextReply(self._options.error_text) if self._options.error_text else None

    async def _one_message(self, replies: list[Reply]) -> tuple[Reply | None, list[Reply], bool]:
        now, rest, announced = fit(replies, 1, self._options.text_bytes, self._options.continue_text)
        return (await self._uploaded(now[0]) if now else None), rest, announced

    async def _uploaded(self, reply: Reply) -> Reply:
        for wait in (*RETRY_PAUSES, None):
            try:
                return await self._channel.uploaded(reply)
            except WeChatError as error:
                if not error.retryable or wait is None:
                    raise SendFailed(error, final=not error.retryable) from None
                log.info("upload failed, retrying: seconds=%g error=%s", wait, error)
                await pause(self._clock, wait)
        raise AssertionError("the last attempt either returns or raises")

    async def _store_reply(self, turn: Turn, reply: Reply | None) -> bool:
        """Store the reply for the response to the push. Return False if the response was sent without it."""
        await self._check_lease(turn.lease)
        value = {} if reply is None else reply_to_json(reply)
        accepted = await retry_until_stored(
            self._clock, lambda: self._store.save_passive_reply(turn.lease, turn.inbox_message.seq, value)
        )
        self._on_reply(turn.lease.key)
        return accepted


class PassiveReplyWaiter:
    """A waiter for passive replies. It holds the pushes of one process that wait for one."""

    def __init__(self, store: PassiveReplyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: defaultdict[ConversationKey, set[asyncio.Event]] = defaultdict(set)

    def on_reply(self, key: ConversationKey) -> None:
        """Wake the pushes that wait for a reply to this user."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def answer(self, key: ConversationKey, dedup_key: str, first_at: float) -> Mapping[str, Any] | None:
        """Return the reply to a push whose first delivery was at ``first_at``: a stored reply, or ``{}`` for none.

        None means that the reply is too late and will be deferred to the user's next message. Raises ReplyNotReady if
        WeChat will deliver the push again, and StoreUnavailable.
        """
        began_at = self._clock.now()
        is_last = began_at - first_at >= LAST_DELIVERY_FROM
        reply = await self._wait(key, dedup_key, began_at + (LAST_REPLY_AFTER if is_last else DELIVERY_TIMEOUT))
        if reply is None and is_last:
            return await self._store.passive_reply(key, dedup_key, give_up=True)
        if reply is None:
            raise ReplyNotReady("the reply is not ready; WeChat delivers the push again and waits once more")
        return reply

    async def _wait(self, key: ConversationKey, dedup_key: str, until: float) -> Mapping[str, Any] | None:
        stored = asyncio.Event()
        self._waiting[key].add(stored)
        try:
            while True:
                reply = await self._store.passive_reply(key, dedup_key)
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
