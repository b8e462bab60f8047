"""What is copied from one store to another one behaves there as it would have where it came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contracts.support import (
    ALICE,
    APPID,
    BOB,
    KEPT,
    LEASE,
    NOW,
    Place,
    RedisPlace,
    SqlitePlace,
    Stores,
    Worker,
    arrival,
    text_of,
)
from tests.servers.fixtures import needs
from tests.servers.programs import REDIS
from tests.servers.redis_server import RedisServer
from wxbot import store_copy
from wxbot.backends import redis_bulk, sqlite_bulk
from wxbot.backends.redis_bulk import RedisBulk
from wxbot.backends.sqlite_bulk import SqliteBulk
from wxbot.errors import CopyFailed, HalfCopy, StoreUnavailable
from wxbot.ports import Bulk, ConversationKey, Kept, Kind, Outcome
from wxbot.store_copy import End, copy
from wxbot.testing import ManualClock

KINDS = ("sqlite", "redis", "valkey", "cluster")
ALL_PAIRS = [(here, there) for here in KINDS for there in KINDS]
SOME_PAIRS = [("sqlite", "redis"), ("redis", "sqlite"), ("sqlite", "sqlite"), ("redis", "redis"), ("cluster", "valkey")]
CAROL = ConversationKey("wxfedcba9876543210", "carol")
UNSENT = ({"kind": "text", "text": "not out yet"},)


class Spot(Place, Protocol):
    """A place whose store can be copied."""

    def bulk(self) -> Bulk: ...


class SqliteSpot(SqlitePlace):
    def bulk(self) -> Bulk:
        return SqliteBulk(self._folder / f"wxbot{self._round}.db", retention=KEPT)


class RedisSpot(RedisPlace):
    def bulk(self) -> Bulk:
        return RedisBulk(self._url, retention=KEPT)


@pytest.fixture(params=SOME_PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What is copied to what."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path, pair: tuple[str, str]) -> Spot:
    """Where it is copied from."""
    kind, _ = pair
    if kind == "sqlite":
        return SqliteSpot(tmp_path)
    server: RedisServer = request.getfixturevalue(f"{kind}_server")
    return RedisSpot(server.url)


@pytest.fixture
def there(request: pytest.FixtureRequest, tmp_path: Path, pair: tuple[str, str], here: Spot) -> Spot:
    """Where it is copied to. On a server it is another database than ``here``; a cluster has but one."""
    _, kind = pair
    if kind == "sqlite":
        return sqlite_spot(tmp_path / "there")
    if kind == "cluster":
        other: RedisServer = request.getfixturevalue("other_cluster_server")
        return RedisSpot(other.url)
    server: RedisServer = request.getfixturevalue(f"{kind}_server")
    return RedisSpot(f"{server.url.removesuffix('/0')}/1")


def sqlite_spot(folder: Path) -> SqliteSpot:
    folder.mkdir()
    return SqliteSpot(folder)


@pytest.fixture(scope="session")
def other_cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    needs(REDIS)
    with RedisServer(tmp_path_factory.mktemp("other_cluster"), cluster=True) as server:
        yield server


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_bulk, "SLICE", 2)
    monkeypatch.setattr(redis_bulk, "SLICE", 2)


class Move:
    """A deployment that is about to move: a process on the old store and one on the new."""

    def __init__(self, here: Spot, there: Spot, runner: asyncio.Runner) -> None:
        self.here, self.there = here, there
        self.old_clock, self.new_clock = ManualClock(), ManualClock()
        self._runner = runner
        self._stores = [Stores(here, runner), Stores(there, runner)]
        self.old, self.new = (stores.worker(name) for stores, name in zip(self._stores, ("old", "new"), strict=True))

    @contextmanager
    def ends(self, here: Spot | None = None, there: Spot | None = None) -> Iterator[tuple[End, End]]:
        with ExitStack() as opened:
            bulks = [(here or self.here).bulk(), (there or self.there).bulk()]
            for bulk in bulks:
                bulk.open(create=True)
                opened.callback(bulk.close)
            yield End("FROM", bulks[0], self.old_clock), End("TO", bulks[1], self.new_clock)

    def copies(self, appid: str | None = APPID, **other: Spot) -> dict[str, Mapping[Kind, int]]:
        with self.ends(**other) as (source, target):
            return self._runner.run(copy(source, target, appid))

    def copies_with(self, change: Callable[[End, End], tuple[End, End]]) -> dict[str, Mapping[Kind, int]]:
        """Copy, but one end is something else than it seems."""
        with self.ends() as (source, target):
            return self._runner.run(copy(*change(source, target), APPID))

    def refuses(self, appid: str | None = APPID, **other: Spot) -> str:
        with pytest.raises(CopyFailed) as caught:
            self.copies(appid, **other)
        return str(caught.value)

    def time_passes(self, seconds: float) -> float:
        for clock, place in ((self.old_clock, self.here), (self.new_clock, self.there)):
            clock.turn(seconds)
            place.time_passes(seconds)
        return self.new_clock.now()

    def empty(self) -> None:
        self.close()
        self.here.empty()
        self.there.empty()
        self.__init__(self.here, self.there, self._runner)  # type: ignore[misc]

    def close(self) -> None:
        for stores in self._stores:
            stores.close()


@pytest.fixture
def move(here: Spot, there: Spot) -> Iterator[Move]:
    with asyncio.Runner() as runner:
        move = Move(here, there, runner)
        try:
            yield move
        finally:
            move.close()


def letters(worker: Worker) -> list[Any]:
    """The dead letters, oldest first. Numbers are each store's own."""
    return [replace(letter, seq=0) for letter in worker.wait(worker.store.dead_letters(APPID, 100))]


