"""The inbox and its conversations in SQLite: what the methods of ``ports.Inbox`` with the same names do.

Every function runs in the writer's thread, inside a transaction.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from wxbot.errors import LeaseLost
from wxbot.model.quota import Quota
from wxbot.store.records import (
    WITH_BOT,
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    Handover,
    IncomingMessage,
    Lease,
    LeaseUpdate,
    Outcome,
    PendingMessage,
    Retention,
)
from wxbot.store.sqlite.schema import ANSWERED, DEAD, WAITING, refuse_incomplete_copy, to_json

PURGE_LIMIT = 2000
LAST_SEQ = 2**63 - 1


class Terms(NamedTuple):
    """On which terms a user may be sent something, as it stands in four columns of ``conversations``."""

    quota: Quota | None = None
    active_handover: Handover = WITH_BOT

    @classmethod
    def read(cls, left: int | None, until: float | None, handed_over_until: float, agent: str) -> Terms:
        quota = None if left is None or until is None else Quota(left, until)
        return cls(quota, Handover(handed_over_until, agent) if handed_over_until else WITH_BOT)

    def columns(self) -> tuple[int | None, float | None, float, str]:
        return (*(self.quota or (None, None)), *self.active_handover)

    def after_deed(self, quota: Quota | None) -> Terms:
        """The user has done something that allows ``quota``, or None for nothing that counts."""
        return self if quota is None else self._replace(quota=quota)

    def after_sending(self, quota: Quota | None) -> Terms:
        """``quota`` is what a sender has counted down; it is out of date if the user has acted meanwhile."""
        current = self.quota is None or quota is None or self.quota.expires_at == quota.expires_at
        return self.after_deed(quota) if current else self

    def handed(self, handover: Handover | None) -> Terms:
        if handover is None:
            return self
        return self._replace(active_handover=handover if handover.until > 0 else WITH_BOT)


def accept(
    db: sqlite3.Connection, arrival: IncomingMessage, fields: str, unsent: str, bid: ClaimRequest | None
) -> AcceptResult:
    refuse_incomplete_copy(db, arrival.key.appid)
    known = db.execute(
        "SELECT owner, next_at, fence, interacted_at, typing_until, state,"
        " budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ?",
        arrival.key,
    ).fetchone()
    owner, next_at, fence, interacted_at, typing_until, state, *columns = known or _NOBODY
    before = Terms.read(*columns)
    terms = before.handed(arrival.handover).after_deed(arrival.quota)
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
        return AcceptResult(True, None, arrival.received_at, terms.active_handover if theirs else WITH_BOT)
    pending = PendingMessage(added[0], arrival.fields, arrival.received_at, 1, 0, arrival.unsent, *terms)
    lease = Lease(arrival.key, granted.owner, fence + 1, arrival.received_at + granted.lease_seconds)
    noted_until = max(typing_until, arrival.received_at + granted.typing_seconds) if granted.typing_seconds else 0.0
    _take(db, arrival, lease, max(typing_until, noted_until), terms)
    interacted_at = max(interacted_at, arrival.interacted_at)
    claim = Claim(lease, pending, interacted_at, typing_until, json.loads(state), noted_until)
    return AcceptResult(True, claim, arrival.received_at)


_NOBODY = (None, None, 0, 0.0, 0.0, "{}", *Terms().columns())
"""What is known of a user who was never here."""


def _is_theirs(arrival: IncomingMessage, terms: Terms) -> bool:
    """Whether the human agents answer it, and not the bot."""
    return arrival.for_agents and arrival.received_at < terms.active_handover.until


def _seen_before(db: sqlite3.Connection, arrival: IncomingMessage, terms: Terms) -> AcceptResult:
    (first_at,) = db.execute(
        "SELECT received_at FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?",
        (*arrival.key, arrival.dedup_key),
    ).fetchone()
    return AcceptResult(False, None, first_at, terms.active_handover if _is_theirs(arrival, terms) else WITH_BOT)


def _note_arrival(db: sqlite3.Connection, arrival: IncomingMessage, next_at: float | None, terms: Terms) -> None:
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


def _take(db: sqlite3.Connection, arrival: IncomingMessage, lease: Lease, typing_until: float, terms: Terms) -> None:
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


def waiting(db: sqlite3.Connection, appid: str, now: float, limit: int, patience: float) -> list[ConversationKey]:
    refuse_incomplete_copy(db, appid)
    rows = db.execute(
        "SELECT appid, openid FROM conversations"
        " WHERE next_at <= CASE WHEN owner IS NULL THEN ? ELSE ? END AND (owner IS NULL OR lease_until <= ?)"
        " AND next_at <= ? AND appid = ? ORDER BY next_at LIMIT ?",  # the last bound is the index's
        (now - patience, now, now, now, appid, limit),
    )
    return [ConversationKey(*row) for row in rows]


def claim(db: sqlite3.Connection, key: ConversationKey, owner: str, now: float, seconds: float) -> Claim | None:
    refuse_incomplete_copy(db, key.appid)
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


def _next_pending(db: sqlite3.Connection, key: ConversationKey, terms: Terms) -> PendingMessage | None:
    row = db.execute(
        "SELECT seq, fields, received_at, attempts, sent, unsent FROM inbox"
        " WHERE appid = ? AND openid = ? AND status = 0 ORDER BY seq LIMIT 1",
        key,
    ).fetchone()
    if row is None:
        return None
    seq, fields, received_at, attempts, sent, unsent = row
    db.execute("UPDATE inbox SET attempts = attempts + 1 WHERE seq = ?", (seq,))
    return PendingMessage(seq, json.loads(fields), received_at, attempts + 1, sent, tuple(json.loads(unsent)), *terms)


def renew(db: sqlite3.Connection, held: str, now: float, until: float) -> dict[ConversationKey, LeaseUpdate]:
    rows = db.execute(
        "UPDATE conversations AS ours SET lease_until = ? FROM json_each(?) AS held"
        " WHERE ours.appid = json_extract(held.value, '$[0]') AND ours.openid = json_extract(held.value, '$[1]')"
        " AND ours.owner = json_extract(held.value, '$[2]') AND ours.fence = json_extract(held.value, '$[3]')"
        " RETURNING appid, openid, interacted_at, budget_left, budget_until, handed_over_until, agent",
        (until, held),
    )
    return {ConversationKey(appid, openid): _news(now, *told) for appid, openid, *told in rows}


def _news(now: float, interacted_at: float, *columns: Any) -> LeaseUpdate:
    quota, active_handover = Terms.read(*columns)
    return LeaseUpdate(interacted_at, active_handover if now < active_handover.until else WITH_BOT, quota)


def check_lease(db: sqlite3.Connection, lease: Lease) -> Terms:
    """The terms of the conversation. Raises LeaseLost."""
    held = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ? AND owner = ? AND fence = ?",
        (*lease.key, lease.owner, lease.fence),
    ).fetchone()
    if held is None:
        raise LeaseLost("another process took over this conversation")
    return Terms.read(*held)


def terms_of(db: sqlite3.Connection, key: ConversationKey) -> Terms:
    row = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations WHERE appid = ? AND openid = ?",
        key,
    ).fetchone()
    return Terms() if row is None else Terms.read(*row)


def save_typing(db: sqlite3.Connection, lease: Lease, typing_until: float) -> float:
    row = db.execute(
        "UPDATE conversations SET typing_until = ? WHERE appid = ? AND openid = ? AND owner = ? AND fence = ?"
        " RETURNING interacted_at",
        (typing_until, *lease.key, lease.owner, lease.fence),
    ).fetchone()
    if row is None:
        raise LeaseLost("another process took over this conversation")
    return float(row[0])


def record_sent(
    db: sqlite3.Connection,
    lease: Lease,
    seq: int,
    sent: int,
    sent_at: float,
    quota: Quota | None,
    unsent: str | None,
    state: str | None,
) -> None:
    terms = check_lease(db, lease).after_sending(quota)
    db.execute("UPDATE inbox SET sent = ?, unsent = coalesce(?, unsent) WHERE seq = ?", (sent, unsent, seq))
    db.execute(
        "UPDATE conversations SET typing_until = 0, interacted_at = max(interacted_at, ?), state = coalesce(?, state),"
        " budget_left = ?, budget_until = ?, handed_over_until = ?, agent = ?"
        " WHERE appid = ? AND openid = ?",
        (sent_at, state, *terms.columns(), *lease.key),
    )


def seen(db: sqlite3.Connection, key: ConversationKey, dedup_key: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?", (*key, dedup_key)
    ).fetchone()
    return row is not None


def settle(
    db: sqlite3.Connection, lease: Lease, outcome: Outcome, state: str | None, now: float, go_on: bool
) -> PendingMessage | None:
    terms = check_lease(db, lease).after_sending(outcome.quota).handed(outcome.handover)
    _close(db, outcome, now)
    pending = _next_pending(db, lease.key, terms) if go_on and outcome.status in ("done", "dead") else None
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
    if outcome.status == "done":
        # The row stays for a while, so that a redelivery is known, and gets what was answered passively; what the user
        # wrote does not stay.
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
    waits = db.execute("SELECT 1 FROM inbox WHERE appid = ? AND openid = ? AND status = 0 LIMIT 1", key).fetchone()
    return now if waits else None


def purge(db: sqlite3.Connection, appid: str, now: float, retention: Retention) -> int:
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
