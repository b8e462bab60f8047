"""Passive replies, shared values, handovers and dead letters in SQLite.

Each function implements the method of the same name in ``wxbot.store.port``. It runs in the writer's thread, inside a
transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from wxbot.store.port import TOKEN
from wxbot.store.records import ConversationKey, DeadLetter, Handover, Lease, SharedValue, to_json
from wxbot.store.sqlite.conversations import load_held
from wxbot.store.sqlite.schema import refuse_incomplete_copy

EXPIRED_LIMIT = 100


def get(db: sqlite3.Connection, appid: str, name: str) -> SharedValue | None:
    if name == TOKEN:
        found = db.execute("SELECT value, expires_at FROM tokens WHERE appid = ? AND value IS NOT NULL", (appid,))
    else:
        key = (appid, _digest(name))
        found = db.execute("SELECT media_id, expires_at FROM media WHERE appid = ? AND digest = ?", key)
    row = found.fetchone()
    return None if row is None else SharedValue(*row)


def put(db: sqlite3.Connection, appid: str, name: str, value: SharedValue | None, now: float) -> None:
    if name != TOKEN:
        _put_media(db, (appid, _digest(name)), value, now)
    elif value is None:
        db.execute("UPDATE tokens SET fetching_until = 0 WHERE appid = ?", (appid,))
    else:
        db.execute(
            "INSERT INTO tokens (appid, value, expires_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET value = excluded.value, expires_at = excluded.expires_at, fetching_until = 0",
            (appid, value.value, value.expires_at),
        )


def _put_media(db: sqlite3.Connection, key: tuple[str, str], value: SharedValue | None, now: float) -> None:
    if value is None:
        return  # there is no lock to release
    db.execute(
        "DELETE FROM media WHERE (appid, digest) IN"
        " (SELECT appid, digest FROM media WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
        (now, EXPIRED_LIMIT),
    )
    if value.expires_at <= now:
        db.execute("DELETE FROM media WHERE appid = ? AND digest = ?", key)
    else:
        db.execute(
            "INSERT OR REPLACE INTO media (appid, digest, media_id, expires_at) VALUES (?, ?, ?, ?)",
            (*key, value.value, value.expires_at),
        )


def _digest(name: str) -> str:
    """Return the key of a media id in its table, which is older than the names of shared values."""
    return name.removeprefix("media:")


def lock(db: sqlite3.Connection, appid: str, name: str, now: float, seconds: float, *, outdated: str | None) -> bool:
    assert name == TOKEN  # noqa: S101 - the only value with a lock
    row = db.execute("SELECT value, expires_at, fetching_until FROM tokens WHERE appid = ?", (appid,)).fetchone()
    if row is not None:
        value, expires_at, fetching_until = row
        replaced_meanwhile = value is not None and outdated is not None and value != outdated and expires_at > now
        if replaced_meanwhile or fetching_until > now:
            return False
    db.execute(
        "INSERT INTO tokens (appid, fetching_until) VALUES (?, ?)"
        " ON CONFLICT DO UPDATE SET fetching_until = excluded.fetching_until",
        (appid, now + seconds),
    )
    return True


def save_reply(db: sqlite3.Connection, lease: Lease, seq: int, reply: Mapping[str, Any]) -> bool:
    load_held(db, lease)
    updated = db.execute(
        "UPDATE inbox SET answer = coalesce(answer, ?) WHERE seq = ? AND NOT given_up", (to_json(reply), seq)
    )
    return updated.rowcount == 1


def give_up(db: sqlite3.Connection, key: ConversationKey, dedup_key: str) -> Mapping[str, Any] | None:
    refuse_incomplete_copy(db, key.appid)
    row = db.execute(
        "UPDATE inbox SET given_up = answer IS NULL WHERE appid = ? AND openid = ? AND dedup_key = ? RETURNING answer",
        (*key, dedup_key),
    ).fetchone()
    return None if row is None or row[0] is None else json.loads(row[0])


def handovers(db: sqlite3.Connection, appid: str, now: float, limit: int) -> list[tuple[ConversationKey, Handover]]:
    refuse_incomplete_copy(db, appid)
    rows = db.execute(
        "SELECT openid, handed_over_until, agent FROM conversations WHERE appid = ? AND handed_over_until > ?"
        " AND handed_over_until > 0 ORDER BY handed_over_until LIMIT ?",  # > 0: needed to use the index
        (appid, now, limit),
    )
    return [(ConversationKey(appid, openid), Handover(until, agent)) for openid, until, agent in rows]


def end_handover(db: sqlite3.Connection, key: ConversationKey) -> bool:
    refuse_incomplete_copy(db, key.appid)
    ended = db.execute(
        "UPDATE conversations SET handed_over_until = 0, agent = '' WHERE appid = ? AND openid = ?"
        " AND handed_over_until > 0",
        key,
    )
    return ended.rowcount == 1


def dead_letters(db: sqlite3.Connection, appid: str, limit: int) -> list[DeadLetter]:
    refuse_incomplete_copy(db, appid)
    rows = db.execute(
        "SELECT seq, appid, openid, fields, received_at, died_at, attempts, sent, reason, unsent FROM inbox"
        " WHERE status = 2 AND appid = ? ORDER BY seq LIMIT ?",
        (appid, limit),
    ).fetchall()  # a letter that cannot be read must not leave a query open, which would lock out this process
    return [_dead_letter(*row) for row in rows]


def _dead_letter(seq: int, appid: str, openid: str, fields: str, *values: Any) -> DeadLetter:
    received_at, died_at, attempts, sent, reason, unsent = values
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


def remove_dead_letter(db: sqlite3.Connection, appid: str, seq: int, retry_at: float | None = None) -> bool:
    refuse_incomplete_copy(db, appid)
    letter = (seq, appid)
    if retry_at is None:
        return db.execute("DELETE FROM inbox WHERE seq = ? AND appid = ? AND status = 2", letter).rowcount == 1
    row = db.execute(
        "UPDATE inbox SET status = 0, attempts = 0, reason = NULL WHERE seq = ? AND appid = ? AND status = 2"
        " RETURNING openid, received_at",
        letter,
    ).fetchone()
    if row is None:
        return False
    openid, received_at = row
    db.execute(
        "INSERT INTO conversations (appid, openid, next_at, interacted_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET next_at = min(coalesce(next_at, excluded.next_at), excluded.next_at)",
        (appid, openid, retry_at, received_at),
    )
    return True
