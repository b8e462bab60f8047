"""A conversation: it claims the lease of one user, then processes and completes that user's messages in order."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace

from wxbot.clock import Clock
from wxbot.conversation.pipeline import Pipeline
from wxbot.delivery.outbox import Outbox
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.store.port import Inbox
from wxbot.store.records import Claim, ConversationKey, ConversationRecord, Lease, Outcome
from wxbot.store.retry import retry_until_stored
from wxbot.typing_indicator.indicator import TypingIndicator, TypingParts

log = logging.getLogger("wxbot.conversation")

RENEWALS_PER_LEASE = 4
"""Number of renewals that an owner makes in one lease duration."""

LEASE_MARGIN = 0.5
"""An owner stops relying on its lease this many seconds before the lease expires; at most a quarter of the lease. The
margin exists because the clocks of two machines differ by some milliseconds, and a send takes a moment to reach WeChat.
A healthy owner renews the lease long before that."""


@dataclass(slots=True)
class ConversationParts:
    """The parts that all conversations of one process share. ``draining``: they begin no further message."""

    owner: str
    lease_seconds: float
    inbox: Inbox
    clock: Clock
    typing: TypingParts
    pipeline: Pipeline | None = None
    draining: bool = False


class Conversation:
    """A conversation that this process owns or is about to claim."""

    def __init__(self, key: ConversationKey, parts: ConversationParts, claim: Claim | None = None) -> None:
        self._key = key
        self._parts = parts
        self._indicator: TypingIndicator | None = None
        self._outbox: Outbox | None = None
        """The outbox of the message that is being processed."""
        self._outcome: Outcome | None = None
        """The outcome of a message while it is being stored."""
        self.lease: Lease | None = None
        self.task: asyncio.Task[None] | None = None
        self.is_woken = False
        """True if a wake-up arrived after the store was last read."""
        self.next_claim = claim
        """A claim that the store granted with a push; None if the conversation must be claimed."""
        self.claim_decided = asyncio.Event()
        """Set when it is known whether this process owns the conversation."""
        self.lost = False
        """True if another process owns the conversation now."""

    # Processing

    async def process(self) -> None:
        """Claim the conversation and process its messages until none is due or the claim is refused.

        Raises LeaseLost, StoreUnavailable.
        """
        claim = await self._claimed()
        self.claim_decided.set()
        if claim is None:
            return
        parts, lease = self._parts, claim.lease
        lease.margin = min(LEASE_MARGIN, parts.lease_seconds / RENEWALS_PER_LEASE)
        self.lease, self._indicator = lease, TypingIndicator(parts.typing, claim)
        while claim is not None:
            outcome = await self._process_message(claim, self._indicator)
            self._outcome, self.is_woken, self.next_claim = outcome, False, None
            claim = await self._complete(lease, outcome)
            self._outcome = None

    async def _claimed(self) -> Claim | None:
        claim, self.next_claim, self.is_woken = self.next_claim, None, False
        parts = self._parts
        if claim is None or parts.clock.now() >= claim.lease.expires_at:  # another process may have it by now
            claim = await parts.inbox.claim(self._key, parts.owner, parts.clock.now(), parts.lease_seconds)
        return claim

    async def _process_message(self, claim: Claim, indicator: TypingIndicator) -> Outcome:
        pipeline = self._parts.pipeline
        assert pipeline is not None  # noqa: S101 - the dispatcher sets it before anything can be claimed
        try:
            outbox = self._outbox = pipeline.begin(claim, indicator)
        except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
            return pipeline.unreadable(claim.message, error, indicator.state.showing_until)
        try:
            outcome = outbox.outcome("released") if self._parts.draining else await pipeline.process(outbox)
        except asyncio.CancelledError:
            if not self._parts.draining or self.lost:
                raise
            outcome = outbox.outcome("released")
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception as error:  # a bug in wxbot: store a dead letter and do not retry without end
            log.exception("processing a message failed")
            outcome = outbox.outcome("dead", f"wxbot failed: {error!r}")
        self._outbox, self._outcome = None, outcome  # the outcome is final, so there is nothing left to interrupt
        await indicator.end_turn()
        # Now it is known whether CancelTyping ended the indicator.
        return replace(outcome, change=replace(outcome.change, typing_until=indicator.state.showing_until))

    async def _complete(self, lease: Lease, outcome: Outcome) -> Claim | None:
        """Store the outcome. Return the same lease with the next message; None if the lease was released."""
        parts = self._parts
        return await retry_until_stored(
            parts.clock, lambda: parts.inbox.complete(lease, outcome, parts.clock.now(), go_on=not parts.draining)
        )

    def unrecorded(self) -> tuple[Lease, Outcome] | None:
        """Return the lease and the outcome that is not stored yet, of a processed message or an interrupted turn."""
        outcome = self._outcome or (self._outbox and self._outbox.outcome("released"))
        return (self.lease, outcome) if self.lease and outcome else None

    # Notifications

    def wake(self, interacted_at: float, claim: Claim | None) -> None:
        """Note that there may be a new message, and that the user acted at ``interacted_at``."""
        self.is_woken, self.next_claim = True, claim or self.next_claim
        if self._indicator is not None:
            self._indicator.interacted(interacted_at)

    def on_renewed(self, expires_at: float, record: ConversationRecord) -> None:
        """Extend the lease until ``expires_at``, and apply user actions that other processes received."""
        if self.lease is not None:
            self.lease.expires_at = expires_at
            self.on_user_action(record)

    def on_user_action(self, change: ConversationRecord) -> None:
        """Apply a user action. Pending replies are suppressed if an agent took over."""
        if self._indicator is not None:
            self._indicator.interacted(change.interacted_at)
        if self._outbox is not None:
            self._outbox.turn.handover = change.handover or self._outbox.turn.handover
            self._outbox.on_user_action(change.quota)

    def lose(self) -> None:
        """Stop, because another process owns the conversation. Send nothing more, not even a reply that is waiting."""
        if self._outbox is not None:
            self.lost = True
            if self.lease is not None:
                self.lease.expires_at = 0.0
            self.interrupt()

    def interrupt(self) -> None:
        """Stop the current turn, but never between a send and its record."""
        if self._outbox is not None and self.task is not None and not self._outbox.delay_interruption():
            self.task.cancel()
