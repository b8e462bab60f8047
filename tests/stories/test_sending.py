"""When sending goes wrong: what may have reached the user is never repeated, everything else is, with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.stories.support import waits_until_idle
from wxbot import Context, Plugin
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.store.records import DeadLetter
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat, ManualClock, User, serve, settings_for

Result = TypeVar("Result")

SORRY = "抱歉，出了点问题，请稍后再试。"


class Desk:
    """A bot in front of FakeWeChat, on one hand-turned clock; ``asked`` counts how often the handler ran."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.asked = 0
        self._file = folder / "wxbot.db"
        self._appid = ""
        self._bot: Bot | None = None

    @contextmanager
    def open(self, **choices: object) -> Iterator[FakeWeChat]:
        with FakeWeChat(self.clock) as wechat:
            self._appid = wechat.appid
            bot = make_bot(settings_for(wechat, self._file, **choices), plugins=[self._plugin()], clock=self.clock)
            self._bot = bot
            with serve(bot) as address:
                wechat.callback_url = address
                yield wechat

    def is_done_with(self, user: User) -> None:
        """Wait until everything about this user is recorded, a moment after they have read the reply."""
        assert self._bot is not None, "not open"
        waits_until_idle(self._bot, user)

    def dead_letters(self) -> Sequence[DeadLetter]:
        return self._store(lambda store: store.dead_letters(self._appid, 100))

    def retry(self, letter: DeadLetter) -> bool:
        return self._store(lambda store: store.retry_dead_letter(self._appid, letter.seq, self.clock.now()))

    def _store(self, work: Callable[[SqliteStore], Awaitable[Result]]) -> Result:
        store = SqliteStore(self._file)
        store.open()

        async def at_work() -> Result:
            return await work(store)

        try:
            return asyncio.run(at_work())
        finally:
            store.close()

    def _plugin(self) -> Plugin:
        plugin = Plugin("test")

        @plugin.text("three")
        async def three(ctx: Context) -> AsyncIterator[str]:
            for part in ("one", "two", "three"):
                yield part

        @plugin.text("long")
        def long(ctx: Context) -> str:
            return "这是一句话。" * 400

        @plugin.text("remember")
        def remember(ctx: Context) -> str:
            ctx.state["times"] = ctx.state.get("times", 0) + 1
            return f"{ctx.state['times']} times"

        @plugin.text("state that is not JSON")
        def unkeepable(ctx: Context) -> str:
            ctx.state["thing"] = object()
            return "never sent"

        @plugin.text("forget")
        def forget(ctx: Context) -> str:
            ctx.state["times"] = 100
            raise RuntimeError("and this change must not stay")

        @plugin.fallback
        async def answer(ctx: Context) -> str:
            self.asked += 1
            return f"answer to {ctx.text}"

        return plugin


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def replies(user: User) -> list[str]:
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def sends(user: User) -> int:
    return sum(record.kind == "send" for record in user.timeline)


def test_a_busy_wechat_is_asked_again_and_the_handler_is_not(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=2)
        alice.says("hi")
        turn_until_seen(desk, alice, "answer to hi")
        assert sends(alice) == 3
        assert replies(alice) == ["answer to hi"]
        assert desk.asked == 1
    assert not desk.dead_letters()


def test_a_longer_trouble_is_waited_out_with_the_answer_kept(desk: Desk) -> None:
    with desk.open(retry_seconds=5, typing=False) as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=4)
        alice.says("hi")
        alice.says("and then")
        turn_until_seen(desk, alice, "answer to and then")
        assert sends(alice) == 4 + 2
        assert replies(alice) == ["answer to hi", "answer to and then"]
        assert desk.asked == 2
    assert not desk.dead_letters()


