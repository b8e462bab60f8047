"""The actions by which a user turns to the account: what counts as an interaction, and as an action of the quota."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

INTERACTING_EVENTS = frozenset(
    {
        "user_enter_tempsession",
        "subscribe",
        "scan",
        "click",
        "view",
        "view_miniprogram",
        "scancode_push",
        "scancode_waitmsg",
        "pic_sysphoto",
        "pic_photo_or_album",
        "pic_weixin",
        "location_select",
    }
)
"""Events in which the user turns to the account. WeChat does not say which ones open the window; others, such as a
LOCATION sent every few seconds or a report of a finished job, are taken not to."""


def is_interaction(msg_type: str, event: str) -> bool:
    """Whether a push of this MsgType and Event means that the user acted towards the account."""
    return msg_type.lower() != "event" or event.lower() in INTERACTING_EVENTS


def interaction_time(created_at: int, received_at: float) -> float:
    """When the user acted: the arrival, or CreateTime (whole seconds) where a push comes late or comes again."""
    return received_at if received_at < created_at + 1 else float(created_at)


UserAction = Literal["message", "enter", "menu", "subscribe", "scan"]


USER_ACTIONS: tuple[UserAction, ...] = ("message", "enter", "menu", "subscribe", "scan")
_EVENTS: Mapping[str, UserAction] = {
    "user_enter_tempsession": "enter",
    "click": "menu",
    "scancode_push": "menu",
    "scancode_waitmsg": "menu",
    "subscribe": "subscribe",
    "scan": "scan",
}


def user_action_of(fields: Mapping[str, Any]) -> str:
    if str(fields["MsgType"]).lower() == "event":
        return _EVENTS.get(str(fields.get("Event", "")).lower(), "")
    return "menu" if fields.get("bizmsgmenuid") else "message"
