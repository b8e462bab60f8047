"""Passive replies, for accounts that may not call the API: one message in the response to each push.

A reply that does not fit or is too late is deferred to the user's next message (docs/wechat.md, section "Passive
replies").
"""

from __future__ import annotations

import logging

from wxbot.delivery.deferred import DeferredReplies
from wxbot.delivery.outbox import Outbox, SendFailed
from wxbot.model.fitting import fit
from wxbot.model.messages import EventMessage
from wxbot.model.replies import Reply, TextReply, reply_to_json
from wxbot.store.retry import retry_until_stored

log = logging.getLogger("wxbot.delivery")


class PassiveOutbox(Outbox):
    """An outbox that collects the replies and stores one message for the response to the push."""

    async def begin(self) -> None:
        """Do nothing, because deferred replies go into the same message as the new reply."""

    async def send_ready(self) -> None:
        """Do nothing, because there is one message for all replies."""

    async def _deliver(self) -> None:
        self._pending = [*self._take_unannounced(), *self._pending]
        settings = self._parts.settings
        now, rest, announced = fit(self._pending, 1, settings.text_bytes, settings.continue_text)
        try:
            reply = await self._with_retries(lambda: self._parts.channel.uploaded(now[0])) if now else None
        except SendFailed as failure:
            if failure.final:  # the dead letter contains the replies; the user gets the error text
                await self._store_reply(TextReply(self._parts.error_text) if self._parts.error_text else None)
            raise
        if await self._store_reply(reply):
            self._defer(rest, announced=announced)
            self._sent += bool(reply)
        elif self._pending:
            log.info("passive reply too late, deferred to the user's next message")
            self._defer(self._pending, announced=False)
        self._pending = []

    def _take_unannounced(self) -> tuple[Reply, ...]:
        """Remove and return the replies that were too late. They precede the reply to the user's next message."""
        deferred = self._current_deferred
        if not deferred.unannounced or isinstance(self.turn.message, EventMessage):
            return ()
        self._deferred = DeferredReplies((), deferred.announced)
        return deferred.unannounced

    async def _store_reply(self, reply: Reply | None) -> bool:
        """Store the reply for the response to the push. Return False if the response was sent without it."""
        parts, turn = self._parts, self.turn
        await parts.check_lease(turn.lease)
        value = {} if reply is None else reply_to_json(reply)
        accepted = await retry_until_stored(
            parts.clock, lambda: parts.store.save_reply(turn.lease, turn.inbox_message.seq, value)
        )
        parts.on_reply(turn.lease.key)
        return accepted
