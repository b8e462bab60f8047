"""The embedded store: one SQLite file in WAL mode, shared by all gunicorn workers of a machine.

Acknowledged messages survive a power loss, because their transactions use ``synchronous=FULL``. Leases and typing times
only have to survive the process, so they skip the fsync.
"""

from __future__ import annotations

from pathlib import Path

from wxbot.settings.schema import RetentionSettings
from wxbot.store.records import (
    AcceptResult,
    ClaimRequest,
    ConversationRecord,
    IncomingMessage,
    Lease,
    Progress,
    to_json,
)
from wxbot.store.sqlite import inbox, operations
from wxbot.store.sqlite.schema import prepare, probe_write
from wxbot.store.sqlite.writer import SqliteWriter, method


class SqliteStore:
    """A ``wxbot.store.port.Store`` on one SQLite file. Open it after gunicorn has forked, never before."""

    def __init__(self, path: Path, *, full_sync: bool = True, retention: RetentionSettings | None = None) -> None:
        self.writer = SqliteWriter(path, full_sync=full_sync)
        self._retention = retention or RetentionSettings()

    def open(self) -> None:
        self.writer.open(prepare)

    def close(self) -> None:
        self.writer.stop()

    ping = method(probe_write)

    # Inbox

    def accept(self, message: IncomingMessage, request: ClaimRequest | None = None) -> AcceptResult:
        fields = to_json(message.fields)  # not in the writer's thread, because all callers wait for it
        unsent = to_json(message.unsent)
        return self.writer.run(lambda db: inbox.accept(db, message, fields, unsent, request))

    waiting = method(inbox.waiting, durable=False)
    claim = method(inbox.claim, durable=False)
    renew = method(inbox.renew, durable=False)

    async def checkpoint(
        self, lease: Lease, change: ConversationRecord, progress: Progress | None = None
    ) -> ConversationRecord:
        return await self.writer.submit(
            lambda db: inbox.checkpoint(db, lease, change, progress), durable=progress is not None
        )

    complete = method(inbox.complete)
    find = method(inbox.find, durable=False)

    async def purge(self, appid: str, now: float) -> int:
        return await self.writer.submit(lambda db: inbox.purge(db, appid, now, self._retention), durable=False)

    # Passive replies

    save_reply = method(operations.save_reply)
    give_up = method(operations.give_up)

    # Shared values

    get = method(operations.get, durable=False)
    put = method(operations.put, durable=False)
    lock = method(operations.lock, durable=False)

    # Operators

    handovers = method(operations.handovers, durable=False)
    end_handover = method(operations.end_handover)
    dead_letters = method(operations.dead_letters, durable=False)
    remove_dead_letter = method(operations.remove_dead_letter)
