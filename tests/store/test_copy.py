"""Tests of copying a store: the target behaves as the source would have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.depth import DEEP, examples
from tests.servers.fixtures import needs
from tests.servers.programs import REDIS
from tests.servers.redis_server import RedisServer
from tests.store.moving import (
    CAROL,
    UNSENT,
    CopyableBackend,
    CopyableRedis,
    CopyableSqlite,
    Double,
    FailsHalfWay,
    Move,
    Scenario,
    copyable_sqlite,
    die,
    letters,
    steps,
)
from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, RETENTION, incoming, text_of
from wxbot.errors import CopyFailed, IncompleteCopy
from wxbot.model.quota import Quota
from wxbot.store import copying as store_copy
from wxbot.store.copying_port import Kind, StoredRecord
from wxbot.store.records import ConversationKey, Handover, Outcome
from wxbot.store.redis import copying as redis_bulk
from wxbot.store.redis.copying import RedisBulkStore
from wxbot.store.sqlite import copying as sqlite_bulk

KINDS = ("sqlite", "redis", "valkey", "cluster")
SOME_PAIRS = [("sqlite", "redis"), ("redis", "sqlite"), ("sqlite", "sqlite"), ("redis", "redis"), ("cluster", "valkey")]
EACH_WAY = [*SOME_PAIRS, ("valkey", "cluster")]
"""Every kind of store is a source and a target."""
ALL_PAIRS = [(here, there) for here in KINDS for there in KINDS]


@pytest.fixture(params=SOME_PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the kinds of source and target."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def here(request: pytest.FixtureRequest, tmp_path: Path, pair: tuple[str, str]) -> CopyableBackend:
    """Return the source."""
    kind, _ = pair
    if kind == "sqlite":
        return CopyableSqlite(tmp_path)
    server: RedisServer = request.getfixturevalue(f"{kind}_server")
    return CopyableRedis(server.url)


@pytest.fixture
def there(
    request: pytest.FixtureRequest, tmp_path: Path, pair: tuple[str, str], here: CopyableBackend
) -> CopyableBackend:
    """Return the target. On one server it is another database than ``here``; a cluster has only one database."""
    _, kind = pair
    if kind == "sqlite":
        return copyable_sqlite(tmp_path / "there")
    if kind == "cluster":
        other: RedisServer = request.getfixturevalue("other_cluster_server")
        return CopyableRedis(other.url)
    server: RedisServer = request.getfixturevalue(f"{kind}_server")
    return CopyableRedis(f"{server.url.removesuffix('/0')}/1")


@pytest.fixture(scope="session")
def other_cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    needs(REDIS)
    with RedisServer(tmp_path_factory.mktemp("other_cluster"), cluster=True) as server:
        yield server


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_bulk, "SLICE", 2)
    monkeypatch.setattr(redis_bulk, "SLICE", 2)


@pytest.fixture
def move(here: CopyableBackend, there: CopyableBackend) -> Iterator[Move]:
    with asyncio.Runner() as runner:
        move = Move(here, there, runner)
        try:
            yield move
        finally:
            move.close()


# The content after a copy


@pytest.mark.parametrize("pair", ALL_PAIRS if DEEP else EACH_WAY, ids="-".join, indirect=True)
def test_any_inbox_behaves_the_same_after_a_copy(move: Move) -> None:
    @settings(
        max_examples=examples(10, 40),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps)
    def holds(steps: list[tuple[Any, ...]]) -> None:
        move.start_over()
        lives = Scenario(move.old), Scenario(move.new)
        lives[0].worker.accept(incoming("first", CAROL))  # data of another account, so that there is something to copy
        lives[0].worker.accept(incoming("first"))
        for step in steps:
            lives[0].run_step(step)
        lives[0].now += LEASE
        lives[1].now = lives[0].now
        move.old_clock.advance(lives[0].now - NOW)
        move.new_clock.advance(lives[0].now - NOW)
        move.copies()
        assert lives[1].observe() == lives[0].observe()

    holds()


def test_the_copy_returns_how_many_records_were_copied(move: Move) -> None:
    move.old.accept(*(incoming(f"{n}") for n in range(5)), incoming("hi", BOB))
    assert move.old.works_off(BOB) == ["hi"]
    die(move.old)
    assert move.copies() == {APPID: {"waiting": 4, "dead": 1, "dedup": 1, "conversations": 2}}


def test_a_new_message_comes_last(move: Move) -> None:
    move.old.accept(incoming("b"), incoming("c"), incoming("d"))
    move.copies()
    assert move.new.accept(incoming("a"), incoming("b")) == [True, False]
    assert move.new.works_off() == ["b", "c", "d", "a"]


def test_a_dead_letter_returns_to_its_old_position(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("b"))
    die(move.old, sent=2, unsent=UNSENT)
    move.copies()
    assert letters(move.new) == letters(move.old)
    (letter,) = move.new.wait(move.new.store.dead_letters(APPID, 10))
    assert move.new.wait(move.new.store.remove_dead_letter(APPID, letter.seq, NOW))
    claim = move.new.claims()
    pending = claim.message
    assert (text_of(claim), pending.attempts, pending.sent, pending.unsent) == ("a", 1, 2, UNSENT)


def test_a_retried_dead_letter_is_pending_after_a_copy(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("b"))
    die(move.old)
    (letter,) = move.old.wait(move.old.store.dead_letters(APPID, 10))
    move.old.wait(move.old.store.remove_dead_letter(APPID, letter.seq, NOW))
    assert move.copies()[APPID] == {"waiting": 2, "conversations": 1}
    assert move.new.works_off() == ["a", "b"]


def test_a_retry_that_is_due_later_stays_due_later(move: Move) -> None:
    move.old.accept(incoming("a"))
    claim = move.old.claims()
    move.old.completes(claim, "retry", retry_at=NOW + 60)
    move.copies()
    assert (move.new.waiting(NOW + 59), move.new.waiting(NOW + 60)) == ([], [ALICE])


def test_the_longest_waiting_conversation_comes_first_after_a_copy(move: Move) -> None:
    names = [ConversationKey(APPID, name) for name in ("c", "a", "b")]
    move.old.accept(*(incoming("hi", key, at=NOW - 10 + n) for n, key in enumerate(names)))
    move.copies()
    assert move.new.waiting() == names


def test_a_dedup_record_expires_at_the_same_time_after_a_copy(move: Move) -> None:
    move.old.accept(incoming("a"))
    move.old.works_off()
    move.time_passes(60)
    move.copies()
    now = move.time_passes(RETENTION.dedup_seconds - 61)
    move.new.purges(now)
    assert move.new.accept(incoming("a")) == [False]
    now = move.time_passes(2)
    move.new.purges(now)
    assert move.new.accept(incoming("a")) == [True]


def test_a_dead_letter_expires_at_the_same_time_after_a_copy(move: Move) -> None:
    move.old.accept(incoming("a"))
    die(move.old)
    move.time_passes(600)
    move.copies()
    move.new.purges(move.time_passes(RETENTION.dead_letter_seconds - 601))
    assert len(letters(move.new)) == 1
    move.new.purges(move.time_passes(2))
    assert letters(move.new) == []


def test_an_idle_conversation_expires_at_the_same_time_after_a_copy(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("b", BOB))
    move.old.works_off()
    claim = move.old.claims(BOB)
    move.old.completes(claim, state={"step": 1})
    move.time_passes(RETENTION.dedup_seconds - 1)
    move.copies()
    for seconds, left in ((2, 1), (RETENTION.state_seconds - RETENTION.dedup_seconds - 2, 1), (2, 0)):
        move.new.purges(move.time_passes(seconds))
        with move.ends() as (_, target):
            assert move.new.wait(target.bulk.contents(APPID))["conversations"] == left


def test_a_conversation_with_a_handover_does_not_expire_after_a_copy(move: Move) -> None:
    to = Handover(NOW + 5000, "agent")
    move.old.accept(incoming("a", handover=to, for_agents=True, quota=Quota(5, NOW + 9000)), incoming("b", BOB))
    move.old.works_off(BOB)
    now = move.time_passes(4000)
    move.copies()
    assert move.new.wait(move.new.store.handovers(APPID, now, 10)) == [(ALICE, to)]
    assert move.new.quota() == Quota(5, NOW + 9000)
    now = move.time_passes(900)
    move.new.purges(now)
    assert move.new.delivers("c", at=now, for_agents=True).handover == to
    now = move.time_passes(5000)
    move.new.purges(now)
    assert move.new.quota() is None


def test_expired_records_are_not_copied(move: Move) -> None:
    """A store may delete a record some time after it has expired."""
    move.old.accept(incoming("a"), incoming("b"), incoming("c", BOB), incoming("d", BOB))
    move.old.works_off(BOB)
    die(move.old)
    now = move.time_passes(1500)
    assert move.copies() == {APPID: {"waiting": 1, "conversations": 1}}
    assert letters(move.new) == []
    assert move.new.works_off(ALICE, now) == ["b"]


def test_the_source_does_not_change(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("b"))
    die(move.old)
    move.copies()
    assert move.old.accept(incoming("a")) == [False]
    assert len(letters(move.old)) == 1
    assert move.old.works_off() == ["b"]


def test_times_keep_their_distance_if_clocks_differ(move: Move) -> None:
    """Every time keeps its distance from now."""
    move.new_clock.advance(3600)
    move.old.accept(incoming("a"), incoming("b", BOB))
    claim = move.old.claims()
    move.old.completes(claim, "retry", retry_at=NOW + 60, typing_until=NOW + 9)
    move.copies()
    later = NOW + 3600
    assert (move.new.waiting(later - 1), move.new.waiting(later), move.new.waiting(later + 60)) == (
        [],
        [BOB],
        [BOB, ALICE],
    )
    claim = move.new.claims(ALICE, later + 60)
    assert (claim.conversation.interacted_at, claim.conversation.typing_until, claim.message.received_at) == (
        later,
        later + 9,
        later,
    )
    assert move.new.claims(BOB, later).conversation.typing_until == 0.0


def test_a_handover_keeps_its_distance_if_clocks_differ(move: Move) -> None:
    move.new_clock.advance(3600)
    move.old.accept(incoming("a", quota=Quota(5, NOW + 60)), incoming("b", BOB, handover=Handover(NOW + 90, "agent")))
    move.copies()
    later = NOW + 3600
    assert (move.new.quota(), move.new.quota(BOB)) == (Quota(5, later + 60), None)
    assert move.new.wait(move.new.store.handovers(APPID, later, 10)) == [(BOB, Handover(later + 90, "agent"))]


def test_a_copy_there_and_back_changes_nothing(move: Move, tmp_path: Path) -> None:
    move.old.accept(incoming("a"), incoming("b"), incoming("c", BOB))
    move.old.works_off(BOB)
    die(move.old)
    back = copyable_sqlite(tmp_path / "released")
    assert move.copies() == move.copies(here=move.there, there=back)
    store = back.store()
    store.open()
    worker = replace(move.new, store=store)
    assert letters(worker) == letters(move.old)
    assert worker.accept(incoming("c", BOB)) == [False]
    assert worker.works_off() == ["b"]
    store.close()


# Accounts


def test_other_accounts_are_not_copied(move: Move) -> None:
    move.old.accept(incoming("ours"), incoming("theirs", CAROL))
    move.copies()
    assert move.new.works_off(CAROL) == []
    assert move.new.works_off(ALICE) == ["ours"]


def test_other_accounts_in_the_target_do_not_change(move: Move) -> None:
    """The other accounts may accept messages during the copy."""
    move.old.accept(*(incoming(f"{n}") for n in range(9)))
    move.new.accept(incoming("before", CAROL))
    taken: list[bool] = []

    class Busy(Double):
        async def restore(self, appid: str, copy: str, records: Sequence[StoredRecord], now: float) -> Sequence[bool]:
            taken.append(move.new.store.accept(incoming(f"meanwhile {len(taken)}", CAROL)).new)
            return await self.bulk.restore(appid, copy, records, now)

    move.copies_with(lambda source, target: (source, Busy.instead_of(target)))
    assert len(taken) > 3
    assert all(taken)
    assert move.new.works_off(ALICE) == [f"{n}" for n in range(9)]
    assert move.new.works_off(CAROL) == ["before", *(f"meanwhile {n}" for n in range(len(taken)))]


def test_all_accounts_are_copied(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("b"), incoming("c", CAROL), incoming("d"), incoming("e", CAROL))
    assert {appid: counts["waiting"] for appid, counts in move.copies(None).items()} == {APPID: 3, CAROL.appid: 2}
    assert move.new.works_off(CAROL) == ["c", "e"]
    assert move.new.works_off(ALICE) == ["a", "b", "d"]


def test_no_account_is_copied_if_one_cannot_be(move: Move) -> None:
    move.old.accept(incoming("a"), incoming("c", CAROL))
    move.new.accept(incoming("here already", CAROL))
    assert f"data of the account {CAROL.appid}" in move.refuses(None)
    assert move.new.accept(incoming("a")) == [True], "nothing was begun for this account"


def test_an_openid_that_is_the_prefix_of_another_is_copied(move: Move) -> None:
    """WeChat's openids contain no colon, but nothing forbids one."""
    keys = [ConversationKey(APPID, name) for name in ("a", "a:b")]
    move.old.accept(*(incoming("hi", key) for key in keys))
    assert [move.old.works_off(key) for key in keys] == [["hi"], ["hi"]]
    move.copies()
    assert move.new.accept(*(incoming("hi", key) for key in keys)) == [False, False]


