"""Copy one store to another while no bot runs (``python -m wxbot store copy``).

The source is not changed. In the target an account is marked as an incomplete copy until all of it was copied, and
every bot refuses it meanwhile. So no message of an interrupted copy is ever processed, and the next copy starts over.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wxbot.clock import Clock
from wxbot.errors import CopyFailed, StoreUnavailable
from wxbot.store.copying_port import AccountStatus, BulkStore, DedupRecord, Kind, StoredConversation, StoredRecord
from wxbot.store.records import ConversationRecord

SOON_SECONDS = 3600.0
"""A record that expires within this time may be deleted before it is counted."""
CLOCKS_AGREE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy: an open store, its name in messages to the operator, and the clock of its bots."""

    name: str
    bulk: BulkStore
    clock: Clock


async def copy(source: End, target: End, appid: str | None) -> dict[str, Mapping[Kind, int]]:
    """Copy the account ``appid``, or every account of ``source`` if None. Return the number of records of each account.

    All times keep their distance from now, even if the clocks of the two ends differ. Raises StoreUnavailable, and
    CopyFailed with a text that says what to do.
    """
    if await source.bulk.identity() == await target.bulk.identity():
        raise CopyFailed(f"{source.name} and {target.name} are the same store: choose another target")
    statuses = {each: await _status(source, each) for each in await _chosen(source, appid)}
    copying = _Copying(source, target)
    try:
        await copying.begin(statuses)
        tallies = {each: await copying.fill(each) for each in statuses}
        for each, status in statuses.items():
            await copying.verify(each, status, tallies[each])
        await copying.end(statuses)
    except StoreUnavailable as error:
        raise copying.failed(str(error)) from None
    return {each: tally.copied for each, tally in tallies.items()}


async def _chosen(source: End, appid: str | None) -> Sequence[str]:
    accounts = await source.bulk.accounts()
    if not accounts:
        raise CopyFailed(f"{source.name} is empty: is that the address of the store in use?")
    if appid is not None and appid not in accounts:
        others = ", ".join(accounts)
        raise CopyFailed(f"{source.name} has no data of the account {appid}: set WXBOT_APPID to one of {others}")
    return accounts if appid is None else [appid]


async def _status(source: End, appid: str) -> AccountStatus:
    status = await source.bulk.status(appid, source.clock.now())
    if status.incomplete_copy:
        raise CopyFailed(
            f"{source.name} holds only an incomplete copy of the account {appid}: copy from the original store"
        )
    if status.has_active_lease:
        raise CopyFailed(
            f"a bot is processing the account {appid} in {source.name}: stop the bot first "
            "(if it was killed, its leases expire within WXBOT_LEASE_SECONDS)"
        )
    return status


@dataclass(slots=True)
class _Tally:
    """The copied records of one account, by kind. ``expiring``: the number that may be deleted before counting."""

    copied: Counter[Kind] = field(default_factory=Counter)
    expiring: Counter[Kind] = field(default_factory=Counter)


