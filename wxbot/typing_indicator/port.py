"""The ports that the typing indicator needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from wxbot.store.records import Lease


class TypingNotes(Protocol):
    """Where it is noted that Typing may show, for whoever takes over."""

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Note, before Typing is called, until when it may show; returns the last interaction. Raises LeaseLost."""
        ...


TypingCommand = Literal["Typing", "CancelTyping"]


Permit = Callable[[], bool]
"""Whether a call may still be made. Asked again and again, so it must be quick; it must not raise."""


class TypingCalls(Protocol):
    """Switches the indicator at WeChat. See ``Channel``."""

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit) -> None: ...
