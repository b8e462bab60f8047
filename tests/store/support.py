"""Helpers of the contract tests: the stores under test, and blocking calls of one owner."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import redis

from wxbot.model.quota import Quota
from wxbot.settings.schema import RetentionSettings
from wxbot.store.port import Store
from wxbot.store.records import (
    AcceptResult,
    Claim,
    ConversationKey,
    ConversationRecord,
    Found,
    Handover,
    IncomingMessage,
    Lease,
    Outcome,
    PendingMessage,
    Progress,
)
from wxbot.store.redis.store import RedisStore
from wxbot.store.sqlite.store import SqliteStore

NOW = 1_700_000_000.0
LEASE = 8.0
APPID = "wx0123456789abcdef"
ALICE = ConversationKey(APPID, "alice")
BOB = ConversationKey(APPID, "bob")

Result = TypeVar("Result")
Status = Literal["done", "dead", "retry", "released"]
RETENTION = RetentionSettings(dedup_seconds=100.0, dead_letter_seconds=1000.0, state_seconds=10_000.0)


class Backend(Protocol):
    """The shared data of all instances of one kind of store. A new kind must pass all contract tests."""

    def store(self) -> Store:
        """Return another instance on the same data, with the retention ``RETENTION``."""
        ...

    def time_passes(self, seconds: float) -> None:
        """Advance the clock of a server that expires keys by its own time."""
        ...

    def empty(self) -> None: ...


class SqliteBackend:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._round = 0

    def store(self) -> Store:
        return SqliteStore(self._folder / f"wxbot{self._round}.db", retention=RETENTION)

    def time_passes(self, seconds: float) -> None:
        """Do nothing. SQLite has no clock, only the ``now`` of its callers."""

    def empty(self) -> None:
        self._round += 1


class RedisBackend:
    def __init__(self, url: str) -> None:
        self._url = url
        self.empty()

    def store(self) -> Store:
        return RedisStore(self._url, retention=RETENTION)

    def time_passes(self, seconds: float) -> None:
        """Reduce the time to live of every key by ``seconds``."""
        with self.client() as server:
            for key in server.scan_iter():
                left = server.pttl(key)
                if left >= 0:
                    server.pexpire(key, max(0, left - round(seconds * 1000)))

    def empty(self) -> None:
        with self.client() as server:
            server.flushall()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self._url)


def incoming(
    text: str,
    key: ConversationKey = ALICE,
    *,
    at: float = NOW,
    interacted_at: float | None = None,
    dedup_key: str | None = None,
    quota: Quota | None = None,
    handover: Handover | None = None,
    **more: Any,
) -> IncomingMessage:
    """Return a text message. Its text is also its MsgId, unless ``dedup_key`` is given."""
    fields = {"FromUserName": key.openid, "MsgType": "text", "Content": text, "CreateTime": int(at)}
    change = ConversationRecord(at if interacted_at is None else interacted_at, quota=quota, handover=handover)
    return IncomingMessage(key, dedup_key or f"msg:{text}", fields, at, change, **more)


def text_of(claim: Claim | None) -> str:
    return str(some(claim).message.fields["Content"])


def outcome(message: PendingMessage, status: Status = "done", **more: Any) -> Outcome:
    """Return an outcome. ``more``: its fields, and those of the change of the conversation."""
    own = {name: more.pop(name) for name in ("sent", "unsent", "reason", "retry_at") if name in more}
    return Outcome(message.seq, status, changed(**more), **own)


def changed(*, typing_until: float = 0.0, sent_at: float = 0.0, **more: Any) -> ConversationRecord:
    """Return the change that an owner makes: a message was sent at ``sent_at``, the indicator ends."""
    return ConversationRecord(sent_at, typing_until, **more)


def some(claim: Claim | None) -> Claim:
    assert claim is not None, "the conversation could not be claimed"
    return claim


@dataclass
class Stores:
    """Instances of one kind of store on the same data, one for each process."""

    backend: Backend
    runner: asyncio.Runner
    opened: list[Store] = field(default_factory=list)

    def open(self) -> Store:
        store = self.backend.store()
        store.open()
        self.opened.append(store)
        return store

    def worker(self, name: str) -> Worker:
        return Worker(name, self.open(), self.runner)

    def close(self) -> None:
        for store in self.opened:
            store.close()
        self.opened.clear()


@dataclass
class Worker:
    """A process that owns conversations, with its own store. Every call waits for its result."""

    name: str
    store: Store
    runner: asyncio.Runner
    leases: dict[ConversationKey, Lease] = field(default_factory=dict)

    def wait(self, call: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(call)

    def accept(self, *messages: IncomingMessage) -> list[bool]:
        return [self.store.accept(incoming).new for incoming in messages]

    def delivers(self, text: str, key: ConversationKey = ALICE, **more: Any) -> AcceptResult:
        return self.store.accept(incoming(text, key, **more))

    def finds(self, key: ConversationKey = ALICE, dedup_key: str = "") -> Found:
        return self.wait(self.store.find(key, dedup_key))

    def quota(self, key: ConversationKey = ALICE) -> Quota | None:
        user = self.finds(key).conversation
        return user.quota if user else None

    def waiting(self, now: float = NOW, limit: int = 100) -> list[ConversationKey]:
        return list(self.wait(self.store.waiting(ALICE.appid, now, limit)))

    def tries_to_claim(self, key: ConversationKey = ALICE, now: float = NOW, seconds: float = LEASE) -> Claim | None:
        claim = self.wait(self.store.claim(key, self.name, now, seconds))
        if claim is not None:
            self.leases[key] = claim.lease
        return claim

    def claims(self, key: ConversationKey = ALICE, now: float = NOW, seconds: float = LEASE) -> Claim:
        return some(self.tries_to_claim(key, now, seconds))

    def renews(self, now: float = NOW, seconds: float = LEASE) -> Mapping[ConversationKey, ConversationRecord]:
        """Renew every lease this worker ever had. Return the conversations of the renewed leases."""
        return self.wait(self.store.renew(list(self.leases.values()), now, seconds))

    def saves_typing(self, claim: Claim, until: float) -> ConversationRecord:
        return self.wait(self.store.checkpoint(claim.lease, ConversationRecord(typing_until=until)))

    def records_sent(
        self,
        claim: Claim,
        sent: int,
        sent_at: float = NOW,
        quota: Quota | None = None,
        *,
        unsent: tuple[Mapping[str, Any], ...] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> ConversationRecord:
        change = changed(sent_at=sent_at, quota=quota, state=state)
        return self.wait(self.store.checkpoint(claim.lease, change, Progress(claim.message.seq, sent, unsent)))

    def purges(self, now: float = NOW) -> int:
        return self.wait(self.store.purge(APPID, now))

    def completes(
        self, claim: Claim, status: Status = "done", *, now: float = NOW, go_on: bool = True, **more: Any
    ) -> Claim | None:
        result = outcome(claim.message, status, **more)
        return self.wait(self.store.complete(claim.lease, result, now, go_on=go_on))

    def works_off(self, key: ConversationKey = ALICE, now: float = NOW) -> list[str]:
        """Claim the conversation and complete all its messages. Return their texts in order."""
        claim = self.tries_to_claim(key, now)
        texts = []
        while claim is not None:
            texts.append(text_of(claim))
            claim = self.completes(claim, now=now)
        return texts
