"""WeChat's rules for one user: the quota, the 30-second window and the typing indicator. It does no input or output.

The source is WeChat's pages "typing" and "send" of customer-service messages (docs/wechat.md, sections "Typing
indicator" and "Quota"). The caller passes the time in seconds. These points are assumptions, because WeChat does not
document them:

* The 30-second window is open while ``now - last < 30``. The indicator shows while ``now - start < 15``.
  An allowance of 48 hours or 1 minute is valid while ``now - action < length``.
* The conditions for sending are checked first, then the window, then "already typing".
* Typing does not count against the quota and is not an interaction. Typing may follow CancelTyping at once.
* CancelTyping has the same conditions as Typing. If nothing is showing, it is accepted and has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

WINDOW = 30.0
"""The window: seconds after the last message from or to the user in which typing may be called."""
SHOWING = 15.0
"""Seconds after which the typing indicator ends by itself."""

AccountKind = Literal["miniprogram", "official", "unverified"]

OK = 0
BAD_COMMAND = 45072
WINDOW_CLOSED = 45080
ALREADY_TYPING = 45081
SEND_NOT_ALLOWED = 45015
QUOTA_EXCEEDED = 45047
TIMING_AND_QUOTA = frozenset({BAD_COMMAND, WINDOW_CLOSED, ALREADY_TYPING, SEND_NOT_ALLOWED, QUOTA_EXCEEDED})


class Allowance(NamedTuple):
    """The allowance of a user action: the number of messages, and the seconds within which they may be sent."""

    messages: int
    seconds: float


Quota = Mapping[str, Allowance]
"""The allowance by user action: "message", "enter", "menu", "subscribe", "scan"."""

_TWO_DAYS = 48 * 3600.0
_MINI_PROGRAM: Quota = {"message": Allowance(5, _TWO_DAYS), "enter": Allowance(2, 60.0)}
_OFFICIAL: Quota = {
    "message": Allowance(5, _TWO_DAYS),
    "menu": Allowance(3, 60.0),
    "subscribe": Allowance(3, 60.0),
    "scan": Allowance(3, 60.0),
}
_ACTIONS = {
    "user_enter_tempsession": "enter",
    "click": "menu",
    "scancode_push": "menu",
    "scancode_waitmsg": "menu",
    "subscribe": "subscribe",
    "scan": "scan",
}
# The events that are user actions. Other events only report something (LOCATION, kf_…, TEMPLATESENDJOBFINISH, …).
_USER_ACTIONS = frozenset(_ACTIONS) | {
    "view",
    "view_miniprogram",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
}


def allowances_of(kind: AccountKind) -> Quota:
    """Return WeChat's table of allowances for this kind of account (docs/wechat.md, "Quota")."""
    return _MINI_PROGRAM if kind == "miniprogram" else _OFFICIAL


def action_of(fields: Mapping[str, Any]) -> str:
    """Return the action of the quota table that a push reports; empty if the table does not have it.

    Clicking an item of a msgmenu arrives as a text with ``bizmsgmenuid`` and counts as a menu click.
    """
    if fields.get("MsgType") == "event":
        return _ACTIONS.get(str(fields.get("Event", "")).lower(), "")
    return "menu" if "bizmsgmenuid" in fields else "message"


def is_interaction(fields: Mapping[str, Any], events_count: bool) -> bool:
    """Return True if a push opens the 30-second window. For events it is a setting, because WeChat does not say."""
    if fields.get("MsgType") != "event":
        return True
    return events_count and str(fields.get("Event", "")).lower() in _USER_ACTIONS


@dataclass(slots=True)
class UserStatus:
    """The status of one user for the account: interaction, indicator and quota. All times are in seconds.

    ``allowed_until``: when the last allowance expires. ``messages_left``: how many messages remain of it.
    """

    last_interaction: float = -inf
    typing_since: float = -inf
    messages_left: int = 0
    allowed_until: float = -inf

    def shows_typing(self, now: float) -> bool:
        """Return True if the user sees the indicator."""
        return now - self.typing_since < SHOWING

    def user_acts(self, now: float, allowance: Allowance | None, interaction: bool) -> None:
        """Process a user action. Its allowance replaces the one before; they do not add up."""
        if interaction:
            self.last_interaction = now
        if allowance is not None:
            self.messages_left = allowance.messages
            self.allowed_until = now + allowance.seconds

    def user_leaves(self) -> None:
        """Process an unsubscription, after which nothing may be sent."""
        self.allowed_until = self.last_interaction = self.typing_since = -inf

    def may_send(self, now: float) -> int:
        """Return the errcode of a message that is sent now."""
        if now >= self.allowed_until:
            return SEND_NOT_ALLOWED
        return OK if self.messages_left > 0 else QUOTA_EXCEEDED

    def send(self, now: float) -> int:
        """Send a message and return its errcode. An accepted message ends the indicator and opens the window again."""
        errcode = self.may_send(now)
        if errcode == OK:
            self.messages_left -= 1
            self.message_received(now)
        return errcode

    def message_received(self, now: float) -> None:
        """Record that the user got a message. It ends the indicator and opens the window; the quota is unchanged."""
        self.last_interaction = now
        self.typing_since = -inf

    def typing(self, now: float, command: object) -> int:
        """Process a typing call and return its errcode."""
        errcode = self._typing_errcode(now, command)
        if errcode == OK:
            self.typing_since = now if command == "Typing" else -inf
        return errcode

    def _typing_errcode(self, now: float, command: object) -> int:
        if command not in ("Typing", "CancelTyping"):
            return BAD_COMMAND
        if errcode := self.may_send(now):
            return errcode
        if not now - self.last_interaction < WINDOW:
            return WINDOW_CLOSED
        return ALREADY_TYPING if command == "Typing" and self.shows_typing(now) else OK