def test_an_appid_that_looks_like_a_pattern_is_copied(move: Move) -> None:
    keys = [ConversationKey(appid, "alice") for appid in ("wx[1-3]*?", "wx2")]
    move.old.accept(*(incoming(key.appid, key) for key in keys))
    move.copies(keys[0].appid)
    assert [move.new.works_off(key) for key in keys] == [[keys[0].appid], []]


# Refusals


def test_a_copy_to_the_same_store_under_another_address_is_refused(move: Move) -> None:
    move.old.accept(incoming("a"))
    assert "FROM and TO are the same store" in move.refuses(there=move.here.alias())
    assert move.old.works_off() == ["a"]


def test_an_account_that_is_not_there(move: Move) -> None:
    assert "FROM is empty" in move.refuses()
    move.old.accept(incoming("a"))
    assert f"has no data of the account wxother: set WXBOT_APPID to one of {APPID}" in move.refuses("wxother")


@pytest.mark.parametrize("state", ["waiting", "done", "dead"])
def test_a_target_with_data_is_refused(move: Move, state: str) -> None:
    move.old.accept(incoming("a"))
    move.new.accept(incoming("b"))
    if state == "done":
        move.new.works_off()
    elif state == "dead":
        die(move.new)
    assert "TO already has data of the account" in move.refuses()
    assert move.new.accept(incoming("b")) == [False]
    assert move.new.works_off() == (["b"] if state == "waiting" else [])