def die(worker: Worker, key: ConversationKey = ALICE, now: float = NOW, **more: Any) -> None:
    claim = worker.claims(key, now)
    worker.settles(claim.lease, claim.pending, "dead", now=now, go_on=False, reason="so it is", **more)


# What any inbox becomes

USERS = [ALICE, BOB, ConversationKey(APPID, "a:b*[c]"), ConversationKey(APPID, "a")]
users = st.sampled_from(USERS)
few = st.integers(0, 3)
accepts = st.tuples(st.just("accept"), users, st.integers(0, 8))
works = st.tuples(
    st.just("work"),
    users,
    st.sampled_from(["answered", "answered", "dead", "later", "back"]),
    st.fixed_dictionaries(
        {
            "sent": few,
            "sent_at": st.sampled_from([None, NOW - 50, NOW + 1]),
            "unsent": st.sampled_from([(), UNSENT]),
            "state": st.none() | st.dictionaries(st.sampled_from(["a", "吃"]), few | st.just("x"), max_size=2),
            "typing_until": st.sampled_from([0.0, NOW + 12.25]),
        }
    ),
)
dies = st.tuples(st.just("owner dies"), users, st.booleans())
passes = st.tuples(st.just("time"), st.sampled_from([0.25, 3.0, 8.0]))
letter_work = st.tuples(st.sampled_from(["retry", "drop"]), few)
steps = st.lists(st.one_of(accepts, accepts, works, works, dies, passes, letter_work), max_size=25)


