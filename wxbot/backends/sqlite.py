"""The embedded store: one SQLite file in WAL mode, shared by all gunicorn workers of a machine.

Acknowledged messages survive a power loss (``synchronous=FULL`` where a promise is given); leases and typing notes only
need to survive the process and skip the fsync.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wxbot.backends.sqlite_writer import SqliteWriter
from wxbot.errors import HalfCopy, LeaseLost, StoreUnavailable
from wxbot.ports import (
    WITH_BOT,
    Arrival,
    Bid,
    Claim,
    ConversationKey,
    DeadLetter,
    HandOver,
    Lease,
    News,
    Outcome,
    Pending,
    Receipt,
    Retention,
    StoredMedia,
    StoredToken,
)
from wxbot.reply_budget import Budget

SCHEMA_VERSION = 1
WAITING, ANSWERED, DEAD = 0, 1, 2
PURGE_LIMIT = 2000
MEDIA_PURGE_LIMIT = 100
LAST_SEQ = 2**63 - 1

_SCHEMA = """
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    appid TEXT NOT NULL,
    openid TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    fields TEXT NOT NULL,           -- JSON; emptied once the message is answered
    received_at REAL NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    unsent TEXT NOT NULL DEFAULT '[]',  -- replies that were made but are not out, as JSON
    died_at REAL,
    reason TEXT,
    UNIQUE (appid, openid, dedup_key)
);
CREATE INDEX inbox_waiting ON inbox (appid, openid, seq) WHERE status = 0;
CREATE INDEX inbox_dead ON inbox (seq) WHERE status = 2;
CREATE TABLE conversations (
    appid TEXT NOT NULL,
    openid TEXT NOT NULL,
    owner TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    lease_until REAL NOT NULL DEFAULT 0,
    next_at REAL,                   -- when the next message may be worked; NULL: nothing waits
    interacted_at REAL NOT NULL,    -- last message from or to the user
    typing_until REAL NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (appid, openid)
) WITHOUT ROWID;
CREATE INDEX conversations_waiting ON conversations (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE tokens (
    appid TEXT PRIMARY KEY,
    value TEXT,
    expires_at REAL NOT NULL DEFAULT 0,
    fetching_until REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
# What came after the first file of this version. Every file gets it in the same way, whether it is new or not; an older
# wxbot that works on the same file does not see it, and harms nothing.
_ADDED_COLUMNS = {
    "inbox": (
        "answer TEXT",  # what was answered to those who ask (PassiveShelf), as JSON; NULL: nothing
        "given_up INTEGER NOT NULL DEFAULT 0",  # nobody will ask for it any more
    ),
    "conversations": (
        "budget_left INTEGER",  # how many messages may be sent, NULL: not known
        "budget_until REAL",
        "handed_over_until REAL NOT NULL DEFAULT 0",  # the user is with human agents; 0: with the bot
        "agent TEXT NOT NULL DEFAULT ''",
    ),
}
_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS copies (  -- accounts that are being copied into this file (sqlite_bulk.py)
    appid TEXT PRIMARY KEY,
    copy TEXT NOT NULL,
    base INTEGER NOT NULL           -- is added to the numbers that messages had where they came from
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS media (
    appid TEXT NOT NULL,
    digest TEXT NOT NULL,
    media_id TEXT NOT NULL,
    expires_at REAL NOT NULL,
    PRIMARY KEY (appid, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS media_by_end ON media (expires_at);
CREATE INDEX IF NOT EXISTS conversations_handed_over ON conversations (appid, handed_over_until)
    WHERE handed_over_until > 0;
"""


class Terms(NamedTuple):
    """On which terms a user may be sent something, as it stands in four columns of ``conversations``."""

    budget: Budget | None = None
    handed_over: HandOver = WITH_BOT

    @classmethod
    def read(cls, left: int | None, until: float | None, handed_over_until: float, agent: str) -> Terms:
        budget = None if left is None or until is None else Budget(left, until)
        return cls(budget, HandOver(handed_over_until, agent) if handed_over_until else WITH_BOT)

    def columns(self) -> tuple[int | None, float | None, float, str]:
        return (*(self.budget or (None, None)), *self.handed_over)

    def after_deed(self, budget: Budget | None) -> Terms:
        """The user has done something that allows ``budget``, or None for nothing that counts."""
        return self if budget is None else self._replace(budget=budget)

    def after_sending(self, budget: Budget | None) -> Terms:
        """``budget`` is what a sender has counted down; it is out of date if the user has acted meanwhile."""
        current = self.budget is None or budget is None or self.budget.until == budget.until
        return self.after_deed(budget) if current else self

    def handed(self, hand_over: HandOver | None) -> Terms:
        if hand_over is None:
            return self
        return self._replace(handed_over=hand_over if hand_over.until > 0 else WITH_BOT)


class SqliteStore:
    """wxbot.ports.Store on one SQLite file. Open it after gunicorn has forked, never before."""

    def __init__(self, path: Path, *, full_sync: bool = True, retention: Retention | None = None) -> None:
        self._writer = SqliteWriter(path, full_sync=full_sync)
        self._retention = retention or Retention()

    def open(self) -> None:
        self._writer.open(prepare)

    def close(self) -> None:
        self._writer.stop()

    async def ping(self) -> None:
        await self._writer.submit(_write_something)

    # Inbox

    def accept(self, arrival: Arrival, bid: Bid | None = None) -> Receipt:
        fields = to_json(arrival.fields)  # here, not in the writer: its thread is the one all others wait for
        unsent = to_json(arrival.unsent)
        return self._writer.run(lambda db: _accept(db, arrival, fields, unsent, bid))

    async def waiting(self, appid: str, now: float, limit: int, patience: float = 0.0) -> Sequence[ConversationKey]:
        return await self._writer.submit(lambda db: _waiting(db, appid, now, limit, patience), durable=False)

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        return await self._writer.submit(lambda db: _claim(db, key, owner, now, lease_seconds), durable=False)

    async def renew(self, leases: Sequence[Lease], now: float, lease_seconds: float) -> Mapping[ConversationKey, News]:
        held = to_json([(*lease.key, lease.owner, lease.fence) for lease in leases])
        return await self._writer.submit(lambda db: _renew(db, held, now, now + lease_seconds), durable=False)

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        return await self._writer.submit(lambda db: _save_typing(db, lease, typing_until), durable=False)

    async def record_sent(
        self, lease: Lease, seq: int, sent: int, sent_at: float, budget: Budget | None = None
    ) -> None:
        await self._writer.submit(lambda db: _record_sent(db, lease, seq, sent, sent_at, budget))

    async def budget(self, key: ConversationKey) -> Budget | None:
        return await self._writer.submit(lambda db: _terms_of(db, key).budget, durable=False)

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Pending | None:
        state = None if outcome.state is None else to_json(outcome.state)
        return await self._writer.submit(lambda db: _settle(db, lease, outcome, state, now, go_on))

    async def purge(self, appid: str, now: float) -> int:
        return await self._writer.submit(lambda db: _purge(db, appid, now, self._retention), durable=False)

    # Tokens

    async def load_token(self, appid: str) -> StoredToken | None:
        return await self._writer.submit(lambda db: _load_token(db, appid), durable=False)

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        return await self._writer.submit(lambda db: _begin_token_fetch(db, appid, refused, now, seconds), durable=False)

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        await self._writer.submit(lambda db: _save_token(db, appid, token), durable=False)

    # Media

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        return await self._writer.submit(lambda db: _load_media(db, appid, digest), durable=False)

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        await self._writer.submit(lambda db: _save_media(db, appid, digest, media, now), durable=False)

    # Passive answers

    async def answer_passively(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        written = to_json(answer)
        return await self._writer.submit(lambda db: _answer_passively(db, lease, seq, written))

    async def passive_answer(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        return await self._writer.submit(lambda db: _passive_answer(db, key, dedup_key, give_up), durable=give_up)

    # Hand-overs

    async def hand_overs(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, HandOver]]:
        return await self._writer.submit(lambda db: _hand_overs(db, appid, now, limit), durable=False)

    async def hand_back(self, key: ConversationKey) -> bool:
        return await self._writer.submit(lambda db: _hand_back(db, key))

    # Dead letters

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        return await self._writer.submit(lambda db: _dead_letters(db, appid, limit), durable=False)

    async def retry_dead_letter(self, appid: str, seq: int, now: float) -> bool:
        return await self._writer.submit(lambda db: _retry_dead_letter(db, appid, seq, now))

    async def drop_dead_letter(self, appid: str, seq: int) -> bool:
        return await self._writer.submit(lambda db: _drop_dead_letter(db, appid, seq))


def prepare(db: sqlite3.Connection) -> None:
    """Create or upgrade what is in the file. Raises StoreUnavailable if it was written by a newer wxbot."""
    # Several workers may start on a new file at once: look and create under one lock.
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        _execute_all(db, _SCHEMA)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise StoreUnavailable(f"the store was written by a newer wxbot (its version {version}, ours {SCHEMA_VERSION})")
    _add_what_is_missing(db)
    _write_something(db)  # or a file that may only be read would be found out by the first message
    db.execute("COMMIT")


def _execute_all(db: sqlite3.Connection, statements: str) -> None:
    # Not executescript(): it would end the transaction.
    for statement in statements.split(";\n"):
        db.execute(statement)


def _add_what_is_missing(db: sqlite3.Connection) -> None:
    for table, columns in _ADDED_COLUMNS.items():
        there = {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        for column in columns:
            if column.partition(" ")[0] not in there:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    _execute_all(db, _ADDED_TABLES)


def _write_something(db: sqlite3.Connection) -> None:
    # Into the place of an account that cannot exist. It must change the file: an UPDATE of no row succeeds on a full
    # disk, and BEGIN IMMEDIATE on a file that may only be read.
    db.execute("INSERT OR REPLACE INTO tokens (appid) VALUES ('')")


def _refuse_half_copy(db: sqlite3.Connection, appid: str) -> None:
    if db.execute("SELECT 1 FROM copies WHERE appid = ?", (appid,)).fetchone():
        raise HalfCopy(appid)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _accept(db: sqlite3.Connection, arrival: Arrival, fields: str, unsent: str, bid: Bid | None) -> Receipt:
    _refuse_half_copy(db, arrival.key.appid)
    known = db.execute(
        "SELECT owner, next_at, fence, interacted_at, typing_until, state,"
        " budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ?",
        arrival.key,
    ).fetchone()
    owner, next_at, fence, interacted_at, typing_until, state, *columns = known or _NOBODY
    before = Terms.read(*columns)
    terms = before.handed(arrival.hand_over).after_deed(arrival.budget)
    theirs = _is_theirs(arrival, terms)
    granted = bid if owner is None and next_at is None and not theirs else None
    added = db.execute(
        "INSERT INTO inbox (appid, openid, dedup_key, fields, received_at, status, attempts, unsent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
        (
            *(*arrival.key, arrival.dedup_key, "" if theirs else fields, arrival.received_at),
            *(ANSWERED if theirs else WAITING, 0 if granted is None else 1, "[]" if theirs else unsent),
        ),
    ).fetchone()
    if added is None:
        return _seen_before(db, arrival, before)
    if granted is None:
        _note_arrival(db, arrival, None if theirs else arrival.received_at, terms)
        return Receipt(True, None, arrival.received_at, terms.handed_over if theirs else WITH_BOT)
    pending = Pending(added[0], arrival.fields, arrival.received_at, 1, 0, arrival.unsent, *terms)
    lease = Lease(arrival.key, granted.owner, fence + 1, arrival.received_at + granted.lease_seconds)
    noted_until = max(typing_until, arrival.received_at + granted.typing_seconds) if granted.typing_seconds else 0.0
    _take(db, arrival, lease, max(typing_until, noted_until), terms)
    interacted_at = max(interacted_at, arrival.interacted_at)
    claim = Claim(lease, pending, interacted_at, typing_until, json.loads(state), noted_until)
    return Receipt(True, claim, arrival.received_at)


_NOBODY = (None, None, 0, 0.0, 0.0, "{}", *Terms().columns())
"""What is known of a user who was never here."""


def _is_theirs(arrival: Arrival, terms: Terms) -> bool:
    """Whether the human agents answer it, and not the bot."""
    return arrival.for_agents and arrival.received_at < terms.handed_over.until


def _seen_before(db: sqlite3.Connection, arrival: Arrival, terms: Terms) -> Receipt:
    (first_at,) = db.execute(
        "SELECT received_at FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?",
        (*arrival.key, arrival.dedup_key),
    ).fetchone()
    return Receipt(False, None, first_at, terms.handed_over if _is_theirs(arrival, terms) else WITH_BOT)


def _note_arrival(db: sqlite3.Connection, arrival: Arrival, next_at: float | None, terms: Terms) -> None:
    """Somebody is to work this conversation from ``next_at`` on, if nobody does; with None nothing has come to work."""
    db.execute(
        "INSERT INTO conversations"
        " (appid, openid, next_at, interacted_at, budget_left, budget_until, handed_over_until, agent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET next_at = coalesce(next_at, excluded.next_at),"
        " interacted_at = max(interacted_at, excluded.interacted_at),"
        " budget_left = excluded.budget_left, budget_until = excluded.budget_until,"
        " handed_over_until = excluded.handed_over_until, agent = excluded.agent",
        (*arrival.key, next_at, arrival.interacted_at, *terms.columns()),
    )


def _take(db: sqlite3.Connection, arrival: Arrival, lease: Lease, typing_until: float, terms: Terms) -> None:
    """The idle conversation goes to the process that accepted its message."""
    db.execute(
        "INSERT INTO conversations"
        " (appid, openid, owner, fence, lease_until, next_at, interacted_at, typing_until,"
        " budget_left, budget_until, handed_over_until, agent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET owner = excluded.owner,"
        " fence = excluded.fence, lease_until = excluded.lease_until, next_at = excluded.next_at,"
        " typing_until = excluded.typing_until, interacted_at = max(interacted_at, excluded.interacted_at),"
        " budget_left = excluded.budget_left, budget_until = excluded.budget_until,"
        " handed_over_until = excluded.handed_over_until, agent = excluded.agent",
        (
            *(*arrival.key, lease.owner, lease.fence, lease.expires_at, arrival.received_at, arrival.interacted_at),
            *(typing_until, *terms.columns()),
        ),
    )


def _waiting(db: sqlite3.Connection, appid: str, now: float, limit: int, patience: float) -> list[ConversationKey]:
    _refuse_half_copy(db, appid)
    rows = db.execute(
        "SELECT appid, openid FROM conversations"
        " WHERE next_at <= CASE WHEN owner IS NULL THEN ? ELSE ? END AND (owner IS NULL OR lease_until <= ?)"
        " AND next_at <= ? AND appid = ? ORDER BY next_at LIMIT ?",  # the last bound is the index's
        (now - patience, now, now, now, appid, limit),
    )
    return [ConversationKey(*row) for row in rows]


def _claim(db: sqlite3.Connection, key: ConversationKey, owner: str, now: float, seconds: float) -> Claim | None:
    _refuse_half_copy(db, key.appid)
    row = db.execute(
        "UPDATE conversations SET owner = ?, fence = fence + 1, lease_until = ?"
        " WHERE appid = ? AND openid = ? AND next_at <= ? AND (owner IS NULL OR lease_until <= ?)"
        " RETURNING fence, interacted_at, typing_until, state, budget_left, budget_until, handed_over_until, agent",
        (owner, now + seconds, *key, now, now),
    ).fetchone()
    if row is None:
        return None
    fence, interacted_at, typing_until, state, *terms = row
    pending = _next_pending(db, key, Terms.read(*terms))
    if pending is None:  # next_at promised one: mend it rather than hold an empty conversation
        db.execute("UPDATE conversations SET owner = NULL, next_at = NULL WHERE appid = ? AND openid = ?", key)
        return None
    lease = Lease(key, owner, fence, now + seconds)
    return Claim(lease, pending, interacted_at, typing_until, json.loads(state))


def _next_pending(db: sqlite3.Connection, key: ConversationKey, terms: Terms) -> Pending | None:
    row = db.execute(
        "SELECT seq, fields, received_at, attempts, sent, unsent FROM inbox"
        " WHERE appid = ? AND openid = ? AND status = 0 ORDER BY seq LIMIT 1",
        key,
    ).fetchone()
    if row is None:
        return None
    seq, fields, received_at, attempts, sent, unsent = row
    db.execute("UPDATE inbox SET attempts = attempts + 1 WHERE seq = ?", (seq,))
    return Pending(seq, json.loads(fields), received_at, attempts + 1, sent, tuple(json.loads(unsent)), *terms)


def _renew(db: sqlite3.Connection, held: str, now: float, until: float) -> dict[ConversationKey, News]:
    rows = db.execute(
        "UPDATE conversations AS ours SET lease_until = ? FROM json_each(?) AS held"
        " WHERE ours.appid = json_extract(held.value, '$[0]') AND ours.openid = json_extract(held.value, '$[1]')"
        " AND ours.owner = json_extract(held.value, '$[2]') AND ours.fence = json_extract(held.value, '$[3]')"
        " RETURNING appid, openid, interacted_at, handed_over_until, agent",
        (until, held),
    )
    return {ConversationKey(appid, openid): _news(now, *told) for appid, openid, *told in rows}


def _news(now: float, interacted_at: float, handed_over_until: float, agent: str) -> News:
    return News(interacted_at, HandOver(handed_over_until, agent) if now < handed_over_until else WITH_BOT)


def _check_lease(db: sqlite3.Connection, lease: Lease) -> Terms:
    """The terms of the conversation. Raises LeaseLost."""
    held = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ? AND owner = ? AND fence = ?",
        (*lease.key, lease.owner, lease.fence),
    ).fetchone()
    if held is None:
        raise LeaseLost("another process took over this conversation")
    return Terms.read(*held)


def _terms_of(db: sqlite3.Connection, key: ConversationKey) -> Terms:
    row = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations WHERE appid = ? AND openid = ?",
        key,
    ).fetchone()
    return Terms() if row is None else Terms.read(*row)


def _save_typing(db: sqlite3.Connection, lease: Lease, typing_until: float) -> float:
    row = db.execute(
        "UPDATE conversations SET typing_until = ? WHERE appid = ? AND openid = ? AND owner = ? AND fence = ?"
        " RETURNING interacted_at",
        (typing_until, *lease.key, lease.owner, lease.fence),
    ).fetchone()
    if row is None:
        raise LeaseLost("another process took over this conversation")
    return float(row[0])


def _record_sent(
    db: sqlite3.Connection, lease: Lease, seq: int, sent: int, sent_at: float, budget: Budget | None
) -> None:
    terms = _check_lease(db, lease).after_sending(budget)
    db.execute("UPDATE inbox SET sent = ? WHERE seq = ?", (sent, seq))
    db.execute(
        "UPDATE conversations SET typing_until = 0, interacted_at = max(interacted_at, ?),"
        " budget_left = ?, budget_until = ?, handed_over_until = ?, agent = ?"
        " WHERE appid = ? AND openid = ?",
        (sent_at, *terms.columns(), *lease.key),
    )


def _settle(
    db: sqlite3.Connection, lease: Lease, outcome: Outcome, state: str | None, now: float, go_on: bool
) -> Pending | None:
    terms = _check_lease(db, lease).after_sending(outcome.budget).handed(outcome.hand_over)
    _close(db, outcome, now)
    pending = _next_pending(db, lease.key, terms) if go_on and outcome.verdict in ("answered", "dead") else None
    db.execute(
        "UPDATE conversations SET typing_until = ?, interacted_at = max(interacted_at, ?), state = coalesce(?, state),"
        " owner = CASE WHEN ? THEN owner END, next_at = CASE WHEN ? THEN next_at ELSE ? END,"
        " budget_left = ?, budget_until = ?, handed_over_until = ?, agent = ?"
        " WHERE appid = ? AND openid = ?",
        (
            outcome.typing_until,
            outcome.sent_at or 0.0,
            state,
            pending is not None,
            pending is not None,
            _next_at(db, lease.key, outcome, now),
            *terms.columns(),
            *lease.key,
        ),
    )
    return pending


def _close(db: sqlite3.Connection, outcome: Outcome, now: float) -> None:
    if outcome.verdict == "answered":
        # The row stays for a while, so that a redelivery is known, and gets what was answered passively; what the user
        # wrote does not stay.
        db.execute(
            "UPDATE inbox SET status = 1, fields = '', unsent = '[]', sent = ? WHERE seq = ?",
            (outcome.sent, outcome.seq),
        )
        return
    died_at = now if outcome.verdict == "dead" else None
    db.execute(
        "UPDATE inbox SET status = ?, attempts = attempts - ?, sent = ?, unsent = ?, reason = ?, died_at = ?"
        " WHERE seq = ?",
        (
            WAITING if died_at is None else DEAD,
            1 if outcome.verdict == "back" else 0,
            outcome.sent,
            to_json(outcome.unsent),
            outcome.reason,
            died_at,
            outcome.seq,
        ),
    )


def _next_at(db: sqlite3.Connection, key: ConversationKey, outcome: Outcome, now: float) -> float | None:
    if outcome.verdict == "later":
        return outcome.retry_at
    waits = db.execute("SELECT 1 FROM inbox WHERE appid = ? AND openid = ? AND status = 0 LIMIT 1", key).fetchone()
    return now if waits else None


def _purge(db: sqlite3.Connection, appid: str, now: float, retention: Retention) -> int:
    # Oldest first by seq, so no index is paid for on the hot path; the first young row ends the search.
    answered_before = now - retention.dedup_seconds
    young = db.execute(
        "SELECT seq FROM inbox WHERE received_at >= ? ORDER BY seq LIMIT 1", (answered_before,)
    ).fetchone()
    gone = db.execute(
        "DELETE FROM inbox WHERE seq IN"
        " (SELECT seq FROM inbox WHERE status = 1 AND seq < ? AND appid = ? ORDER BY seq LIMIT ?)",
        (young[0] if young else LAST_SEQ, appid, PURGE_LIMIT),
    ).rowcount
    gone += db.execute(
        "DELETE FROM inbox WHERE status = 2 AND died_at < ? AND appid = ?", (now - retention.dead_letter_seconds, appid)
    ).rowcount
    db.execute(
        "DELETE FROM conversations WHERE appid = ? AND next_at IS NULL AND owner IS NULL AND handed_over_until <= ?"
        " AND coalesce(budget_until, 0) <= ? AND interacted_at < CASE state WHEN '{}' THEN ? ELSE ? END",
        (appid, now, now, answered_before, now - max(retention.state_seconds, retention.dedup_seconds)),
    )
    return gone


def _load_token(db: sqlite3.Connection, appid: str) -> StoredToken | None:
    row = db.execute("SELECT value, expires_at FROM tokens WHERE appid = ? AND value IS NOT NULL", (appid,)).fetchone()
    return None if row is None else StoredToken(*row)


def _begin_token_fetch(db: sqlite3.Connection, appid: str, refused: str | None, now: float, seconds: float) -> bool:
    row = db.execute("SELECT value, expires_at, fetching_until FROM tokens WHERE appid = ?", (appid,)).fetchone()
    if row is not None:
        value, expires_at, fetching_until = row
        replaced_meanwhile = value is not None and refused is not None and value != refused and expires_at > now
        if replaced_meanwhile or fetching_until > now:
            return False
    db.execute(
        "INSERT INTO tokens (appid, fetching_until) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET fetching_until = excluded.fetching_until",
        (appid, now + seconds),
    )
    return True


def _save_token(db: sqlite3.Connection, appid: str, token: StoredToken | None) -> None:
    if token is None:
        db.execute("UPDATE tokens SET fetching_until = 0 WHERE appid = ?", (appid,))
        return
    db.execute(
        "INSERT INTO tokens (appid, value, expires_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET value = excluded.value, expires_at = excluded.expires_at, fetching_until = 0",
        (appid, token.value, token.expires_at),
    )


def _load_media(db: sqlite3.Connection, appid: str, digest: str) -> StoredMedia | None:
    row = db.execute(
        "SELECT media_id, expires_at FROM media WHERE appid = ? AND digest = ?", (appid, digest)
    ).fetchone()
    return None if row is None else StoredMedia(*row)


def _save_media(db: sqlite3.Connection, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
    db.execute(
        "DELETE FROM media WHERE (appid, digest) IN"
        " (SELECT appid, digest FROM media WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (now, MEDIA_PURGE_LIMIT),
    )
    if media is None:
        db.execute("DELETE FROM media WHERE appid = ? AND digest = ?", (appid, digest))
    else:
        db.execute(
            "INSERT OR REPLACE INTO media (appid, digest, media_id, expires_at) VALUES (?, ?, ?, ?)",
            (appid, digest, media.media_id, media.expires_at),
        )


def _answer_passively(db: sqlite3.Connection, lease: Lease, seq: int, answer: str) -> bool:
    _check_lease(db, lease)
    return db.execute("UPDATE inbox SET answer = ? WHERE seq = ? AND NOT given_up", (answer, seq)).rowcount == 1


def _passive_answer(
    db: sqlite3.Connection, key: ConversationKey, dedup_key: str, give_up: bool
) -> Mapping[str, Any] | None:
    _refuse_half_copy(db, key.appid)
    row = db.execute(
        "SELECT seq, answer FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?", (*key, dedup_key)
    ).fetchone()
    if row is None:
        return None
    seq, answer = row
    if answer is not None:
        found: Mapping[str, Any] = json.loads(answer)
        return found
    if give_up:
        db.execute("UPDATE inbox SET given_up = 1 WHERE seq = ?", (seq,))
    return None


def _hand_overs(db: sqlite3.Connection, appid: str, now: float, limit: int) -> list[tuple[ConversationKey, HandOver]]:
    _refuse_half_copy(db, appid)
    rows = db.execute(
        "SELECT openid, handed_over_until, agent FROM conversations WHERE appid = ? AND handed_over_until > ?"
        " AND handed_over_until > 0 ORDER BY handed_over_until LIMIT ?",  # > 0: so that the index is used
        (appid, now, limit),
    )
    return [(ConversationKey(appid, openid), HandOver(until, agent)) for openid, until, agent in rows]


def _hand_back(db: sqlite3.Connection, key: ConversationKey) -> bool:
    _refuse_half_copy(db, key.appid)
    handed_back = db.execute(
        "UPDATE conversations SET handed_over_until = 0, agent = '' WHERE appid = ? AND openid = ?"
        " AND handed_over_until > 0",
        key,
    )
    return handed_back.rowcount == 1


def _dead_letters(db: sqlite3.Connection, appid: str, limit: int) -> list[DeadLetter]:
    _refuse_half_copy(db, appid)
    rows = db.execute(
        "SELECT seq, appid, openid, fields, received_at, died_at, attempts, sent, reason, unsent FROM inbox"
        " WHERE status = 2 AND appid = ? ORDER BY seq LIMIT ?",
        (appid, limit),
    )
    return [_dead_letter(*row) for row in rows]


def _dead_letter(seq: int, appid: str, openid: str, fields: str, *facts: Any) -> DeadLetter:
    received_at, died_at, attempts, sent, reason, unsent = facts
    return DeadLetter(
        seq=seq,
        key=ConversationKey(appid, openid),
        fields=json.loads(fields),
        received_at=received_at,
        died_at=died_at,
        attempts=attempts,
        sent=sent,
        reason=reason,
        unsent=tuple(json.loads(unsent)),
    )


def _retry_dead_letter(db: sqlite3.Connection, appid: str, seq: int, now: float) -> bool:
    _refuse_half_copy(db, appid)
    row = db.execute(
        "UPDATE inbox SET status = 0, attempts = 0, reason = NULL WHERE seq = ? AND appid = ? AND status = 2"
        " RETURNING openid, received_at",
        (seq, appid),
    ).fetchone()
    if row is None:
        return False
    openid, received_at = row
    db.execute(
        "INSERT INTO conversations (appid, openid, next_at, interacted_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET next_at = min(coalesce(next_at, excluded.next_at), excluded.next_at)",
        (appid, openid, now, received_at),
    )
    return True


def _drop_dead_letter(db: sqlite3.Connection, appid: str, seq: int) -> bool:
    _refuse_half_copy(db, appid)
    dropped = db.execute("DELETE FROM inbox WHERE seq = ? AND appid = ? AND status = 2", (seq, appid))
    return dropped.rowcount == 1
