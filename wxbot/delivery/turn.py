"""The turn: one message while it is processed, with its progress and its outcome for the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from wxbot.delivery.deferred import DeferredReplies, deferred_in, with_deferred
from wxbot.delivery.progress import RemainingWork
from wxbot.model.messages import (
    AgentSessionEvent,
    AgentSwitchEvent,
    Download,
    EventMessage,
    Message,
    UnsubscribeEvent,
    message_from,
)
from wxbot.model.quota import NOTHING_LEFT, UNKNOWN_QUOTA, Quota
from wxbot.model.replies import Reply
from wxbot.store.records import WITH_BOT, Handover, Lease, Outcome, PendingMessage
from wxbot.typing_indicator.indicator import TypingIndicator

SENT_BY_BOT = "wxbot.send"
"""The MsgType of a proactive message (``bot.send``), which is in the inbox without a message from the user."""


@dataclass(slots=True)
class Turn:
    """The progress of one message. ``outcome`` returns the record for the store at any moment."""

    lease: Lease
    inbox_message: PendingMessage
    message: Message
    indicator: TypingIndicator
    state: dict[str, Any]
    quota: Quota
    """The messages that WeChat still accepts for this user."""
    active_handover: Handover = WITH_BOT
    """The handover that is in force now, as far as this process knows."""
    requested_handover: Handover | None = None
    """The handover that begins after this message; None changes nothing."""
    sent: int = 0
    sent_at: float | None = None
    already_sent: int = 0
    """The number of messages of this reply that an earlier attempt sent. They are not sent again."""
    handler_done: bool = False
    """True if the handler has finished. It is not run again."""
    pending: list[Reply] = field(default_factory=list)
    """Replies that are still to be sent."""
    unconfirmed: list[Reply] = field(default_factory=list)
    """Replies that were sent, but WeChat's response was lost. Only an operator's command sends them again."""
    new_state: dict[str, Any] | None = None
    """The plugins' new state, stored when the handler is done; None leaves the stored state as it is."""
    new_deferred: DeferredReplies | None = None
    """The new deferred replies; None leaves the stored ones as they are."""
    failure: str = ""
    """The reason why the handler failed. Only an operator's command runs it again."""
    sent_before_failure: int = 0
    """The number of messages that the handler had sent when it failed. They are not sent again if it runs once more."""
    _task: asyncio.Task[Any] | None = None
    _sending: bool = False
    _interrupted: bool = False

    def outcome(
        self, status: Literal["done", "dead", "retry", "released"], reason: str = "", retry_at: float = 0.0
    ) -> Outcome:
        """Return the outcome for the store. A failure or an unconfirmed reply turns "done" into a dead letter.

        If all replies are sent, "released" becomes "done", because the next owner would run the handler again.
        """
        if status == "released" and self.handler_done and not self.pending:
            status = "done"
        if self.failure and status in ("done", "dead"):
            status, reason = "dead", "; ".join(dict.fromkeys(filter(None, (self.failure, reason))))
        if self.unconfirmed and status in ("done", "dead"):
            status, reason = "dead", "; ".join(filter(None, (reason, "WeChat's answer to a reply was lost")))
        is_over = status in ("done", "dead")
        return Outcome(
            seq=self.inbox_message.seq,
            status=status,
            typing_until=self.indicator.state.showing_until,
            sent=self.sent_before_failure if is_over and self.failure else self.sent,
            sent_at=self.sent_at,
            unsent=self._dead_letter_entries() if is_over else self.remaining_work(),
            reason=reason,
            retry_at=retry_at,
            state={} if is_over and isinstance(self.message, UnsubscribeEvent) else self.changed_state,
            quota=self.counted_quota,
            handover=self.requested_handover if self.handler_done and is_over else None,
        )

    def remaining_work(self) -> tuple[Mapping[str, Any], ...]:
        """Return the entries from which the next owner continues (``begin_turn`` reads them)."""
        work = RemainingWork(unconfirmed=self.unconfirmed)
        if self.handler_done:
            work.pending, work.handover = self.pending, self.requested_handover
            work.failure, work.sent_before_failure = self.failure, self.sent_before_failure
        return work.entries()

    def _dead_letter_entries(self) -> tuple[Mapping[str, Any], ...]:
        must_run = not self.handler_done or bool(self.failure)
        return RemainingWork(
            unconfirmed=self.unconfirmed,
            pending=self.pending if self.handler_done else [],
            run_handler=bool(self.unconfirmed) and must_run,
        ).dead_letter_entries()

    def fail(self, reason: str, apology: Sequence[Reply]) -> None:
        """Record that the handler failed: its new state is dropped, and ``apology`` is sent after its replies."""
        self.failure, self.sent_before_failure, self.handler_done = reason, self.sent + len(self.pending), True
        self.new_state = self.requested_handover = None
        self.pending = [*self.pending, *apology]

    @property
    def changed_state(self) -> dict[str, Any] | None:
        """Return the conversation's new state as far as it may be stored now; None leaves it as it is."""
        plugins = self.new_state if self.handler_done else None
        if self.new_deferred is None:
            return plugins
        return with_deferred(self.state if plugins is None else plugins, self.new_deferred)

    @property
    def counted_quota(self) -> Quota | None:
        """Return the remaining quota for the store; None if it is unchanged or unknown."""
        is_known = NOTHING_LEFT.expires_at < self.quota.expires_at < UNKNOWN_QUOTA.expires_at
        return self.quota if is_known and self.quota != self.inbox_message.quota else None

    @property
    def deferred(self) -> DeferredReplies:
        """Return the deferred replies that are stored for the user."""
        return deferred_in(self.state) if self.new_deferred is None else self.new_deferred

    def defer(self, replies: Sequence[Reply], *, announced: bool) -> None:
        """Store ``replies`` for the user. ``announced``: the user was told of them and how to ask for them."""
        if replies:
            self.new_deferred = self.deferred.plus(replies, announced=announced)

    def on_user_action(self, quota: Quota | None) -> None:
        """Apply the quota of a user action that happened during processing; None changes nothing."""
        if quota is not None and quota.expires_at != self.quota.expires_at:
            self.quota = quota

    @property
    def is_proactive(self) -> bool:
        """Return True if this is a proactive message (``bot.send``), not a message from the user."""
        return self.inbox_message.fields.get("MsgType") == SENT_BY_BOT

    def mark_sent(self) -> None:
        """Record that the first pending reply was sent, or may have been."""
        self.sent += 1
        self.pending.pop(0)

    def consume_quota(self, *, all_of_it: bool = False) -> None:
        """Count one sent message; with ``all_of_it``, record that WeChat accepts no more."""
        self.quota = self.quota._replace(remaining=0 if all_of_it else max(0, self.quota.remaining - 1))

    def is_for_agents(self, now: float) -> bool:
        """Return True if a human agent handles this user. Agent-session events are still processed by the bot.

        A handler that requests a handover still sends its own replies.
        """
        if now >= self.active_handover.until or self.requested_handover is not None:
            return False
        about_session = isinstance(self.message, AgentSessionEvent | AgentSwitchEvent | UnsubscribeEvent)
        return not self.is_proactive and not about_session

    def begin(self) -> None:
        """Record that the current task processes this turn."""
        self._task = asyncio.current_task()

    def interrupt(self) -> None:
        """Cancel the task, but never between a send and its record: the reply would be sent twice."""
        if self._sending:
            self._interrupted = True
        elif self._task is not None:
            self._task.cancel()

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Delay an interruption until a send and its record are complete."""
        self._sending = True
        try:
            yield
        finally:
            self._sending = False
            if self._interrupted:  # also after a failed send, which this process does not try again
                self._interrupted = False
                raise asyncio.CancelledError


def begin_turn(
    lease: Lease,
    inbox_message: PendingMessage,
    indicator: TypingIndicator,
    state: dict[str, Any],
    unknown_quota: Quota,
    download_from: Download | None = None,
) -> Turn:
    """Return the turn of ``inbox_message``, which continues where an earlier attempt stopped.

    Raises KeyError, TypeError, ValueError for entries of another version of wxbot.
    """
    work = RemainingWork.read(inbox_message.unsent)
    message = message_from(lease.key.appid, inbox_message.fields, inbox_message.received_at, download_from)
    if isinstance(message, EventMessage) and unknown_quota == UNKNOWN_QUOTA:
        unknown_quota = NOTHING_LEFT  # this user has not yet done anything that allows a reply
    return Turn(
        lease,
        inbox_message,
        message,
        indicator,
        state,
        quota=inbox_message.quota or unknown_quota,
        active_handover=inbox_message.active_handover,
        requested_handover=work.handover,
        sent=inbox_message.sent,
        pending=work.pending,
        unconfirmed=work.unconfirmed,
        failure=work.failure,
        sent_before_failure=work.sent_before_failure,
        handler_done=work.handler_done,
    )
