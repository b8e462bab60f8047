"""Read and fill a whole Redis store, for ``python -m wxbot store copy``.

There is no list of an account's keys, so SCAN finds them. SCAN may return a key twice while the server resizes its
table, so every operation on a key can be repeated without harm.

Uploaded media and passive replies are not copied: media is uploaded again, and no delivery waits for a passive reply
while the bot is stopped.
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
from wxbot.settings.schema import RetentionSettings
from wxbot.store.copying_port import AccountStatus, DedupRecord, Kind, StoredConversation, StoredMessage, StoredRecord
from wxbot.store.records import to_json
from wxbot.store.redis.link import Command, OnTime, RedisLink
from wxbot.store.redis.store import (
    LOST,
    open_link,
    prefix_of,
    read_record,
    record_arguments,
    script,
    source,
    texts,
)

SLICE = 500
"""Approximate number of keys in one step. A step must not delay the server's other clients."""
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
_KINDS: tuple[Kind, ...] = ("waiting", "dead", "dedup", "conversations")


class RedisBulkStore:
    """A ``wxbot.store.copying_port.BulkStore`` on one Redis. The arguments are those of ``RedisStore``."""

    def __init__(
        self, url: str, *, retention: RetentionSettings | None = None, on_time: OnTime | None = None, replicas: int = 0
    ) -> None:
        self._link = RedisLink(url, [source(name) for name in _SCRIPTS], on_time, replicas)
        self._retention = retention or RetentionSettings()

    def open(self, *, create: bool) -> None:
        open_link(self._link)

    def close(self) -> None:
        self._link.stop()

    async def identity(self) -> str:
        # The first caller stores a random value. A second caller with another address of the same store reads it.
        ours = secrets.token_hex(16)
        words = ("SET", IDENTITY_KEY, ours, "EX", IDENTITY_SECONDS, "NX", "GET")
        return await self._link.submit(Command(words, lambda found: ours if found is None else str(found.decode())))

    async def accounts(self) -> Sequence[str]:
        begin, end = prefix_of("*").split("*")
        found: set[str] = set()
        async for keys in self._scan(f"{begin}*{end}seq"):
            found |= {key[len(begin) : -len(f"{end}seq")] for key in keys}
        return sorted(found)

    async def status(self, appid: str, now: float) -> AccountStatus:
        return await self._link.submit(script("bulk_status", appid, {"now": now}, _status))

    async def contents(self, appid: str) -> Counter[Kind]:
        counted: Counter[Kind] = Counter()
        async for names in self._names(appid, "[cm]:*"):
            counted += await self._link.submit(script("bulk_count", appid, {"names": names}, _counted))
        return counted

    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        async for names in self._names(appid, "[cm]:*"):
            found = await self._link.submit(script("bulk_export", appid, {"names": names}, list))
            yield [_record(each, now()) for each in found]

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        prefix = prefix_of(appid)
        words = ("MGET", prefix + COPYING_KEY, prefix + "seq")
        incomplete_copy, seq = await self._link.submit(
            Command(words, lambda answer: [each and each.decode() for each in answer])
        )
        if not incomplete_copy and seq and await self._has_data(appid):
            return False
        arguments = {"copy": copy, "found_copy": incomplete_copy, "found_seq": seq, "last_seq": last_seq}
        if not await self._link.submit(script("bulk_begin", appid, arguments, bool)):
            return False  # meanwhile a bot accepted a message, or another copy has begun
        async for names in self._names(appid, "*"):
            old = [name for name in names if name not in SURVIVE_CLEARING]
            await self._link.submit(script("bulk_clear", appid, {"copy": copy, "names": old}, _unless_lost))
        return True

    async def restore(self, appid: str, copy: str, records: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        arguments = {"copy": copy, "records": [texts(self._arguments(each, now)) for each in records]}
        answer = await self._link.submit(script("bulk_restore", appid, arguments, _unless_lost))
        return [bool(new) for new in answer]

    async def end(self, appid: str, copy: str) -> None:
        await self._link.submit(script("bulk_end", appid, {"copy": copy}, _unless_lost), durable=True)

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
        """Yield the account's keys that match ``pattern``, without their common prefix."""
        prefix = prefix_of(appid)
        async for keys in self._scan(re.sub(r"([*?\[\]\\^-])", r"\\\1", prefix) + pattern):
            yield [key.removeprefix(prefix) for key in keys]

    async def _has_data(self, appid: str) -> bool:
        async for _ in self._names(appid, "[cm]:*"):
            return True
        return False

    # Script arguments

    def _arguments(self, record: StoredRecord, now: float) -> dict[str, Any]:
        expires = {"openid": record.openid, "milliseconds": _milliseconds(record.forget_at, now)}
        if isinstance(record, StoredConversation):
            values = record_arguments(record.record)
            return {"kind": "conversation", **expires, **values, "next_at": record.next_at}
        message = {**expires, "dedup": record.dedup_key, "seq": record.seq}
        if isinstance(record, DedupRecord):
            return {"kind": "dedup", **message}
        forget_at = None if record.died_at is None else record.died_at + self._retention.dead_letter_seconds
        return {
            "kind": "message",
            **message,
            "fields": to_json(record.fields),
            "received_at": record.received_at,
            "attempts": record.attempts,
            "sent": record.sent,
            "unsent": to_json(record.unsent),
            "died_at": record.died_at,
            "reason": record.reason,
            "milliseconds": _milliseconds(forget_at, now),
        }


def _milliseconds(forget_at: float | None, now: float) -> int | None:
    """Return the time to live in Redis, in milliseconds; None: the key does not expire."""
    return None if forget_at is None else max(1, math.ceil((forget_at - now) * 1000))


# Responses


def _unless_lost(answer: Any) -> Any:
    if answer == LOST:
        raise CopyFailed("another copy into this store has begun and replaces this one")
    return answer


def _status(answer: Sequence[Any]) -> AccountStatus:
    leased, incomplete_copy, last_seq, waiting = answer
    return AccountStatus(bool(leased), bool(incomplete_copy), int(last_seq), waiting)


def _counted(answer: Sequence[int]) -> Counter[Kind]:
    return Counter(dict(zip(_KINDS, answer, strict=True)))


def _record(answer: Sequence[Any], now: float) -> StoredRecord:
    kind, *values, milliseconds = answer
    forget_at = None if milliseconds < 0 else now + milliseconds / 1000
    if kind == b"conversation":
        openid, next_at, record = values
        return StoredConversation(openid.decode(), read_record(record), float(next_at) if next_at else None, forget_at)
    decoded = [each.decode() for each in values]
    if kind == b"message":
        return _message(decoded, forget_at)
    openid, dedup_key, seq = decoded
    return DedupRecord(int(seq), openid, dedup_key, forget_at or now)  # every dedup record expires


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
