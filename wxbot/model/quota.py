"""How many messages WeChat lets a bot send: what each deed of the user allows, and what is left of it. Pure.

Each deed sets number and time anew; they do not add up. Source: docs/wechat.md, section "Quota".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from wxbot.model.accounts import AccountKind
from wxbot.model.user_actions import USER_ACTIONS, user_action_of


class Allowance(NamedTuple):
    """What a deed allows: so many messages, within so many seconds."""

    messages: int
    seconds: float


class Quota(NamedTuple):
    """The messages that WeChat still accepts for a user: ``remaining``, until ``expires_at`` (seconds since 1970)."""

    remaining: int
    expires_at: float

    def at(self, now: float) -> int:
        """How many messages may still be sent at ``now``."""
        return self.remaining if now < self.expires_at else 0


UNKNOWN_QUOTA = Quota(5, float("inf"))
"""What is believed of a user of whom nothing is known: a message of theirs is here, so they have written."""

NOTHING_LEFT = Quota(0, 0.0)
ONE_FOR_EACH_PUSH = Quota(1, float("inf"))
"""An account that only answers pushes."""

Allowances = Mapping[str, Allowance]
"""The allowance of each deed."""

_TWO_DAYS = 48 * 3600.0
_BRIEFLY = Allowance(3, 60.0)
ALLOWANCES: Mapping[AccountKind, Allowances] = {
    "miniprogram": {"message": Allowance(5, _TWO_DAYS), "enter": Allowance(2, 60.0)},
    "official": {
        "message": Allowance(5, _TWO_DAYS),
        "menu": _BRIEFLY,
        "subscribe": _BRIEFLY,
        "scan": _BRIEFLY,
    },
    "unverified": {},
}
"""WeChat's tables. An unverified account sends nothing: it answers pushes."""


def allowances_of(account: AccountKind) -> Allowances:
    """What deeds allow to be sent by ``account``.

    Mini Programs and Official Accounts have no deed in common but the message. So one table serves both, and a bot
    that was not told which of them it is welcomes followers too.
    """
    return {**ALLOWANCES["miniprogram"], **ALLOWANCES["official"]} if ALLOWANCES[account] else {}


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ROW = re.compile(r"\s*(\w+)\s*=\s*(\d{1,4})\s*/\s*(\d{1,6})\s*([smhd])\s*")


def allowance_for(fields: Mapping[str, Any], quota: Allowances) -> Allowance | None:
    """What the deed that a push reports allows; None if it is none in the sense of the quota.

    A click on an item of a ``MenuReply`` comes as text, and counts as a click on the menu.
    """
    return quota.get(user_action_of(fields))


def parse_allowances(text: str) -> Allowances:
    """A table written as ``message=5/48h, enter=2/1m``. Raises ValueError that names the row and the form."""
    quota = {}
    for row in filter(str.strip, text.split(",")):
        found = _ROW.fullmatch(row)
        if not found or found[1] not in USER_ACTIONS:
            raise ValueError(
                f"{row.strip()!r} is no row of a quota: write such as message=5/48h, enter=2/1m"
                f" (deeds: {', '.join(USER_ACTIONS)}; times in s, m, h, d)"
            )
        quota[found[1]] = Allowance(int(found[2]), int(found[3]) * _SECONDS[found[4]])
    return quota
