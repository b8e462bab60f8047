"""The records of FakeWeChat: everything that happened, in order; and a way to wait for a record.

One lock protects all state of one FakeWeChat: ``RecordLog.changed``, a condition that is notified of every record.
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
"""An item that a user saw: "Typing", "CancelTyping", the text of a message, or a short form ("[image cat.png]")."""

Kind = Literal["user", "push", "typing", "send", "passive", "notice", "agent", "token", "upload", "download", "other"]
_SEEN: frozenset[Kind] = frozenset({"typing", "send", "passive", "notice", "agent"})
_RECEIVED: frozenset[Kind] = frozenset({"send", "passive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record of one event on the platform. It contains no token and no secret.

    ``kind``: "user" (a user action), "push" (one attempt to deliver a push), "passive" (a passive reply), "agent" (an
    action of a human agent), "notice" (the user was told that the service is unavailable); for calls of the API
    "typing", "send", "token", "upload", "download" and "other".
    ``what``: the text, the command or a short form. ``at``: seconds by the clock. ``took``: real seconds until the
    response (for a slow fault, the injected seconds). ``errcode``: None if there was no call, or it was not processed.
    ``fault``: the injected fault. ``needless``: a CancelTyping while nothing was showing.
    ``path``: the path of an API call. ``body``: the body of an API call, or the fields of a push or passive reply.
    ``attempt``, ``outcome``, ``status``: those of a push. A rejected transfer of an event has an ``outcome`` too.
    ``exchange``: the request and response, with secrets redacted.
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
        """Return True if a bot should not have done this. Injected faults are no violations.

        Violations are a call that was rejected because of timing or quota, a needless CancelTyping, and the transfer
        of an event to human agents.
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
    """The records of one user, with counters of calls and push attempts."""

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
        self._users: defaultdict[str, UserRecords] = defaultdict(UserRecords)
        self._start = clock.now()

    def of_user(self, openid: str) -> UserRecords:
        """Return the records of one user."""
        return self._users[openid]

    def add(self, record: Record) -> None:
        """Add ``record``, call the listeners and wake all waiting threads."""
        with self.changed:
            self.records.append(record)
            if record.is_violation:
                self.violations.append(record)
            if record.openid:
                self._add_to(self._users[record.openid], record)
            for listener in tuple(self.listeners):
                listener(record)
            self.changed.notify_all()

    def wait_until(self, predicate: Callable[[], bool], timeout: float, why: str, openid: str = "") -> None:
        """Block until ``predicate`` is true. Raises AssertionError with all records after ``timeout`` real seconds."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise AssertionError(f"timed out after {timeout:g} s waiting for: {why}\n{self.as_text(openid)}")

    def wake(self) -> None:
        """Make all waiting threads check their predicates again."""
        with self.changed:
            self.changed.notify_all()

    def as_text(self, openid: str = "") -> str:
        """Return the records of one user, or of all users, as text with one line for each."""
        records = self._users[openid].records if openid else self.records
        lines = [f"  {record.at - self._start:9.3f} s  {record}" for record in records]
        return "\n".join(["what happened:", *lines]) if lines else "nothing happened"

    def _add_to(self, user: UserRecords, record: Record) -> None:
        user.records.append(record)
        user.calls += record.kind in ("typing", "send")
        user.pushes += record.kind == "push"
        if record.kind in _SEEN and record.errcode == 0:
            user.saw.append(record.what)
            if record.kind in _RECEIVED:
                user.received.append(record.body)


def short_form(kind: str, fields: Mapping[str, Any], name_of: Callable[[str], str] = str) -> str:
    """Return a short form of a message that is not text, such as "[image cat.png]": its kind and an identifying field.

    ``name_of`` returns a readable name for a media_id.
    """
    media_id = fields.get("media_id") or fields.get("MediaId")
    if media_id:
        return f"[{kind} {name_of(str(media_id))}]"
    value = next((str(fields[name]) for name in _IDENTIFYING if fields.get(name)), "")
    return f"[{kind} {value}]" if value else f"[{kind}]"


_IDENTIFYING = (
    "title",
    "Title",
    "card_id",
    "article_id",
    "head_content",
    "EventKey",
    "SessionFrom",
    "Label",
)
