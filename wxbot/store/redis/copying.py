"""A Redis store read out and filled as a whole, for ``python -m wxbot store copy``.

There is no list of an account's keys, so they are looked for with SCAN, which may name a key twice while the server
rearranges its table: whatever is done with a key does no harm when it is done again.

Uploaded media and passive answers are left out: files are uploaded again, and nobody waits for an answer any more.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from wxbot.errors import CopyFailed
from wxbot.store.copying_port import AccountStatus, DedupRecord, Kind, StoredConversation, StoredMessage, StoredRecord
from wxbot.store.records import Retention
from wxbot.store.redis.link import Command, OnTime, RedisLink
from wxbot.store.redis.store import (
    LOST,
    handover_words,
    open_link,
    prefix_of,
    quota_words,
    read_terms,
    script,
    source,
    to_json,
)

SLICE = 500
"""About so many keys are looked at in one step; a step must not hold up the server's other clients."""
IDENTITY_KEY = "wxbot:identity"
IDENTITY_SECONDS = 60
COPYING_KEY = "copying"
SURVIVE_CLEARING = frozenset({COPYING_KEY, "seq", "token"})

_SCRIPTS = (
    "bulk_status",
    "bulk_count",
    "bulk_export",
    "bulk_begin",
    "bulk_clear",
    "bulk_restore",
    "bulk_end",
)
_KINDS: tuple[Kind, ...] = ("waiting", "dead", "traces", "conversations")


