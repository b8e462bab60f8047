"""A conversation: it claims the lease of one user, then processes and settles that user's messages in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from wxbot.clock import Clock
from wxbot.conversation.pipeline import Pipeline
from wxbot.delivery.turn import Turn
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.model.quota import Quota
from wxbot.store.port import Inbox
from wxbot.store.records import Claim, ConversationKey, Handover, Lease, LeaseUpdate, Outcome, PendingMessage
from wxbot.store.retry import retry_until_stored
from wxbot.typing_indicator.indicator import TypingIndicator
from wxbot.typing_indicator.rules import TypingState

log = logging.getLogger("wxbot.conversation")

RENEWALS_PER_LEASE = 4
"""Number of renewals that an owner makes in one lease duration."""

LEASE_MARGIN = 0.5
"""An owner stops relying on its lease this many seconds before the lease expires; at most a quarter of the lease. The
margin exists because the clocks of two machines differ by some milliseconds, and a send takes a moment to reach WeChat.
A healthy owner renews the lease long before that."""

MakeIndicator = Callable[[Lease, TypingState, float], TypingIndicator]
"""Makes the indicator of a lease from its state. The third argument is ``Claim.noted_until``."""


@dataclass(slots=True)
class ConversationParts:
    """The parts that all conversations of one process share. ``draining``: they begin no further message."""

    owner: str
    lease_seconds: float
    inbox: Inbox
    clock: Clock
    make_indicator: MakeIndicator
    pipeline: Pipeline | None = None
    draining: bool = False


class Conversation:
    """A conversation that this process owns or is about to claim."""

    __slots__ = (
        "_indicator",
        "_key",
        "_outcome",
        "_parts",
        "claim_decided",
        "is_woken",
        "lease",
        "lost",
        "next_claim",
        "task",
        "turn",
    )

    def __init__(self, key: ConversationKey, parts: ConversationParts, claim: Claim | None = None) -> None:
        self._key = key
        self._parts = parts
        self._indicator: TypingIndicator | None = None
        self._outcome: Outcome | None = None
        self.lease: Lease | None = None
        self.turn: Turn | None = None
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
        claim.lease.margin = min(LEASE_MARGIN, self._parts.lease_seconds / RENEWALS_PER_LEASE)
        shown = TypingState(claim.interacted_at, claim.typing_until, uncertain=True)
        self.lease, indicator = claim.lease, self._parts.make_indicator(claim.lease, shown, claim.noted_until)
        self._indicator = indicator
        state, pending = claim.state, claim.pending
        while True:
            outcome = await self._process_message(claim.lease, indicator, pending, state)
            state = state if outcome.state is None else outcome.state
            self._outcome, self.is_woken, self.next_claim = outcome, False, None
            following = await self._settle(claim.lease, outcome)
            self._outcome = None
            if following is None:
                return
            pending = following

    async def _claimed(self) -> Claim | None:
        claim, self.next_claim, self.is_woken = self.next_claim, None, False
        parts = self._parts
        if claim is None or parts.clock.now() >= claim.lease.expires_at:  # another process may have it by now
            claim = await parts.inbox.claim(self._key, parts.owner, parts.clock.now(), parts.lease_seconds)
        return claim

    async def _process_message(
        self, lease: Lease, indicator: TypingIndicator, pending: PendingMessage, state: dict[str, Any]
    ) -> Outcome:
        pipeline = self._parts.pipeline
        assert pipeline is not None  # noqa: S101 - the dispatcher sets it before anything can be claimed
        try:
            turn = self.turn = pipeline.begin(lease, pending, indicator, state)
        except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
            return pipeline.unreadable(pending, error, indicator.state.showing_until)
        try:
            outcome = turn.outcome("released") if self._parts.draining else await pipeline.answer(turn)
        except asyncio.CancelledError:
            if not self._parts.draining or self.lost:
                raise
            outcome = turn.outcome("released")
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception as error:  # a bug in wxbot: store a dead letter and do not retry without end
            log.exception("processing a message failed")
            outcome = turn.outcome("dead", f"wxbot failed: {error!r}")
        self.turn, self._outcome = None, outcome  # the outcome is final, so there is nothing left to interrupt
        await indicator.end_turn()
        # Now it is known whether CancelTyping ended the indicator.
        return replace(outcome, typing_until=indicator.state.showing_until)

    async def _settle(self, lease: Lease, outcome: Outcome) -> PendingMessage | None:
        parts = self._parts
        return await retry_until_stored(
            parts.clock, lambda: parts.inbox.settle(lease, outcome, parts.clock.now(), go_on=not parts.draining)
        )

    def unrecorded(self) -> tuple[Lease, Outcome] | None:
        """Return the lease, and the outcome of a message or the progress of a turn that is not stored yet."""
        outcome = self._outcome or (self.turn and self.turn.outcome("released"))
        return (self.lease, outcome) if self.lease and outcome else None

    # Notifications

    def wake(self, interacted_at: float, claim: Claim | None) -> None:
        """Note that there may be a new message, and that the user acted at ``interacted_at``."""
        self.is_woken, self.next_claim = True, claim or self.next_claim
        if self._indicator is not None:
            self._indicator.interacted(interacted_at)

    def on_renewed(self, expires_at: float, update: LeaseUpdate) -> None:
        """Extend the lease until ``expires_at``, and apply user actions that other processes received."""
        if self.lease is not None and self._indicator is not None:
            self.lease.expires_at = expires_at
            self._indicator.interacted(update.interacted_at)
            self.on_user_action(update.active_handover, update.quota)

    def on_user_action(self, active_handover: Handover, quota: Quota | None) -> None:
        """Apply the handover and quota of a user action. Pending replies are suppressed if an agent took over."""
        if self.turn is not None:
            self.turn.active_handover = active_handover
            self.turn.on_user_action(quota)

    def lose(self) -> None:
        """Stop, because another process owns the conversation. Send nothing more, not even a reply that is waiting."""
        self.lost = True
        if self.lease is not None:
            self.lease.expires_at = 0.0
        self.interrupt()

    def interrupt(self) -> None:
        """Stop the current turn, but never between a send and its record."""
        if self.turn is not None:
            self.turn.interrupt()
