"""Copies what one store holds to another one, while no bot runs (``python -m wxbot store copy``).

The source stays as it is. In the target an account is marked as half a copy until all of it is there, and every bot
refuses it meanwhile. So nothing of a copy that died is ever answered, and the next copy begins anew.
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

SOON_SECONDS = 3600.0
"""What is forgotten within this time may be gone before it is counted."""
CLOCKS_AGREE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class End:
    """One end of a copy: an open store, how it is called where people read it, and the clock of its bots."""

    name: str
    bulk: BulkStore
    clock: Clock


async def copy(source: End, target: End, appid: str | None) -> dict[str, Mapping[Kind, int]]:
    """Copy the account ``appid``, or with None every one in ``source``; of each, how much was copied.

    All times keep their distance from now, also where the clocks of the two ends differ. Raises StoreUnavailable, and
    CopyFailed with what to do.
    """
    if await source.bulk.identity() == await target.bulk.identity():
        raise CopyFailed(f"{source.name} and {target.name} are the same place: name another one to copy to")
    standings = {each: await _standing(source, each) for each in await _chosen(source, appid)}
    copying = _Copying(source, target)
    try:
        await copying.begin(standings)
        tallies = {each: await copying.fill(each) for each in standings}
        for each, standing in standings.items():
            await copying.verify(each, standing, tallies[each])
        await copying.end(standings)
    except StoreUnavailable as error:
        raise copying.failed(str(error)) from None
    return {each: tally.copied for each, tally in tallies.items()}


async def _chosen(source: End, appid: str | None) -> Sequence[str]:
    there = await source.bulk.accounts()
    if not there:
        raise CopyFailed(f"there is nothing in {source.name}: is that the address of the store in use?")
    if appid is not None and appid not in there:
        others = ", ".join(there)
        raise CopyFailed(f"{source.name} has nothing of the account {appid}: set WXBOT_APPID to one it has ({others})")
    return there if appid is None else [appid]


async def _standing(source: End, appid: str) -> AccountStatus:
    standing = await source.bulk.standing(appid, source.clock.now())
    if standing.incomplete_copy:
        raise CopyFailed(f"{source.name} holds only half a copy of the account {appid}: copy from where it came from")
    if standing.worked:
        raise CopyFailed(
            f"a bot is working the account {appid} in {source.name}: stop it first "
            "(if it was killed, its leases run out within WXBOT_LEASE_SECONDS)"
        )
    return standing


@dataclass(slots=True)
class _Tally:
    """What was copied of one account, and how much of that may be forgotten before it is counted."""

    copied: Counter[Kind] = field(default_factory=Counter)
    fleeting: Counter[Kind] = field(default_factory=Counter)


class _Copying:
    """One copy on its way: ``begin``, then ``fill`` and ``verify`` for each account, then ``end``."""

    def __init__(self, source: End, target: End) -> None:
        self._source = source
        self._target = target
        self._name = secrets.token_hex(8)
        ahead = target.clock.now() - source.clock.now()
        self._ahead = ahead if abs(ahead) >= CLOCKS_AGREE_SECONDS else 0.0

    async def begin(self, standings: Mapping[str, AccountStatus]) -> None:
        """Mark all accounts in the target, or none."""
        begun: list[str] = []
        for appid, standing in standings.items():
            if not await self._target.bulk.begin(appid, self._name, standing.last_seq):
                await self.end(begun)  # there is nothing in them yet
                raise CopyFailed(
                    f"{self._target.name} has something of the account {appid} already: copy to a place that is empty"
                )
            begun.append(appid)

    async def fill(self, appid: str) -> _Tally:
        """Copy one account, without what the source might have forgotten already."""
        tally = _Tally()
        begun_at = self._target.clock.now()
        async for kept in self._source.bulk.export(appid, self._source.clock.now):
            moved = (_moved(each, self._ahead) for each in kept)
            wanted = [each for each in moved if not _is_forgotten(each, begun_at)]
            all_new = await self._target.bulk.restore(appid, self._name, wanted, self._target.clock.now())
            fresh = [each for each, new in zip(wanted, all_new, strict=True) if new]
            tally.copied.update(map(_kind, fresh))
            tally.fleeting.update(_kind(each) for each in fresh if _is_forgotten(each, begun_at + SOON_SECONDS))
        return tally

    async def verify(self, appid: str, before: AccountStatus, tally: _Tally) -> None:
        """Raises CopyFailed if anything is missing, or was changed by somebody while it was copied."""
        if await self._source.bulk.standing(appid, self._source.clock.now()) != before:
            raise self.failed(f"a bot has worked the account {appid} in {self._source.name} meanwhile: stop it")
        wanted = Counter(tally.copied)
        wanted["waiting"] = before.waiting
        there = await self._target.bulk.contents(appid)
        for kind, number in wanted.items():
            if there[kind] < number - tally.fleeting[kind]:
                raise self.failed(
                    f"only {there[kind]} of {number} {_NAMES[kind]} of the account {appid} have come to "
                    f"{self._target.name} (a Redis must not evict keys: maxmemory-policy noeviction)"
                )

    async def end(self, appids: Iterable[str]) -> None:
        for appid in appids:
            await self._target.bulk.end(appid, self._name)

    def failed(self, reason: str) -> CopyFailed:
        """What to say once there may be half a copy."""
        return CopyFailed(
            f"{reason}. What {self._target.name} holds now is half a copy, which bots refuse: "
            "run the same command again, and it begins anew"
        )


_NAMES: Mapping[Kind, str] = {
    "waiting": "waiting messages",
    "dead": "dead letters",
    "traces": "traces of answered messages",
    "conversations": "conversations",
}


def summary(appid: str, copied: Mapping[Kind, int]) -> str:
    """What was copied of an account, in one line."""
    return f"{appid}: " + ", ".join(f"{name} {copied[kind]}" for kind, name in _NAMES.items())


def _kind(kept: StoredRecord) -> Kind:
    if isinstance(kept, StoredConversation):
        return "conversations"
    if isinstance(kept, DedupRecord):
        return "traces"
    return "waiting" if kept.died_at is None else "dead"


def _is_forgotten(kept: StoredRecord, now: float) -> bool:
    return kept.forget_at is not None and kept.forget_at <= now


def _moved(kept: StoredRecord, seconds: float) -> StoredRecord:
    """``kept`` by a clock that is ``seconds`` ahead."""
    if not seconds:
        return kept
    times = {name: getattr(kept, name, None) for name in _TIMES}
    changes: dict[str, Any] = {name: at + seconds for name, at in times.items() if at}
    if isinstance(kept, StoredConversation):
        if kept.quota and kept.quota.expires_at:
            changes["quota"] = kept.quota._replace(expires_at=kept.quota.expires_at + seconds)
        if kept.active_handover.until:
            changes["active_handover"] = kept.active_handover._replace(until=kept.active_handover.until + seconds)
    return replace(kept, **changes)


_TIMES = ("received_at", "died_at", "interacted_at", "typing_until", "next_at", "forget_at")