@pytest.mark.parametrize("pair", [("sqlite", "redis")], ids="-".join, indirect=True)
def test_a_message_accepted_during_the_check_of_the_target_is_noticed(
    move: Move, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Redis is tested, because SQLite checks and begins in one transaction."""
    move.old.accept(incoming("a"))
    move.new.accept(incoming("long ago"))
    move.new.works_off()
    now = move.time_passes(20_000)
    move.new.purges(now)
    checks = RedisBulkStore._has_data

    async def checks_a_moment_too_early(bulk: RedisBulkStore, appid: str) -> bool:
        found = await checks(bulk, appid)
        move.new.store.accept(incoming("b"))
        return found

    monkeypatch.setattr(RedisBulkStore, "_has_data", checks_a_moment_too_early)
    assert "TO already has data of the account" in move.refuses()
    assert move.new.works_off(now=now) == ["b"]


def test_a_target_whose_data_has_expired_is_accepted(move: Move) -> None:
    move.old.accept(incoming("a"))
    move.new.accept(incoming("long ago"))
    move.new.works_off()
    now = move.time_passes(20_000)
    move.new.purges(now)
    move.copies()
    assert move.new.accept(incoming("b")) == [True]
    assert move.new.works_off(now=now) == ["a", "b"]


def test_a_source_with_an_active_lease_is_refused(move: Move) -> None:
    move.old.accept(incoming("a"))
    move.old.claims()
    assert "stop the bot first" in move.refuses()
    assert move.new.accept(incoming("b")) == [True], "nothing was begun"


def test_a_source_with_an_expired_lease_is_copied(move: Move) -> None:
    move.old.accept(incoming("a"))
    move.old.claims()
    now = move.time_passes(LEASE)
    move.copies()
    claim = move.new.claims(now=now)
    assert (text_of(claim), claim.message.attempts) == ("a", 2)


# Copies that do not finish


@pytest.fixture
def incomplete_copy(move: Move) -> Move:
    move.old.accept(*(incoming(f"{n}") for n in range(4)), *(incoming(f"{n}", BOB) for n in range(4)))
    die(move.old)
    with pytest.raises(CopyFailed, match=r"the plug was pulled\. TO now holds an incomplete copy.*again"):
        move.copies_with(lambda source, target: (FailsHalfWay.instead_of(source), target))
    return move


def test_an_incomplete_copy_cannot_be_processed(incomplete_copy: Move) -> None:
    new, store = incomplete_copy.new, incomplete_copy.new.store
    for call in (
        lambda: new.accept(incoming("new")),
        lambda: new.waiting(NOW + 100),
        lambda: new.claims(),
        lambda: new.wait(store.dead_letters(APPID, 10)),
        lambda: new.wait(store.remove_dead_letter(APPID, 1, NOW)),
        lambda: new.wait(store.remove_dead_letter(APPID, 1)),
        lambda: new.finds(ALICE, "msg:0"),
        lambda: new.wait(store.give_up(ALICE, "msg:0")),
        lambda: new.wait(store.handovers(APPID, NOW, 10)),
        lambda: new.wait(store.end_handover(ALICE)),
    ):
        with pytest.raises(IncompleteCopy, match=r"incomplete copy.*`python -m wxbot store copy`"):
            call()
    assert new.accept(incoming("of another account", CAROL)) == [True]


def test_the_next_copy_starts_over(incomplete_copy: Move) -> None:
    incomplete_copy.old.accept(incoming("4"))
    assert incomplete_copy.old.works_off(BOB) == ["0", "1", "2", "3"]
    assert incomplete_copy.copies() == {APPID: {"waiting": 4, "dead": 1, "dedup": 4, "conversations": 2}}
    assert incomplete_copy.new.works_off() == ["1", "2", "3", "4"]
    assert incomplete_copy.new.works_off(BOB) == []


def test_an_incomplete_copy_is_not_copied(incomplete_copy: Move, tmp_path: Path) -> None:
    third = copyable_sqlite(tmp_path / "third")
    assert "only an incomplete copy" in incomplete_copy.refuses(here=incomplete_copy.there, there=third)


def test_a_copy_fails_after_another_one_has_begun(move: Move) -> None:
    move.old.accept(*(incoming(f"{n}") for n in range(5)))

    class Overtaken(Double):
        async def restore(self, appid: str, copy: str, records: Sequence[StoredRecord], now: float) -> Sequence[bool]:
            assert await self.bulk.begin(appid, "another", 5)
            return await self.bulk.restore(appid, copy, records, now)

    with pytest.raises(CopyFailed, match="another copy"):
        move.copies_with(lambda source, target: (source, Overtaken.instead_of(target)))
    move.copies()
    assert move.new.works_off() == [f"{n}" for n in range(5)]


def test_a_copy_that_another_one_replaced_stays_incomplete(move: Move) -> None:
    move.old.accept(incoming("a"))

    class Overtaken(Double):
        async def end(self, appid: str, copy: str) -> None:
            assert await self.bulk.begin(appid, "another", 5)
            await self.bulk.end(appid, copy)

    with pytest.raises(CopyFailed, match="another copy"):
        move.copies_with(lambda source, target: (source, Overtaken.instead_of(target)))
    with pytest.raises(IncompleteCopy):
        move.new.waiting()


@pytest.mark.parametrize("act", ["accept", "answer", "claim"])
def test_a_bot_that_changes_the_source_during_the_copy_is_noticed(move: Move, act: str) -> None:
    move.old.accept(*(incoming(f"{n}") for n in range(5)))
    acts: dict[str, Callable[[], Any]] = {
        "accept": lambda: move.old.store.accept(incoming("meanwhile")),
        "answer": lambda: None,
        "claim": lambda: None,
    }

    class Changed(Double):
        async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
            async for records in self.bulk.export(appid, now):
                yield records
            acts[act]()
            if act != "accept":
                claim = await move.old.store.claim(ALICE, "bot", NOW, LEASE)
                assert claim is not None
                if act == "answer":
                    done = claim.message.seq
                    await move.old.store.complete(claim.lease, Outcome(done, "done"), NOW, go_on=False)

    with pytest.raises(CopyFailed, match=r"changed the account .* in FROM during the copy: stop the bot.*incomplete"):
        move.copies_with(lambda source, target: (Changed.instead_of(source), target))
    with pytest.raises(IncompleteCopy):
        move.new.waiting()


@pytest.mark.parametrize("kind", ["waiting", "dead", "dedup", "conversations"])
def test_missing_records_are_noticed(move: Move, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_copy, "SOON_SECONDS", 10.0)  # RETENTION is short
    move.old.accept(*(incoming(f"{n}", key) for n in range(3) for key in (ALICE, BOB)))
    move.old.works_off(BOB)
    die(move.old)

    class Loses(Double):
        async def contents(self, appid: str) -> Mapping[Kind, int]:
            counted = dict(await self.bulk.contents(appid))
            return counted | {kind: counted[kind] - 1}

    with pytest.raises(CopyFailed, match=r"TO has only \d of \d "):
        move.copies_with(lambda source, target: (source, Loses.instead_of(target)))


def test_a_message_that_is_not_exported_is_noticed(move: Move) -> None:
    """The owner of the message has died."""
    move.old.accept(incoming("a"), incoming("b", BOB))
    move.old.claims()
    move.time_passes(LEASE)

    class Swallows(Double):
        async def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
            async for records in self.bulk.export(appid, now):
                yield [each for each in records if each.openid != ALICE.openid]

    with pytest.raises(CopyFailed, match="only 1 of 2 pending messages"):
        move.copies_with(lambda source, target: (Swallows.instead_of(source), target))
