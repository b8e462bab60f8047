"""The port that carries wake-ups."""

from __future__ import annotations

from typing import Protocol

from wxbot.store.records import Claim, ConversationKey


class Waker(Protocol):
    """A sender of the notification "this conversation has a new message".

    A lost or repeated wake-up does no harm, because the inbox is polled as well.
    """

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """Send the wake-up. ``claim`` is set if this process claimed the conversation when it accepted the message."""
        ...
