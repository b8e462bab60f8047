"""Helpers of the copy tests: two stores, a deployment that moves from one to the other, and steps that fill a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy as shallow_copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from hypothesis import strategies as st

from tests.store.support import (
    ALICE,
    APPID,
    BOB,
    NOW,
    RETENTION,
    Backend,
    RedisBackend,
    SqliteBackend,
    Stores,
    Worker,
    incoming,
)
from wxbot.errors import CopyFailed, StoreUnavailable
from wxbot.model.quota import Quota
from wxbot.store.copying import End, copy
from wxbot.store.copying_port import BulkStore, Kind, StoredRecord
from wxbot.store.records import ConversationKey, Handover
from wxbot.store.redis.copying import RedisBulkStore
from wxbot.store.sqlite.copying import SqliteBulkStore
from wxbot.testing import ManualClock

CAROL = ConversationKey("wxfedcba9876543210", "carol")
UNSENT = ({"kind": "text", "text": "not out yet"},)


class CopyableBackend(Backend, Protocol):
    """A backend whose store can be copied."""

    def bulk(self) -> BulkStore: ...

    def alias(self) -> CopyableBackend:
        """Return the same store under another address."""
        ...


class CopyableSqlite(SqliteBackend):
    def bulk(self) -> BulkStore:
        return SqliteBulkStore(self._folder / f"wxbot{self._round}.db", retention=RETENTION)

    def alias(self) -> CopyableBackend:
        link = self._folder / "link"
        link.symlink_to(self._folder)
        alias = CopyableSqlite(link)
        alias._round = self._round
        return alias


class CopyableRedis(RedisBackend):
    def bulk(self) -> BulkStore:
        return RedisBulkStore(self._url, retention=RETENTION)

    def alias(self) -> CopyableBackend:
        alias = shallow_copy(self)
        alias._url = self._url.replace("127.0.0.1", "localhost")
        return alias


def copyable_sqlite(folder: Path) -> CopyableSqlite:
    folder.mkdir()
    return CopyableSqlite(folder)


class Move:
    """A deployment that moves: a process on the old store and one on the new store."""

    def __init__(self, here: CopyableBackend, there: CopyableBackend, runner: asyncio.Runner) -> None:
        self.here, self.there = here, there
        self._runner = runner
        self._begin()

    def _begin(self) -> None:
        self.old_clock, self.new_clock = ManualClock(NOW), ManualClock(NOW)
        self._stores = [Stores(self.here, self._runner), Stores(self.there, self._runner)]
        self.old, self.new = (stores.worker(name) for stores, name in zip(self._stores, ("old", "new"), strict=True))

    @contextmanager
    def ends(
        self, here: CopyableBackend | None = None, there: CopyableBackend | None = None
    ) -> Iterator[tuple[End, End]]:
        with ExitStack() as opened:
            bulks = [(here or self.here).bulk(), (there or self.there).bulk()]
            for bulk in bulks:
                bulk.open(create=True)
                opened.callback(bulk.close)
            yield End("FROM", bulks[0], self.old_clock), End("TO", bulks[1], self.new_clock)

    def copies(self, appid: str | None = APPID, **other: CopyableBackend) -> dict[str, Mapping[Kind, int]]:
        with self.ends(**other) as (source, target):
            return self._runner.run(copy(source, target, appid))

    def copies_with(self, change: Callable[[End, End], tuple[End, End]]) -> dict[str, Mapping[Kind, int]]:
        """Copy with one end replaced by a double."""
        with self.ends() as (source, target):
            return self._runner.run(copy(*change(source, target), APPID))

    def refuses(self, appid: str | None = APPID, **other: CopyableBackend) -> str:
        with pytest.raises(CopyFailed) as caught:
            self.copies(appid, **other)
        return str(caught.value)

    def time_passes(self, seconds: float) -> float:
        for clock, backend in ((self.old_clock, self.here), (self.new_clock, self.there)):
            clock.advance(seconds)
            backend.time_passes(seconds)
        return self.new_clock.now()

    def start_over(self) -> None:
        """Start again with empty stores."""
        self.close()
        self.here.empty()
        self.there.empty()
        self._begin()

    def close(self) -> None:
        for stores in self._stores:
            stores.close()


class Double:
    """A double that changes one method of a store."""

    def __init__(self, bulk: BulkStore) -> None:
        self.bulk = bulk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bulk, name)

    @classmethod
    def instead_of(cls, end: End) -> End:
        return replace(end, bulk=cast(BulkStore, cls(end.bulk)))


class FailsHalfWay(Double):
    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        slices = 0
        async for records in self.bulk.export(appid, now):
            yield records
            slices += 1
            if slices == 2:
                raise StoreUnavailable("the plug was pulled")


def letters(worker: Worker) -> list[Any]:
    """Return the dead letters, oldest first, without their numbers, because each store has its own."""
    return [replace(letter, seq=0) for letter in worker.wait(worker.store.dead_letters(APPID, 100))]


def die(worker: Worker, key: ConversationKey = ALICE, now: float = NOW, **more: Any) -> None:
    claim = worker.claims(key, now)
    worker.completes(claim, "dead", now=now, go_on=False, reason="so it is", **more)


USERS = [ALICE, BOB, ConversationKey(APPID, "a:b*[c]"), ConversationKey(APPID, "a")]
users = st.sampled_from(USERS)
few = st.integers(0, 3)
budgets = st.none() | st.builds(Quota, few, st.sampled_from([NOW + 60.1, NOW + 172_800.0]))
handovers = st.sampled_from([None, None, Handover(NOW + 2, "agent"), Handover(NOW + 500), Handover(0.0)])
actions = st.fixed_dictionaries({"quota": budgets, "handover": handovers, "for_agents": st.booleans()})
accepts = st.tuples(st.just("accept"), users, st.integers(0, 8), actions)
works = st.tuples(
    st.just("work"),
    users,
    st.sampled_from(["done", "done", "dead", "retry", "released"]),
    st.fixed_dictionaries(
        {
            "sent": few,
            "sent_at": st.sampled_from([0.0, NOW - 50, NOW + 1]),
            "unsent": st.sampled_from([(), UNSENT]),
            "state": st.none() | st.dictionaries(st.sampled_from(["a", "吃"]), few | st.just("x"), max_size=2),
            "typing_until": st.sampled_from([0.0, NOW + 12.25]),
            "quota": budgets,
            "handover": handovers,
        }
    ),
)
dies = st.tuples(st.just("owner dies"), users, st.booleans())
passes = st.tuples(st.just("time"), st.sampled_from([0.25, 3.0, 8.0]))
letter_work = st.tuples(st.sampled_from(["retry", "drop"]), few)
steps = st.lists(st.one_of(accepts, accepts, works, works, dies, passes, letter_work), max_size=25)


class Scenario:
    """Runs steps on a store and returns everything that a bot could read from it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.now = NOW

    def run_step(self, step: tuple[Any, ...]) -> None:
        what, *details = step
        getattr(self, f"_{what.replace(' ', '_')}")(*details)

    def _accept(self, key: ConversationKey, number: int, action: dict[str, Any]) -> None:
        self.worker.accept(incoming(f"{number}", key, at=self.now, dedup_key=f"m:{number}:{key.openid}", **action))

    def _work(self, key: ConversationKey, status: Any, more: dict[str, Any]) -> None:
        if claim := self.worker.tries_to_claim(key, self.now):
            retry_at = self.now + 5.5
            self.worker.completes(claim, status, now=self.now, go_on=False, retry_at=retry_at, reason="so", **more)

    def _owner_dies(self, key: ConversationKey, typing: bool) -> None:
        if claim := self.worker.tries_to_claim(key, self.now, seconds=1.0):
            self.worker.records_sent(claim, 1, self.now)
            if typing:
                self.worker.saves_typing(claim, self.now + 7)

    def _time(self, seconds: float) -> None:
        self.now += seconds

    def _retry(self, position: int) -> None:
        if letter := self._letter(position):
            self.worker.wait(self.worker.store.remove_dead_letter(APPID, letter, self.now))

    def _drop(self, position: int) -> None:
        if letter := self._letter(position):
            self.worker.wait(self.worker.store.remove_dead_letter(APPID, letter))

    def _letter(self, position: int) -> int | None:
        there = self.worker.wait(self.worker.store.dead_letters(APPID, 100))
        return there[position].seq if position < len(there) else None

    def observe(self) -> list[Any]:
        """Process all messages and return everything that was read."""
        found: list[Any] = [letters(self.worker), [self.worker.quota(key) for key in USERS]]
        found.append(dict(self.worker.wait(self.worker.store.handovers(APPID, self.now, 100))))
        found += [sorted(self.worker.waiting(self.now + seconds)) for seconds in (0.0, 0.5, 3.0, 5.0, 10.0)]
        found += [self._process_all(key) for key in USERS]
        for letter in self.worker.wait(self.worker.store.dead_letters(APPID, 100)):
            self._retry(0)
            found.append(self._process_all(letter.key))
        for number in range(9):
            found.append(
                [self.worker.accept(incoming(f"{number}", key, dedup_key=f"m:{number}:{key.openid}")) for key in USERS]
            )
        return [*found, [self._process_all(key) for key in USERS]]

    def _process_all(self, key: ConversationKey) -> list[Any]:
        claim = self.worker.tries_to_claim(key, self.now + 10)
        found: list[Any] = []
        while claim is not None:
            found += [claim.conversation, replace(claim.message, seq=0)]
            claim = self.worker.completes(claim, now=self.now + 10)
        return found
