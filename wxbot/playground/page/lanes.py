"""The lanes of one user: the open window, the indicator, processing, replies and refused calls over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from wxbot.playground.page.rows import Entry
from wxbot.testing.rules import SHOWING, WINDOW

Bar = dict[str, Any]


def lanes_of(openid: str, entries: Sequence[Entry], now: float) -> list[dict[str, Any]]:
    """Return the lanes of one user. Times are those of the rows. ``to`` is None if the bar has not ended."""
    own = [entry for entry in entries if entry.record.openid == openid]
    return [
        {"lane": "user", "bars": [_point(entry) for entry in own if entry.record.kind == "user"]},
        {"lane": "window", "bars": list(_periods(own, now, WINDOW, "last_interaction"))},
        {"lane": "work", "bars": list(_work(own, now))},
        {"lane": "typing", "bars": list(_periods(own, now, SHOWING, "typing_since"))},
        {"lane": "reply", "bars": [_point(entry) for entry in own if _is_reply(entry)]},
        {
            "lane": "refused",
            "bars": [
                _point(entry) for entry in own if entry.record.kind in ("send", "typing") and entry.record.errcode
            ],
        },
    ]


def _point(entry: Entry) -> Bar:
    return _bar(entry, entry.row["at"])


def _bar(entry: Entry, to: float | None) -> Bar:
    return {"from": entry.row["at"], "to": to, "label": _label(entry), "n": entry.row["n"]}


def _label(entry: Entry) -> str:
    row = entry.row
    what: str = row["what"]
    return f"{what} ({row['errcode']} {row['errmsg']})" if row["errcode"] else what


def _is_reply(entry: Entry) -> bool:
    return entry.record.kind in ("send", "passive", "agent", "notice") and entry.record.errcode == 0


def _periods(own: Sequence[Entry], now: float, length: float, since: str) -> Iterator[Bar]:
    """Yield bars that last ``length`` seconds, unless a later entry restarts or ends them."""
    began, beginning = None, -math.inf
    for entry in own:
        start = getattr(entry.standing, since, -math.inf)
        if start == beginning:
            continue
        if began is not None:
            yield _bar(began, min(began.row["at"] + length, entry.row["at"]))
        began, beginning = (None if math.isinf(start) else entry), start
    if began is not None:
        end = began.row["at"] + length
        yield _bar(began, end if end <= now else None)


def _work(own: Sequence[Entry], now: float) -> Iterator[Bar]:
    """Yield bars from the acknowledgment of a push to the bot's last call before the user's next action.

    A quick bot makes its calls before its acknowledgment has been read.
    """
    acknowledged: Entry | None = None
    last: Entry | None = None
    for entry in own:
        kind = entry.record.kind
        if kind == "user":
            if acknowledged is not None and last is not None:
                yield _bar(acknowledged, max(acknowledged.row["at"], last.row["at"]))
                acknowledged = None
            last = None
        elif kind == "push" and entry.record.outcome == "success" and acknowledged is None:
            acknowledged = entry
        elif kind in ("send", "typing", "passive"):
            last = entry
    if acknowledged is not None:
        yield _bar(acknowledged, _end_of_work(acknowledged, last, now))


def _end_of_work(acknowledged: Entry, last: Entry | None, now: float) -> float | None:
    """Return the end of the bot's work, or None while it seems to be working. Only the bot knows for certain."""
    began: float = acknowledged.row["at"]
    if last is None:
        return None if now - began < WINDOW else began
    is_typing = last.record.kind == "typing" and last.record.what == "Typing"
    return None if is_typing and now - last.row["at"] < SHOWING else max(began, last.row["at"])