class RedisBulkStore:
    """wxbot.store.copying_port.BulkStore on one Redis. The arguments are those of ``RedisStore``."""

    def __init__(
        self, url: str, *, retention: Retention | None = None, on_time: OnTime | None = None, replicas: int = 0
    ) -> None:
        self._link = RedisLink(url, [source(name) for name in _SCRIPTS], on_time, replicas)
        self._retention = retention or Retention()

    def open(self, *, create: bool) -> None:
        open_link(self._link)

    def close(self) -> None:
        self._link.stop()

    async def identity(self) -> str:
        # Whoever asks first gives the place its name, for as long as it takes to ask under another address.
        ours = secrets.token_hex(16)
        words = ("SET", IDENTITY_KEY, ours, "EX", IDENTITY_SECONDS, "NX", "GET")
        return await self._link.submit(Command(words, lambda there: ours if there is None else str(there.decode())))

    async def accounts(self) -> Sequence[str]:
        begin, end = prefix_of("*").split("*")
        found: set[str] = set()
        async for keys in self._scan(f"{begin}*{end}seq"):
            found |= {key[len(begin) : -len(f"{end}seq")] for key in keys}
        return sorted(found)

    async def standing(self, appid: str, now: float) -> AccountStatus:
        return await self._link.submit(script("bulk_status", appid, (now,), _standing))

    async def contents(self, appid: str) -> Counter[Kind]:
        counted: Counter[Kind] = Counter()
        async for names in self._names(appid, "[cm]:*"):
            counted += await self._link.submit(script("bulk_count", appid, names, _counted))
        return counted

    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        async for names in self._names(appid, "[cm]:*"):
            found = await self._link.submit(script("bulk_export", appid, names, list))
            yield [_kept(each, now()) for each in found]

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        prefix = prefix_of(appid)
        words = ("MGET", prefix + COPYING_KEY, prefix + "seq")
        incomplete_copy, seq = await self._link.submit(
            Command(words, lambda answer: [(each or b"").decode() for each in answer])
        )
        if not incomplete_copy and seq and await self._holds_something(appid):
            return False
        arguments = (copy, incomplete_copy, seq, last_seq)
        if not await self._link.submit(script("bulk_begin", appid, arguments, bool)):
            return False  # somebody was faster: a bot took a message, or another copy has begun
        async for names in self._names(appid, "*"):
            left = [name for name in names if name not in SURVIVE_CLEARING]
            await self._link.submit(script("bulk_clear", appid, (copy, *left), _unless_lost))
        return True

    async def restore(self, appid: str, copy: str, kept: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        arguments = [word for each in kept for word in self._words(each, now)]
        answer = await self._link.submit(script("bulk_restore", appid, (copy, *arguments), _unless_lost))
        return [bool(new) for new in answer]

    async def end(self, appid: str, copy: str) -> None:
        await self._link.submit(script("bulk_end", appid, (copy,), _unless_lost), durable=True)

    # Keys

    async def _scan(self, pattern: str) -> AsyncIterator[list[str]]:
        cursor = b"0"
        while True:
            words = ("SCAN", cursor, "MATCH", pattern.encode(), "COUNT", SLICE)
            cursor, keys = await self._link.submit(Command(words, tuple))
            if keys:
                yield [key.decode() for key in keys]
            if cursor == b"0":
                return

    async def _names(self, appid: str, pattern: str) -> AsyncIterator[list[str]]:
        """The account's keys that match, without what all of them begin with."""
        prefix = prefix_of(appid)
        async for keys in self._scan(re.sub(r"([*?\[\]\\^-])", r"\\\1", prefix) + pattern):
            yield [key.removeprefix(prefix) for key in keys]

    async def _holds_something(self, appid: str) -> bool:
        async for _ in self._names(appid, "[cm]:*"):
            return True
        return False

    # Words

    def _words(self, kept: StoredRecord, now: float) -> tuple[str | int | float, ...]:
        if isinstance(kept, DedupRecord):
            return ("trace", kept.openid, kept.dedup_key, kept.seq, _milliseconds(kept.forget_at, now))
        if isinstance(kept, StoredConversation):
            facts = (kept.interacted_at, kept.typing_until, to_json(kept.state), _or_empty(kept.next_at))
            terms = (*quota_words(kept.quota), *handover_words(kept.active_handover))
            return ("conversation", kept.openid, *facts, *terms, _milliseconds(kept.forget_at, now))
        forget_at = None if kept.died_at is None else kept.died_at + self._retention.dead_letter_seconds
        return (
            *("message", kept.openid, kept.dedup_key, kept.seq, to_json(kept.fields), kept.received_at, kept.attempts),
            *(kept.sent, to_json(kept.unsent), _or_empty(kept.died_at), kept.reason, _milliseconds(forget_at, now)),
        )


def _milliseconds(forget_at: float | None, now: float) -> int:
    """How long Redis is to keep it; -1: until it is told otherwise."""
    return -1 if forget_at is None else max(1, math.ceil((forget_at - now) * 1000))


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


# Answers


def _unless_lost(answer: Any) -> Any:
    if answer == LOST:
        raise CopyFailed("another copy into this place has begun meanwhile, and goes on with it")
    return answer


def _standing(answer: Sequence[Any]) -> AccountStatus:
    worked, incomplete_copy, last_seq, waiting = answer
    return AccountStatus(bool(worked), bool(incomplete_copy), int(last_seq), waiting)


def _counted(answer: Sequence[int]) -> Counter[Kind]:
    return Counter(dict(zip(_KINDS, answer, strict=True)))


def _kept(answer: Sequence[Any], now: float) -> StoredRecord:
    kind, *values = (each.decode() for each in answer[:-1])
    forget_at = None if answer[-1] < 0 else now + answer[-1] / 1000
    if kind == "trace":
        openid, dedup_key, seq = values
        return DedupRecord(int(seq), openid, dedup_key, forget_at or now)  # every trace has an end
    return _conversation(values, forget_at) if kind == "conversation" else _message(values, forget_at)


def _conversation(values: Sequence[str], forget_at: float | None) -> StoredConversation:
    openid, interacted_at, typing_until, state, next_at, *terms = values
    quota, active_handover = read_terms(*(each.encode() for each in terms))
    return StoredConversation(
        openid=openid,
        interacted_at=float(interacted_at),
        typing_until=float(typing_until or 0),
        state=json.loads(state or "{}"),
        next_at=float(next_at) if next_at else None,
        forget_at=forget_at,
        quota=quota,
        active_handover=active_handover,
    )


def _message(values: Sequence[str], forget_at: float | None) -> StoredMessage:
    openid, dedup_key, seq, fields, received_at, attempts, sent, unsent, died_at, reason = values
    return StoredMessage(
        seq=int(seq),
        openid=openid,
        dedup_key=dedup_key,
        fields=json.loads(fields),
        received_at=float(received_at),
        attempts=int(attempts),
        sent=int(sent or 0),
        unsent=tuple(json.loads(unsent or "[]")),
        died_at=float(died_at) if died_at else None,
        reason=reason,
        forget_at=forget_at,
    )
