"""The ports of the typing indicator: the store of its state, and the calls to WeChat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from wxbot.store.records import Lease


class TypingNotes(Protocol):
    """The store of ``typing_until``, which the next owner of the conversation reads."""

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Store the end of the indicator before Typing is called. Return the time of the last interaction.

        Raises LeaseLost, StoreUnavailable.
        """
        ...


TypingCommand = Literal["Typing", "CancelTyping"]

Permit = Callable[[], bool]
"""A function that returns True if a request may still be written. It is called for every request, so it must be quick,
and it must not raise."""


class TypingCalls(Protocol):
    """The typing call of WeChat. ``Channel`` describes ``permit`` and the errors."""

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit) -> None:
        """Call Typing or CancelTyping for this user. Raises WeChatError."""
        ...
