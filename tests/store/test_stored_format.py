"""The data that commit 6492466 stored can be read, processed and copied, and the stored format has not changed.

tests/data/store_format was written by ``stored_life.live`` at that commit. It must not be written again: a change that
fails these tests needs a migration, or deployments lose their data.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.servers.fixtures import emptied
from tests.store import stored_life as life
from tests.store.stored_life import (
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    GINA,
    INCOMPLETE,
    OTHER,
    REPLIES,
    SQLITE,
    TWO_DAYS,
    WALTER,
    listing,
    listing_of,
    load,
    parsed,
    tables_of,
)
from tests.store.support import ALICE, APPID, BOB, NOW, Worker
from tests.stories.support import bot_for, replies
from wxbot import Context, Plugin
from wxbot.delivery.deferred import deferred_in, with_deferred
from wxbot.delivery.remaining_work import RemainingWork
from wxbot.errors import IncompleteCopy
from wxbot.model.messages import message_from
from wxbot.model.quota import Quota
from wxbot.model.replies import reply_from_json, reply_to_json
from wxbot.store.copying import End, copy
from wxbot.store.copying_port import BulkStore, StoredConversation, StoredRecord
from wxbot.store.port import TOKEN, Store
from wxbot.store.records import (
    WITH_BOT,
    Claim,
    ConversationKey,
    ConversationRecord,
    Handover,
    Lease,
    PendingMessage,
    SharedValue,
)
from wxbot.store.redis.copying import RedisBulkStore
from wxbot.store.redis.store import RedisStore
from wxbot.store.sqlite.copying import SqliteBulkStore
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat, ManualClock
from wxbot.wechat.push.callback import dedup_key

LATER = NOW + 60
"""At this time every lease has expired and every message is due."""

Address = Path | str
WHERE = ("sqlite", "redis", "valkey", "cluster")


def store_at(address: Address) -> Store:
    return SqliteStore(address) if isinstance(address, Path) else RedisStore(address)


@contextmanager
def opened(address: Address) -> Iterator[BulkStore]:
    """Open the store at ``address`` for copying, and close it afterwards."""
    bulk: BulkStore = SqliteBulkStore(address) if isinstance(address, Path) else RedisBulkStore(address)
    bulk.open(create=True)
    with closing(bulk):
        yield bulk


@pytest.fixture(params=WHERE)
def empty_store(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """Return the address of an empty store."""
    if request.param == "sqlite":
        return tmp_path / "store.sqlite3"
    return emptied(request.getfixturevalue(f"{request.param}_server")).url


@pytest.fixture
def old(empty_store: Address) -> Address:
    """Return the address of a store with the data of that commit."""
    if isinstance(empty_store, Path):
        shutil.copy(SQLITE, empty_store)
        return empty_store
    load(empty_store)
    return empty_store


@pytest.fixture
def worker(old: Address) -> Iterator[Worker]:
    store = store_at(old)
    store.open()
    with asyncio.Runner() as runner:
        yield Worker("new", store, runner)
    store.close()


# Reading the old data


def waits(fields: dict[str, Any], received_at: float = NOW, attempts: int = 1, **more: Any) -> PendingMessage:
    return PendingMessage(0, fields, received_at, attempts, **{"sent": 0, **more})


THREE, FOUR, FIVE = (Quota(left, TWO_DAYS) for left in (3, 4, 5))
CLAIMS: dict[ConversationKey, tuple[int, ConversationRecord]] = {
    ALICE: (2, ConversationRecord(NOW + 0.75, NOW + 9.5, THREE, WITH_BOT, life.STATE)),
    BOB: (2, ConversationRecord(NOW, NOW + 7, None, WITH_BOT, {})),
    CAROL: (2, ConversationRecord(NOW + 0.25, NOW + 7, FOUR, WITH_BOT, {"echo": {"count": 1}})),
    FRANK: (2, ConversationRecord(NOW, 0.0, None, WITH_BOT, {})),
    GINA: (1, ConversationRecord(0.0, 0.0, None, WITH_BOT, {})),
    WALTER: (2, ConversationRecord(NOW, 0.0, FIVE, WITH_BOT, life.ONLY_ANNOUNCED)),
}
"""The fence and the conversation in each claim."""
MESSAGES = {
    ALICE: [
        waits(life.text(ALICE, "first 😀", "7001"), attempts=2, sent=2, unsent=life.UNSENT),
        waits(life.image(ALICE), NOW + 0.25),
        waits(life.event(ALICE), NOW + 0.5),
    ],
    BOB: [waits(life.text(BOB, "held", "7002"), attempts=2), waits(life.text(BOB, "behind", "7003"))],
    CAROL: [waits(life.text(CAROL, "left alone", "7004"), attempts=2, sent=1, unsent=life.TO_DO)],
    FRANK: [
        waits(life.text(FRANK, "passive 2", "8002"), sent=1, unsent=life.LEFT_OVER),
        waits(life.text(FRANK, "passive 3", "8003")),
    ],
    GINA: [waits(life.proactive(GINA), unsent=life.UNSENT[:2])],
    WALTER: [
        waits(life.text(WALTER, "begun", "9002"), attempts=2, unsent=life.LEFT_OVER),
        waits(life.text(WALTER, "waiting", "9003")),
    ],
}
TRACES = [
    (DAVE, life.text(DAVE, "done", "7005")),
    (DAVE, life.text(DAVE, "dead", "7006")),
    (ERIN, life.text(ERIN, "for people", "7007")),
    *((FRANK, life.text(FRANK, f"passive {number}", f"800{number}")) for number in range(2)),
    (WALTER, life.text(WALTER, "done", "9001")),
]


def test_waiting_conversations_can_be_read(worker: Worker) -> None:
    assert set(worker.waiting(LATER)) == set(CLAIMS) - {WALTER}
    assert set(worker.waiting(NOW + 1)) == {CAROL, FRANK, GINA}  # the others are leased or not due
    assert worker.tries_to_claim(BOB, NOW + 1) is None
    assert worker.tries_to_claim(ALICE, NOW + 1) is None


@pytest.mark.parametrize("key", CLAIMS, ids=lambda key: key.openid)
def test_a_conversation_can_be_processed_to_its_end(worker: Worker, key: ConversationKey) -> None:
    claim = worker.claims(key, LATER)
    assert (claim.lease.fence, claim.conversation) == CLAIMS[key]
    found, following = [], cast("Claim | None", claim)
    while following is not None:
        found.append(replace(following.message, seq=0))
        following = worker.completes(following, now=LATER)
    assert found == MESSAGES[key]
    assert worker.tries_to_claim(key, LATER) is None


def test_a_lease_is_renewed_and_its_message_completed(worker: Worker) -> None:
    lease = Lease(BOB, "one", 1, NOW + life.LEASE)
    record = ConversationRecord(NOW, NOW + 7, None, WITH_BOT)
    assert worker.wait(worker.store.renew([lease], NOW + 4, life.LEASE)) == {BOB: record}
    assert worker.tries_to_claim(BOB, NOW + 10) is None
    note = ConversationRecord(typing_until=NOW + 12)
    assert worker.wait(worker.store.checkpoint(lease, note)) == replace(record, typing_until=NOW + 12)


def test_dedup_records_can_be_read(worker: Worker) -> None:
    waiting = [(key, pending.fields) for key, pendings in MESSAGES.items() for pending in pendings if key != GINA]
    known = [(key, dedup_key(fields)) for key, fields in [*TRACES, *waiting]]
    for key, dedup in [*known, (GINA, "s:a-key")]:
        assert worker.finds(key, dedup).is_known, dedup
    assert not worker.finds(ALICE, dedup_key(TRACES[0][1])).is_known


def test_quotas_and_handovers_can_be_read(worker: Worker) -> None:
    budgets = {ALICE: THREE, BOB: None, CAROL: FOUR, DAVE: Quota(5, NOW + 3600), ERIN: None, WALTER: FIVE}
    assert {key: worker.quota(key) for key in budgets} == budgets
    to_agents = [(ERIN, Handover(NOW + 3600)), (DAVE, Handover(TWO_DAYS, "kf1@shop"))]
    assert worker.wait(worker.store.handovers(APPID, LATER, 9)) == to_agents
    assert worker.wait(worker.store.end_handover(ERIN))
    assert worker.wait(worker.store.handovers(APPID, LATER, 9)) == to_agents[1:]


def test_a_dead_letter_can_be_read_and_retried(worker: Worker) -> None:
    (letter,) = worker.wait(worker.store.dead_letters(APPID, 9))
    fields, reason = life.text(DAVE, "dead", "7006"), "handler 猫 failed: KeyError('x')"
    assert (letter.key, letter.fields, letter.reason, letter.unsent) == (DAVE, fields, reason, life.RUN_AGAIN)
    assert (letter.received_at, letter.died_at, letter.attempts, letter.sent) == (NOW, NOW, 1, 1)
    assert worker.wait(worker.store.remove_dead_letter(APPID, letter.seq, LATER))
    claim = worker.claims(DAVE, LATER)
    assert replace(claim.message, seq=0) == waits(fields, sent=1, unsent=life.RUN_AGAIN)
    assert claim.conversation.quota == Quota(5, NOW + 3600)
    assert claim.conversation.handover == Handover(TWO_DAYS, "kf1@shop")
    assert deferred_in(claim.conversation.state or {}) == life.DEFERRED


def test_tokens_and_media_can_be_read(worker: Worker) -> None:
    store = worker.store
    assert worker.wait(store.get(APPID, TOKEN)) == life.TOKEN
    assert not worker.wait(store.lock(OTHER, TOKEN, NOW + 59, 60, outdated=None))
    assert worker.wait(store.lock(OTHER, TOKEN, LATER, 60, outdated=None))
    for number, appid in enumerate((APPID, OTHER), 1):
        media = worker.wait(store.get(appid, f"media:{life.CAT_DIGEST}"))
        assert media == SharedValue(f"STORED-ID_{number}", TWO_DAYS)


def test_passive_replies_can_be_read(worker: Worker) -> None:
    dedups = [dedup_key(life.text(FRANK, f"passive {number}", f"800{number}")) for number in range(4)]
    answers = [worker.finds(FRANK, dedup).reply for dedup in dedups]
    assert answers == [life.UNSENT[0], {}, None, None]
    claim = worker.claims(FRANK, LATER)
    assert not worker.wait(worker.store.save_reply(claim.lease, claim.message.seq, {}))  # the waiter has given up
    following = worker.completes(claim, now=LATER)
    assert following is not None
    assert worker.wait(worker.store.save_reply(claim.lease, following.message.seq, {}))


def test_replies_and_deferred_replies_are_read_and_written_as_before(worker: Worker) -> None:
    claim = worker.claims(ALICE, LATER)
    assert tuple(map(reply_from_json, claim.message.unsent)) == REPLIES
    assert tuple(reply_to_json(reply_from_json(each)) for each in claim.message.unsent) == claim.message.unsent
    assert deferred_in(claim.conversation.state or {}) == life.DEFERRED
    assert with_deferred(life.PLUGINS, deferred_in(claim.conversation.state or {})) == claim.conversation.state


def test_the_remaining_work_of_a_turn_can_be_read(worker: Worker) -> None:
    work = _remaining_work(worker, CAROL)
    assert work.handler_done
    assert (work.unconfirmed, work.pending) == ([REPLIES[0]], [REPLIES[5]])
    assert (work.handover, work.failure, work.sent_before_failure) == (
        Handover(NOW + 900, "kf2@shop"),
        "handler echo failed",
        2,
    )
    assert work.entries() == life.TO_DO
    (letter,) = worker.wait(worker.store.dead_letters(APPID, 9))
    assert worker.wait(worker.store.remove_dead_letter(APPID, letter.seq, LATER))
    again = _remaining_work(worker, DAVE)
    assert (again.pending, again.handler_done) == ([REPLIES[1]], False)
    first = _remaining_work(worker, GINA)
    assert (first.handler_done, first.pending) == (True, [*REPLIES[:2]])


def _remaining_work(worker: Worker, key: ConversationKey) -> RemainingWork:
    claim = worker.claims(key, LATER)
    assert message_from(APPID, claim.message.fields, NOW).openid == key.openid
    return RemainingWork.read(claim.message.unsent)


# Copying and processing the old data

COPIED = {
    APPID: {"waiting": 9, "dead": 1, "dedup": 4, "conversations": 7},
    OTHER: {"waiting": 2, "dedup": 1, "conversations": 1},
}


def test_accounts_are_copied(old: Address, tmp_path: Path) -> None:
    clock = ManualClock(LATER)
    with asyncio.Runner() as runner, opened(old) as there, opened(tmp_path / "copy.db") as here:
        assert sorted(runner.run(there.accounts())) == sorted((*COPIED, INCOMPLETE))
        for appid, copied in COPIED.items():
            assert runner.run(copy(End("FROM", there, clock), End("TO", here, clock), appid)) == {appid: copied}
            assert runner.run(_exported(here, appid)) == runner.run(_exported(there, appid))


async def _exported(bulk: BulkStore, appid: str) -> list[StoredRecord]:
    """Return the records without message numbers and expiry, because each store has its own."""
    records = [each async for some in bulk.export(appid, lambda: LATER) for each in some]
    same = [
        replace(e, forget_at=0) if isinstance(e, StoredConversation) else replace(e, seq=0, forget_at=0)
        for e in records
    ]
    return sorted(same, key=repr)


def test_an_incomplete_copy_is_refused_until_it_is_complete(worker: Worker, old: Address) -> None:
    hugo = ConversationKey(INCOMPLETE, "hugo")
    with pytest.raises(IncompleteCopy):
        worker.tries_to_claim(hugo, LATER)
    with opened(old) as bulk:
        worker.wait(bulk.end(INCOMPLETE, "half"))
    claim = worker.claims(hugo, LATER)
    copied = waits(life.text(hugo, "copied", "1"), attempts=2, sent=1, unsent=life.LEFT_OVER)
    later = NOW + life.DAY
    record = ConversationRecord(NOW, NOW + 7, Quota(2, later), Handover(later, "kf1@shop"), life.STATE)
    assert (replace(claim.message, seq=0), claim.conversation) == (copied, record)


def test_a_bot_continues_where_the_old_one_stopped(old: Address, tmp_path: Path) -> None:
    plugin = Plugin("echo")

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        ctx.state["count"] += 1
        return f"{ctx.text} is number {ctx.state['count']}"

    clock = ManualClock(LATER)
    choices = {} if isinstance(old, Path) else {"store_url": old}
    file = old if isinstance(old, Path) else tmp_path / "unused.db"
    with FakeWeChat(clock, appid=OTHER) as wechat:
        walter = wechat.user("walter", "walter")
        wechat.add_media("image", life.CAT, "cat.jpg", "image/jpeg", "STORED-ID_2")
        wechat.hold()  # WeChat opens the quota, but the push does not reach the bot yet
        walter.says("hello")
        with bot_for(wechat, file, plugin, clock=clock, **choices):
            walter.waits_for("waiting is number 8")
            wechat.release()
            walter.waits_for("hello is number 9")
            walter.says("继续").wait()
            walter.waits_for("the rest")
        texts = ["left over", "[image cat.jpg]", "waiting is number 8", "hello is number 9", "the rest"]
        assert (replies(walter), wechat.uploads, wechat.violations) == (texts, [], [])


# Writing in the same form


def test_the_same_steps_are_stored_in_the_same_form(empty_store: Address) -> None:
    store = store_at(empty_store)
    store.open()
    with closing(store), opened(empty_store) as bulk, asyncio.Runner() as runner:
        runner.run(life.live(store, bulk))
    if isinstance(empty_store, Path):
        assert tables_of(empty_store) == tables_of(Path(shutil.copy(SQLITE, empty_store.with_name("old.sqlite3"))))
    else:
        assert parsed(listing_of(empty_store)) == parsed(listing())