class _Copying:
    """A copy in progress. Call ``begin``, then ``fill`` and ``verify`` for each account, then ``end``."""

    def __init__(self, source: End, target: End) -> None:
        self._source = source
        self._target = target
        self._name = secrets.token_hex(8)
        ahead = target.clock.now() - source.clock.now()
        self._ahead = ahead if abs(ahead) >= CLOCKS_AGREE_SECONDS else 0.0

    async def begin(self, statuses: Mapping[str, AccountStatus]) -> None:
        """Mark all accounts in the target as incomplete copies. Raises CopyFailed and marks none if one has data."""
        begun: list[str] = []
        for appid, status in statuses.items():
            if not await self._target.bulk.begin(appid, self._name, status.last_seq):
                await self.end(begun)  # they are still empty
                raise CopyFailed(
                    f"{self._target.name} already has data of the account {appid}: choose a target that has none"
                )
            begun.append(appid)

    async def fill(self, appid: str) -> _Tally:
        """Copy one account. Skip records that have expired."""
        tally = _Tally()
        begun_at = self._target.clock.now()
        async for records in self._source.bulk.export(appid, self._source.clock.now):
            shifted = (_shifted(each, self._ahead) for each in records)
            wanted = [each for each in shifted if not _has_expired(each, begun_at)]
            all_new = await self._target.bulk.restore(appid, self._name, wanted, self._target.clock.now())
            fresh = [each for each, new in zip(wanted, all_new, strict=True) if new]
            tally.copied.update(map(_kind, fresh))
            tally.expiring.update(_kind(each) for each in fresh if _has_expired(each, begun_at + SOON_SECONDS))
        return tally

    async def verify(self, appid: str, before: AccountStatus, tally: _Tally) -> None:
        """Raise CopyFailed if a record is missing, or if a bot changed the source during the copy."""
        if await self._source.bulk.status(appid, self._source.clock.now()) != before:
            raise self.failed(f"a bot changed the account {appid} in {self._source.name} during the copy: stop the bot")
        expected = Counter(tally.copied)
        expected["waiting"] = before.waiting
        found = await self._target.bulk.contents(appid)
        for kind, number in expected.items():
            if found[kind] < number - tally.expiring[kind]:
                raise self.failed(
                    f"{self._target.name} has only {found[kind]} of {number} {_NAMES[kind]} of the account {appid} "
                    "(a Redis must not evict keys: maxmemory-policy noeviction)"
                )

    async def end(self, appids: Iterable[str]) -> None:
        for appid in appids:
            await self._target.bulk.end(appid, self._name)

    def failed(self, reason: str) -> CopyFailed:
        """Return the error for a failure that may leave an incomplete copy."""
        return CopyFailed(
            f"{reason}. {self._target.name} now holds an incomplete copy, which bots refuse: "
            "run the same command again, and it starts over"
        )


_NAMES: Mapping[Kind, str] = {
    "waiting": "pending messages",
    "dead": "dead letters",
    "dedup": "dedup records",
    "conversations": "conversations",
}


def summary(appid: str, copied: Mapping[Kind, int]) -> str:
    """Return one line with the number of records of an account that were copied."""
    return f"{appid}: " + ", ".join(f"{name} {copied[kind]}" for kind, name in _NAMES.items())


def _kind(record: StoredRecord) -> Kind:
    if isinstance(record, StoredConversation):
        return "conversations"
    if isinstance(record, DedupRecord):
        return "dedup"
    return "waiting" if record.died_at is None else "dead"


def _has_expired(record: StoredRecord, now: float) -> bool:
    return record.forget_at is not None and record.forget_at <= now


def _shifted(record: StoredRecord, seconds: float) -> StoredRecord:
    """Return ``record`` with all times moved by ``seconds``."""
    if not seconds:
        return record
    if isinstance(record, StoredConversation):
        return replace(record, record=_shifted_conversation(record.record, seconds), **_times(record, seconds))
    return replace(record, **_times(record, seconds))


def _shifted_conversation(record: ConversationRecord, seconds: float) -> ConversationRecord:
    changes = _times(record, seconds)
    if record.quota and record.quota.expires_at:
        changes["quota"] = record.quota._replace(expires_at=record.quota.expires_at + seconds)
    if record.handover and record.handover.until:
        changes["handover"] = record.handover._replace(until=record.handover.until + seconds)
    return replace(record, **changes)


def _times(record: StoredRecord | ConversationRecord, seconds: float) -> dict[str, Any]:
    """Return the times of ``record``, moved by ``seconds``, by field."""
    times = {name: getattr(record, name, None) for name in _TIMES}
    return {name: at + seconds for name, at in times.items() if at}


_TIMES = ("received_at", "died_at", "interacted_at", "typing_until", "next_at", "forget_at")
