"""What is in a SQLite file: its tables, and how an older file gets what came later."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from wxbot.errors import IncompleteCopy, StoreUnavailable

SCHEMA_VERSION = 1

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
        "answer TEXT",  # what was answered to those who ask (PassiveReplyStore), as JSON; NULL: nothing
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
CREATE TABLE IF NOT EXISTS copies (  -- accounts that are being copied into this file (bulk.py)
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

WAITING, ANSWERED, DEAD = 0, 1, 2
"""What ``status`` says of a message."""


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
    write_something(db)  # or a file that may only be read would be found out by the first message
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


def write_something(db: sqlite3.Connection) -> None:
    # Into the place of an account that cannot exist. It must change the file: an UPDATE of no row succeeds on a full
    # disk, and BEGIN IMMEDIATE on a file that may only be read.
    db.execute("INSERT OR REPLACE INTO tokens (appid) VALUES ('')")


def refuse_incomplete_copy(db: sqlite3.Connection, appid: str) -> None:
    if db.execute("SELECT 1 FROM copies WHERE appid = ?", (appid,)).fetchone():
        raise IncompleteCopy(appid)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
