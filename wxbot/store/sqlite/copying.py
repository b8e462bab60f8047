"""Read and fill a whole SQLite store, for ``python -m wxbot store copy``.

Uploaded media and passive replies are not copied: media is uploaded again, and no delivery waits for a passive reply
while the bot is stopped.
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
from wxbot.settings.schema import RetentionSettings
from wxbot.store.copying_port import AccountStatus, DedupRecord, Kind, StoredConversation, StoredMessage, StoredRecord
from wxbot.store.records import to_json
from wxbot.store.sqlite.conversations import COLUMNS, NO_STATE, ConversationRow
from wxbot.store.sqlite.schema import DEAD, DONE, WAITING, prepare
from wxbot.store.sqlite.writer import SqliteWriter, method

SLICE = 500
"""Rows in one transaction. Between two slices, bots of other accounts in the same file can write."""
CACHE_KIB = 64 * 1024
_KIND_OF_STATUS: dict[int, Kind] = {WAITING: "waiting", DONE: "dedup", DEAD: "dead"}


def _prepare(db: sqlite3.Connection) -> None:
    prepare(db)
    db.execute(f"PRAGMA cache_size = {-CACHE_KIB}")  # rows come in no order, so every page is written many times
    db.execute(f"PRAGMA wal_autocheckpoint = {CACHE_KIB // 4}")  # in pages of 4 KiB


def _insert(db: sqlite3.Connection, columns: str, *values: Any) -> bool:
    marks = ", ".join("?" * len(values))
    return db.execute(f"INSERT INTO {columns} VALUES ({marks}) ON CONFLICT DO NOTHING", values).rowcount == 1  # noqa: S608


def _identity(db: sqlite3.Connection) -> str:
    # The device and inode, because a link is another path of the same file.
    file = Path(db.execute("PRAGMA database_list").fetchone()[2]).stat()
    return f"{file.st_dev}:{file.st_ino}"


def _accounts(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT appid FROM inbox UNION SELECT appid FROM conversations ORDER BY appid")
    return [appid for (appid,) in rows]


def _status(db: sqlite3.Connection, appid: str, now: float) -> AccountStatus:
    queries = (
        ("SELECT EXISTS (SELECT 1 FROM conversations WHERE appid = ? AND owner NOT NULL AND lease_until > ?)", now),
        ("SELECT EXISTS (SELECT 1 FROM copies WHERE appid = ?)",),
        ("SELECT coalesce(max(seq), 0) FROM inbox WHERE appid = ?",),
        ("SELECT count(*) FROM inbox WHERE appid = ? AND status = 0",),
    )
    leased, incomplete_copy, last_seq, waiting = (db.execute(q, (appid, *more)).fetchone()[0] for q, *more in queries)
    return AccountStatus(bool(leased), bool(incomplete_copy), last_seq, waiting)


def _contents(db: sqlite3.Connection, appid: str) -> Counter[Kind]:
    rows = db.execute("SELECT status, count(*) FROM inbox WHERE appid = ? GROUP BY status", (appid,))
    counted: Counter[Kind] = Counter({_KIND_OF_STATUS[status]: count for status, count in rows})
    (counted["conversations"],) = db.execute("SELECT count(*) FROM conversations WHERE appid = ?", (appid,)).fetchone()
    return counted


def _begin(db: sqlite3.Connection, appid: str, copy: str, last_seq: int) -> bool:
    begun = db.execute("SELECT 1 FROM copies WHERE appid = ?", (appid,)).fetchone()
    if not begun and _has_data(db, appid):
        return False
    # Other accounts have numbers in the same table, so the numbers of this copy begin after the last one.
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'inbox'").fetchone()
    base = row[0] if row else 0
    if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'inbox'", (base + last_seq,)).rowcount:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('inbox', ?)", (base + last_seq,))
    db.execute("INSERT OR REPLACE INTO copies (appid, copy, base) VALUES (?, ?, ?)", (appid, copy, base))
    return True


def _has_data(db: sqlite3.Connection, appid: str) -> bool:
    found = db.execute(
        "SELECT EXISTS (SELECT 1 FROM inbox WHERE appid = ?) OR EXISTS (SELECT 1 FROM conversations WHERE appid = ?)",
        (appid, appid),
    )
    return bool(found.fetchone()[0])


def _clear_some(db: sqlite3.Connection, appid: str, copy: str) -> int:
    """Delete some records of an earlier copy. Return their number."""
    _base(db, appid, copy)
    messages = db.execute(
        "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE appid = ? LIMIT ?)", (appid, SLICE)
    )
    conversations = db.execute(
        "DELETE FROM conversations WHERE appid = ? AND openid IN"
        " (SELECT openid FROM conversations WHERE appid = ? LIMIT ?)",
        (appid, appid, SLICE),
    )
    return messages.rowcount + conversations.rowcount


def _base(db: sqlite3.Connection, appid: str, copy: str) -> int:
    """Return the number that is added to each ``seq`` of this copy. Raises CopyFailed if another copy has begun."""
    row = db.execute("SELECT base FROM copies WHERE appid = ? AND copy = ?", (appid, copy)).fetchone()
    if row is None:
        raise CopyFailed("another copy into this store has begun and replaces this one")
    return int(row[0])


def _end(db: sqlite3.Connection, appid: str, copy: str) -> None:
    _base(db, appid, copy)
    db.execute("DELETE FROM copies WHERE appid = ?", (appid,))


class SqliteBulkStore:
    """A ``wxbot.store.copying_port.BulkStore`` on one SQLite file. The arguments are those of ``SqliteStore``."""

    def __init__(self, path: Path, *, full_sync: bool = True, retention: RetentionSettings | None = None) -> None:
        self._path = path
        self.writer = SqliteWriter(path, full_sync=full_sync)
        self._retention = retention or RetentionSettings()

    def open(self, *, create: bool) -> None:
        if not create and not self._path.exists():
            raise StoreUnavailable(f"the file {self._path} does not exist")
        self.writer.open(_prepare)

    def close(self) -> None:
        self.writer.stop()

    identity = method(_identity, durable=False)
    accounts = method(_accounts, durable=False)
    status = method(_status, durable=False)
    contents = method(_contents, durable=False)

    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        last_seq = 0
        while messages := await self.writer.submit(partial(self._messages, appid, last_seq), durable=False):
            yield messages
            last_seq = messages[-1].seq
        last_openid = ""
        while users := await self.writer.submit(partial(self._conversations, appid, last_openid), durable=False):
            yield users
            last_openid = users[-1].openid

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        if not await self.writer.submit(lambda db: _begin(db, appid, copy, last_seq)):
            return False
        while await self.writer.submit(lambda db: _clear_some(db, appid, copy), durable=False):
            pass
        return True

    async def restore(self, appid: str, copy: str, records: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        return await self.writer.submit(lambda db: self._restore(db, appid, copy, records), durable=False)

    end = method(_end)  # its fsync also makes all earlier slices durable

    # In the writer's thread

    def _messages(self, appid: str, last_seq: int, db: sqlite3.Connection) -> list[StoredMessage | DedupRecord]:
        rows = db.execute(
            "SELECT seq, openid, dedup_key, received_at, status, fields, attempts, sent, unsent, died_at, reason"
            " FROM inbox WHERE seq > ? AND +appid = ? ORDER BY seq LIMIT ?",  # +appid: no index on appid
            (last_seq, appid, SLICE),
        )
        return [self._message(*row) for row in rows]

    def _message(
        self, seq: int, openid: str, dedup_key: str, received_at: float, status: int, *values: Any
    ) -> StoredMessage | DedupRecord:
        if status == DONE:
            return DedupRecord(seq, openid, dedup_key, received_at + self._retention.dedup_seconds)
        fields, attempts, sent, unsent, died_at, reason = values
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
            f"SELECT openid, {COLUMNS} FROM conversations WHERE appid = ? AND openid > ? ORDER BY openid LIMIT ?",  # noqa: S608
            (appid, last_openid, SLICE),
        )
        return [self._conversation(openid, ConversationRow(*columns)) for openid, *columns in rows]

    def _conversation(self, openid: str, row: ConversationRow) -> StoredConversation:
        retention = self._retention
        has_state = row.state != NO_STATE
        seconds = max(retention.state_seconds, retention.dedup_seconds) if has_state else retention.dedup_seconds
        ends = max(row.interacted_at + seconds, row.handed_over_until, row.budget_until or 0.0)
        forget_at = ends if row.next_at is None else None
        return StoredConversation(openid, row.record(with_state=True), row.next_at, forget_at)

    def _restore(self, db: sqlite3.Connection, appid: str, copy: str, records: Sequence[StoredRecord]) -> list[bool]:
        base = _base(db, appid, copy)
        return [self._restore_one(db, appid, base, each) for each in records]

    def _restore_one(self, db: sqlite3.Connection, appid: str, base: int, record: StoredRecord) -> bool:
        if isinstance(record, StoredConversation):
            row = ConversationRow(next_at=record.next_at).with_record(record.record)
            return _insert(db, f"conversations (appid, openid, {COLUMNS})", appid, record.openid, *row)
        identity = (appid, base + record.seq, record.openid, record.dedup_key)
        if isinstance(record, DedupRecord):
            received_at = record.forget_at - self._retention.dedup_seconds  # the purge uses this time
            columns = "inbox (appid, seq, openid, dedup_key, fields, received_at, status)"
            return _insert(db, columns, *identity, "", received_at, DONE)
        return _insert(
            db,
            "inbox (appid, seq, openid, dedup_key, fields, received_at, status, attempts, sent, unsent, reason,"
            " died_at)",
            *(*identity, to_json(record.fields), record.received_at, WAITING if record.died_at is None else DEAD),
            *(record.attempts, record.sent, to_json(record.unsent), record.reason, record.died_at),
        )
