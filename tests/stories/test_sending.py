"""Failed sends: an unconfirmed reply is never sent again, every other reply is, a limited number of times."""

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


class BotWithStore:
    """A bot and FakeWeChat with one manual clock. ``asked`` counts how often the handler ran."""

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
        return self._store(lambda store: store.remove_dead_letter(self._appid, letter.seq, self.clock.now()))

    def _store(self, work: Callable[[SqliteStore], Awaitable[Result]]) -> Result:
        store = SqliteStore(self._file)
        store.open()

        async def awaited() -> Result:
            return await work(store)

        try:
            return asyncio.run(awaited())
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
def bot(tmp_path: Path) -> BotWithStore:
    return BotWithStore(tmp_path)


def replies(user: User) -> list[str]:
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def sends(user: User) -> int:
    return sum(record.kind == "send" for record in user.timeline)


def test_a_busy_errcode_repeats_the_send_and_not_the_handler(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=2)
        alice.says("hi")
        advance_until_seen(bot, alice, "answer to hi")
        assert sends(alice) == 3
        assert replies(alice) == ["answer to hi"]
        assert bot.asked == 1
    assert not bot.dead_letters()


def test_a_longer_failure_keeps_the_reply_for_a_retry(bot: BotWithStore) -> None:
    with bot.open(retry_seconds=5, typing=False) as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=4)
        alice.says("hi")
        alice.says("and then")
        advance_until_seen(bot, alice, "answer to and then")
        assert sends(alice) == 4 + 2
        assert replies(alice) == ["answer to hi", "answer to and then"]
        assert bot.asked == 2
    assert not bot.dead_letters()


def test_a_permanent_failure_is_a_dead_letter_that_can_be_retried(bot: BotWithStore) -> None:
    with bot.open(max_attempts=1, typing=False) as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", -1, times=4)
        alice.says("hi")
        alice.says("next")
        advance_until_seen(bot, alice, "answer to next")
        (letter,) = bot.dead_letters()
        assert "errcode -1" in letter.reason
        assert bot.retry(letter)
        advance_until_seen(bot, alice, "answer to hi")
        assert replies(alice) == ["answer to next", "answer to hi"]
        assert bot.asked == 2
    assert not bot.dead_letters()


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("fault", ["http_error", "drop"])
def test_an_unconfirmed_reply_is_not_sent_again(bot: BotWithStore, fault: str, acted: bool) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        getattr(wechat.faults, fault)("send", acted=acted)
        alice.says("hi")
        alice.says("next")
        alice.waits_for("answer to next")
        assert replies(alice) == (["answer to hi"] if acted else []) + ["answer to next"]
    (letter,) = bot.dead_letters()
    assert letter.unsent == ({"kind": "text", "text": "answer to hi"},)


def test_an_operator_can_send_an_unconfirmed_reply(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send")
        alice.says("hi")
        alice.says("next")
        alice.waits_for("answer to next")
        assert bot.retry(bot.dead_letters()[0])
        advance_until_seen(bot, alice, "answer to hi")
        assert bot.asked == 2


def test_a_revoked_token_is_replaced(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("hi")
        alice.waits_for("answer to hi")
        wechat.faults.revoke_token()
        alice.says("again")
        alice.waits_for("answer to again")
        assert replies(alice) == ["answer to hi", "answer to again"]
        assert wechat.token_fetches == 2


def test_a_reply_after_48_hours_is_deferred_to_the_next_message(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.fail("send", 45015)
        alice.says("hi")
        alice.waits_for_calls(3)
        bot.clock.advance(1)
        alice.says("next")
        alice.waits_for("answer to next")
        assert replies(alice) == ["answer to hi", "answer to next"]
    assert bot.dead_letters() == []


def test_parts_after_an_unconfirmed_one_are_sent_in_order(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send", acted=True)
        alice.says("three")
        alice.waits_for("three")
        assert replies(alice) == ["one", "two", "three"]


def test_a_long_text_is_split_at_the_end_of_a_sentence(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("long")
        alice.waits_for(lambda seen: seen.startswith("这是"), times=4)
        pieces = replies(alice)
        assert "".join(pieces) == "这是一句话。" * 400
        assert all(piece.endswith("。") and len(piece.encode()) <= 2000 for piece in pieces)


def test_state_survives_a_restart_and_a_failed_handler(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("1 times")
        alice.says("forget")
        alice.waits_for(SORRY)
        wechat.user("bob").says("remember")
        wechat.user("bob").waits_for("1 times")
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("2 times")
    (letter,) = bot.dead_letters()
    assert "RuntimeError" in letter.reason


def test_state_that_cannot_be_stored_is_an_error_of_the_plugin(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("state that is not JSON")
        alice.waits_for(SORRY)
        assert replies(alice) == [SORRY]
    (letter,) = bot.dead_letters()
    assert "ctx.state" in letter.reason


def advance_until_seen(bot: BotWithStore, user: User, text: str) -> None:
    """Advance the clock second by second until ``user`` has seen ``text``, so that polling and retries run."""
    for _ in range(60):
        if text in user.saw:
            return
        bot.clock.advance(1.0)
        try:
            user.waits_for(text, timeout=0.2)
        except AssertionError:
            continue
    user.waits_for(text)


def test_state_is_deleted_when_the_user_unsubscribes(bot: BotWithStore) -> None:
    with bot.open() as wechat:
        alice = wechat.user("alice")
        alice.says("remember")
        alice.waits_for("1 times")
        alice.does("unsubscribe").wait()
        alice.does("subscribe").wait()
        alice.says("remember")
        alice.waits_for("1 times", times=2)


def test_replies_after_an_unconfirmed_one_are_retried_later(bot: BotWithStore) -> None:
    """Check that the unconfirmed part is stored when the others are sent, and is not sent again."""
    with bot.open() as wechat:
        alice = wechat.user("alice")
        wechat.faults.drop("send", acted=True)
        wechat.faults.fail("send", -1, times=4)
        alice.says("three")
        advance_until_seen(bot, alice, "three")
        assert replies(alice) == ["one", "two", "three"]
        bot.is_done_with(alice)
    (letter,) = bot.dead_letters()
    assert [reply["text"] for reply in letter.unsent] == ["one"]
