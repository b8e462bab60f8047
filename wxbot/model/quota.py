"""The quota: how many messages WeChat accepts after each user action, and how many of them remain.

Each user action sets a new number and a new end; quotas do not add up. This module does no I/O.
Source: docs/wechat.md, section "Quota".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from wxbot.model.user_actions import USER_ACTIONS, user_action_of


class Allowance(NamedTuple):
    """The number of messages that a user action allows, and the seconds within which they must be sent."""

    messages: int
    seconds: float


class Quota(NamedTuple):
    """The messages that WeChat still accepts for a user: ``remaining``, until ``expires_at`` (seconds since 1970)."""

    remaining: int
    expires_at: float

    def at(self, now: float) -> int:
        """Return the number of messages that may still be sent at ``now``."""
        return self.remaining if now < self.expires_at else 0


UNKNOWN_QUOTA = Quota(5, float("inf"))
"""The quota assumed for a user without a stored quota: the user has sent a message, which allows five replies."""

NOTHING_LEFT = Quota(0, 0.0)
ONE_FOR_EACH_PUSH = Quota(1, float("inf"))
"""The quota of an account that can only reply in the response to a push."""

Allowances = Mapping[str, Allowance]
"""The allowance of each user action."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ROW = re.compile(r"\s*(\w+)\s*=\s*(\d{1,4})\s*/\s*(\d{1,6})\s*([smhd])\s*")


def allowance_for(fields: Mapping[str, Any], allowances: Allowances) -> Allowance | None:
    """Return the allowance of the user action in a push; None if the push reports no action that has one.

    A click on an item of a ``MenuReply`` comes as text and counts as a click on the menu.
    """
    return allowances.get(user_action_of(fields))


def parse_allowances(text: str) -> Allowances:
    """Parse a table such as ``message=5/48h, enter=2/1m``. Raises ValueError, which names the row and the format."""
    allowances = {}
    for row in filter(str.strip, text.split(",")):
        found = _ROW.fullmatch(row)
        if not found or found[1] not in USER_ACTIONS:
            raise ValueError(
                f"{row.strip()!r} is not a valid quota; write for example message=5/48h, enter=2/1m"
                f" (user actions: {', '.join(USER_ACTIONS)}; time units: s, m, h, d)"
            )
        allowances[found[1]] = Allowance(int(found[2]), int(found[3]) * _SECONDS[found[4]])
    return allowances
