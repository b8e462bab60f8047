"""The outbox of a turn: it owns the pending, unconfirmed and deferred replies, and the quota.

The pipeline calls ``add`` and ``finish``. An ``ApiOutbox`` sends through the platform's API, a ``PassiveOutbox`` in the
response to a push.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from wxbot.clock import Clock, pause
from wxbot.delivery.channel import Channel
from wxbot.delivery.deferred import DeferredReplies, deferred_in, with_deferred
from wxbot.delivery.remaining_work import RemainingWork
from wxbot.delivery.turn import Turn
from wxbot.errors import DeliveryUnknown, WeChatError, WxbotError
from wxbot.model.accounts import Account
from wxbot.model.messages import EventMessage, UnsubscribeEvent
from wxbot.model.quota import NOTHING_LEFT, UNKNOWN_QUOTA, Quota
from wxbot.model.replies import Reply
from wxbot.settings.schema import ReplySettings
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey, ConversationRecord, Lease, Outcome
from wxbot.typing_indicator.indicator import TypingIndicator

log = logging.getLogger("wxbot.delivery")

Result = TypeVar("Result")

RETRY_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the attempts of a call that did not reach WeChat or that WeChat was too busy for."""

LeaseCheck = Callable[[Lease], Awaitable[None]]
"""A function that checks that this process still owns a lease. Raises LeaseLost, StoreUnavailable."""

Status = Literal["done", "dead", "retry", "released"]


class SendFailed(Exception):
    """A reply could not be sent. ``final``: another attempt would fail, too."""

    def __init__(self, error: WxbotError, *, final: bool) -> None:
        super().__init__(str(error))
        self.final = final


@dataclass(frozen=True, slots=True)
class OutboxParts:
    """The parts that all outboxes of an account share.

    ``error_text``: the passive reply if WeChat does not accept the handler's reply; empty for none. ``on_reply`` is
    called with the key of each conversation whose passive reply was stored.
    """

    account: Account
    channel: Channel
    store: Store
    clock: Clock
    settings: ReplySettings
    error_text: str
    check_lease: LeaseCheck
    on_reply: Callable[[ConversationKey], None]


