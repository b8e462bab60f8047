"""Answers of accounts that may not call the API: one message for each push, kept for who holds the push open.

What does not fit, or comes too late, is kept for the user's next message (docs/wechat.md, section "Passive answers").
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
from wxbot.delivery.outbox import SEND_PAUSES, Hold, OutboxOptions, SendFailed
from wxbot.delivery.turn import Turn
from wxbot.errors import ReplyNotReady, WeChatError
from wxbot.model.messages import EventMessage
from wxbot.model.replies import Reply, TextReply, reply_to_json
from wxbot.store.port import PassiveReplyStore
from wxbot.store.records import ConversationKey
from wxbot.store.retry import retry_until_stored

log = logging.getLogger("wxbot.delivery")


class PassiveOutbox:
    """Collects what the handler says, and answers once. ``notice`` hears whose answer is there."""

    def __init__(
        self,
        channel: Channel,
        shelf: PassiveReplyStore,
        clock: Clock,
        options: OutboxOptions,
        hold: Hold,
        notice: Callable[[ConversationKey], None],
    ) -> None:
        self._channel = channel
        self._shelf = shelf
        self._clock = clock
        self._options = options
        self._hold = hold
        self._notice = notice

    async def begin(self, turn: Turn) -> None:
        """There is one message for all, and it waits for the answer."""

    async def deliver(self, turn: Turn) -> None:
        if not turn.handler_done:
            return
        turn.pending = [*self._take_up_rest(turn), *turn.pending]
        try:
            answer, kept, announced = await self._answer(turn.pending)
        except SendFailed as failure:
            if failure.final:  # a dead letter keeps what was said; the user is told that something went wrong
                await self._keep_answer(turn, self._apology())
            raise
        if await self._keep_answer(turn, answer):
            turn.defer(kept, announced=announced)
            turn.sent += bool(answer)
        elif turn.pending:
            log.info("an answer came too late and is kept for the user's next message")
            turn.defer(turn.pending, announced=False)
        turn.pending = []

    async def tell(self, turn: Turn, text: str, reason: str) -> None:
        turn.fail(reason, [TextReply(text)] if text else [])
        await self.deliver(turn)

    def _take_up_rest(self, turn: Turn) -> tuple[Reply, ...]:
        """What came too late goes before the answer to the user's next message."""
        rest = turn.deferred
        if not rest.unannounced or isinstance(turn.message, EventMessage):
            return ()
        turn.new_deferred = DeferredReplies((), rest.announced)
        return rest.unannounced

    def _apology(self) -> Reply | None:
        return TextReply(self._options.error_text) if self._options.error_text else None

    async def _answer(self, replies: list[Reply]) -> tuple[Reply | None, list[Reply], bool]:
        now, kept, announced = fit(replies, 1, self._options.text_bytes, self._options.continue_text)
        return (await self._uploaded(now[0]) if now else None), kept, announced

    async def _uploaded(self, reply: Reply) -> Reply:
        for wait in (*SEND_PAUSES, None):
            try:
                return await self._channel.uploaded(reply)
            except WeChatError as error:
                if not error.retryable or wait is None:
                    raise SendFailed(error, final=not error.retryable) from None
                log.info("upload again in %g s: %s", wait, error)
                await pause(self._clock, wait)
        raise AssertionError("the last try either returns or raises")

    async def _keep_answer(self, turn: Turn, answer: Reply | None) -> bool:
        await self._hold(turn.lease)
        stored = {} if answer is None else reply_to_json(answer)
        taken = await retry_until_stored(
            self._clock, lambda: self._shelf.save_passive_reply(turn.lease, turn.inbox_message.seq, stored)
        )
        self._notice(turn.lease.key)
        return taken


PATIENCE = 5.0
"""Seconds that WeChat waits for an answer to one delivery."""

LAST_ANSWER = 4.5
"""Seconds after which the last delivery is answered, whether the handler is ready or not."""

LAST_FROM = 1.7 * PATIENCE
"""Seconds after the first delivery from which on a delivery is taken for the last: the third comes at about 10. Too
early costs a second message of the user's, too late costs them the words "service unavailable"."""

LOOK_AGAIN = 0.25
"""Seconds between looks into the store, where the answer of another process comes."""


class PassiveReplyWaiter:
    """All pushes of one process that wait."""

    def __init__(self, shelf: PassiveReplyStore, clock: Clock) -> None:
        self._shelf = shelf
        self._clock = clock
        self._waiting: defaultdict[ConversationKey, set[asyncio.Event]] = defaultdict(set)

    def answered(self, key: ConversationKey) -> None:
        """There is an answer for this user: whoever waits for one looks."""
        for event in self._waiting.get(key, ()):
            event.set()

    async def answer(self, key: ConversationKey, dedup_key: str, first_at: float) -> Mapping[str, Any] | None:
        """The answer to a push that was delivered first at ``first_at``: a stored reply, ``{}`` for silence.

        None: it will not be ready in time, and is kept for the user's next message. Raises ReplyNotReady if WeChat will
        ask again, StoreUnavailable.
        """
        began_at = self._clock.now()
        is_last = began_at - first_at >= LAST_FROM
        answer = await self._wait(key, dedup_key, began_at + (LAST_ANSWER if is_last else PATIENCE))
        if answer is None and is_last:
            return await self._shelf.passive_reply(key, dedup_key, give_up=True)
        if answer is None:
            raise ReplyNotReady("the answer is not ready; WeChat delivers the push again and waits on")
        return answer

    async def _wait(self, key: ConversationKey, dedup_key: str, until: float) -> Mapping[str, Any] | None:
        there = asyncio.Event()
        self._waiting[key].add(there)
        try:
            while True:
                answer = await self._shelf.passive_reply(key, dedup_key)
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