def test_a_trouble_without_end_makes_a_dead_letter_that_can_be_retried(desk: Desk) -> None:
    with desk.open(max_attempts=1, typing=False) as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=4)
        alice.says("hi")
        alice.says("next")
        turn_until_seen(desk, alice, "answer to next")
        (letter,) = desk.dead_letters()
        assert "errcode -1" in letter.reason
        assert desk.retry(letter)
        turn_until_seen(desk, alice, "answer to hi")
        assert replies(alice) == ["answer to next", "answer to hi"]
        assert desk.asked == 2
    assert not desk.dead_letters()


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("trouble", ["http_error", "drop"])
def test_a_reply_that_may_have_arrived_is_not_sent_again(desk: Desk, trouble: str, acted: bool) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        getattr(wechat.faults, trouble)("send", acted=acted)
        alice.says("hi")
        alice.says("next")
        alice.waits_for("answer to next")
        assert replies(alice) == (["answer to hi"] if acted else []) + ["answer to next"]
    (letter,) = desk.dead_letters()
    assert letter.unsent == ({"kind": "text", "text": "answer to hi"},)


def test_an_operator_can_send_a_doubtful_reply_after_all(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send")
        alice.says("hi")
        alice.says("next")
        alice.waits_for("answer to next")
        assert desk.retry(desk.dead_letters()[0])
        turn_until_seen(desk, alice, "answer to hi")
        assert desk.asked == 2


def test_a_revoked_token_is_replaced_and_nobody_notices(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("hi")
        alice.waits_for("answer to hi")
        wechat.faults.revoke_token()
        alice.says("again")
        alice.waits_for("answer to again")
        assert replies(alice) == ["answer to hi", "answer to again"]
        assert wechat.token_fetches == 2


def test_out_of_the_48_hours_the_answer_is_kept_for_the_next_message(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", 45015)
        alice.says("hi")
        alice.waits_for_calls(3)
        desk.clock.advance(1)
        alice.says("next")
        alice.waits_for("answer to next")
        assert replies(alice) == ["answer to hi", "answer to next"]
    assert desk.dead_letters() == []


def test_parts_after_a_lost_answer_still_arrive_in_order(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send", acted=True)
        alice.says("three")
        alice.waits_for("three")
        assert replies(alice) == ["one", "two", "three"]


def test_a_long_answer_comes_in_pieces_that_end_with_a_sentence(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("long")
        alice.waits_for(lambda seen: seen.startswith("这是"), times=4)
        pieces = replies(alice)
        assert "".join(pieces) == "这是一句话。" * 400
        assert all(piece.endswith("。") and len(piece.encode()) <= 2000 for piece in pieces)


def test_the_memory_of_a_user_survives_a_restart_and_a_failed_handler(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("1 times")
        alice.says("forget")
        alice.waits_for(SORRY)
        wechat.user("bob").says("remember")
        wechat.user("bob").waits_for("1 times")
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("2 times")
    (letter,) = desk.dead_letters()
    assert "RuntimeError" in letter.reason


def test_a_memory_that_cannot_be_kept_is_the_plugins_fault(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("state that is not JSON")
        alice.waits_for(SORRY)
        assert replies(alice) == [SORRY]
    (letter,) = desk.dead_letters()
    assert "ctx.state" in letter.reason


def turn_until_seen(desk: Desk, user: User, text: str) -> None:
    """Turn the clock second by second, so that sweeps and retries come due, until ``user`` has seen ``text``."""
    for _ in range(60):
        if text in user.saw:
            return
        desk.clock.advance(1.0)
        try:
            user.waits_for(text, timeout=0.2)
        except AssertionError:
            continue
    user.waits_for(text)


def test_what_is_known_of_a_user_goes_when_they_unsubscribe(desk: Desk) -> None:
    with desk.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("1 times")
        alice.does("unsubscribe").wait()
        alice.does("subscribe").wait()
        alice.says("remember")
        alice.waits_for("1 times", times=2)


def test_after_a_lost_answer_what_follows_is_tried_again_later(desk: Desk) -> None:
    """The part that may have arrived is kept, once the others are out, and is not said twice."""
    with desk.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send", acted=True)
        wechat.faults.fail("send", -1, times=4)
        alice.says("three")
        turn_until_seen(desk, alice, "three")
        assert replies(alice) == ["one", "two", "three"]
        desk.is_done_with(alice)
    (letter,) = desk.dead_letters()
    assert [reply["text"] for reply in letter.unsent] == ["one"]