class Life:
    """Takes the steps on a store, and can tell all that a bot would get to know of it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.now = NOW

    def live(self, step: tuple[Any, ...]) -> None:
        what, *details = step
        getattr(self, f"_{what.replace(' ', '_')}")(*details)

    def _accept(self, key: ConversationKey, number: int) -> None:
        self.worker.accept(arrival(f"{number}", key, at=self.now, dedup_key=f"m:{number}:{key.openid}"))

    def _work(self, key: ConversationKey, verdict: Any, more: dict[str, Any]) -> None:
        if claim := self.worker.tries_to_claim(key, self.now):
            retry_at = self.now + 5.5
            self.worker.settles(
                claim.lease, claim.pending, verdict, now=self.now, go_on=False, retry_at=retry_at, reason="so", **more
            )

    def _owner_dies(self, key: ConversationKey, typing: bool) -> None:
        if claim := self.worker.tries_to_claim(key, self.now, seconds=1.0):
            self.worker.records_sent(claim.lease, claim.pending, 1, self.now)
            if typing:
                self.worker.saves_typing(claim.lease, self.now + 7)

    def _time(self, seconds: float) -> None:
        self.now += seconds

    def _retry(self, place: int) -> None:
        if letter := self._letter(place):
            self.worker.wait(self.worker.store.retry_dead_letter(APPID, letter, self.now))

    def _drop(self, place: int) -> None:
        if letter := self._letter(place):
            self.worker.wait(self.worker.store.drop_dead_letter(APPID, letter))

    def _letter(self, place: int) -> int | None:
        there = self.worker.wait(self.worker.store.dead_letters(APPID, 100))
        return there[place].seq if place < len(there) else None

    def tell(self) -> list[Any]:
        """Works everything off."""
        told: list[Any] = [letters(self.worker)]
        told += [sorted(self.worker.waiting(self.now + seconds)) for seconds in (0.0, 0.5, 3.0, 5.0, 10.0)]
        told += [self._work_off(key) for key in USERS]
        for letter in self.worker.wait(self.worker.store.dead_letters(APPID, 100)):
            self._retry(0)
            told.append(self._work_off(letter.key))
        for number in range(9):
            told.append(
                [self.worker.accept(arrival(f"{number}", key, dedup_key=f"m:{number}:{key.openid}")) for key in USERS]
            )
        return [*told, [self._work_off(key) for key in USERS]]

    def _work_off(self, key: ConversationKey) -> list[Any]:
        claim = self.worker.tries_to_claim(key, self.now + 10)
        if claim is None:
            return []
        told: list[Any] = [claim.interacted_at, claim.typing_until, claim.state]
        pending = claim.pending
        while True:
            told.append(replace(pending, seq=0))
            following = self.worker.settles(claim.lease, pending, now=self.now + 10)
            if following is None:
                return told
            pending = following


@pytest.mark.parametrize("pair", ALL_PAIRS, ids="-".join, indirect=True)
def test_any_inbox_behaves_the_same_after_it_was_copied(move: Move) -> None:
    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def holds(steps: list[tuple[Any, ...]]) -> None:
        move.empty()
        lives = Life(move.old), Life(move.new)
        lives[0].worker.accept(arrival("first", CAROL))  # so that there is something to copy, of another account
        lives[0].worker.accept(arrival("first"))
        for step in steps:
            lives[0].live(step)
        lives[0].now += LEASE
        lives[1].now = lives[0].now
        move.old_clock.turn(lives[0].now - NOW)
        move.new_clock.turn(lives[0].now - NOW)
        move.copies()
        assert lives[1].tell() == lives[0].tell()

    holds()


def test_how_much_was_copied_is_told(move: Move) -> None:
    move.old.accept(*(arrival(f"{n}") for n in range(5)), arrival("hi", BOB))
    assert move.old.works_off(BOB) == ["hi"]
    die(move.old)
    assert move.copies() == {APPID: {"waiting": 4, "dead": 1, "traces": 1, "conversations": 2}}


def test_a_new_message_comes_last(move: Move) -> None:
    move.old.accept(arrival("a"), arrival("b"))
    move.copies()
    assert move.new.accept(arrival("c"), arrival("a")) == [True, False]
    assert move.new.works_off() == ["a", "b", "c"]


def test_a_dead_letter_goes_back_to_its_old_place(move: Move) -> None:
    move.old.accept(arrival("a"), arrival("b"))
    die(move.old, sent=2, unsent=UNSENT)
    move.copies()
    assert letters(move.new) == letters(move.old)
    (letter,) = move.new.wait(move.new.store.dead_letters(APPID, 10))
    assert move.new.wait(move.new.store.retry_dead_letter(APPID, letter.seq, NOW))
    pending = move.new.claims().pending
    assert (text_of(pending), pending.attempts, pending.sent, pending.unsent) == ("a", 1, 2, UNSENT)


def test_a_retry_that_is_due_later_stays_due_later(move: Move) -> None:
    move.old.accept(arrival("a"))
    claim = move.old.claims()
    move.old.settles(claim.lease, claim.pending, "later", retry_at=NOW + 60)
    move.copies()
    assert (move.new.waiting(NOW + 59), move.new.waiting(NOW + 60)) == ([], [ALICE])


def test_who_has_waited_longest_comes_first(move: Move) -> None:
    names = [ConversationKey(APPID, name) for name in ("c", "a", "b")]
    move.old.accept(*(arrival("hi", key, at=NOW - 10 + n) for n, key in enumerate(names)))
    move.copies()
    assert move.new.waiting() == names


def test_an_answered_message_is_remembered_for_as_long_as_it_would_have_been(move: Move) -> None:
    move.old.accept(arrival("a"))
    move.old.works_off()
    move.time_passes(60)
    move.copies()
    now = move.time_passes(KEPT.dedup_seconds - 61)
    move.new.purges(now)
    assert move.new.accept(arrival("a")) == [False]
    now = move.time_passes(2)
    move.new.purges(now)
    assert move.new.accept(arrival("a")) == [True]


def test_a_dead_letter_is_kept_for_as_long_as_it_would_have_been(move: Move) -> None:
    move.old.accept(arrival("a"))
    die(move.old)
    move.time_passes(600)
    move.copies()
    move.new.purges(move.time_passes(KEPT.dead_letter_seconds - 601))
    assert len(letters(move.new)) == 1
    move.new.purges(move.time_passes(2))
    assert letters(move.new) == []


def test_what_was_forgotten_already_does_no_harm(move: Move) -> None:
    """A store forgets some time after it might."""
    move.old.accept(arrival("a"), arrival("b"), arrival("c", BOB))
    move.old.works_off(BOB)
    die(move.old)
    move.old_clock.turn(5000)
    move.new_clock.turn(5000)
    assert move.copies()[APPID]["waiting"] == 1
    assert move.new.works_off(ALICE, NOW + 5000) == ["b"]


def test_nothing_changes_where_it_is_copied_from(move: Move) -> None:
    move.old.accept(arrival("a"), arrival("b"))
    die(move.old)
    move.copies()
    assert move.old.accept(arrival("a")) == [False]
    assert len(letters(move.old)) == 1
    assert move.old.works_off() == ["b"]


def test_clocks_that_differ(move: Move) -> None:
    """Then everything is as long ago, and as far ahead, as it was."""
    move.new_clock.turn(3600)
    move.old.accept(arrival("a"), arrival("b", BOB))
    claim = move.old.claims()
    move.old.settles(claim.lease, claim.pending, "later", retry_at=NOW + 60, typing_until=NOW + 9)
    move.copies()
    later = NOW + 3600
    assert (move.new.waiting(later - 1), move.new.waiting(later), move.new.waiting(later + 60)) == (
        [],
        [BOB],
        [BOB, ALICE],
    )
    claim = move.new.claims(ALICE, later + 60)
    assert (claim.interacted_at, claim.typing_until, claim.pending.received_at) == (later, later + 9, later)
    assert move.new.claims(BOB, later).typing_until == 0.0


def test_there_and_back(move: Move, tmp_path: Path) -> None:
    move.old.accept(arrival("a"), arrival("b"), arrival("c", BOB))
    move.old.works_off(BOB)
    die(move.old)
    back = sqlite_spot(tmp_path / "back")
    assert move.copies() == move.copies(here=move.there, there=back)
    store = back.store()
    store.open()
    worker = replace(move.new, store=store)
    assert letters(worker) == letters(move.old)
    assert worker.accept(arrival("c", BOB)) == [False]
    assert worker.works_off() == ["b"]
    store.close()


# Accounts


def test_other_accounts_stay_where_they_are(move: Move) -> None:
    move.old.accept(arrival("ours"), arrival("theirs", CAROL))
    move.copies()
    assert move.new.works_off(CAROL) == []
    assert move.new.works_off(ALICE) == ["ours"]


def test_other_accounts_that_are_there_are_left_alone(move: Move) -> None:
    """They may take new messages all the time."""
    move.old.accept(*(arrival(f"{n}") for n in range(9)))
    move.new.accept(arrival("before", CAROL))
    taken: list[bool] = []

    class Busy(Double):
        async def restore(self, appid: str, copy: str, kept: Sequence[Kept], now: float) -> Sequence[bool]:
            taken.append(move.new.store.accept(arrival(f"meanwhile {len(taken)}", CAROL)).new)
            return await self.bulk.restore(appid, copy, kept, now)

    move.copies_with(lambda source, target: (source, Busy.instead_of(target)))
    assert len(taken) > 3
    assert all(taken)
    assert move.new.works_off(ALICE) == [f"{n}" for n in range(9)]
    assert move.new.works_off(CAROL) == ["before", *(f"meanwhile {n}" for n in range(len(taken)))]


def test_all_accounts(move: Move) -> None:
    move.old.accept(arrival("a"), arrival("b"), arrival("c", CAROL), arrival("d"), arrival("e", CAROL))
    assert {appid: counts["waiting"] for appid, counts in move.copies(None).items()} == {APPID: 3, CAROL.appid: 2}
    assert move.new.works_off(CAROL) == ["c", "e"]
    assert move.new.works_off(ALICE) == ["a", "b", "d"]


def test_all_accounts_or_none(move: Move) -> None:
    move.old.accept(arrival("a"), arrival("c", CAROL))
    move.new.accept(arrival("here already", CAROL))
    assert f"something of the account {CAROL.appid}" in move.refuses(None)
    assert move.new.accept(arrival("a")) == [True], "nothing was begun for this account"


# Refusals


def test_an_account_that_is_not_there(move: Move) -> None:
    assert "there is nothing in FROM" in move.refuses()
    move.old.accept(arrival("a"))
    assert f"has nothing of the account wxother: set WXBOT_APPID to one it has ({APPID})" in move.refuses("wxother")


@pytest.mark.parametrize("state", ["waiting", "answered", "dead"])
def test_a_place_that_has_something(move: Move, state: str) -> None:
    move.old.accept(arrival("a"))
    move.new.accept(arrival("b"))
    if state == "answered":
        move.new.works_off()
    elif state == "dead":
        die(move.new)
    assert "TO has something of the account" in move.refuses()
    assert move.new.accept(arrival("b")) == [False]
    assert move.new.works_off() == (["b"] if state == "waiting" else [])


def test_a_place_that_was_used_once(move: Move) -> None:
    move.old.accept(arrival("a"))
    move.new.accept(arrival("long ago"))
    move.new.works_off()
    now = move.time_passes(20_000)
    move.new.purges(now)
    move.copies()
    assert move.new.accept(arrival("b")) == [True]
    assert move.new.works_off(now=now) == ["a", "b"]


def test_a_place_that_is_being_worked(move: Move) -> None:
    move.old.accept(arrival("a"))
    move.old.claims()
    assert "stop it first" in move.refuses()
    assert move.new.accept(arrival("b")) == [True], "nothing was begun"


def test_an_owner_that_died_does_not_count(move: Move) -> None:
    move.old.accept(arrival("a"))
    move.old.claims()
    now = move.time_passes(LEASE)
    move.copies()
    pending = move.new.claims(now=now).pending
    assert (text_of(pending), pending.attempts) == ("a", 2)


# Copies that do not come to their end


class Double:
    """A store that is not all that it seems."""

    def __init__(self, bulk: Bulk) -> None:
        self.bulk = bulk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bulk, name)

    @classmethod
    def instead_of(cls, end: End) -> End:
        return replace(end, bulk=cast(Bulk, cls(end.bulk)))


class DiesHalfWay(Double):
    async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[Kept]]:
        slices = 0
        async for kept in self.bulk.export(appid, now):
            yield kept
            slices += 1
            if slices == 2:
                raise StoreUnavailable("the plug was pulled")


@pytest.fixture
def half_copy(move: Move) -> Move:
    move.old.accept(*(arrival(f"{n}") for n in range(4)), *(arrival(f"{n}", BOB) for n in range(4)))
    die(move.old)
    with pytest.raises(CopyFailed, match=r"the plug was pulled\. What TO holds now is half a copy.*again"):
        move.copies_with(lambda source, target: (DiesHalfWay.instead_of(source), target))
    return move


def test_nobody_works_half_a_copy(half_copy: Move) -> None:
    new, store = half_copy.new, half_copy.new.store
    for call in (
        lambda: new.accept(arrival("new")),
        lambda: new.waiting(NOW + 100),
        lambda: new.claims(),
        lambda: new.wait(store.dead_letters(APPID, 10)),
        lambda: new.wait(store.retry_dead_letter(APPID, 1, NOW)),
        lambda: new.wait(store.drop_dead_letter(APPID, 1)),
    ):
        with pytest.raises(HalfCopy, match=r"half a copy.*`python -m wxbot store copy`"):
            call()
    assert new.accept(arrival("of another account", CAROL)) == [True]


def test_the_next_copy_begins_anew(half_copy: Move) -> None:
    half_copy.old.accept(arrival("4"))
    assert half_copy.old.works_off(BOB) == ["0", "1", "2", "3"]
    assert half_copy.copies() == {APPID: {"waiting": 4, "dead": 1, "traces": 4, "conversations": 2}}
    assert half_copy.new.works_off() == ["1", "2", "3", "4"]
    assert half_copy.new.works_off(BOB) == []


def test_half_a_copy_is_not_copied(half_copy: Move, tmp_path: Path) -> None:
    assert "only half a copy" in half_copy.refuses(here=half_copy.there, there=sqlite_spot(tmp_path / "third"))


def test_a_copy_ends_when_another_one_has_begun(move: Move) -> None:
    move.old.accept(*(arrival(f"{n}") for n in range(5)))

    class Overtaken(Double):
        async def restore(self, appid: str, copy: str, kept: Sequence[Kept], now: float) -> Sequence[bool]:
            assert await self.bulk.begin(appid, "another", 5)
            return await self.bulk.restore(appid, copy, kept, now)

    with pytest.raises(CopyFailed, match="another copy"):
        move.copies_with(lambda source, target: (source, Overtaken.instead_of(target)))
    move.copies()
    assert move.new.works_off() == [f"{n}" for n in range(5)]


@pytest.mark.parametrize("act", ["accept", "answer", "claim"])
def test_a_bot_that_works_meanwhile_is_found_out(move: Move, act: str) -> None:
    move.old.accept(*(arrival(f"{n}") for n in range(5)))
    acts: dict[str, Callable[[], Any]] = {
        "accept": lambda: move.old.store.accept(arrival("meanwhile")),
        "answer": lambda: None,
        "claim": lambda: None,
    }

    class Worked(Double):
        async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[Kept]]:
            async for kept in self.bulk.export(appid, now):
                yield kept
            acts[act]()
            if act != "accept":
                claim = await move.old.store.claim(ALICE, "bot", NOW, LEASE)
                assert claim is not None
                if act == "answer":
                    done = claim.pending.seq
                    await move.old.store.settle(claim.lease, Outcome(done, "answered"), NOW, go_on=False)

    with pytest.raises(CopyFailed, match=r"has worked the account .* in FROM meanwhile: stop it.*half a copy"):
        move.copies_with(lambda source, target: (Worked.instead_of(source), target))
    with pytest.raises(HalfCopy):
        move.new.waiting()


@pytest.mark.parametrize("kind", ["waiting", "dead", "traces", "conversations"])
def test_what_is_missing_is_noticed(move: Move, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_copy, "SOON_SECONDS", 10.0)  # KEPT is short
    move.old.accept(*(arrival(f"{n}", key) for n in range(3) for key in (ALICE, BOB)))
    move.old.works_off(BOB)
    die(move.old)

    class Loses(Double):
        async def contents(self, appid: str) -> Mapping[Kind, int]:
            counted = dict(await self.bulk.contents(appid))
            return counted | {kind: counted[kind] - 1}

    with pytest.raises(CopyFailed, match=r"only \d of \d .* have come to TO"):
        move.copies_with(lambda source, target: (source, Loses.instead_of(target)))
