"""A SQLite store read out and filled as a whole, for ``python -m wxbot store copy``.

Uploaded media and passive answers are left out: files are uploaded again, and nobody waits for an answer any more.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wxbot.errors import CopyFailed, StoreUnavailable
from wxbot.store.copying_port import AccountStatus, DedupRecord, Kind, StoredConversation, StoredMessage, StoredRecord
from wxbot.store.records import Retention
from wxbot.store.sqlite.inbox import Terms
from wxbot.store.sqlite.schema import ANSWERED, DEAD, WAITING, prepare, to_json
from wxbot.store.sqlite.writer import SqliteWriter

SLICE = 500
"""So many rows in one transaction: bots of other accounts in the same file get their turn in between."""
CACHE_KIB = 64 * 1024
_KIND_OF_STATUS: dict[int, Kind] = {WAITING: "waiting", ANSWERED: "traces", DEAD: "dead"}


class SqliteBulkStore:
    """wxbot.store.copying_port.BulkStore on one SQLite file. The arguments are those of ``SqliteStore``."""

    def __init__(self, path: Path, *, full_sync: bool = True, retention: Retention | None = None) -> None:
        self._path = path
        self._writer = SqliteWriter(path, full_sync=full_sync)
        self._retention = retention or Retention()

    def open(self, *, create: bool) -> None:
        if not create and not self._path.exists():
            raise StoreUnavailable(f"there is no file {self._path}")
        self._writer.open(_prepare)

    def close(self) -> None:
        self._writer.stop()

    async def identity(self) -> str:
        return await self._writer.submit(_identity, durable=False)

    async def accounts(self) -> Sequence[str]:
        return await self._writer.submit(_accounts, durable=False)

    async def standing(self, appid: str, now: float) -> AccountStatus:
        return await self._writer.submit(lambda db: _standing(db, appid, now), durable=False)

    async def contents(self, appid: str) -> Counter[Kind]:
        return await self._writer.submit(lambda db: _contents(db, appid), durable=False)

    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        last_seq = 0
        while messages := await self._writer.submit(partial(self._messages, appid, last_seq), durable=False):
            yield messages
            last_seq = messages[-1].seq
        last_openid = ""
        while known := await self._writer.submit(partial(self._conversations, appid, last_openid), durable=False):
            yield known
            last_openid = known[-1].openid

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        if not await self._writer.submit(lambda db: _begin(db, appid, copy, last_seq)):
            return False
        while await self._writer.submit(lambda db: _clear_some(db, appid, copy), durable=False):
            pass
        return True

    async def restore(self, appid: str, copy: str, kept: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        return await self._writer.submit(lambda db: self._restore(db, appid, copy, kept), durable=False)

    async def end(self, appid: str, copy: str) -> None:
        await self._writer.submit(lambda db: _end(db, appid, copy))  # its fsync is that of all slices before it

    # On the writer's thread

    def _messages(self, appid: str, last_seq: int, db: sqlite3.Connection) -> list[StoredMessage | DedupRecord]:
        rows = db.execute(
            "SELECT seq, openid, dedup_key, received_at, status, fields, attempts, sent, unsent, died_at, reason"
            " FROM inbox WHERE seq > ? AND +appid = ? ORDER BY seq LIMIT ?",  # +: by seq, not by the account's index
            (last_seq, appid, SLICE),
        )
        return [self._message(*row) for row in rows]

    def _message(
        self, seq: int, openid: str, dedup_key: str, received_at: float, status: int, *facts: Any
    ) -> StoredMessage | DedupRecord:
        if status == ANSWERED:
            return DedupRecord(seq, openid, dedup_key, received_at + self._retention.dedup_seconds)
        fields, attempts, sent, unsent, died_at, reason = facts
        return StoredMessage(
            seq,
            openid,
            dedup_key,
            json.loads(fields),
            received_at,
            attempts,
            sent,
            tuple(json.loads(unsent)),
            died_at if status == DEAD else None,
            reason or "",
            died_at + self._retention.dead_letter_seconds if status == DEAD else None,
        )

    def _conversations(self, appid: str, last_openid: str, db: sqlite3.Connection) -> list[StoredConversation]:
        rows = db.execute(
            "SELECT openid, interacted_at, typing_until, state, next_at,"
            " budget_left, budget_until, handed_over_until, agent FROM conversations"
            " WHERE appid = ? AND openid > ? ORDER BY openid LIMIT ?",
            (appid, last_openid, SLICE),
        )
        return [self._conversation(*row) for row in rows]

    def _conversation(
        self, openid: str, interacted_at: float, typing_until: float, state: str, next_at: float | None, *columns: Any
    ) -> StoredConversation:
        kept, terms = self._retention, Terms.read(*columns)
        seconds = kept.dedup_seconds if state == "{}" else max(kept.state_seconds, kept.dedup_seconds)
        ends = (interacted_at + seconds, terms.active_handover.until, terms.quota.expires_at if terms.quota else 0.0)
        forget_at = max(ends) if next_at is None else None
        return StoredConversation(openid, interacted_at, typing_until, json.loads(state), next_at, forget_at, *terms)

    def _restore(self, db: sqlite3.Connection, appid: str, copy: str, kept: Sequence[StoredRecord]) -> list[bool]:
        base = _base(db, appid, copy)
        return [self._restore_one(db, appid, base, each) for each in kept]

    def _restore_one(self, db: sqlite3.Connection, appid: str, base: int, kept: StoredRecord) -> bool:
        if isinstance(kept, StoredConversation):
            return _insert(
                db,
                "conversations (appid, openid, interacted_at, typing_until, state, next_at,"
                " budget_left, budget_until, handed_over_until, agent)",
                *(appid, kept.openid, kept.interacted_at, kept.typing_until, to_json(kept.state), kept.next_at),
                *Terms(kept.quota, kept.active_handover).columns(),
            )
        seen = (appid, base + kept.seq, kept.openid, kept.dedup_key)
        if isinstance(kept, DedupRecord):
            received_at = kept.forget_at - self._retention.dedup_seconds  # the time by which it is forgotten here
            place = "inbox (appid, seq, openid, dedup_key, fields, received_at, status)"
            return _insert(db, place, *seen, "", received_at, ANSWERED)
        return _insert(
            db,
            "inbox (appid, seq, openid, dedup_key, fields, received_at, status, attempts, sent, unsent, reason,"
            " died_at)",
            *(*seen, to_json(kept.fields), kept.received_at, WAITING if kept.died_at is None else DEAD),
            *(kept.attempts, kept.sent, to_json(kept.unsent), kept.reason, kept.died_at),
        )


def _prepare(db: sqlite3.Connection) -> None:
    prepare(db)
    db.execute(f"PRAGMA cache_size = {-CACHE_KIB}")  # it is filled in no order, and every page is met many times
    db.execute(f"PRAGMA wal_autocheckpoint = {CACHE_KIB // 4}")  # in pages of 4 KiB


def _insert(db: sqlite3.Connection, place: str, *values: Any) -> bool:
    marks = ", ".join("?" * len(values))
    return db.execute(f"INSERT INTO {place} VALUES ({marks}) ON CONFLICT DO NOTHING", values).rowcount == 1  # noqa: S608


def _identity(db: sqlite3.Connection) -> str:
    # The file itself, however it is called: a link is another name of it.
    file = Path(db.execute("PRAGMA database_list").fetchone()[2]).stat()
    return f"{file.st_dev}:{file.st_ino}"


def _accounts(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT appid FROM inbox UNION SELECT appid FROM conversations ORDER BY appid")
    return [appid for (appid,) in rows]


def _standing(db: sqlite3.Connection, appid: str, now: float) -> AccountStatus:
    questions = (
        ("SELECT EXISTS (SELECT 1 FROM conversations WHERE appid = ? AND owner NOT NULL AND lease_until > ?)", now),
        ("SELECT EXISTS (SELECT 1 FROM copies WHERE appid = ?)",),
        ("SELECT coalesce(max(seq), 0) FROM inbox WHERE appid = ?",),
        ("SELECT count(*) FROM inbox WHERE appid = ? AND status = 0",),
    )
    worked, incomplete_copy, last_seq, waiting = (db.execute(q, (appid, *more)).fetchone()[0] for q, *more in questions)
    return AccountStatus(bool(worked), bool(incomplete_copy), last_seq, waiting)


def _contents(db: sqlite3.Connection, appid: str) -> Counter[Kind]:
    rows = db.execute("SELECT status, count(*) FROM inbox WHERE appid = ? GROUP BY status", (appid,))
    counted: Counter[Kind] = Counter({_KIND_OF_STATUS[status]: count for status, count in rows})
    (counted["conversations"],) = db.execute("SELECT count(*) FROM conversations WHERE appid = ?", (appid,)).fetchone()
    return counted


def _begin(db: sqlite3.Connection, appid: str, copy: str, last_seq: int) -> bool:
    begun = db.execute("SELECT 1 FROM copies WHERE appid = ?", (appid,)).fetchone()
    if not begun and _holds_something(db, appid):
        return False
    # Other accounts have numbers in the same table: ours begin behind the last one, and all that we bring are ours.
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'").fetchone()
    base = row[0] if row else 0
    if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'inbox'", (base + last_seq,)).rowcount:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('inbox', ?)", (base + last_seq,))
    db.execute("INSERT OR REPLACE INTO copies (appid, copy, base) VALUES (?, ?, ?)", (appid, copy, base))
    return True


def _holds_something(db: sqlite3.Connection, appid: str) -> bool:
    found = db.execute(
        "SELECT EXISTS (SELECT 1 FROM inbox WHERE appid = ?) OR EXISTS (SELECT 1 FROM conversations WHERE appid = ?)",
        (appid, appid),
    )
    return bool(found.fetchone()[0])


def _clear_some(db: sqlite3.Connection, appid: str, copy: str) -> int:
    """Remove some of what an earlier copy has left; how much."""
    _base(db, appid, copy)
    gone = db.execute("DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE appid = ? LIMIT ?)", (appid, SLICE))
    known = db.execute(
        "DELETE FROM conversations WHERE appid = ? AND openid IN"
        " (SELECT openid FROM conversations WHERE appid = ? LIMIT ?)",
        (appid, appid, SLICE),
    )
    return gone.rowcount + known.rowcount


def _base(db: sqlite3.Connection, appid: str, copy: str) -> int:
    """What is added to the numbers of this copy. Raises CopyFailed if another one has begun."""
    row = db.execute("SELECT base FROM copies WHERE appid = ? AND copy = ?", (appid, copy)).fetchone()
    if row is None:
        raise CopyFailed("another copy into this place has begun meanwhile, and goes on with it")
    return int(row[0])


def _end(db: sqlite3.Connection, appid: str, copy: str) -> None:
    _base(db, appid, copy)
    db.execute("DELETE FROM copies WHERE appid = ?", (appid,))