class Outbox(ABC):
    """The replies of one turn. ``work``: the rest of an earlier attempt. ``quota``: the stored quota; None: unknown."""

    def __init__(
        self, parts: OutboxParts, turn: Turn, indicator: TypingIndicator, work: RemainingWork, quota: Quota | None
    ) -> None:
        self.turn = turn
        self.indicator = indicator
        self.is_closed = work.handler_done
        """True if no more replies are added, because the handler is done. It is not run again."""
        self._parts = parts
        self._stored_quota = quota
        self._quota = quota or _unknown_quota(parts.account, turn)
        self._pending = work.pending
        self._resent = len(work.pending) if work.run_handler else 0
        """The number of pending replies, from the first one, that an operator sends again before the handler runs.

        The earlier attempt counted them as sent when they became unconfirmed."""
        self._unconfirmed = work.unconfirmed
        self._deferred: DeferredReplies | None = None
        """The new deferred replies; None leaves the stored ones as they are."""
        self._sent = turn.inbox_message.sent
        self._sent_at: float | None = None
        self._to_skip = self._sent
        """The number of messages of this reply that an earlier attempt sent. They are not sent again."""
        self._failure = work.failure
        """The reason why the handler failed. Only an operator's command runs it again."""
        self._sent_before_failure = work.sent_before_failure
        self._sending = False
        self._interrupted = False

    # For the pipeline

    @abstractmethod
    async def begin(self) -> None:
        """Send deferred replies that the user does not know of, if the quota allows it. Runs before the handler.

        Raises SendFailed, like all methods that send.
        """

    def add(self, replies: Sequence[Reply]) -> None:
        """Add replies of the handler, without those that an earlier attempt sent."""
        skipped = min(self._to_skip, len(replies))
        self._to_skip -= skipped
        self._pending += replies[skipped:]

    def add_deferred(self) -> bool:
        """Add the deferred replies, because the user asked for them. Return False if there are none."""
        deferred = self._current_deferred
        self._pending += deferred.in_order()
        self._deferred = DeferredReplies() if any(deferred) else self._deferred
        return any(deferred)

    @abstractmethod
    async def send_ready(self) -> None:
        """Send the replies that may be sent while the handler goes on."""

    async def finish(self) -> None:
        """Send all replies that fit into the quota, and defer the others, because the handler is done."""
        self.is_closed, self._resent = True, 0
        await self._deliver()

    async def fail(self, reason: str, apology: Sequence[Reply]) -> None:
        """Finish after the handler failed: its new state is dropped, and ``apology`` is sent after its replies."""
        handlers = self._pending[self._resent :]
        self._failure, self._sent_before_failure = reason, self._sent + len(handlers)
        self.turn.new_state = self.turn.requested_handover = None
        self._pending += apology
        await self.finish()

    @property
    def quota(self) -> Quota:
        """Return the messages that WeChat still accepts for this user now."""
        return Quota(self._quota.at(self._parts.clock.now()), self._quota.expires_at)

    def outcome(self, status: Status, reason: str = "", retry_at: float = 0.0) -> Outcome:
        """Return the outcome for the store. A failure or an unconfirmed reply turns "done" into a dead letter.

        If all replies are sent, "released" becomes "done", because the next owner would run the handler again.
        """
        turn = self.turn
        if status == "released" and self.is_closed and not self._pending:
            status = "done"
        is_over = status in ("done", "dead")
        if is_over:
            lost = "WeChat's answer to a reply was lost" if self._unconfirmed else ""
            reason = "; ".join(dict.fromkeys(filter(None, (self._failure, reason, lost))))
            status = "dead" if reason else status
        change = ConversationRecord(
            interacted_at=self._sent_at or 0.0,
            typing_until=self.indicator.state.showing_until,
            quota=self._counted_quota,
            handover=turn.requested_handover if self.is_closed and is_over else None,
            state={} if is_over and isinstance(turn.message, UnsubscribeEvent) else self._changed_state,
        )
        sent = self._sent_before_failure if is_over and self._failure else self._sent
        unsent = self._work().dead_letter_entries() if is_over else self._work().entries()
        return Outcome(turn.inbox_message.seq, status, change, sent, unsent, reason, retry_at)

    # For the conversation

    def on_user_action(self, quota: Quota | None) -> None:
        """Apply the quota of a user action that happened during processing; None changes nothing."""
        if quota is not None and quota.expires_at != self._quota.expires_at:
            self._quota = quota

    def delay_interruption(self) -> bool:
        """Return True if a reply is being sent. Then the task is cancelled after the reply was recorded.

        Otherwise the caller cancels the task. A reply whose record was interrupted would be sent twice.
        """
        self._interrupted = self._sending
        return self._sending

    @contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        self._sending = True
        try:
            yield
        finally:
            self._sending = False
            if self._interrupted:  # also after a failed send, which this process does not try again
                self._interrupted = False
                raise asyncio.CancelledError

    # For both kinds of outbox

    @abstractmethod
    async def _deliver(self) -> None:
        """Send the pending replies: all if the outbox is closed, else those that may be sent now."""

    async def _with_retries(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Make a call of the channel, and repeat it after a temporary failure. Raises SendFailed."""
        for wait in (*RETRY_PAUSES, None):
            try:
                return await call()
            except WeChatError as error:
                is_lost = isinstance(error, DeliveryUnknown) and self._parts.account.recognizes_repeats
                may_repeat = error.retryable or is_lost
                if not may_repeat or wait is None:
                    raise SendFailed(error, final=not may_repeat) from None
                log.info("send failed, retrying: seconds=%g error=%s", wait, error)
                await pause(self._parts.clock, wait)
        raise AssertionError("the last attempt either returns or raises")

    @property
    def _current_deferred(self) -> DeferredReplies:
        return deferred_in(self.turn.state) if self._deferred is None else self._deferred

    def _defer(self, replies: Sequence[Reply], *, announced: bool) -> None:
        """Store ``replies`` for the user. ``announced``: the user was told of them and how to ask for them."""
        if replies:
            self._deferred = self._current_deferred.plus(replies, announced=announced)

    def _work(self) -> RemainingWork:
        """Return the remaining work. Until the outbox is closed, it has no replies of the handler, which runs again."""
        if not self.is_closed:
            resent = self._pending[: self._resent]
            return RemainingWork(self._unconfirmed, resent, run_handler=bool(self._unconfirmed or resent))
        return RemainingWork(
            self._unconfirmed,
            self._pending,
            self.turn.requested_handover,
            self._failure,
            self._sent_before_failure,
            run_handler=bool(self._unconfirmed and self._failure),
        )

    @property
    def _changed_state(self) -> dict[str, Any] | None:
        """Return the conversation's new state as far as it may be stored now; None leaves it as it is."""
        plugins = self.turn.new_state if self.is_closed else None
        if self._deferred is None:
            return plugins
        return with_deferred(self.turn.state if plugins is None else plugins, self._deferred)

    @property
    def _counted_quota(self) -> Quota | None:
        """Return the remaining quota for the store; None if it is unchanged or unknown."""
        is_known = NOTHING_LEFT.expires_at < self._quota.expires_at < UNKNOWN_QUOTA.expires_at
        return self._quota if is_known and self._quota != self._stored_quota else None


def _unknown_quota(account: Account, turn: Turn) -> Quota:
    """Return the quota of a user without a stored one. An event does not show that the bot may reply."""
    is_event = isinstance(turn.message, EventMessage)
    return NOTHING_LEFT if is_event and not account.is_passive else account.unknown_quota
