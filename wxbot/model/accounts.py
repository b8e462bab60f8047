"""The account kinds, and one table of the messages that each kind receives and sends.

The checks of wxbot and the table in docs/wechat.md are made from this table. Sources: docs/wechat.md, sections
"Messages and events", "Sending", "Passive answers".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Literal, NamedTuple

AccountKind = Literal["miniprogram", "official", "unverified"]
"""Mini Program; verified Official Account; Official Account without the customer-service API."""

Direction = Literal["in", "out", "typing", "passive"]
"""``in``: WeChat pushes it to the bot. ``out``: the bot sends it through the API. ``typing``: the typing indicator.
``passive``: the bot returns it in the response to a push."""

ACCOUNTS: Mapping[AccountKind, str] = {
    "miniprogram": "Mini Program",
    "official": "Official Account (verified)",
    "unverified": "Official Account (unverified)",
}
_MINI: tuple[AccountKind, ...] = ("miniprogram",)
_OFFICIAL: tuple[AccountKind, ...] = ("official",)
_UNVERIFIED: tuple[AccountKind, ...] = ("unverified",)
_BOTH_OFFICIAL: tuple[AccountKind, ...] = ("official", "unverified")
_ALL: tuple[AccountKind, ...] = ("miniprogram", "official", "unverified")
_WITH_API: tuple[AccountKind, ...] = ("miniprogram", "official")


class Capability(NamedTuple):
    """One row of the table. ``kind`` is WeChat's MsgType or msgtype, or ``event NAME``."""

    direction: Direction
    kind: str
    accounts: tuple[AccountKind, ...]


CAPABILITIES: tuple[Capability, ...] = (
    Capability("in", "text", _ALL),
    Capability("in", "image", _ALL),
    Capability("in", "miniprogrampage", _MINI),
    Capability("in", "voice", _BOTH_OFFICIAL),
    Capability("in", "video", _BOTH_OFFICIAL),
    Capability("in", "shortvideo", _BOTH_OFFICIAL),
    Capability("in", "location", _BOTH_OFFICIAL),
    Capability("in", "link", _BOTH_OFFICIAL),
    Capability("in", "event user_enter_tempsession", _MINI),
    Capability("in", "event subscribe", _BOTH_OFFICIAL),
    Capability("in", "event unsubscribe", _BOTH_OFFICIAL),
    Capability("in", "event SCAN", _BOTH_OFFICIAL),
    Capability("in", "event LOCATION", _BOTH_OFFICIAL),
    Capability("in", "event CLICK", _BOTH_OFFICIAL),
    Capability("in", "event VIEW", _BOTH_OFFICIAL),
    Capability("in", "event view_miniprogram", _BOTH_OFFICIAL),
    Capability("in", "event scancode_push", _BOTH_OFFICIAL),
    Capability("in", "event scancode_waitmsg", _BOTH_OFFICIAL),
    Capability("in", "event pic_sysphoto", _BOTH_OFFICIAL),
    Capability("in", "event pic_photo_or_album", _BOTH_OFFICIAL),
    Capability("in", "event pic_weixin", _BOTH_OFFICIAL),
    Capability("in", "event location_select", _BOTH_OFFICIAL),
    Capability("in", "event kf_create_session", _WITH_API),
    Capability("in", "event kf_close_session", _WITH_API),
    Capability("in", "event kf_switch_session", _WITH_API),
    Capability("out", "text", _WITH_API),
    Capability("out", "image", _WITH_API),
    Capability("out", "voice", _OFFICIAL),
    Capability("out", "video", _OFFICIAL),
    Capability("out", "music", _OFFICIAL),
    Capability("out", "news", _OFFICIAL),
    Capability("out", "link", _MINI),
    Capability("out", "miniprogrampage", _WITH_API),
    Capability("out", "msgmenu", _OFFICIAL),
    Capability("out", "mpnewsarticle", _OFFICIAL),
    Capability("typing", "Typing, CancelTyping", _WITH_API),
    Capability("passive", "text", _UNVERIFIED),
    Capability("passive", "image", _UNVERIFIED),
    Capability("passive", "voice", _UNVERIFIED),
    Capability("passive", "video", _UNVERIFIED),
    Capability("passive", "music", _UNVERIFIED),
    Capability("passive", "news", _UNVERIFIED),
    Capability("passive", "transfer_customer_service", _WITH_API),
)

_DIRECTION_NAMES: Mapping[Direction, str] = {
    "in": "received",
    "out": "sent",
    "typing": "shown",
    "passive": "answered to a push",
}


def kinds(direction: Direction, account: AccountKind) -> frozenset[str]:
    """Return the message kinds that ``account`` supports in ``direction``."""
    return frozenset(each.kind for each in CAPABILITIES if each.direction == direction and account in each.accounts)


def reply_kinds(account: AccountKind) -> frozenset[str]:
    """Return the message kinds that a handler of ``account`` may reply with."""
    return kinds("passive" if account == "unverified" else "out", account)


def table() -> str:
    """Return all capabilities as the Markdown table of docs/wechat.md."""
    head = ["Direction", "Kind", *ACCOUNTS.values()]
    rows = [[_DIRECTION_NAMES[each.direction], f"`{each.kind}`", *_cells(each)] for each in CAPABILITIES]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)) + "\n"


def _cells(capability: Capability) -> list[str]:
    return ["yes" if account in capability.accounts else "–" for account in ACCOUNTS]


def decode_aes_key(encoded: str) -> bytes:
    """Return the 32-byte AES key for an EncodingAESKey of 43 characters. Raises ValueError for any other text.

    The decoder is not strict, because real keys may have unused bits set in their last character.
    """
    if len(encoded) != 43 or not encoded.isascii() or not encoded.isalnum():
        raise ValueError("must be 43 characters of a-z, A-Z and 0-9, as WeChat's console shows it")
    try:
        return base64.b64decode(encoded + "=")
    except binascii.Error:
        raise ValueError("is not valid base64") from None
