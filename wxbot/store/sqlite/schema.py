"""The tables of the SQLite file, and the upgrade of an older file."""

from __future__ import annotations

import sqlite3

from wxbot.errors import IncompleteCopy, StoreUnavailable

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    appid TEXT NOT NULL,
    openid TEXT NOT NULL,
    dedup_key TEXT NOT NULL,
    fields TEXT NOT NULL,           -- JSON; emptied when the message is done
    received_at REAL NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    unsent TEXT NOT NULL DEFAULT '[]',  -- remaining work: replies that were not sent yet, as JSON
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
    next_at REAL,                   -- when the next message may be processed; NULL: none is pending
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
# Columns and tables that were added within this schema version. New and old files get them in the same way. An older
# wxbot that uses the same file ignores them and does no harm.
_ADDED_COLUMNS = {
    "inbox": (
        "answer TEXT",  # the passive reply, as JSON; NULL: none yet
        "given_up INTEGER NOT NULL DEFAULT 0",  # 1: no delivery of the push will get a passive reply any more
    ),
    "conversations": (
        "budget_left INTEGER",  # the remaining quota; NULL: unknown
        "budget_until REAL",
        "handed_over_until REAL NOT NULL DEFAULT 0",  # the end of the handover; 0: no handover
        "agent TEXT NOT NULL DEFAULT ''",
    ),
}
_ADDED_TABLES = """
CREATE TABLE IF NOT EXISTS copies (  -- accounts that are being copied into this file (copying.py)
    appid TEXT PRIMARY KEY,
    copy TEXT NOT NULL,
    base INTEGER NOT NULL           -- added to the message numbers of the source
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

WAITING, DONE, DEAD = 0, 1, 2
"""The values of ``inbox.status``."""


def prepare(db: sqlite3.Connection) -> None:
    """Create or upgrade the tables. Raises StoreUnavailable if the file was written by a newer wxbot."""
    # Several workers may start on a new file at the same time, so check and create under one lock.
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        _execute_all(db, _SCHEMA)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    if version > SCHEMA_VERSION:
        raise StoreUnavailable(
            f"the store was written by a newer wxbot (schema version {version}, this wxbot supports {SCHEMA_VERSION}): "
            "start that version or choose another store"
        )
    _add_missing_columns_and_tables(db)
    probe_write(db)  # so a read-only file fails here and not at the first message
    db.execute("COMMIT")


def _execute_all(db: sqlite3.Connection, statements: str) -> None:
    # executescript() would end the transaction.
    for statement in statements.split(";\n"):
        db.execute(statement)


def _add_missing_columns_and_tables(db: sqlite3.Connection) -> None:
    for table, columns in _ADDED_COLUMNS.items():
        existing = {name for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        for column in columns:
            if column.partition(" ")[0] not in existing:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    _execute_all(db, _ADDED_TABLES)


def probe_write(db: sqlite3.Connection) -> None:
    """Write a row of an account that cannot exist. Raises sqlite3.Error if the file cannot be written."""
    # The row must change, because an UPDATE of no row succeeds on a full disk, and BEGIN IMMEDIATE succeeds on a
    # read-only file.
    db.execute("INSERT OR REPLACE INTO tokens (appid) VALUES ('')")


def refuse_incomplete_copy(db: sqlite3.Connection, appid: str) -> None:
    """Raise IncompleteCopy if a copy of the account into this file has not finished."""
    if db.execute("SELECT 1 FROM copies WHERE appid = ?", (appid,)).fetchone():
        raise IncompleteCopy(appid)
