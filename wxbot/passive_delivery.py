"""Answers of accounts that may not call the API: one message for each push, kept for who holds the push open.

What does not fit, or comes too late, is kept for the user's next message (docs/wechat.md, section "Passive answers").
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from wxbot.delivery import SEND_PAUSES, DeliveryOptions, Hold, SendFailed
from wxbot.errors import WeChatError
from wxbot.firmly import firmly
from wxbot.messages import EventMessage
from wxbot.ports import Channel, Clock, ConversationKey, PassiveShelf
from wxbot.replies import Reply, TextReply, reply_to_json
from wxbot.rest import Rest, fit
from wxbot.time_limit import pause
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

    async def deliver(self, turn: Turn) -> None:
        if not turn.through:
            return
        rest = turn.rest
        waits = [] if rest.offered or isinstance(turn.message, EventMessage) else list(rest.replies)
        answer, kept = await self._answer([*waits, *turn.unsent])
        if await self._keep_answer(turn, answer):
            if waits or kept:
                turn.keep(Rest(tuple(kept), offered=True))
            turn.sent += bool(answer)
        elif turn.unsent:
            log.info("an answer came too late and is kept for the user's next message")
            turn.keep(Rest((*waits, *turn.unsent)))
        turn.unsent = []

    async def tell(self, turn: Turn, text: str, reason: str) -> None:
        said, turn.unsent = turn.unsent, []
        answer, _ = await self._answer([*said, *([TextReply(text)] if text else [])])
        with turn.uninterrupted():
            await self._keep_answer(turn, answer)
            turn.failure = reason

    async def _answer(self, replies: list[Reply]) -> tuple[Reply | None, list[Reply]]:
        now, kept = fit(replies, 1, self._options.text_bytes, self._options.continue_text)
        if kept and not isinstance(replies[0], TextReply):
            now, kept = replies[:1], replies[1:]  # better a picture without the hint than a hint without the picture
        return (await self._uploaded(now[0]) if now else None), kept

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
