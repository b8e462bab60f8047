"""The rows of conversations in SQLite. A transaction loads a row, changes it in Python and saves it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, NamedTuple

from wxbot.errors import LeaseLost
from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, ConversationKey, ConversationRecord, Handover, Lease, to_json

NO_STATE = "{}"


class ConversationRow(NamedTuple):
    """The row of a conversation, without its key. Its fields are the columns (``wxbot.store.sqlite.schema``)."""

    owner: str | None = None
    fence: int = 0
    lease_until: float = 0.0
    next_at: float | None = None
    interacted_at: float = 0.0
    typing_until: float = 0.0
    state: str = NO_STATE
    budget_left: int | None = None
    budget_until: float | None = None
    handed_over_until: float = 0.0
    agent: str = ""

    def record(self, *, with_state: bool = False) -> ConversationRecord:
        """Return the record of the conversation. Its state is None, or the stored state if ``with_state``."""
        is_known = self.budget_left is not None and self.budget_until is not None
        return ConversationRecord(
            self.interacted_at,
            self.typing_until,
            Quota(self.budget_left, self.budget_until) if is_known else None,  # type: ignore[arg-type]
            Handover(self.handed_over_until, self.agent) if self.handed_over_until else WITH_BOT,
            self.read_state() if with_state else None,
        )

    def read_state(self) -> dict[str, Any]:
        """Return the state of the conversation."""
        return json.loads(self.state) if self.state != NO_STATE else {}

    def with_record(self, record: ConversationRecord, *lease: Any) -> ConversationRow:
        """Return the row with the values of ``record``; None leaves a value as it is.

        ``lease``: new values of the first four columns; without it they stay as they are.
        """
        left, until = record.quota or (None, None)
        handover = record.handover if record.handover and record.handover.until > 0 else WITH_BOT
        values = (
            record.interacted_at,
            self.typing_until if record.typing_until is None else record.typing_until,
            self.state if record.state is None else to_json(record.state),
            left,
            until,
            *handover,
        )
        return ConversationRow._make((*(lease or self[:4]), *values))


COLUMNS = ", ".join(ConversationRow._fields)
_LOAD = f"SELECT {COLUMNS} FROM conversations WHERE appid = ? AND openid = ?"  # noqa: S608 - only names of columns
_SAVE = (
    f"INSERT INTO conversations (appid, openid, {COLUMNS}) VALUES (?, ?{', ?' * len(ConversationRow._fields)})"  # noqa: S608
    f" ON CONFLICT DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in ConversationRow._fields)}"
)


def load(db: sqlite3.Connection, key: ConversationKey) -> ConversationRow | None:
    """Return the row of the conversation; None for a user who has none."""
    row = db.execute(_LOAD, key).fetchone()
    return None if row is None else ConversationRow(*row)


def load_held(db: sqlite3.Connection, lease: Lease) -> ConversationRow:
    """Return the row of a conversation that its owner still holds. Raises LeaseLost."""
    row = load(db, lease.key)
    if row is None or (row.owner, row.fence) != (lease.owner, lease.fence):
        raise LeaseLost("another process took over this conversation")
    return row


def save(db: sqlite3.Connection, key: ConversationKey, row: ConversationRow) -> None:
    """Insert or update the row of the conversation."""
    db.execute(_SAVE, (*key, *row))
