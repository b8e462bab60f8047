"""WeChat's rules for one user, pure: who may be sent what, and when the typing indicator may be switched.

The facts are those of the pages "typing" and "send" of WeChat's customer-service messages (docs/wechat.md,
sections "Typing indicator" and "Quota"). The time is always passed in, in seconds. Chosen where WeChat is silent:

* the window of 30 s is open while ``now - last < 30``; the indicator shows while ``now - start < 15``;
  an allowance of 48 h or 1 min holds while ``now - action < length``;
* the conditions for sending are looked at before the window, and the window before "already typing";
* Typing takes nothing from the quota and is no interaction; CancelTyping, then Typing may follow at once;
* CancelTyping is bound to the same conditions as Typing; with nothing showing it is accepted and does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, NamedTuple

WINDOW = 30.0
"""Seconds after the last message from or to the user in which typing may be called."""
SHOWING = 15.0
"""Seconds after which Typing ends by itself."""

AccountKind = Literal["miniprogram", "official", "unverified"]

OK = 0
BAD_COMMAND = 45072
WINDOW_SHUT = 45080
ALREADY_TYPING = 45081
MAY_NOT_WRITE = 45015
QUOTA_SPENT = 45047
TIMING_AND_QUOTA = frozenset({BAD_COMMAND, WINDOW_SHUT, ALREADY_TYPING, MAY_NOT_WRITE, QUOTA_SPENT})


class Allowance(NamedTuple):
    """What an action of the user allows: that many messages, within that many seconds."""

    messages: int
    seconds: float


Quota = Mapping[str, Allowance]
"""Allowance by action: "message", "enter", "menu", "subscribe", "scan"."""

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
# What a user does with the account, as against what is only reported (LOCATION, kf_…, TEMPLATESENDJOBFINISH, …).
_DEEDS = frozenset(_ACTIONS) | {
    "view",
    "view_miniprogram",
    "pic_sysphoto",
    "pic_photo_or_album",
    "pic_weixin",
    "location_select",
}


def allowances_of(kind: AccountKind) -> Quota:
    """WeChat's table of allowances for an account of this kind (docs/wechat.md, "Quota")."""
    return _MINI_PROGRAM if kind == "miniprogram" else _OFFICIAL


def action_of(fields: Mapping[str, Any]) -> str:
    """The action in the sense of the quota table that a push reports; empty if it is none.

    Clicking an item of a msgmenu arrives as a text with ``bizmsgmenuid`` and counts as a menu click.
    """
    if fields.get("MsgType") == "event":
        return _ACTIONS.get(str(fields.get("Event", "")).lower(), "")
    return "menu" if "bizmsgmenuid" in fields else "message"


def is_interaction(fields: Mapping[str, Any], events_count: bool) -> bool:
    """Whether a push opens the 30 s window. Messages do; for events WeChat does not say, so it is a setting."""
    if fields.get("MsgType") != "event":
        return True
    return events_count and str(fields.get("Event", "")).lower() in _DEEDS


@dataclass(slots=True)
class UserStatus:
    """How one user stands with the account."""

    last_interaction: float = -inf
    typing_since: float = -inf
    messages_left: int = 0
    allowed_until: float = -inf

    def shows_typing(self, now: float) -> bool:
        """Whether the user sees the indicator."""
        return now - self.typing_since < SHOWING

    def user_acts(self, now: float, allowance: Allowance | None, interaction: bool) -> None:
        """The user did something. An allowance replaces the one before; it does not add up."""
        if interaction:
            self.last_interaction = now
        if allowance is not None:
            self.messages_left = allowance.messages
            self.allowed_until = now + allowance.seconds

    def user_leaves(self) -> None:
        """The user unfollowed: nothing may be sent any more."""
        self.allowed_until = self.last_interaction = self.typing_since = -inf

    def may_send(self, now: float) -> int:
        """errcode of a message sent now."""
        if now >= self.allowed_until:
            return MAY_NOT_WRITE
        return OK if self.messages_left > 0 else QUOTA_SPENT

    def send(self, now: float) -> int:
        """A message to the user: if it is accepted it ends the indicator and opens the window again."""
        errcode = self.may_send(now)
        if errcode == OK:
            self.messages_left -= 1
            self.reached(now)
        return errcode

    def reached(self, now: float) -> None:
        """A message came to the user (sent, or as a passive answer, which takes nothing from the quota)."""
        self.last_interaction = now
        self.typing_since = -inf

    def typing(self, now: float, command: object) -> int:
        """errcode of a typing call now; an accepted one has its effect."""
        errcode = self._may_switch(now, command)
        if errcode == OK:
            self.typing_since = now if command == "Typing" else -inf
        return errcode

    def _may_switch(self, now: float, command: object) -> int:
        if command not in ("Typing", "CancelTyping"):
            return BAD_COMMAND
        if errcode := self.may_send(now):
            return errcode
        if not now - self.last_interaction < WINDOW:
            return WINDOW_SHUT
        return ALREADY_TYPING if command == "Typing" and self.shows_typing(now) else OK
