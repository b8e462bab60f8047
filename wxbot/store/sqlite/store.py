"""The embedded store: one SQLite file in WAL mode, shared by all gunicorn workers of a machine.

Acknowledged messages survive a power loss, because their transactions use ``synchronous=FULL``. Leases and typing times
only have to survive the process, so they skip the fsync.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wxbot.store.port import TOKEN
from wxbot.store.records import (
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    ConversationRecord,
    DeadLetter,
    Found,
    Handover,
    IncomingMessage,
    Lease,
    Outcome,
    Progress,
    Retention,
    SharedValue,
)
from wxbot.store.sqlite import inbox, operations
from wxbot.store.sqlite.schema import prepare, probe_write, to_json
from wxbot.store.sqlite.writer import SqliteWriter


class SqliteStore:
    """A ``wxbot.store.port.Store`` on one SQLite file. Open it after gunicorn has forked, never before."""

    def __init__(self, path: Path, *, full_sync: bool = True, retention: Retention | None = None) -> None:
        self._writer = SqliteWriter(path, full_sync=full_sync)
        self._retention = retention or Retention()

    def open(self) -> None:
        self._writer.open(prepare)

    def close(self) -> None:
        self._writer.stop()

    async def ping(self) -> None:
        await self._writer.submit(probe_write)

    # Inbox

    def accept(self, message: IncomingMessage, request: ClaimRequest | None = None) -> AcceptResult:
        fields = to_json(message.fields)  # not in the writer's thread, because all callers wait for it
        unsent = to_json(message.unsent)
        return self._writer.run(lambda db: inbox.accept(db, message, fields, unsent, request))

    async def waiting(
        self, appid: str, now: float, limit: int, grace_seconds: float = 0.0
    ) -> Sequence[ConversationKey]:
        return await self._writer.submit(lambda db: inbox.waiting(db, appid, now, limit, grace_seconds), durable=False)

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        return await self._writer.submit(lambda db: inbox.claim(db, key, owner, now, lease_seconds), durable=False)

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, ConversationRecord]:
        held = to_json([(*lease.key, lease.owner, lease.fence) for lease in leases])
        return await self._writer.submit(lambda db: inbox.renew(db, held, now + lease_seconds), durable=False)

    async def checkpoint(
        self, lease: Lease, change: ConversationRecord, progress: Progress | None = None
    ) -> ConversationRecord:
        return await self._writer.submit(
            lambda db: inbox.checkpoint(db, lease, change, progress), durable=progress is not None
        )

    async def complete(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Claim | None:
        return await self._writer.submit(lambda db: inbox.complete(db, lease, outcome, now, go_on))

    async def find(self, key: ConversationKey, dedup_key: str = "") -> Found:
        return await self._writer.submit(lambda db: inbox.find(db, key, dedup_key), durable=False)

    async def purge(self, appid: str, now: float) -> int:
        return await self._writer.submit(lambda db: inbox.purge(db, appid, now, self._retention), durable=False)

    # Passive replies

    async def save_reply(self, lease: Lease, seq: int, reply: Mapping[str, Any]) -> bool:
        stored = to_json(reply)
        return await self._writer.submit(lambda db: operations.save_reply(db, lease, seq, stored))

    async def give_up(self, key: ConversationKey, dedup_key: str) -> Mapping[str, Any] | None:
        return await self._writer.submit(lambda db: operations.give_up(db, key, dedup_key))

    # Shared values

    async def get(self, appid: str, name: str) -> SharedValue | None:
        return await self._writer.submit(lambda db: operations.get(db, appid, name), durable=False)

    async def put(self, appid: str, name: str, value: SharedValue | None, now: float) -> None:
        await self._writer.submit(lambda db: operations.put(db, appid, name, value, now), durable=False)

    async def lock(self, appid: str, name: str, now: float, seconds: float, *, outdated: str | None) -> bool:
        assert name == TOKEN  # noqa: S101 - the only value with a lock
        return await self._writer.submit(lambda db: operations.lock(db, appid, now, seconds, outdated), durable=False)

    # Operators

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        return await self._writer.submit(lambda db: operations.handovers(db, appid, now, limit), durable=False)

    async def end_handover(self, key: ConversationKey) -> bool:
        return await self._writer.submit(lambda db: operations.end_handover(db, key))

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        return await self._writer.submit(lambda db: operations.dead_letters(db, appid, limit), durable=False)

    async def remove_dead_letter(self, appid: str, seq: int, retry_at: float | None = None) -> bool:
        return await self._writer.submit(lambda db: operations.remove_dead_letter(db, appid, seq, retry_at))
