"""The embedded store: one SQLite file in WAL mode, shared by all gunicorn workers of a machine.

Acknowledged messages survive a power loss, because their transactions use ``synchronous=FULL``. Leases and typing times
only have to survive the process, so they skip the fsync.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wxbot.model.quota import Quota
from wxbot.store.records import (
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    DeadLetter,
    Handover,
    IncomingMessage,
    Lease,
    LeaseUpdate,
    Outcome,
    PendingMessage,
    Retention,
    StoredMedia,
    StoredToken,
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
    ) -> Mapping[ConversationKey, LeaseUpdate]:
        held = to_json([(*lease.key, lease.owner, lease.fence) for lease in leases])
        return await self._writer.submit(lambda db: inbox.renew(db, held, now, now + lease_seconds), durable=False)

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        return await self._writer.submit(lambda db: inbox.save_typing(db, lease, typing_until), durable=False)

    async def record_sent(
        self,
        lease: Lease,
        seq: int,
        sent: int,
        sent_at: float,
        quota: Quota | None = None,
        *,
        unsent: Sequence[Mapping[str, Any]] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        new_unsent, new_state = (None if each is None else to_json(each) for each in (unsent, state))
        await self._writer.submit(
            lambda db: inbox.record_sent(db, lease, seq, sent, sent_at, quota, new_unsent, new_state)
        )

    async def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        return await self._writer.submit(lambda db: inbox.seen(db, key, dedup_key), durable=False)

    async def quota(self, key: ConversationKey) -> Quota | None:
        return await self._writer.submit(lambda db: inbox.quota(db, key), durable=False)

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> PendingMessage | None:
        state = None if outcome.state is None else to_json(outcome.state)
        return await self._writer.submit(lambda db: inbox.settle(db, lease, outcome, state, now, go_on))

    async def purge(self, appid: str, now: float) -> int:
        return await self._writer.submit(lambda db: inbox.purge(db, appid, now, self._retention), durable=False)

    # Tokens

    async def load_token(self, appid: str) -> StoredToken | None:
        return await self._writer.submit(lambda db: operations.load_token(db, appid), durable=False)

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        return await self._writer.submit(
            lambda db: operations.begin_token_fetch(db, appid, refused, now, seconds), durable=False
        )

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        await self._writer.submit(lambda db: operations.save_token(db, appid, token), durable=False)

    # Media

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        return await self._writer.submit(lambda db: operations.load_media(db, appid, digest), durable=False)

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        await self._writer.submit(lambda db: operations.save_media(db, appid, digest, media, now), durable=False)

    # Passive replies

    async def save_passive_reply(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        stored = to_json(answer)
        return await self._writer.submit(lambda db: operations.save_passive_reply(db, lease, seq, stored))

    async def passive_reply(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        return await self._writer.submit(
            lambda db: operations.passive_reply(db, key, dedup_key, give_up), durable=give_up
        )

    # Handovers

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        return await self._writer.submit(lambda db: operations.handovers(db, appid, now, limit), durable=False)

    async def end_handover(self, key: ConversationKey) -> bool:
        return await self._writer.submit(lambda db: operations.end_handover(db, key))

    # Dead letters

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        return await self._writer.submit(lambda db: operations.dead_letters(db, appid, limit), durable=False)

    async def retry_dead_letter(self, appid: str, seq: int, now: float) -> bool:
        return await self._writer.submit(lambda db: operations.retry_dead_letter(db, appid, seq, now))

    async def drop_dead_letter(self, appid: str, seq: int) -> bool:
        return await self._writer.submit(lambda db: operations.drop_dead_letter(db, appid, seq))
