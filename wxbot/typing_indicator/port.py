"""The port of the typing indicator: the call to WeChat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

TypingCommand = Literal["Typing", "CancelTyping"]

Permit = Callable[[], bool]
"""A function that returns True if a request may still be written. It is called for every request, so it must be quick,
and it must not raise."""


class TypingCalls(Protocol):
    """The typing call of WeChat. ``Channel`` describes ``permit`` and the errors."""

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit) -> None:
        """Call Typing or CancelTyping for this user. Raises WeChatError."""
        ...
