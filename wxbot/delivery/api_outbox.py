"""The outbox of an account that sends through the platform's API, one message at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wxbot.delivery.deferred import DeferredReplies
from wxbot.delivery.outbox import Outbox, SendFailed
from wxbot.errors import DeliveryUnknown, ReplyQuotaExceeded, ReplyWindowClosed, SendNotAllowed, WeChatError
from wxbot.model.fitting import fit, without_notice
from wxbot.model.messages import EventMessage
from wxbot.model.quota import Quota
from wxbot.model.replies import Reply
from wxbot.store.records import ConversationRecord, Progress
from wxbot.store.retry import retry_until_stored

log = logging.getLogger("wxbot.delivery")


class ApiOutbox(Outbox):
    """An outbox that sends through the API and controls the typing indicator.

    It records each message, retries temporary failures and never sends more messages than the quota allows.
    """

    async def begin(self) -> None:
        deferred, left = self._current_deferred, self.quota.remaining - 1  # one message is reserved for the reply
        if not deferred.unannounced or isinstance(self.turn.message, EventMessage) or left < 1:
            return
        settings = self._parts.settings
        now, rest, announced = fit(deferred.unannounced, left, settings.text_bytes, settings.continue_text)
        unsent = [*now]

        def mark_first_sent() -> None:
            unsent.pop(0)
            self._deferred = DeferredReplies((*unsent, *rest), deferred.announced)
            if not unsent:
                self._deferred = DeferredReplies((), deferred.announced).plus(rest, announced=announced)

        while unsent and self.quota.remaining > 0:
            await self._send_deferred(unsent[0], f"d{len(unsent) + len(rest)}", mark_first_sent)

    async def _send_deferred(self, message: Reply, number: str, on_sent: Callable[[], None]) -> None:
        """Send a deferred reply. If WeChat refuses it for good, skip it, because it would block all later ones."""
        try:
            await self._send(message, number, on_sent)
        except SendFailed as failure:
            if not failure.final:
                raise
            log.warning("deferred reply refused, storing it as a dead letter: %s", failure)
            self._unconfirmed.append(message)
            on_sent()

    async def send_ready(self) -> None:
        self._suppress_for_agents()
        if not self._may_send():
            return  # the replies wait until the handler is done, and the typing indicator goes on
        await self._parts.check_lease(self.turn.lease)  # without it, the indicator belongs to another owner
        await self.indicator.pause()
        await self._send_pending()
        if self.quota.remaining > 0:
            self.indicator.resume()

    async def _deliver(self) -> None:
        self._suppress_for_agents()
        await self._parts.check_lease(self.turn.lease)
        await self.indicator.stop()
        await self._send_pending()

    def _suppress_for_agents(self) -> None:
        if self._pending and self.turn.is_for_agents(self._parts.clock.now()):
            log.info("replies suppressed, the user is with human agents: count=%d", len(self._pending))
            self._pending, self._resent = [], 0

    async def _send_pending(self) -> None:
        while self._pending:
            if self.is_closed:
                await self._fit_pending()
            if not self._may_send():
                break
            number = f"again{self._resent}" if self._resent else str(self._sent)
            await self._send(self._pending[0], number, self._mark_sent)

    def _mark_sent(self) -> None:
        self._pending.pop(0)
        if self._resent:
            self._resent -= 1
        else:
            self._sent += 1

    # The quota

    def _may_send(self) -> bool:
        """Return True if the next pending message may be sent now.

        While the handler runs, the last message of the quota is reserved for the replies that are still to come.
        """
        return bool(self._pending) and (self.is_closed or self.quota.remaining > 1)

    async def _fit_pending(self) -> None:
        """Reduce the pending messages to the remaining quota: merge texts, and defer the others."""
        if len(self._pending) > self.quota.remaining:
            # The user may have acted meanwhile, and another process may have stored the new quota.
            stored = (await self._parts.store.find(self.turn.lease.key)).conversation
            self._quota = (stored and stored.quota) or self._quota
        left = self.quota.remaining
        if len(self._pending) <= left:
            return
        if left == 0 and self.turn.is_proactive:
            raise SendFailed(
                SendNotAllowed("WeChat accepts no message for this user until the user acts again"), final=True
            )
        unsent, settings = self._pending, self._parts.settings
        if self._deferred is not None and self._deferred.announced:
            # They were fitted before, but WeChat accepted fewer.
            unsent = without_notice(unsent, settings.continue_text)
        self._pending, rest, announced = fit(
            unsent, left, settings.text_bytes, settings.continue_text, may_be_notice_only=self._sent > 0
        )
        self._defer(rest, announced=announced)
        if rest:
            log.info("replies deferred until the user asks for them: count=%d quota=%d", len(rest), left)

    async def _correct_quota(self, error: WeChatError, assumed: Quota) -> None:
        """Record that WeChat accepts no more messages, unless the user has acted since ``assumed`` was read."""
        if self.turn.is_proactive:
            raise SendFailed(error, final=True) from None
        log.warning("quota exhausted, deferring the remaining replies: %s", error)
        if self._quota.expires_at == assumed.expires_at:
            self._quota = self._quota._replace(remaining=0)
            await self._record()

    # Sending

    async def _send(self, message: Reply, number: str, on_sent: Callable[[], None]) -> None:
        """Send ``message`` with retries and record it. ``number`` identifies it among the messages of this turn."""
        send_id = f"{self.turn.inbox_message.seq}-{number}"

        async def attempt() -> None:
            assumed = self._quota
            try:
                with self._uninterrupted():
                    await self._send_once(message, send_id, on_sent)
            except (ReplyQuotaExceeded, ReplyWindowClosed) as error:
                await self._correct_quota(error, assumed)

        await self._with_retries(attempt)

    async def _send_once(self, message: Reply, send_id: str, on_sent: Callable[[], None]) -> None:
        parts, lease = self._parts, self.turn.lease
        await parts.check_lease(lease)
        called_at = parts.clock.now()
        try:
            # A send that gets no permit has not reached WeChat, so it is retried, and the retry checks the lease first.
            await parts.channel.send(
                lease.key.openid, message, send_id=send_id, permit=lambda: lease.is_active(parts.clock.now())
            )
        except DeliveryUnknown as error:
            if parts.account.recognizes_repeats:
                raise
            # The user may have received it, so it is not sent again.
            log.warning("reply unconfirmed, storing it as a dead letter: %s", error)
            self._unconfirmed.append(message)
        else:
            self._sent_at = called_at
            self.indicator.message_sent(called_at)
        self._quota = self._quota._replace(remaining=max(0, self._quota.remaining - 1))
        on_sent()
        # The last message is recorded with the outcome of the turn, which follows immediately and is one transaction.
        if self._pending or not self.is_closed or self.indicator.is_cancelling:
            await self._record()

    async def _record(self) -> None:
        """Record the progress, and the remaining work if the handler is done, so that it need not run again."""
        is_stored = self.is_closed or self._unconfirmed or self.turn.inbox_message.unsent
        unsent = self._work().entries() if is_stored else None
        progress = Progress(self.turn.inbox_message.seq, self._sent, unsent)
        change = ConversationRecord(self._sent_at or 0.0, 0.0, self._counted_quota, state=self._changed_state)
        await retry_until_stored(
            self._parts.clock, lambda: self._parts.store.checkpoint(self.turn.lease, change, progress)
        )
