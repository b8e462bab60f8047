"""The kinds of account, and what each of them can do. Another kind of account is one more row of ``ACCOUNTS``.

The checks of wxbot and the table in docs/wechat.md are made from these rows. Sources: docs/wechat.md, sections
"Messages and events", "Sending", "Passive replies", "Quota".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from wxbot.model.quota import ONE_FOR_EACH_PUSH, UNKNOWN_QUOTA, Allowance, Allowances, Quota

AccountKind = str
"""A key of ``ACCOUNTS``."""


@dataclass(frozen=True, slots=True)
class Account:
    """A kind of account, and what it can do.

    ``receives`` and ``sends``: WeChat's MsgType or msgtype, or ``event NAME``. ``allowances``: the quota that each user
    action sets; ``unknown_quota``: the quota of a user who is not known yet.
    """

    title: str
    receives: tuple[str, ...]
    sends: tuple[str, ...]
    allowances: Allowances
    unknown_quota: Quota = UNKNOWN_QUOTA
    is_passive: bool = False
    """Replies are possible only in the response to a push."""
    has_typing: bool = False
    """There is a typing indicator."""
    has_ai_mark: bool = True
    """A message can be marked as made by AI."""
    has_agents: bool = False
    """Human agents can handle a user."""
    names_agents: bool = False
    """A message or a handover can name one agent."""
    has_pages: bool = False
    """A card can open pages of the account itself, because it is a Mini Program."""
    recognizes_repeats: bool = False
    """A message that is sent again with the same id reaches the user once."""


_TWO_DAYS = 48 * 3600.0
_ONE_MINUTE = Allowance(3, 60.0)
_ALLOWANCES: Allowances = {
    "message": Allowance(5, _TWO_DAYS),
    "enter": Allowance(2, 60.0),
    "menu": _ONE_MINUTE,
    "subscribe": _ONE_MINUTE,
    "scan": _ONE_MINUTE,
}
"""WeChat's quota tables. Mini Programs and Official Accounts share one table, because the message is the only user
action that both have. So a bot whose account kind is not configured can also reply to new followers."""

_AGENT_EVENTS = ("event kf_create_session", "event kf_close_session", "event kf_switch_session")
_OFFICIAL_RECEIVES = (
    *("text", "image", "voice", "video", "shortvideo", "location", "link"),
    *("event subscribe", "event unsubscribe", "event SCAN", "event LOCATION", "event CLICK", "event VIEW"),
    *("event view_miniprogram", "event scancode_push", "event scancode_waitmsg", "event pic_sysphoto"),
    *("event pic_photo_or_album", "event pic_weixin", "event location_select"),
)

ACCOUNTS: dict[AccountKind, Account] = {
    "miniprogram": Account(
        "Mini Program",
        receives=("text", "image", "miniprogrampage", "event user_enter_tempsession", *_AGENT_EVENTS),
        sends=("text", "image", "link", "miniprogrampage"),
        allowances=_ALLOWANCES,
        has_typing=True,
        has_agents=True,
        has_pages=True,
    ),
    "official": Account(
        "Official Account (verified)",
        receives=(*_OFFICIAL_RECEIVES, *_AGENT_EVENTS),
        sends=(
            *("text", "image", "voice", "video", "music", "news", "miniprogrampage"),
            *("msgmenu", "mpnewsarticle"),
        ),
        allowances=_ALLOWANCES,
        has_typing=True,
        has_agents=True,
        names_agents=True,
    ),
    "unverified": Account(
        "Official Account (unverified)",
        receives=_OFFICIAL_RECEIVES,
        sends=("text", "image", "voice", "video", "music", "news"),
        allowances={},
        unknown_quota=ONE_FOR_EACH_PUSH,
        is_passive=True,
        has_ai_mark=False,
        names_agents=True,
    ),
}


Direction = Literal["in", "out", "typing", "passive"]
"""``in``: WeChat pushes it to the bot. ``out``: the bot sends it through the API. ``typing``: the typing indicator.
``passive``: the bot returns it in the response to a push."""


class Capability(NamedTuple):
    """One row of the table in docs/wechat.md. ``kind`` is WeChat's MsgType or msgtype, or ``event NAME``."""

    direction: Direction
    kind: str
    accounts: tuple[AccountKind, ...]


def capabilities() -> list[Capability]:
    """Return all capabilities, each with the kinds of account that have it."""
    found: dict[tuple[Direction, str], list[AccountKind]] = {}
    for name, account in ACCOUNTS.items():
        for each in _capabilities_of(account):
            found.setdefault(each, []).append(name)
    order = list(_DIRECTION_NAMES)
    rows = [Capability(direction, kind, tuple(accounts)) for (direction, kind), accounts in found.items()]
    return sorted(rows, key=lambda row: order.index(row.direction))


def _capabilities_of(account: Account) -> Iterator[tuple[Direction, str]]:
    for kind in account.receives:
        yield "in", kind
    for kind in account.sends:
        yield "passive" if account.is_passive else "out", kind
    if account.has_typing:
        yield "typing", "Typing, CancelTyping"
    if account.has_agents:
        yield "passive", "transfer_customer_service"


_DIRECTION_NAMES: dict[Direction, str] = {
    "in": "received",
    "out": "sent",
    "typing": "shown",
    "passive": "answered to a push",
}


def table() -> str:
    """Return all capabilities as the Markdown table of docs/wechat.md."""
    head = ["Direction", "Kind", *(account.title for account in ACCOUNTS.values())]
    rows = [[_DIRECTION_NAMES[each.direction], f"`{each.kind}`", *_cells(each)] for each in capabilities()]
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
