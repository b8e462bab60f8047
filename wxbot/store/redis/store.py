"""The shared store: Redis 7 or Valkey, one for all machines of a deployment.

Each step that must be atomic is a script (``scripts``) that runs in the server. All times come from the callers, whose
clocks follow the server's (``wxbot.clock.SharedClock``). The server's setting ``appendfsync`` decides how much a power
loss may lose (docs/scaling.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import Any, TypeVar

from wxbot.errors import IncompleteCopy, LeaseLost, StoreUnavailable
from wxbot.model.quota import Quota
from wxbot.settings.schema import RetentionSettings
from wxbot.store.port import TOKEN
from wxbot.store.records import (
    WITH_BOT,
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
    PendingMessage,
    Progress,
    SharedValue,
    to_json,
)
from wxbot.store.redis.link import Command, OnTime, RedisLink
from wxbot.store.redis.server_facts import RedisFacts, facts_from

Result = TypeVar("Result")

FORMAT = 1
"""The version of the key layout. A wxbot that finds a higher number in the server refuses to start."""
FORMAT_KEY = "wxbot:format"
PROBE_KEY = "wxbot:probe"
PROBE_SECONDS = 60

LOST = -1
INCOMPLETE_COPY = -2
RENEW_LIMIT = 500
PURGE_LIMIT = 1000
TOKEN_KEPT_SECONDS = 4 * 3600
"""Seconds for which a token is stored: twice the maximum lifetime of a token."""
LONGEST_MS = 2**53
"""The longest time to live that Redis accepts, in milliseconds."""

_SCRIPTS = (
    *("accept", "waiting", "claim", "renew", "checkpoint", "complete", "find", "purge"),
    *("save_reply", "give_up", "lock_token", "put_token"),
    *("handovers", "end_handover", "dead_letters", "remove_dead_letter"),
)
_REFUSED_WITHOUT_MEMORY = ("accept", "remove_dead_letter", "bulk_begin", "bulk_restore")
"""The scripts that Redis rejects when ``maxmemory`` is reached. The others still run, because they process accepted
messages, which frees memory."""


class RedisStore:
    """A ``wxbot.store.port.Store`` on one Redis. Open it after gunicorn has forked, never before.

    ``on_time`` is called with the server's time every few seconds. A message is accepted only if
    ``replicas`` replicas have it too. Raises ValueError for an invalid address.
    """

    def __init__(
        self, url: str, *, retention: RetentionSettings | None = None, on_time: OnTime | None = None, replicas: int = 0
    ) -> None:
        self._link = RedisLink(url, [source(name) for name in _SCRIPTS], on_time, replicas)
        retention = retention or RetentionSettings()
        self._dead_seconds = retention.dead_letter_seconds
        times = {
            "dedup_ms": round(retention.dedup_seconds * 1000),
            "state_ms": round(max(retention.state_seconds, retention.dedup_seconds) * 1000),
            "dead_ms": round(retention.dead_letter_seconds * 1000),
        }
        self._times = texts(times)
        """The times for which records are stored after their processing, in milliseconds."""

    def open(self) -> None:
        open_link(self._link)

    def close(self) -> None:
        self._link.stop()

    async def ping(self) -> None:
        await self._link.submit(Command(("SET", PROBE_KEY, 1, "EX", PROBE_SECONDS), bool))

    async def facts(self) -> RedisFacts:
        """Return the server's persistence settings. Raises StoreUnavailable."""
        info = await self._link.submit(Command(("INFO",), bytes))
        config: dict[str, str] = {}
        for name in ("appendfsync", "save"):
            with suppress(StoreUnavailable):  # managed servers often forbid CONFIG
                answer = await self._link.submit(Command(("CONFIG", "GET", name), list))
                config |= {key.decode(): value.decode() for key, value in zip(answer[::2], answer[1::2], strict=True)}
        return facts_from(info, config)

    # Inbox

    def accept(self, message: IncomingMessage, request: ClaimRequest | None = None) -> AcceptResult:
        at = message.received_at
        arguments: dict[str, Any] = {
            "openid": message.key.openid,
            "dedup": message.dedup_key,
            "fields": to_json(message.fields),
            "received_at": at,
            "unsent": to_json(message.unsent) if message.unsent else None,
            "change": _change(message.change),
            "for_agents": 1 if message.for_agents else None,
            **self._times,
        }
        if request is not None:
            arguments |= {
                "owner": request.owner,
                "lease_until": at + request.lease_seconds,
                "noted_until": at + request.typing_seconds if request.typing_seconds else 0.0,
            }
        command = script(
            "accept", message.key.appid, arguments, lambda answer: _accept_result(answer, message, request)
        )
        return self._link.run(command)

    async def waiting(
        self, appid: str, now: float, limit: int, grace_seconds: float = 0.0
    ) -> Sequence[ConversationKey]:
        arguments = {"now": now, "limit": limit, "due_before": now - grace_seconds}
        return await self._link.submit(
            script("waiting", appid, arguments, lambda answer: _longest_waiting(appid, answer, limit))
        )

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        until = now + lease_seconds
        arguments = {"openid": key.openid, "owner": owner, "now": now, "lease_until": until, **self._times}

        def read(answer: Any) -> Claim | None:
            if answer is None:
                return None
            fence, record, message = answer
            return Claim(Lease(key, owner, fence, until), _message(message), read_record(record))

        return await self._link.submit(script("claim", key.appid, arguments, read))

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, ConversationRecord]:
        renewed: dict[ConversationKey, ConversationRecord] = {}
        for appid in {lease.key.appid for lease in leases}:
            ours = [(lease.key.openid, lease.owner, str(lease.fence)) for lease in leases if lease.key.appid == appid]
            for begin in range(0, len(ours), RENEW_LIMIT):
                arguments = {"lease_until": now + lease_seconds, "leases": ours[begin : begin + RENEW_LIMIT]}
                answer = await self._link.submit(script("renew", appid, arguments, list))
                for openid, record in zip(answer[::2], answer[1::2], strict=True):
                    renewed[ConversationKey(appid, openid.decode())] = read_record(record)
        return renewed

    async def checkpoint(
        self, lease: Lease, change: ConversationRecord, progress: Progress | None = None
    ) -> ConversationRecord:
        arguments: dict[str, Any] = {"change": _change(change)}
        if progress is not None:
            unsent = None if progress.unsent is None else to_json(progress.unsent)
            arguments |= {"seq": progress.seq, "sent": progress.sent, "unsent": unsent}
        return await self._link.submit(_with_lease("checkpoint", lease, arguments, read_record))

    async def complete(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Claim | None:
        arguments = {
            "seq": outcome.seq,
            "status": outcome.status,
            "now": now,
            "go_on": 1 if go_on else None,
            "change": _change(outcome.change),
            "sent": outcome.sent,
            "unsent": to_json(outcome.unsent),
            "reason": outcome.reason,
            "retry_at": outcome.retry_at,
            **self._times,
        }

        def read(answer: Any) -> Claim | None:
            return None if answer is None else Claim(lease, _message(answer[1]), read_record(answer[0]))

        return await self._link.submit(_with_lease("complete", lease, arguments, read))

    async def find(self, key: ConversationKey, dedup_key: str = "") -> Found:
        arguments = {"openid": key.openid, "dedup": dedup_key}
        return await self._link.submit(script("find", key.appid, arguments, _found))

    async def purge(self, appid: str, now: float) -> int:
        arguments = {"died_before": now - self._dead_seconds, "limit": PURGE_LIMIT, "now": now}
        return await self._link.submit(script("purge", appid, arguments, int))

    # Passive replies

    async def save_reply(self, lease: Lease, seq: int, reply: Mapping[str, Any]) -> bool:
        arguments = {"seq": seq, "reply": to_json(reply), **self._times}
        return await self._link.submit(_with_lease("save_reply", lease, arguments, bool), durable=True)

    async def give_up(self, key: ConversationKey, dedup_key: str) -> Mapping[str, Any] | None:
        arguments = {"openid": key.openid, "dedup": dedup_key}
        return await self._link.submit(script("give_up", key.appid, arguments, _json), durable=True)

    # Shared values

    async def get(self, appid: str, name: str) -> SharedValue | None:
        if name == TOKEN:
            return await self._link.submit(Command(("HMGET", prefix_of(appid) + name, "value", "expires_at"), _token))
        return await self._link.submit(Command(("GET", prefix_of(appid) + name), _shared_value))

    async def put(self, appid: str, name: str, value: SharedValue | None, now: float) -> None:
        key = prefix_of(appid) + name
        if name == TOKEN:
            values = {} if value is None else {"value": value.value, "expires_at": value.expires_at}
            arguments = {**values, "keep_ms": TOKEN_KEPT_SECONDS * 1000}
            await self._link.submit(script("put_token", appid, arguments, bool))
        elif value is not None and value.expires_at > now:
            milliseconds = math.ceil(min((value.expires_at - now) * 1000, LONGEST_MS))
            stored = to_json((value.value, value.expires_at)).encode()
            await self._link.submit(Command(("SET", key, stored, "PX", milliseconds), bool))
        elif value is not None:
            await self._link.submit(Command(("DEL", key), int))

    async def lock(self, appid: str, name: str, now: float, seconds: float, *, outdated: str | None) -> bool:
        assert name == TOKEN  # noqa: S101 - the only value with a lock
        times = {"now": now, "fetching_until": now + seconds, "keep_ms": TOKEN_KEPT_SECONDS * 1000}
        return await self._link.submit(script("lock_token", appid, {"outdated": outdated, **times}, bool))

    # Operators

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        def read(answer: Sequence[bytes]) -> list[tuple[ConversationKey, Handover]]:
            rows = zip(*(answer[n::3] for n in range(3)), strict=True)
            return [(ConversationKey(appid, openid.decode()), _handover(*values)) for openid, *values in rows]

        return await self._link.submit(script("handovers", appid, {"now": now, "limit": limit}, read))

    async def end_handover(self, key: ConversationKey) -> bool:
        command = script("end_handover", key.appid, {"openid": key.openid}, bool)
        return await self._link.submit(command, durable=True)

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        def read(answer: Sequence[Sequence[bytes]]) -> list[DeadLetter]:
            return [_dead_letter(appid, *values) for values in answer]

        return await self._link.submit(script("dead_letters", appid, {"limit": limit}, read))

    async def remove_dead_letter(self, appid: str, seq: int, retry_at: float | None = None) -> bool:
        command = script("remove_dead_letter", appid, {"seq": seq, "retry_at": retry_at}, bool)
        return await self._link.submit(command, durable=retry_at is not None)


def open_link(link: RedisLink) -> None:
    """Connect, then check that the server accepts writes and has a known key layout. Raises StoreUnavailable."""
    link.open()
    try:
        link.run(Command(("SET", PROBE_KEY, 1, "EX", PROBE_SECONDS), bool))
        link.run(Command(("SET", FORMAT_KEY, FORMAT, "NX"), bool))
        found = link.run(Command(("GET", FORMAT_KEY), int))
        if found > FORMAT:
            raise StoreUnavailable(
                f"the store was written by a newer wxbot (format {found}, this wxbot supports {FORMAT}): "
                "start that version or choose another store"
            )
    except StoreUnavailable:
        link.stop()
        raise


# Scripts


def source(name: str) -> str:
    """Return the text of the script ``name`` for the server. A bot's scripts refuse an incomplete copy."""
    folder = files("wxbot.store.redis") / "scripts"
    flags = "" if name in _REFUSED_WITHOUT_MEMORY else " flags=allow-oom"
    parts = ("common", "refuse_incomplete_copy", name) if name in _SCRIPTS else ("common", name)
    return "\n".join((f"#!lua{flags}", *((folder / f"{part}.lua").read_text() for part in parts)))


@cache
def _digest(name: str) -> str:
    return sha1(source(name).encode(), usedforsecurity=False).hexdigest()  # Redis identifies scripts by it


def script(name: str, appid: str, arguments: Mapping[str, Any], read: Callable[[Any], Result]) -> Command[Result]:
    """Return the command that runs the script ``name`` on one account. ``read`` decodes its response.

    The script gets ``arguments`` as one JSON object of texts, without those that are None. Reading the response raises
    IncompleteCopy if a copy of the account into this store has not finished.
    """

    def read_or_raise(answer: Any) -> Result:
        if answer == INCOMPLETE_COPY:
            raise IncompleteCopy(appid)
        return read(answer)

    # Encode here, so that a value that cannot be encoded fails its caller and not a whole batch.
    encoded = to_json(texts(arguments)).encode()
    return Command(("EVALSHA", _digest(name), 1, prefix_of(appid), encoded), read_or_raise)


def texts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``arguments`` without those that are None, and with every number as text, as a script needs them."""
    return {
        name: str(value) if type(value) in _NUMBERS else value  # much faster than isinstance
        for name, value in arguments.items()
        if value is not None
    }


_NUMBERS = frozenset({int, float})


def _with_lease(
    name: str, lease: Lease, arguments: Mapping[str, Any], read: Callable[[Any], Result]
) -> Command[Result]:
    """Return the command of a script for the owner of ``lease``. Reading the response raises LeaseLost for others."""

    def read_or_raise(answer: Any) -> Result:
        if answer == LOST:
            raise LeaseLost("another process took over this conversation")
        return read(answer)

    holder = {"openid": lease.key.openid, "owner": lease.owner, "fence": lease.fence}
    return script(name, lease.key.appid, {**holder, **arguments}, read_or_raise)


def prefix_of(appid: str) -> str:
    """Return the common prefix of all keys of an account."""
    return f"wxbot:{{{appid}}}:"


def _change(change: ConversationRecord) -> dict[str, Any]:
    return texts(record_arguments(change))


def record_arguments(record: ConversationRecord) -> dict[str, Any]:
    """Return the values of ``record`` by their names in the hash. All times are floats, because texts are compared."""
    left, until = record.quota or (None, None)
    handed_over_until, agent = record.handover or (None, None)
    return {
        "interacted_at": record.interacted_at,
        "typing_until": record.typing_until,
        "budget_left": left,
        "budget_until": None if until is None else float(until),
        "handed_over_until": None if handed_over_until is None else float(handed_over_until),
        "agent": agent,
        "state": None if record.state is None else to_json(record.state),
    }


# Responses


def _accept_result(answer: Sequence[Any], message: IncomingMessage, request: ClaimRequest | None) -> AcceptResult:
    result, *values = answer
    at = message.received_at
    if result == b"redelivered":
        first_at, *handover = values
        return AcceptResult(False, None, float(first_at), _handover(*handover))
    if result != b"granted" or request is None:
        return AcceptResult(True, None, at, _handover(*values))
    seq, fence, stored = values
    record = read_record(stored)
    noted_until = max(record.typing_until or 0.0, at + request.typing_seconds) if request.typing_seconds else 0.0
    lease = Lease(message.key, request.owner, fence, at + request.lease_seconds)
    pending = PendingMessage(seq, message.fields, at, 1, 0, message.unsent)
    return AcceptResult(True, Claim(lease, pending, record, noted_until), at)


def read_record(answer: Sequence[bytes | None]) -> ConversationRecord:
    """Return the record of a conversation from the six values of ``record_of`` (common.lua), and its state if given."""
    interacted_at, typing_until, left, until, handed_over_until, agent, *state = answer
    return ConversationRecord(
        float(interacted_at or 0),
        float(typing_until or 0),
        Quota(int(left), float(until)) if left and until else None,
        _handover(handed_over_until, agent),
        json.loads(state[0] or "{}") if state else None,
    )


def _found(answer: Sequence[Any]) -> Found:
    record, is_known, reply = answer
    is_user = record[0] is not None
    return Found(read_record(record) if is_user else None, bool(is_known), _json(reply))


def _handover(until: bytes | None = None, agent: bytes | None = None) -> Handover:
    return Handover(float(until), (agent or b"").decode()) if until and float(until) > 0 else WITH_BOT


def _longest_waiting(appid: str, answer: Sequence[bytes], limit: int) -> list[ConversationKey]:
    due = sorted(zip(answer[::2], answer[1::2], strict=True), key=lambda pair: float(pair[1]))
    return [ConversationKey(appid, openid.decode()) for openid, _ in due[:limit]]


def _message(answer: Sequence[Any]) -> PendingMessage:
    seq, fields, received_at, attempts, sent, unsent = answer
    return PendingMessage(
        int(seq),
        json.loads(fields),
        float(received_at),
        attempts,
        int(sent or 0),
        tuple(json.loads(unsent or "[]")),
    )


def _token(answer: Sequence[bytes | None]) -> SharedValue | None:
    value, expires_at = answer
    return None if value is None or expires_at is None else SharedValue(value.decode(), float(expires_at))


def _json(answer: bytes | None) -> Any:
    return None if answer is None else json.loads(answer)


def _shared_value(answer: bytes | None) -> SharedValue | None:
    return None if answer is None else SharedValue(*json.loads(answer))


def _dead_letter(appid: str, seq: bytes, openid: bytes, *values: Any) -> DeadLetter:
    fields, received_at, died_at, attempts, sent, reason, unsent = values
    return DeadLetter(
        seq=int(seq),
        key=ConversationKey(appid, openid.decode()),
        fields=json.loads(fields),
        received_at=float(received_at),
        died_at=float(died_at),
        attempts=int(attempts),
        sent=int(sent or 0),
        reason=reason.decode(),
        unsent=tuple(json.loads(unsent or "[]")),
    )
