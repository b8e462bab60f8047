"""Sends what a handler says through the API: patiently, in order, each message recorded, within what WeChat takes."""

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

SEND_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of a send that did not reach WeChat or found it busy."""

Hold = Callable[[Lease], Awaitable[None]]
"""Makes sure that a lease is still ours. Raises LeaseLost, StoreUnavailable."""


class SendFailed(Exception):
    """A reply could not be sent; ``error`` says why, ``final`` whether trying again is pointless."""

    def __init__(self, error: WxbotError, *, final: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


@dataclass(frozen=True, slots=True)
class OutboxOptions:
    """What a deployment chooses (wxbot.settings.schema has the meaning of each)."""

    text_bytes: int = 2000
    continue_text: str = "…"
    error_text: str = ""


class Outbox(Protocol):
    """The way of an answer to the user."""

    async def begin(self, turn: Turn) -> None:
        """Before the handler runs: send what of earlier answers the user was never told of, if that is possible."""
        ...

    async def deliver(self, turn: Turn) -> None:
        """Send ``turn.pending`` as far as it may go now; all of it once the turn is through. Raises SendFailed."""
        ...

    async def tell(self, turn: Turn, text: str, reason: str) -> None:
        """The handler failed: say what it had said before, and then what went wrong. Raises SendFailed."""
        ...


class ApiOutbox:
    """Through the customer-service API, with the typing indicator before each message."""

    def __init__(self, channel: Channel, inbox: Inbox, clock: Clock, options: OutboxOptions, hold: Hold) -> None:
        self._channel = channel
        self._inbox = inbox
        self._clock = clock
        self._options = options
        self._hold = hold

    async def begin(self, turn: Turn) -> None:
        rest, left = turn.deferred, self._left(turn) - 1  # one is for the answer
        if not rest.unannounced or isinstance(turn.message, EventMessage) or left < 1:
            return
        now, kept, announced = fit(rest.unannounced, left, self._options.text_bytes, self._options.continue_text)
        waiting = [*now]

        def one_is_out() -> None:
            waiting.pop(0)
            turn.new_deferred = DeferredReplies((*waiting, *kept), rest.announced)
            if not waiting:
                turn.new_deferred = DeferredReplies((), rest.announced).plus(kept, announced=announced)

        while waiting and self._left(turn) > 0:
            await self._send_deferred(turn, waiting[0], one_is_out)

    async def _send_deferred(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        """What WeChat refuses for good must not stand in the way of all that is to come."""
        try:
            await self._send_patiently(turn, message, on_sent)
        except SendFailed as failure:
            if not failure.final:
                raise
            log.warning("a message of an earlier answer is kept as a dead letter: %s", failure)
            turn.unconfirmed.append(message)
            on_sent()

    async def deliver(self, turn: Turn) -> None:
        if turn.is_for_agents(self._clock.now()):
            _be_silent(turn)
        if not (turn.handler_done or self._may_go(turn)):
            return  # it waits for the end, and Typing goes on
        await self._hold(turn.lease)  # else what shows now is another owner's
        await (turn.indicator.stop() if turn.handler_done else turn.indicator.pause())
        while turn.pending:
            if turn.handler_done:
                await self._make_fit(turn)
            if not self._may_go(turn):
                break
            await self._send_patiently(turn, turn.pending[0], turn.mark_sent)
        if not turn.handler_done and self._left(turn) > 0:
            turn.indicator.resume()

    async def tell(self, turn: Turn, text: str, reason: str) -> None:
        turn.fail(reason, [TextReply(text)] if text else [])
        await self.deliver(turn)

    # How much may go

    def _left(self, turn: Turn) -> int:
        return turn.quota.at(self._clock.now())

    def _may_go(self, turn: Turn) -> bool:
        """Whether the next message may be sent now. Of an answer that goes on, the last message left is kept back:
        all that is still to come has to go into it."""
        return bool(turn.pending) and (turn.handler_done or self._left(turn) > 1)

    async def _make_fit(self, turn: Turn) -> None:
        """Have no more messages to send than are left: merge texts, and keep the rest for the user."""
        if len(turn.pending) > self._left(turn):
            # They may have acted meanwhile, and another process have taken note of it.
            turn.quota = await self._inbox.quota(turn.lease.key) or turn.quota
        left = self._left(turn)
        if len(turn.pending) <= left:
            return
        if left == 0 and turn.is_proactive:
            raise SendFailed(SendNotAllowed("WeChat takes no message for this user until they act again"), final=True)
        unsent, hint = turn.pending, self._options.continue_text
        if (
            turn.new_deferred is not None and turn.new_deferred.announced
        ):  # fitted once already, and then WeChat took less
            unsent = without_notice(unsent, hint)
        turn.pending, kept, announced = fit(
            unsent, left, self._options.text_bytes, hint, may_be_notice_only=turn.sent > 0
        )
        turn.defer(kept, announced=announced)
        if kept:
            log.info("%d message(s) are kept until the user asks for them, WeChat takes %d", len(kept), left)

    # Send

    async def _send_patiently(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        for wait in (*SEND_PAUSES, None):
            believed = turn.quota
            try:
                with turn.uninterrupted():
                    await self._send_once(turn, message, on_sent)
            except (ReplyQuotaExceeded, ReplyWindowClosed) as error:
                await self._learn_limit(turn, error, believed)
                return
            except WeChatError as error:
                if not error.retryable or wait is None:
                    raise SendFailed(error, final=not error.retryable) from None
                log.info("send again in %g s: %s", wait, error)
                await pause(self._clock, wait)
            else:
                return

    async def _send_once(self, turn: Turn, message: Reply, on_sent: Callable[[], None]) -> None:
        await self._hold(turn.lease)
        called_at = self._clock.now()
        try:
            await self._channel.send(turn.lease.key.openid, message, permit=self._permit(turn.lease))
        except DeliveryUnknown as error:
            # It may be on the user's screen: sending it again could say it twice.
            log.warning("a reply may not have arrived and is kept as a dead letter: %s", error)
            turn.unconfirmed.append(message)
        else:
            turn.sent_at = called_at
            turn.indicator.message_sent(called_at)
        turn.consume_quota()
        on_sent()
        # The last one is recorded by settling the turn, in the same moment and in one transaction.
        if turn.pending or not turn.handler_done or turn.indicator.calling:
            await self._record(turn)

    async def _learn_limit(self, turn: Turn, error: WeChatError, believed: Quota) -> None:
        """WeChat took no more: what was ``believed`` of the quota is put right, for every process, unless the user has
        acted since."""
        if turn.is_proactive:
            raise SendFailed(error, final=True) from None
        log.warning("what is left of an answer is kept for the user: %s", error)
        if turn.quota.expires_at == believed.expires_at:
            turn.consume_quota(all_of_it=True)
            await self._record(turn)

    async def _record(self, turn: Turn) -> None:
        """How far it has come. Of a handler that is through, all that is left: it need not run again."""
        at, to_do = turn.sent_at or 0.0, turn.remaining_work() if turn.handler_done or turn.unconfirmed else None
        await retry_until_stored(
            self._clock,
            lambda: self._inbox.record_sent(
                turn.lease,
                turn.inbox_message.seq,
                turn.sent,
                at,
                turn.counted_quota,
                unsent=to_do,
                state=turn.changed_state,
            ),
        )

    def _permit(self, lease: Lease) -> Permit:
        """A send may wait, and the process be stopped meanwhile: by the clock, is ``lease`` ours when it is written?

        A refused send has not reached WeChat, so it is tried again, and ``hold`` asks the store first.
        """
        return lambda: lease.is_ours(self._clock.now())


def _be_silent(turn: Turn) -> None:
    if turn.pending:
        log.info("%d message(s) are not sent: the user is with human agents", len(turn.pending))
        turn.pending = []
