"""The inbox and its conversations in SQLite.

Each public function implements the method of the same name in ``wxbot.store.port.Inbox``. It runs in the writer's
thread, inside a transaction.
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
from wxbot.store.sqlite.schema import DEAD, DONE, WAITING, refuse_incomplete_copy, to_json

PURGE_LIMIT = 2000
LAST_SEQ = 2**63 - 1


class QuotaAndHandover(NamedTuple):
    """The quota and the handover of a user. They are in four columns of ``conversations``."""

    quota: Quota | None = None
    active_handover: Handover = WITH_BOT

    @classmethod
    def read(cls, left: int | None, until: float | None, handed_over_until: float, agent: str) -> QuotaAndHandover:
        quota = None if left is None or until is None else Quota(left, until)
        return cls(quota, Handover(handed_over_until, agent) if handed_over_until else WITH_BOT)

    def columns(self) -> tuple[int | None, float | None, float, str]:
        return (*(self.quota or (None, None)), *self.active_handover)

    def after_user_action(self, quota: Quota | None) -> QuotaAndHandover:
        """Return the values with the ``quota`` that a user action allows; None leaves the quota as it is."""
        return self if quota is None else self._replace(quota=quota)

    def after_sending(self, quota: Quota | None) -> QuotaAndHandover:
        """Return the values with the ``quota`` that a sender counted down, unless the user has acted since."""
        is_current = self.quota is None or quota is None or self.quota.expires_at == quota.expires_at
        return self.after_user_action(quota) if is_current else self

    def with_handover(self, handover: Handover | None) -> QuotaAndHandover:
        """Return the values with ``handover``; None leaves the handover as it is."""
        if handover is None:
            return self
        return self._replace(active_handover=handover if handover.until > 0 else WITH_BOT)


def accept(
    db: sqlite3.Connection, message: IncomingMessage, fields: str, unsent: str, request: ClaimRequest | None
) -> AcceptResult:
    refuse_incomplete_copy(db, message.key.appid)
    known = db.execute(
        "SELECT owner, next_at, fence, interacted_at, typing_until, state,"
        " budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ?",
        message.key,
    ).fetchone()
    owner, next_at, fence, interacted_at, typing_until, state, *columns = known or _NEW_CONVERSATION
    stored = QuotaAndHandover.read(*columns)
    current = stored.with_handover(message.handover).after_user_action(message.quota)
    for_agents = _is_for_agents(message, current)
    granted = request if owner is None and next_at is None and not for_agents else None
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
    if granted is None:
        _update_conversation(db, message, None if for_agents else message.received_at, current)
        return AcceptResult(True, None, message.received_at, current.active_handover if for_agents else WITH_BOT)
    pending = PendingMessage(added[0], message.fields, message.received_at, 1, 0, message.unsent, *current)
    lease = Lease(message.key, granted.owner, fence + 1, message.received_at + granted.lease_seconds)
    noted_until = max(typing_until, message.received_at + granted.typing_seconds) if granted.typing_seconds else 0.0
    _claim_at_once(db, message, lease, max(typing_until, noted_until), current)
    interacted_at = max(interacted_at, message.interacted_at)
    claim = Claim(lease, pending, interacted_at, typing_until, json.loads(state), noted_until)
    return AcceptResult(True, claim, message.received_at)


_NEW_CONVERSATION = (None, None, 0, 0.0, 0.0, "{}", *QuotaAndHandover().columns())
"""The columns of a user who has no row yet."""


def _is_for_agents(message: IncomingMessage, current: QuotaAndHandover) -> bool:
    """Return True if human agents reply to this message and the bot does not process it."""
    return message.for_agents and message.received_at < current.active_handover.until


def _redelivered(db: sqlite3.Connection, message: IncomingMessage, current: QuotaAndHandover) -> AcceptResult:
    (first_at,) = db.execute(
        "SELECT received_at FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?",
        (*message.key, message.dedup_key),
    ).fetchone()
    handover = current.active_handover if _is_for_agents(message, current) else WITH_BOT
    return AcceptResult(False, None, first_at, handover)


def _update_conversation(
    db: sqlite3.Connection, message: IncomingMessage, next_at: float | None, current: QuotaAndHandover
) -> None:
    """Record the message in its conversation, which is due at ``next_at``; None if the bot does not process it."""
    db.execute(
        "INSERT INTO conversations"
        " (appid, openid, next_at, interacted_at, budget_left, budget_until, handed_over_until, agent)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET next_at = coalesce(next_at, excluded.next_at),"
        " interacted_at = max(interacted_at, excluded.interacted_at),"
        " budget_left = excluded.budget_left, budget_until = excluded.budget_until,"
        " handed_over_until = excluded.handed_over_until, agent = excluded.agent",
        (*message.key, next_at, message.interacted_at, *current.columns()),
    )


def _claim_at_once(
    db: sqlite3.Connection, message: IncomingMessage, lease: Lease, typing_until: float, current: QuotaAndHandover
) -> None:
    """Give the idle conversation to the process that accepted its message."""
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
            *(*message.key, lease.owner, lease.fence, lease.expires_at, message.received_at, message.interacted_at),
            *(typing_until, *current.columns()),
        ),
    )


def waiting(db: sqlite3.Connection, appid: str, now: float, limit: int, grace: float) -> list[ConversationKey]:
    refuse_incomplete_copy(db, appid)
    rows = db.execute(
        "SELECT appid, openid FROM conversations"
        " WHERE next_at <= CASE WHEN owner IS NULL THEN ? ELSE ? END AND (owner IS NULL OR lease_until <= ?)"
        " AND next_at <= ? AND appid = ? ORDER BY next_at LIMIT ?",  # the last bound on next_at is for the index
        (now - grace, now, now, now, appid, limit),
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
    fence, interacted_at, typing_until, state, *columns = row
    pending = _next_pending(db, key, QuotaAndHandover.read(*columns))
    if pending is None:  # next_at was wrong: repair it and claim nothing
        db.execute("UPDATE conversations SET owner = NULL, next_at = NULL WHERE appid = ? AND openid = ?", key)
        return None
    lease = Lease(key, owner, fence, now + seconds)
    return Claim(lease, pending, interacted_at, typing_until, json.loads(state))


def _next_pending(db: sqlite3.Connection, key: ConversationKey, current: QuotaAndHandover) -> PendingMessage | None:
    row = db.execute(
        "SELECT seq, fields, received_at, attempts, sent, unsent FROM inbox"
        " WHERE appid = ? AND openid = ? AND status = 0 ORDER BY seq LIMIT 1",
        key,
    ).fetchone()
    if row is None:
        return None
    seq, fields, received_at, attempts, sent, unsent = row
    db.execute("UPDATE inbox SET attempts = attempts + 1 WHERE seq = ?", (seq,))
    return PendingMessage(seq, json.loads(fields), received_at, attempts + 1, sent, tuple(json.loads(unsent)), *current)


def renew(db: sqlite3.Connection, held: str, now: float, until: float) -> dict[ConversationKey, LeaseUpdate]:
    rows = db.execute(
        "UPDATE conversations AS ours SET lease_until = ? FROM json_each(?) AS held"
        " WHERE ours.appid = json_extract(held.value, '$[0]') AND ours.openid = json_extract(held.value, '$[1]')"
        " AND ours.owner = json_extract(held.value, '$[2]') AND ours.fence = json_extract(held.value, '$[3]')"
        " RETURNING appid, openid, interacted_at, budget_left, budget_until, handed_over_until, agent",
        (until, held),
    )
    return {ConversationKey(appid, openid): _lease_update(now, *columns) for appid, openid, *columns in rows}


def _lease_update(now: float, interacted_at: float, *columns: Any) -> LeaseUpdate:
    quota, active_handover = QuotaAndHandover.read(*columns)
    return LeaseUpdate(interacted_at, active_handover if now < active_handover.until else WITH_BOT, quota)


def check_lease(db: sqlite3.Connection, lease: Lease) -> QuotaAndHandover:
    """Return the quota and handover of the conversation. Raises LeaseLost if ``lease`` is not its lease any more."""
    held = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations"
        " WHERE appid = ? AND openid = ? AND owner = ? AND fence = ?",
        (*lease.key, lease.owner, lease.fence),
    ).fetchone()
    if held is None:
        raise LeaseLost("another process took over this conversation")
    return QuotaAndHandover.read(*held)


def quota(db: sqlite3.Connection, key: ConversationKey) -> Quota | None:
    row = db.execute(
        "SELECT budget_left, budget_until, handed_over_until, agent FROM conversations WHERE appid = ? AND openid = ?",
        key,
    ).fetchone()
    return None if row is None else QuotaAndHandover.read(*row).quota


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
    new_quota: Quota | None,
    unsent: str | None,
    state: str | None,
) -> None:
    current = check_lease(db, lease).after_sending(new_quota)
    db.execute("UPDATE inbox SET sent = ?, unsent = coalesce(?, unsent) WHERE seq = ?", (sent, unsent, seq))
    db.execute(
        "UPDATE conversations SET typing_until = 0, interacted_at = max(interacted_at, ?), state = coalesce(?, state),"
        " budget_left = ?, budget_until = ?, handed_over_until = ?, agent = ?"
        " WHERE appid = ? AND openid = ?",
        (sent_at, state, *current.columns(), *lease.key),
    )


def seen(db: sqlite3.Connection, key: ConversationKey, dedup_key: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM inbox WHERE appid = ? AND openid = ? AND dedup_key = ?", (*key, dedup_key)
    ).fetchone()
    return row is not None


def settle(
    db: sqlite3.Connection, lease: Lease, outcome: Outcome, state: str | None, now: float, go_on: bool
) -> PendingMessage | None:
    current = check_lease(db, lease).after_sending(outcome.quota).with_handover(outcome.handover)
    _close(db, outcome, now)
    pending = _next_pending(db, lease.key, current) if go_on and outcome.status in ("done", "dead") else None
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
            *current.columns(),
            *lease.key,
        ),
    )
    return pending


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


def purge(db: sqlite3.Connection, appid: str, now: float, retention: Retention) -> int:
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
