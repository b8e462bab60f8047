"""Proactive messages: the checks of a message that another system or a plugin sends."""

from __future__ import annotations

from typing import Any

from wxbot.errors import NotNow, PushRefused
from wxbot.model.quota import Budget

LONGEST_KEY = 128
"""Characters of an idempotency key."""


def _is_name(text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_KEY and text.isprintable()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise PushRefused("a key appears twice in the body")
    return fields


def _dedup_key(key: str) -> str:
    """As ``wxbot.wechat.push.callback.dedup_key``, which begins otherwise."""
    return f"s:{key}"


def _check_budget(budget: Budget | None, now: float) -> None:
    if budget is None:
        raise NotNow("nothing is known of this user: they must write to the account first")
    if now >= budget.until:
        raise NotNow("the time in which this user may be written to is over: they must write again")
    if budget.left <= 0:
        raise NotNow("all messages that this user's last action allows are sent: they must write again")
