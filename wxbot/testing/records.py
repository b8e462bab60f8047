"""The memory of FakeWeChat: every exchange in order, what each user saw, and a way to wait for it.

One lock guards all state of one FakeWeChat: ``RecordLog.changed``, a condition that is notified of every record.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from wxbot.testing.clock import Clock
from wxbot.testing.exchange import Exchange
from wxbot.testing.rules import TIMING_AND_QUOTA

Saw: TypeAlias = str
"""One thing a user saw: "Typing", "CancelTyping", the text of a message, or a short form such as "[image cat.png]"."""

Kind = Literal["user", "push", "typing", "send", "passive", "notice", "agent", "token", "upload", "download", "other"]
_SEEN: frozenset[Kind] = frozenset({"typing", "send", "passive", "notice", "agent"})
_RECEIVED: frozenset[Kind] = frozenset({"send", "passive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened. Holds no token and no secret.

    ``kind``: "user" (the user did something), "push" (one attempt to deliver it), "typing", "send", "token",
    "upload", "download" and "other" (calls of the API), "passive" (a passive answer), "agent" (what a human agent
    did), "notice" (the user was told that there is no service).
    ``what``: the text, the command or a short form. ``at``: seconds by the clock; ``took``: real seconds of the answer
    (for a slow fault the seconds ordered). ``errcode``: None where WeChat did nothing or was not asked.
    ``fault``: the ordered fault. ``needless``: CancelTyping while nothing was showing. ``path`` and ``body``: of an API
    call, or the fields of the push or passive answer. ``attempt``, ``outcome``, ``status``: of a push
    (``outcome`` also of the transfer of an event, which is refused). ``exchange``: what went over the wire.
    """

    at: float
    kind: Kind
    what: str
    openid: str = ""
    name: str = ""
    errcode: int | None = None
    errmsg: str = ""
    took: float = 0.0
    fault: str = ""
    needless: bool = False
    path: str = ""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    attempt: int = 0
    outcome: str = ""
    status: int | None = None
    exchange: Exchange | None = field(default=None, repr=False)

    @property
    def is_violation(self) -> bool:
        """What a bot should not do: a call the rules of timing or quota refused, a CancelTyping for nothing, the
        transfer of an event. Ordered faults are none.
        """
        if self.kind == "passive" and self.outcome:
            return True
        refused = self.kind in ("typing", "send") and self.errcode in TIMING_AND_QUOTA
        return self.needless or (refused and not self.fault.startswith("errcode"))

    def __str__(self) -> str:
        parts = [f"{self.name or self.openid or '-'}:", self.kind, repr(self.what)]
        if self.errcode is not None:
            parts.append(f"-> {self.errcode} {self.errmsg}".rstrip())
        if self.kind == "push":
            parts.append(f"attempt {self.attempt}: {self.outcome} {self.status or ''}".rstrip())
        elif self.outcome:
            parts.append(self.outcome)
        if self.fault:
            parts.append(f"({self.fault})")
        if self.needless:
            parts.append("(needless)")
        return " ".join(parts)


@dataclass(slots=True)
class UserRecords:
    """What concerns one user."""

    records: list[Record] = field(default_factory=list)
    saw: list[Saw] = field(default_factory=list)
    received: list[Mapping[str, Any]] = field(default_factory=list)
    calls: int = 0
    pushes: int = 0


class RecordLog:
    """All records of one FakeWeChat."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.listeners: list[Callable[[Record], None]] = []
        self.records: list[Record] = []
        self.violations: list[Record] = []
        self._diaries: defaultdict[str, UserRecords] = defaultdict(UserRecords)
        self._start = clock.now()

    def of_user(self, openid: str) -> UserRecords:
        """The diary of one user."""
        return self._diaries[openid]

    def add(self, record: Record) -> None:
        """Remember ``record``, tell the listeners and wake who waits for it."""
        with self.changed:
            self.records.append(record)
            if record.is_violation:
                self.violations.append(record)
            if record.openid:
                self._note(self._diaries[record.openid], record)
            for listener in tuple(self.listeners):
                listener(record)
            self.changed.notify_all()

    def wait_until(self, predicate: Callable[[], bool], timeout: float, why: str, openid: str = "") -> None:
        """Block for at most ``timeout`` real seconds; AssertionError with the whole story if it does not come true."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise AssertionError(f"after {timeout:g} s still not: {why}\n{self.as_text(openid)}")

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self.changed:
            self.changed.notify_all()

    def as_text(self, openid: str = "") -> str:
        """The timeline of one user, or of all, one line for each record."""
        records = self._diaries[openid].records if openid else self.records
        lines = [f"  {record.at - self._start:9.3f} s  {record}" for record in records]
        return "\n".join(["what happened:", *lines]) if lines else "nothing happened"

    def _note(self, diary: UserRecords, record: Record) -> None:
        diary.records.append(record)
        diary.calls += record.kind in ("typing", "send")
        diary.pushes += record.kind == "push"
        if record.kind in _SEEN and record.errcode == 0:
            diary.saw.append(record.what)
            if record.kind in _RECEIVED:
                diary.received.append(record.body)


def short_form(kind: str, fields: Mapping[str, Any], name_of: Callable[[str], str] = str) -> str:
    """A message that is not text in one short word: its kind and what identifies it best.

    ``name_of`` turns a media_id into what a reader knows the file by.
    """
    media_id = fields.get("media_id") or fields.get("MediaId")
    if media_id:
        return f"[{kind} {name_of(str(media_id))}]"
    what = next((str(fields[name]) for name in _TELLING if fields.get(name)), "")
    return f"[{kind} {what}]" if what else f"[{kind}]"


_TELLING = (
    "title",
    "Title",
    "card_id",
    "article_id",
    "head_content",
    "EventKey",
    "SessionFrom",
    "Label",
)
