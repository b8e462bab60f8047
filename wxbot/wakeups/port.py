"""The port that carries wake-ups."""

from __future__ import annotations

from typing import Protocol

from wxbot.store.records import Claim, ConversationKey


class Waker(Protocol):
    """Carries the hint "this conversation has news". A lost or doubled hint loses nothing: the inbox is swept."""

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """``claim`` is the conversation itself, where it was granted to this process with the push."""
        ...
