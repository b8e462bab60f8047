"""Answers of accounts that may not call the API: one message for each push, kept for who holds the push open.

What does not fit, or comes too late, is kept for the user's next message (docs/wechat.md, section "Passive answers").
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wxbot.clock import Clock, pause
from wxbot.delivery import SEND_PAUSES, DeliveryOptions, Hold, SendFailed
from wxbot.delivery.channel import Channel
from wxbot.errors import WeChatError
from wxbot.model.messages import EventMessage
from wxbot.model.replies import Reply, TextReply, reply_to_json
from wxbot.rest import Rest, fit
from wxbot.store.port import PassiveShelf
from wxbot.store.records import ConversationKey
from wxbot.store.retry import firmly
from wxbot.turn import Turn

log = logging.getLogger("wxbot.delivery")


class PassiveDelivery:
    """Collects what the handler says, and answers once. ``notice`` hears whose answer is there."""

    def __init__(
        self,
        channel: Channel,
        shelf: PassiveShelf,
        clock: Clock,
        options: DeliveryOptions,
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
        if not turn.through:
            return
        turn.unsent = [*self._take_up_rest(turn), *turn.unsent]
        try:
            answer, kept, told = await self._answer(turn.unsent)
        except SendFailed as failure:
            if failure.final:  # a dead letter keeps what was said; the user is told that something went wrong
                await self._keep_answer(turn, self._apology())
            raise
        if await self._keep_answer(turn, answer):
            turn.keep(kept, told=told)
            turn.sent += bool(answer)
        elif turn.unsent:
            log.info("an answer came too late and is kept for the user's next message")
            turn.keep(turn.unsent, told=False)
        turn.unsent = []

    async def tell(self, turn: Turn, text: str, reason: str) -> None:
        turn.fail(reason, [TextReply(text)] if text else [])
        await self.deliver(turn)

    def _take_up_rest(self, turn: Turn) -> tuple[Reply, ...]:
        """What came too late goes before the answer to the user's next message."""
        rest = turn.rest
        if not rest.untold or isinstance(turn.message, EventMessage):
            return ()
        turn.new_rest = Rest((), rest.told)
        return rest.untold

    def _apology(self) -> Reply | None:
        return TextReply(self._options.error_text) if self._options.error_text else None

    async def _answer(self, replies: list[Reply]) -> tuple[Reply | None, list[Reply], bool]:
        now, kept, told = fit(replies, 1, self._options.text_bytes, self._options.continue_text)
        return (await self._uploaded(now[0]) if now else None), kept, told

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
        taken = await firmly(self._clock, lambda: self._shelf.answer_passively(turn.lease, turn.pending.seq, stored))
        self._notice(turn.lease.key)
        return taken
