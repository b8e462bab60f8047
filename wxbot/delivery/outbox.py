"""The outbox: it sends the replies of a turn through the API, one at a time, and records each of them.

It retries temporary failures and never sends more messages than the quota allows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from wxbot.clock import Clock, pause
from wxbot.delivery.channel import Channel
from wxbot.delivery.deferred import DeferredReplies, fit, without_notice
from wxbot.delivery.turn import Turn
from wxbot.errors import DeliveryUnknown, ReplyQuotaExceeded, ReplyWindowClosed, SendNotAllowed, WeChatError, WxbotError
from wxbot.model.messages import EventMessage
from wxbot.model.quota import Quota
from wxbot.model.replies import Reply, TextReply
from wxbot.store.port import Inbox
from wxbot.store.records import Lease
from wxbot.store.retry import retry_until_stored
from wxbot.typing_indicator.port import Permit

log = logging.getLogger("wxbot.delivery")

RETRY_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the attempts of a call that did not reach WeChat or that WeChat was too busy for."""

LeaseCheck = Callable[[Lease], Awaitable[None]]
"""A function that checks that this process still owns a lease. Raises LeaseLost, StoreUnavailable."""


class SendFailed(Exception):
    """A reply could not be sent. ``error`` is the reason; ``final`` is True if another attempt would fail, too."""

    def __init__(self, error: WxbotError, *, final: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """The settings of an outbox (wxbot.settings.schema describes each)."""

    text_bytes: int = 2000
    continue_text: str = "…"
    error_text: str = ""


class Outbox(Protocol):
    """A sender of the replies of one turn to the user."""

    async def begin(self, turn: Turn) -> None:
        """Send deferred replies that the user does not know of, if the quota allows it. Runs before the handler.

        Raises SendFailed.
        """
        ...

    async def deliver(self, turn: Turn) -> None:
        """Send ``turn.pending``: all if the handler is done, else the part that may be sent now. Raises SendFailed."""
        ...

    async def finish_with_failure(self, turn: Turn, text: str, reason: str) -> None:
        """Finish a turn whose handler failed: send its pending replies, and then ``text``. Raises SendFailed."""
        ...


class ApiOutbox:
    """An outbox that sends through the customer-service API and controls the typing indicator."""

    def __init__(
        self, channel: Channel, inbox: Inbox, clock: Clock, options: OutboxOptions, check_lease: LeaseCheck
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock
        self._options = options
        self._check_lease = check_lease

    async def begin(self, turn: Turn) -> None:
        deferred, left = turn.deferred, self._remaining(turn) - 1  # one message is reserved for the reply
        if not deferred.unannounced or isinstance(turn.message, EventMessage) or left < 1:
            return
        now, rest, announced = fit(deferred.unannounced, left, self._options.text_bytes, self._options.continue_text)
        unsent = [*now]

        def mark_first_sent() -> None:
            unsent.pop(0)
            turn.new_deferred = DeferredReplies((*unsent, *rest), deferred.announced)
            if not unsent:
                turn.new_deferred = DeferredReplies((), deferred.announced).plus(rest, announced=announced)

        while unsent and self._remaining(turn) > 0:
            await self._send_deferred(turn, unsent[0], mark_first_sent)

    async def _send_deferred(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        """Send a deferred reply. If WeChat refuses it for good, it is skipped: it would block all later ones."""
        try:
            await self._send_with_retries(turn, message, on_sent)
        except SendFailed as failure:
            if not failure.final:
                raise
            log.warning("deferred reply refused, storing it as a dead letter: %s", failure)
            turn.unconfirmed.append(message)
            on_sent()

    async def deliver(self, turn: Turn) -> None:
        if turn.is_for_agents(self._clock.now()):
            _suppress_pending(turn)
        if not (turn.handler_done or self._may_send(turn)):
            return  # the replies wait until the handler is done, and the typing indicator goes on
        await self._check_lease(turn.lease)  # without the lease, the indicator belongs to another owner
        await (turn.indicator.stop() if turn.handler_done else turn.indicator.pause())
        while turn.pending:
            if turn.handler_done:
                await self._fit_pending(turn)
            if not self._may_send(turn):
                break
            await self._send_with_retries(turn, turn.pending[0], turn.mark_sent)
        if not turn.handler_done and self._remaining(turn) > 0:
            turn.indicator.resume()

    async def finish_with_failure(self, turn: Turn, text: str, reason: str) -> None:
        turn.fail(reason, [TextReply(text)] if text else [])
        await self.deliver(turn)

    # The quota

    def _remaining(self, turn: Turn) -> int:
        return turn.quota.at(self._clock.now())

    def _may_send(self, turn: Turn) -> bool:
        """Return True if the next pending message may be sent now.

        While the handler runs, the last message of the quota is reserved for the replies that are still to come.
        """
        return bool(turn.pending) and (turn.handler_done or self._remaining(turn) > 1)

    async def _fit_pending(self, turn: Turn) -> None:
        """Reduce the pending messages to the remaining quota: merge texts, and defer the others."""
        if len(turn.pending) > self._remaining(turn):
            # The user may have acted meanwhile, and another process may have stored the new quota.
            turn.quota = await self._inbox.quota(turn.lease.key) or turn.quota
        left = self._remaining(turn)
        if len(turn.pending) <= left:
            return
        if left == 0 and turn.is_proactive:
            raise SendFailed(
                SendNotAllowed("WeChat accepts no message for this user until the user acts again"), final=True
            )
        unsent, notice = turn.pending, self._options.continue_text
        was_fitted = turn.new_deferred is not None and turn.new_deferred.announced
        if was_fitted:  # they were fitted before, but WeChat accepted fewer
            unsent = without_notice(unsent, notice)
        turn.pending, rest, announced = fit(
            unsent, left, self._options.text_bytes, notice, may_be_notice_only=turn.sent > 0
        )
        turn.defer(rest, announced=announced)
        if rest:
            log.info("replies deferred until the user asks for them: count=%d quota=%d", len(rest), left)

    async def _correct_quota(self, turn: Turn, error: WeChatError, assumed: Quota) -> None:
        """Record that WeChat accepts no more messages, unless the user has acted since ``assumed`` was read."""
        if turn.is_proactive:
            raise SendFailed(error, final=True) from None
        log.warning("quota exhausted, deferring the remaining replies: %s", error)
        if turn.quota.expires_at == assumed.expires_at:
            turn.consume_quota(all_of_it=True)
            await self._record(turn)

    # Sending

    async def _send_with_retries(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        for wait in (*RETRY_PAUSES, None):
            assumed = turn.quota
            try:
                with turn.uninterrupted():
                    await self._send_once(turn, message, on_sent)
            except (ReplyQuotaExceeded, ReplyWindowClosed) as error:
                await self._correct_quota(turn, error, assumed)
                return
            except WeChatError as error:
                if not error.retryable or wait is None:
                    raise SendFailed(error, final=not error.retryable) from None
                log.info("send failed, retrying: seconds=%g error=%s", wait, error)
                await pause(self._clock, wait)
            else:
                return

    async def _send_once(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        await self._check_lease(turn.lease)
        called_at = self._clock.now()
        try:
            await self._channel.send(turn.lease.key.openid, message, permit=self._permit(turn.lease))
        except DeliveryUnknown as error:
            # The user may have received it, so it is not sent again.
            log.warning("reply unconfirmed, storing it as a dead letter: %s", error)
            turn.unconfirmed.append(message)
        else:
            turn.sent_at = called_at
            turn.indicator.message_sent(called_at)
        turn.consume_quota()
        on_sent()
        # The last message is recorded when the turn is settled, which follows immediately and is one transaction.
        if turn.pending or not turn.handler_done or turn.indicator.is_cancelling:
            await self._record(turn)

    async def _record(self, turn: Turn) -> None:
        """Record the progress, and the remaining work if the handler is done, so that it need not run again."""
        sent_at = turn.sent_at or 0.0
        remaining_work = turn.remaining_work() if turn.handler_done or turn.unconfirmed else None
        await retry_until_stored(
            self._clock,
            lambda: self._inbox.record_sent(
                turn.lease,
                turn.inbox_message.seq,
                turn.sent,
                sent_at,
                turn.counted_quota,
                unsent=remaining_work,
                state=turn.changed_state,
            ),
        )

    def _permit(self, lease: Lease) -> Permit:
        """Return the permit of a send: it allows the request if the lease is active when the request is written.

        A send may wait, or its process may be paused. A send that gets no permit has not reached WeChat, so it is
        retried, and the retry checks the lease in the store first.
        """
        return lambda: lease.is_ours(self._clock.now())


def _suppress_pending(turn: Turn) -> None:
    if turn.pending:
        log.info("replies suppressed, the user is with human agents: count=%d", len(turn.pending))
        turn.pending = []
