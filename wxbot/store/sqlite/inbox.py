"""The inbox in SQLite.

Each public function implements the method of the same name in ``wxbot.store.port.Inbox``. It runs in the writer's
thread, inside a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from wxbot.settings.schema import RetentionSettings
from wxbot.store.records import (
    WITH_BOT,
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    ConversationRecord,
    Found,
    IncomingMessage,
    Lease,
    Outcome,
    PendingMessage,
    Progress,
    to_json,
)
from wxbot.store.sqlite.conversations import COLUMNS, ConversationRow, load, load_held, save
from wxbot.store.sqlite.schema import DEAD, DONE, WAITING, refuse_incomplete_copy

PURGE_LIMIT = 2000
LAST_SEQ = 2**63 - 1


def accept(
    db: sqlite3.Connection, message: IncomingMessage, fields: str, unsent: str, request: ClaimRequest | None
) -> AcceptResult:
    refuse_incomplete_copy(db, message.key.appid)
    row = load(db, message.key) or ConversationRow()
    stored = row.record()
    current = stored.after_user_action(message.change)
    for_agents = message.is_for_agents(current.handover)
    granted = request if row.owner is None and row.next_at is None and not for_agents else None
    added = db.execute(
        "INSERT INTO inbox (appid, openid, dedup_key, fields, received_at, status, attempts, unsent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING seq",
        (
            *(*message.key, message.dedup_key, "" if for_agents else fields, message.received_at),
            *(DONE if for_agents else WAITING, 0 if granted is None else 1, "[]" if for_agents else unsent),
        ),
    ).fetchone()
    if added is None:
        return _redelivered(db, message, stored)
    if for_agents:
        save(db, message.key, row.with_record(current))
        return AcceptResult(True, None, message.received_at, current.handover or WITH_BOT)
    next_at = message.received_at if row.next_at is None else row.next_at
    if granted is None:
        save(db, message.key, row.with_record(current, row.owner, row.fence, row.lease_until, next_at))
        return AcceptResult(True, None, message.received_at)
    claim = _granted(message, added[0], row, current, granted)
    lease, typing_until = claim.lease, max(row.typing_until, claim.noted_until)
    noted = replace(current, typing_until=typing_until)
    save(db, message.key, row.with_record(noted, lease.owner, lease.fence, lease.expires_at, next_at))
    return AcceptResult(True, claim, message.received_at)


def _redelivered(db: sqlite3.Connection, message: IncomingMessage, stored: ConversationRecord) -> AcceptResult:
    (first_at,) = db.execute(
        "SELECT received_at FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?",
        (*message.key, message.dedup_key),
    ).fetchone()
    handover = stored.handover if stored.handover and message.is_for_agents(stored.handover) else WITH_BOT
    return AcceptResult(False, None, first_at, handover)


def _granted(
    message: IncomingMessage, seq: int, row: ConversationRow, current: ConversationRecord, request: ClaimRequest
) -> Claim:
    """Return the claim of an idle conversation by the process that accepts its message."""
    at = message.received_at
    return Claim(
        Lease(message.key, request.owner, row.fence + 1, at + request.lease_seconds),
        PendingMessage(seq, message.fields, at, 1, 0, message.unsent),
        replace(current, state=row.read_state()),
        max(row.typing_until, at + request.typing_seconds) if request.typing_seconds else 0.0,
    )


def waiting(
    db: sqlite3.Connection, appid: str, now: float, limit: int, grace_seconds: float = 0.0
) -> list[ConversationKey]:
    refuse_incomplete_copy(db, appid)
    rows = db.execute(
        "SELECT appid, openid FROM conversations"
        " WHERE next_at <= CASE WHEN owner IS NULL THEN ? ELSE ? END AND (owner IS NULL OR lease_until <= ?)"
        " AND next_at <= ? AND appid = ? ORDER BY next_at LIMIT ?",  # the last bound on next_at is for the index
        (now - grace_seconds, now, now, now, appid, limit),
    )
    return [ConversationKey(*row) for row in rows]


def claim(db: sqlite3.Connection, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
    refuse_incomplete_copy(db, key.appid)
    row = load(db, key)
    if row is None or row.next_at is None or row.next_at > now or (row.owner is not None and row.lease_until > now):
        return None
    message = _next_message(db, key)
    if message is None:  # next_at was wrong: repair it and claim nothing
        save(db, key, row._replace(owner=None, next_at=None))
        return None
    lease = Lease(key, owner, row.fence + 1, now + lease_seconds)
    save(db, key, row._replace(owner=owner, fence=lease.fence, lease_until=lease.expires_at))
    return Claim(lease, message, row.record(with_state=True))


def _next_message(db: sqlite3.Connection, key: ConversationKey) -> PendingMessage | None:
    """Return the first pending message, and count an attempt for it."""
    row = db.execute(
        "SELECT seq, fields, received_at, attempts, sent, unsent FROM inbox"
        " WHERE appid = ? AND openid = ? AND status = 0 ORDER BY seq LIMIT 1",
        key,
    ).fetchone()
    if row is None:
        return None
    seq, fields, received_at, attempts, sent, unsent = row
    db.execute("UPDATE inbox SET attempts = attempts + 1 WHERE seq = ?", (seq,))
    return PendingMessage(seq, json.loads(fields), received_at, attempts + 1, sent, tuple(json.loads(unsent)))


def renew(
    db: sqlite3.Connection, leases: Sequence[Lease], now: float, lease_seconds: float
) -> dict[ConversationKey, ConversationRecord]:
    held = to_json([(*lease.key, lease.owner, lease.fence) for lease in leases])
    rows = db.execute(
        "UPDATE conversations AS ours SET lease_until = ? FROM json_each(?) AS held"  # noqa: S608
        " WHERE ours.appid = json_extract(held.value, '$[0]') AND ours.openid = json_extract(held.value, '$[1]')"
        " AND ours.owner = json_extract(held.value, '$[2]') AND ours.fence = json_extract(held.value, '$[3]')"
        f" RETURNING appid, openid, {COLUMNS}",
        (now + lease_seconds, held),
    )
    return {ConversationKey(appid, openid): ConversationRow(*columns).record() for appid, openid, *columns in rows}


def checkpoint(
    db: sqlite3.Connection, lease: Lease, change: ConversationRecord, progress: Progress | None
) -> ConversationRecord:
    row = load_held(db, lease)
    record = row.record().after_processing(change)
    if progress is not None:
        unsent = None if progress.unsent is None else to_json(progress.unsent)
        db.execute(
            "UPDATE inbox SET sent = ?, unsent = coalesce(?, unsent) WHERE seq = ?",
            (progress.sent, unsent, progress.seq),
        )
    save(db, lease.key, row.with_record(record))
    return record


def complete(db: sqlite3.Connection, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Claim | None:
    row = load_held(db, lease)
    record = row.record().after_processing(outcome.change)
    _close(db, outcome, now)
    go_on = go_on and outcome.status in ("done", "dead")
    message = _next_message(db, lease.key) if go_on else None
    if message is not None:
        row = row.with_record(record)
        save(db, lease.key, row)
        return Claim(lease, message, row.record(with_state=True))
    next_at = None if go_on else _next_at(db, lease.key, outcome, now)
    save(db, lease.key, row.with_record(record, None, row.fence, row.lease_until, next_at))
    return None


def _close(db: sqlite3.Connection, outcome: Outcome, now: float) -> None:
    if outcome.status == "done":
        # The row stays for a while as the dedup record, and a redelivery gets its passive reply. The user's text is
        # deleted.
        db.execute(
            "UPDATE inbox SET status = 1, fields = '', unsent = '[]', sent = ? WHERE seq = ?",
            (outcome.sent, outcome.seq),
        )
        return
    died_at = now if outcome.status == "dead" else None
    db.execute(
        "UPDATE inbox SET status = ?, attempts = attempts - ?, sent = ?, unsent = ?, reason = ?, died_at = ?"
        " WHERE seq = ?",
        (
            WAITING if died_at is None else DEAD,
            1 if outcome.status == "released" else 0,
            outcome.sent,
            to_json(outcome.unsent),
            outcome.reason,
            died_at,
            outcome.seq,
        ),
    )


def _next_at(db: sqlite3.Connection, key: ConversationKey, outcome: Outcome, now: float) -> float | None:
    if outcome.status == "retry":
        return outcome.retry_at
    pending = db.execute("SELECT 1 FROM inbox WHERE appid = ? AND openid = ? AND status = 0 LIMIT 1", key).fetchone()
    return now if pending else None


def find(db: sqlite3.Connection, key: ConversationKey, dedup_key: str = "") -> Found:
    refuse_incomplete_copy(db, key.appid)
    row = load(db, key)
    message = db.execute(
        "SELECT answer FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?", (*key, dedup_key)
    ).fetchone()
    reply = None if message is None or message[0] is None else json.loads(message[0])
    return Found(row and row.record(with_state=True), message is not None, reply)


def purge(db: sqlite3.Connection, appid: str, now: float, retention: RetentionSettings) -> int:
    # Search by seq, the oldest first, so that accepting a message updates no index. The first row that has not expired
    # ends the search.
    expired_before = now - retention.dedup_seconds
    first_fresh = db.execute(
        "SELECT seq FROM inbox WHERE received_at >= ? ORDER BY seq LIMIT 1", (expired_before,)
    ).fetchone()
    deleted = db.execute(
        "DELETE FROM inbox WHERE seq IN"
        " (SELECT seq FROM inbox WHERE status = 1 AND seq < ? AND appid = ? ORDER BY seq LIMIT ?)",
        (first_fresh[0] if first_fresh else LAST_SEQ, appid, PURGE_LIMIT),
    ).rowcount
    deleted += db.execute(
        "DELETE FROM inbox WHERE status = 2 AND died_at < ? AND appid = ?", (now - retention.dead_letter_seconds, appid)
    ).rowcount
    db.execute(
        "DELETE FROM conversations WHERE appid = ? AND next_at IS NULL AND owner IS NULL AND handed_over_until <= ?"
        " AND coalesce(budget_until, 0) <= ? AND interacted_at < CASE state WHEN '{}' THEN ? ELSE ? END",
        (appid, now, now, expired_before, now - max(retention.state_seconds, retention.dedup_seconds)),
    )
    return deleted
