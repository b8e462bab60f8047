"""One user of one account: the lease, and the turn that is being processed."""

from __future__ import annotations

import asyncio

from wxbot.delivery.turn import Turn
from wxbot.model.quota import Quota
from wxbot.store.records import Claim, Handover, Lease, LeaseUpdate, Outcome
from wxbot.typing_indicator.indicator import TypingIndicator

RENEWALS_PER_LEASE = 4

LEASE_MARGIN = 0.5
"""An owner stops relying on its lease so many seconds before others may take it, or a quarter of the lease if that is
less: the clocks of two machines agree to some milliseconds only, and what is sent takes a moment to reach WeChat. A
healthy owner, who renews each quarter, never comes so far."""


class Conversation:
    """One conversation that this process owns or is about to claim."""

    __slots__ = ("again", "decided", "granted", "indicator", "lease", "lost", "outcome", "task", "turn")

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.indicator: TypingIndicator | None = None
        self.turn: Turn | None = None
        self.outcome: Outcome | None = None
        self.task: asyncio.Task[None] | None = None
        self.again = False
        self.granted: Claim | None = None
        self.decided = asyncio.Event()
        """Set once it is known whether the conversation is ours."""
        self.lost = False

    def unrecorded(self) -> tuple[Lease, Outcome] | None:
        """What the store has not taken yet: how a message ended, or how far its answer has come."""
        outcome = self.outcome or (self.turn and self.turn.outcome("released"))
        return (self.lease, outcome) if self.lease and outcome else None

    def renewed(self, until: float, news: LeaseUpdate) -> None:
        """The lease is good until ``until``."""
        if self.lease is not None and self.indicator is not None:
            self.lease.expires_at = until
            self.indicator.interacted(news.interacted_at)
            self.on_user_action(news.active_handover, news.quota)

    def on_user_action(self, active_handover: Handover, quota: Quota | None) -> None:
        """The user has done something meanwhile. What is being worked is not said to one who is with people."""
        if self.turn is not None:
            self.turn.active_handover = active_handover
            self.turn.on_user_action(quota)

    def lose(self) -> None:
        """Somebody else owns it: stop, and send nothing more, not even what waits for a connection already."""
        self.lost = True
        if self.lease is not None:
            self.lease.expires_at = 0.0
        self.interrupt()

    def interrupt(self) -> None:
        """Stop the work, though never between a send and its record."""
        if self.turn is not None:
            self.turn.interrupt()
