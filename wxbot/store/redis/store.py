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
from wxbot.store.records import (
    WITH_BOT,
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
    "accept",
    "waiting",
    "claim",
    "renew",
    "save_typing",
    "record_sent",
    "settle",
    "purge",
    "dead_letters",
    "retry_dead_letter",
    "drop_dead_letter",
    "begin_token_fetch",
    "save_token",
    "save_passive_reply",
    "passive_reply",
    "handovers",
    "end_handover",
)
_REFUSED_WITHOUT_MEMORY = ("accept", "retry_dead_letter", "bulk_begin", "bulk_restore")
"""The scripts that Redis rejects when ``maxmemory`` is reached. The others still run, because they process accepted
messages, which frees memory."""


class RedisStore:
    """A ``wxbot.store.port.Store`` on one Redis. Open it after gunicorn has forked, never before.

    ``on_time`` is called with the server's time every few seconds. A message is accepted only if
    ``replicas`` replicas have it too. Raises ValueError for an invalid address.
    """

    def __init__(
        self, url: str, *, retention: Retention | None = None, on_time: OnTime | None = None, replicas: int = 0
    ) -> None:
        self._link = RedisLink(url, [source(name) for name in _SCRIPTS], on_time, replicas)
        retention = retention or Retention()
        self._seen_ms = round(retention.dedup_seconds * 1000)
        self._idle_ms = self._seen_ms
        self._state_ms = round(max(retention.state_seconds, retention.dedup_seconds) * 1000)
        self._dead_seconds = retention.dead_letter_seconds
        self._dead_ms = round(retention.dead_letter_seconds * 1000)

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
        openid, at = message.key.openid, message.received_at
        lease_until = at + request.lease_seconds if request else 0.0
        noted_until = at + request.typing_seconds if request and request.typing_seconds else 0.0
        owner = request.owner if request else ""
        unsent = to_json(message.unsent) if message.unsent else ""
        arguments = (
            *(openid, message.dedup_key, to_json(message.fields), at, message.interacted_at, unsent),
            *(owner, lease_until, noted_until),
            *(*quota_arguments(message.quota), *handover_arguments(message.handover), int(message.for_agents)),
            *(self._seen_ms, self._idle_ms, self._state_ms),
        )
        command = script(
            "accept",
            message.key.appid,
            arguments,
            lambda answer: _accept_result(answer, message, owner, lease_until, noted_until),
        )
        return self._link.run(command)

    async def waiting(
        self, appid: str, now: float, limit: int, grace_seconds: float = 0.0
    ) -> Sequence[ConversationKey]:
        arguments = (now, limit, now - grace_seconds)
        return await self._link.submit(
            script("waiting", appid, arguments, lambda answer: _longest_waiting(appid, answer, limit))
        )

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        until = now + lease_seconds
        arguments = (key.openid, owner, now, until, self._idle_ms, self._state_ms)
        return await self._link.submit(
            script("claim", key.appid, arguments, lambda answer: _claim(answer, key, owner, until))
        )

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, LeaseUpdate]:
        updates: dict[ConversationKey, LeaseUpdate] = {}
        for appid in {lease.key.appid for lease in leases}:
            ours = [lease for lease in leases if lease.key.appid == appid]
            for begin in range(0, len(ours), RENEW_LIMIT):
                updates |= await self._renew(appid, ours[begin : begin + RENEW_LIMIT], now, lease_seconds)
        return updates

    async def _renew(
        self, appid: str, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> dict[ConversationKey, LeaseUpdate]:
        identities = [value for lease in leases for value in (lease.key.openid, lease.owner, lease.fence)]
        arguments = (now + lease_seconds, *identities)
        return await self._link.submit(
            script("renew", appid, arguments, lambda answer: _lease_updates(appid, answer, now))
        )

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        return await self._link.submit(_with_lease("save_typing", lease, (typing_until,), float))

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
        new_unsent, new_state = ("" if each is None else to_json(each) for each in (unsent, state))
        arguments = (seq, sent, sent_at, *quota_arguments(quota), new_unsent, new_state)
        await self._link.submit(_with_lease("record_sent", lease, arguments, bool))

    async def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        message_key = f"{prefix_of(key.appid)}m:{key.openid}:{dedup_key}"
        return await self._link.submit(Command(("EXISTS", message_key), bool))

    async def quota(self, key: ConversationKey) -> Quota | None:
        conversation_key = f"{prefix_of(key.appid)}c:{key.openid}"
        return await self._link.submit(
            Command(
                ("HMGET", conversation_key, "budget_left", "budget_until"),
                lambda answer: read_quota_and_handover(*answer)[0],
            )
        )

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> PendingMessage | None:
        state = "" if outcome.state is None else to_json(outcome.state)
        arguments = (
            *(outcome.seq, outcome.status, now, int(go_on), outcome.typing_until, outcome.sent),
            *(outcome.sent_at or 0.0, to_json(outcome.unsent), outcome.reason, outcome.retry_at, state),
            *(*quota_arguments(outcome.quota), *handover_arguments(outcome.handover)),
            *(self._seen_ms, self._dead_ms, self._idle_ms, self._state_ms),
        )
        return await self._link.submit(
            _with_lease("settle", lease, arguments, lambda answer: None if answer is None else _pending(answer))
        )

    async def purge(self, appid: str, now: float) -> int:
        return await self._link.submit(script("purge", appid, (now - self._dead_seconds, PURGE_LIMIT, now), int))

    # Tokens

    async def load_token(self, appid: str) -> StoredToken | None:
        return await self._link.submit(Command(("HMGET", prefix_of(appid) + "token", "value", "expires_at"), _token))

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        arguments = (refused or "", now, now + seconds, TOKEN_KEPT_SECONDS * 1000)
        return await self._link.submit(script("begin_token_fetch", appid, arguments, bool))

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        value, expires_at = (token.value, token.expires_at) if token else ("", 0.0)
        await self._link.submit(script("save_token", appid, (value, expires_at, TOKEN_KEPT_SECONDS * 1000), bool))

    # Media

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        return await self._link.submit(Command(("GET", _media_key(appid, digest)), _media))

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        key = _media_key(appid, digest)
        if media is None or media.expires_at <= now:
            await self._link.submit(Command(("DEL", key), int))
            return
        milliseconds = math.ceil(min((media.expires_at - now) * 1000, LONGEST_MS))
        value = to_json((media.media_id, media.expires_at)).encode()
        await self._link.submit(Command(("SET", key, value, "PX", milliseconds), bool))

    # Passive replies

    async def save_passive_reply(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        arguments = (seq, to_json(answer), self._seen_ms)
        return await self._link.submit(_with_lease("save_passive_reply", lease, arguments, bool), durable=True)

    async def passive_reply(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        command = script("passive_reply", key.appid, (key.openid, dedup_key, int(give_up)), _passive_reply)
        return await self._link.submit(command, durable=give_up)

    # Handovers

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        return await self._link.submit(
            script("handovers", appid, (now, limit), lambda answer: _handovers(appid, answer))
        )

    async def end_handover(self, key: ConversationKey) -> bool:
        return await self._link.submit(script("end_handover", key.appid, (key.openid,), bool), durable=True)

    # Dead letters

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        return await self._link.submit(
            script("dead_letters", appid, (limit,), lambda answer: [_dead_letter(appid, *values) for values in answer])
        )

    async def retry_dead_letter(self, appid: str, seq: int, now: float) -> bool:
        return await self._link.submit(script("retry_dead_letter", appid, (seq, now), bool), durable=True)

    async def drop_dead_letter(self, appid: str, seq: int) -> bool:
        return await self._link.submit(script("drop_dead_letter", appid, (seq,), bool))


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


def script(
    name: str, appid: str, arguments: Sequence[str | int | float], read: Callable[[Any], Result]
) -> Command[Result]:
    """Return the command that runs the script ``name`` on one account. ``read`` decodes its response.

    Reading the response raises IncompleteCopy if a copy of the account into this store has not finished.
    """

    def read_or_raise(answer: Any) -> Result:
        if answer == INCOMPLETE_COPY:
            raise IncompleteCopy(appid)
        return read(answer)

    # Encode here, so that a value that cannot be encoded fails its caller and not a whole batch.
    encoded = (str(each).encode() for each in arguments)
    return Command(("EVALSHA", _digest(name), 1, prefix_of(appid), *encoded), read_or_raise)


def _with_lease(
    name: str, lease: Lease, arguments: Sequence[str | int | float], read: Callable[[Any], Result]
) -> Command[Result]:
    """Return the command of a script for the owner of ``lease``. Reading the response raises LeaseLost for others."""

    def read_or_raise(answer: Any) -> Result:
        if answer == LOST:
            raise LeaseLost("another process took over this conversation")
        return read(answer)

    openid = lease.key.openid
    return script(name, lease.key.appid, (openid, lease.owner, lease.fence, *arguments), read_or_raise)


def prefix_of(appid: str) -> str:
    """Return the common prefix of all keys of an account."""
    return f"wxbot:{{{appid}}}:"


def _media_key(appid: str, digest: str) -> bytes:
    return f"{prefix_of(appid)}media:{digest}".encode()


def quota_arguments(quota: Quota | None) -> tuple[str | int | float, str | float]:
    """Return script arguments for ``quota``. Floats always have the same form, because scripts compare their text."""
    return ("", "") if quota is None else (quota.remaining, float(quota.expires_at))


def handover_arguments(handover: Handover | None) -> tuple[str | float, str]:
    return ("", "") if handover is None else (float(handover.until), handover.agent)


# Responses


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _accept_result(
    answer: Sequence[Any], message: IncomingMessage, owner: str, lease_until: float, noted_until: float
) -> AcceptResult:
    result, *values = answer
    if result == b"seen":
        first_at, *active_handover = values
        return AcceptResult(False, None, float(first_at), _handover(*active_handover))
    if result != b"granted":
        return AcceptResult(True, None, message.received_at, _handover(*values))
    seq, fence, interacted_at, shown_until, state, quota_and_handover = values
    lease = Lease(message.key, owner, fence, lease_until)
    pending = PendingMessage(
        seq, message.fields, message.received_at, 1, 0, message.unsent, *read_quota_and_handover(*quota_and_handover)
    )
    typing_until = float(shown_until)
    noted = max(typing_until, noted_until) if noted_until else 0.0
    claim = Claim(lease, pending, float(interacted_at), typing_until, json.loads(state), noted)
    return AcceptResult(True, claim, message.received_at)


def read_quota_and_handover(
    left: bytes | None, until: bytes | None, *active_handover: bytes | None
) -> tuple[Quota | None, Handover]:
    """Return the quota and handover from four fields of a conversation."""
    return Quota(int(left), float(until)) if left and until else None, _handover(*active_handover)


def _handover(until: bytes | None = None, agent: bytes | None = None) -> Handover:
    return Handover(float(until), (agent or b"").decode()) if until and float(until) > 0 else WITH_BOT


def _lease_updates(appid: str, answer: Sequence[Any], now: float) -> dict[ConversationKey, LeaseUpdate]:
    updates = {}
    for openid, interacted_at, quota_and_handover in zip(*(answer[n::3] for n in range(3)), strict=True):
        quota, active_handover = read_quota_and_handover(*quota_and_handover)
        current = active_handover if now < active_handover.until else WITH_BOT
        updates[ConversationKey(appid, openid.decode())] = LeaseUpdate(float(interacted_at), current, quota)
    return updates


def _handovers(appid: str, answer: Sequence[bytes]) -> list[tuple[ConversationKey, Handover]]:
    rows = zip(*(answer[n::3] for n in range(3)), strict=True)
    return [(ConversationKey(appid, openid.decode()), _handover(*values)) for openid, *values in rows]


def _pairs(answer: Sequence[bytes]) -> list[tuple[str, bytes]]:
    return [(openid.decode(), value) for openid, value in zip(answer[::2], answer[1::2], strict=True)]


def _longest_waiting(appid: str, answer: Sequence[bytes], limit: int) -> list[ConversationKey]:
    due = sorted(_pairs(answer), key=lambda pair: float(pair[1]))
    return [ConversationKey(appid, openid) for openid, _ in due[:limit]]


def _claim(answer: Sequence[Any] | None, key: ConversationKey, owner: str, until: float) -> Claim | None:
    if answer is None:
        return None
    fence, interacted_at, typing_until, state, pending = answer
    lease = Lease(key, owner, fence, until)
    return Claim(lease, _pending(pending), float(interacted_at), float(typing_until), json.loads(state))


def _pending(answer: Sequence[Any]) -> PendingMessage:
    seq, fields, received_at, attempts, sent, unsent, quota_and_handover = answer
    return PendingMessage(
        int(seq),
        json.loads(fields),
        float(received_at),
        attempts,
        int(sent or 0),
        tuple(json.loads(unsent or "[]")),
        *read_quota_and_handover(*quota_and_handover),
    )


def _token(answer: Sequence[bytes | None]) -> StoredToken | None:
    value, expires_at = answer
    return None if value is None or expires_at is None else StoredToken(value.decode(), float(expires_at))


def _passive_reply(answer: bytes | None) -> Mapping[str, Any] | None:
    return None if answer is None else json.loads(answer)


def _media(answer: bytes | None) -> StoredMedia | None:
    return None if answer is None else StoredMedia(*json.loads(answer))


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
