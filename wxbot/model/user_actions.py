"""User actions: decide if a push is an interaction of the user, and which user action sets the quota."""

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
"""Events that count as an interaction of the user. WeChat does not document which events open the typing window. wxbot
assumes that other events do not, such as a LOCATION every few seconds or the report of a finished job."""


def is_interaction(msg_type: str, event: str) -> bool:
    """Return True if a push with this MsgType and Event is an interaction of the user with the account."""
    return msg_type.lower() != "event" or event.lower() in INTERACTING_EVENTS


def interaction_time(created_at: int, received_at: float) -> float:
    """Return when the user acted: the arrival, or CreateTime (whole seconds) if the push is late or redelivered."""
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
    """Return the user action that the ``fields`` of a push report; "" if the push reports none."""
    if str(fields["MsgType"]).lower() == "event":
        return _EVENTS.get(str(fields.get("Event", "")).lower(), "")
    return "menu" if fields.get("bizmsgmenuid") else "message"
