"""Tokens, media, passive replies, handovers and dead letters in SQLite.

Each function implements the method of the same name in ``wxbot.store.port``. It runs in the writer's thread, inside a
transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from wxbot.store.records import ConversationKey, DeadLetter, Handover, Lease, StoredMedia, StoredToken
from wxbot.store.sqlite.inbox import check_lease
from wxbot.store.sqlite.schema import refuse_incomplete_copy

MEDIA_PURGE_LIMIT = 100


def load_token(db: sqlite3.Connection, appid: str) -> StoredToken | None:
    row = db.execute("SELECT value, expires_at FROM tokens WHERE appid = ? AND value IS NOT NULL", (appid,)).fetchone()
    return None if row is None else StoredToken(*row)


def begin_token_fetch(db: sqlite3.Connection, appid: str, refused: str | None, now: float, seconds: float) -> bool:
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


def save_token(db: sqlite3.Connection, appid: str, token: StoredToken | None) -> None:
    if token is None:
        db.execute("UPDATE tokens SET fetching_until = 0 WHERE appid = ?", (appid,))
        return
    db.execute(
        "INSERT INTO tokens (appid, value, expires_at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
        " SET value = excluded.value, expires_at = excluded.expires_at, fetching_until = 0",
        (appid, token.value, token.expires_at),
    )


def load_media(db: sqlite3.Connection, appid: str, digest: str) -> StoredMedia | None:
    row = db.execute(
        "SELECT media_id, expires_at FROM media WHERE appid = ? AND digest = ?", (appid, digest)
    ).fetchone()
    return None if row is None else StoredMedia(*row)


def save_media(db: sqlite3.Connection, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
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


def save_passive_reply(db: sqlite3.Connection, lease: Lease, seq: int, answer: str) -> bool:
    check_lease(db, lease)
    updated = db.execute("UPDATE inbox SET answer = coalesce(answer, ?) WHERE seq = ? AND NOT given_up", (answer, seq))
    return updated.rowcount == 1


def passive_reply(
    db: sqlite3.Connection, key: ConversationKey, dedup_key: str, give_up: bool
) -> Mapping[str, Any] | None:
    refuse_incomplete_copy(db, key.appid)
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
    )
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


def retry_dead_letter(db: sqlite3.Connection, appid: str, seq: int, now: float) -> bool:
    refuse_incomplete_copy(db, appid)
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


def drop_dead_letter(db: sqlite3.Connection, appid: str, seq: int) -> bool:
    refuse_incomplete_copy(db, appid)
    dropped = db.execute("DELETE FROM inbox WHERE seq = ? AND appid = ? AND status = 2", (seq, appid))
    return dropped.rowcount == 1
