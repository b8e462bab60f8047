"""The rows of the timeline: each record of the platform, with its details and the user's status at that moment."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wxbot.playground.page.bubbles import bubble_of
from wxbot.testing import FakeWeChat, Record, User
from wxbot.testing.exchange import MAX_STORED_BYTES, Exchange, HttpMessage
from wxbot.testing.rules import SHOWING, WINDOW, UserStatus

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A record, the user's status right after it (None if it concerns no user), and the row that shows it."""

    record: Record
    standing: UserStatus | None
    row: Json


class RowLog:
    """The rows of one FakeWeChat from now on. ``entries`` only grows and may be read from any thread."""

    def __init__(self, wechat: FakeWeChat, began: float) -> None:
        self.entries: list[Entry] = []
        self._wechat = wechat
        self._began = began

    def add(self, record: Record) -> None:
        """Add a row. Called under the platform's lock."""
        platform = self._wechat.platform
        standing = platform.status_of(record.openid) if platform.knows(record.openid) else None
        row = self._row(len(self.entries), record)
        self.entries.append(Entry(record, standing, row))

    def add_control(self, what: str) -> None:
        """Add a row for a control that was used. May be called from any thread."""
        memory = self._wechat.record_log
        with memory.changed:
            record = Record(at=self._wechat.clock.now(), kind="other", what=what)
            row = self._row(len(self.entries), record) | {"kind": "control"}
            self.entries.append(Entry(record, None, row))

    def _row(self, number: int, record: Record) -> Json:
        over = self._wechat.platform.redactor.redact
        row: Json = {
            "n": number,
            "at": round(record.at - self._began, 4),
            "kind": record.kind,
            "user": record.name,
            "what": over(_MEDIA_ID.sub(r"[\1]", record.what)),
            "errcode": record.errcode,
            "errmsg": record.errmsg,
            "ms": round(record.took * 1000, 1),
            "fault": record.fault,
            "needless": record.needless,
            "violation": record.is_violation,
            "attempt": record.attempt,
            "outcome": over(record.outcome),
            "status": record.status,
            "form": _form(record.exchange),
            "encrypted": _is_encrypted(record),
            "path": over(record.path),
            "has_details": record.exchange is not None or bool(record.body),
        }
        bubble = bubble_of(record)
        return {**row, "bubble": _each_text(bubble, over)} if bubble else row

    def details(self, number: int) -> Json:
        """Return all details of one row. Raises IndexError if there is no such row."""
        if number < 0:
            raise IndexError(number)
        entry = self.entries[number]
        exchange = entry.record.exchange
        return {
            "row": entry.row,
            "request": _side(exchange.request) if exchange else None,
            "response": _side(exchange.answer) if exchange and exchange.answer else None,
            "plaintext": exchange.clear if exchange else None,
            "response_plaintext": exchange.answer_clear if exchange else None,
            "fields": _each_text(_exact(entry.record.body), self._wechat.platform.redactor.redact) or None,
        }


def user_state(wechat: FakeWeChat, user: User, began: float, follows: bool) -> Json:
    """Return the user's status at the account, for display."""
    standing = wechat.platform.status_of(user.openid)
    typing_until = standing.typing_since + SHOWING
    return {
        "name": user.name,
        "openid": user.openid,
        "window_until": _seconds(standing.last_interaction + WINDOW, began),
        "typing_until": _seconds(typing_until, began),
        "replies_left": standing.messages_left,
        "replies_until": _seconds(standing.allowed_until, began),
        "agent": user.agent,
        "queued": user.is_queued,
        "follows": follows,
    }


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return ``value`` with ``change`` applied to every text in it. Keys are not changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(each, change) for each in value]
    return {name: _each_text(each, change) for name, each in value.items()} if isinstance(value, dict) else value


def _exact(value: Any) -> Any:
    """Return ``value`` so that JavaScript reads it exactly: it rounds a MsgId, and JSON has no NaN and no Infinity."""
    if isinstance(value, Mapping):
        return {name: _exact(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_exact(each) for each in value]
    is_inexact = isinstance(value, int) and abs(value) >= _EXACT
    is_no_number = isinstance(value, float) and not math.isfinite(value)
    return str(value) if is_inexact or is_no_number else value


_EXACT = 2**53
_MEDIA_ID = re.compile(r"\[(\w+) [A-Za-z0-9_-]{64}\]")
"""A file with a media_id. The id is removed, because it tells the reader nothing."""


def _seconds(at: float, began: float) -> float | None:
    return None if math.isinf(at) else round(at - began, 4)


def _form(exchange: Exchange | None) -> str:
    """Return "JSON" or "XML" according to the sender, or ""."""
    if exchange is None:
        return ""
    kind = dict(exchange.request.headers).get("Content-Type", "")
    if "xml" in kind:
        return "XML"
    return "JSON" if "json" in kind or exchange.request.body[:1] == b"{" else ""


def _is_encrypted(record: Record) -> bool | None:
    if record.kind != "push" or record.exchange is None:
        return None
    return record.exchange.clear is not None


def _side(side: HttpMessage) -> Json:
    try:
        text, is_binary = side.body.decode(), False
    except UnicodeDecodeError as error:
        is_cut_inside = side.size > MAX_STORED_BYTES and error.start > len(side.body) - 4
        is_binary = not is_cut_inside
        text = side.body[:2048].hex(" ") if is_binary else side.body[: error.start].decode()
    return {
        "line": side.line,
        "headers": [list(header) for header in side.headers],
        "body": text,
        "bytes": side.size,
        "cut": side.size > MAX_STORED_BYTES or is_binary,
        "binary": is_binary,
    }
