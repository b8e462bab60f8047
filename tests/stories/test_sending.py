"""Failed sends: an unconfirmed reply is never sent again, every other reply is, a limited number of times."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.stories.support import SORRY, Start, advance_until_seen, asks, dead_letters, replies, retry, sends
from wxbot import Context, Plugin
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User


class Answers:
    """A plugin that answers every text. ``asked``: the texts that its fallback got."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.plugin = Plugin("test")

        @self.plugin.text("three")
        async def three(ctx: Context) -> AsyncIterator[str]:
            for part in ("one", "two", "three"):
                yield part

        @self.plugin.text("long")
        def long(ctx: Context) -> str:
            return "这是一句话。" * 400

        @self.plugin.text("remember")
        def remember(ctx: Context) -> str:
            ctx.state["times"] = ctx.state.get("times", 0) + 1
            return f"{ctx.state['times']} times"

        @self.plugin.text("state that is not JSON")
        def unkeepable(ctx: Context) -> str:
            ctx.state["thing"] = object()
            return "never sent"

        @self.plugin.text("forget")
        def forget(ctx: Context) -> str:
            ctx.state["times"] = 100
            raise RuntimeError("and this change must not stay")

        @self.plugin.fallback
        async def answer(ctx: Context) -> str:
            self.asked.append(ctx.text)
            return f"answer to {ctx.text}"


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def bot(start: Start, answers: Answers) -> Bot:
    return start(answers.plugin)


def test_a_busy_errcode_repeats_the_send_and_not_the_handler(
    alice: User, bot: Bot, answers: Answers, wechat: FakeWeChat, clock: ManualClock
) -> None:
    wechat.faults.fail("send", -1, times=2)
    alice.says("hi")
    advance_until_seen(clock, alice, "answer to hi")
    assert sends(alice) == 3
    assert replies(alice) == ["answer to hi"]
    assert answers.asked == ["hi"]
    assert not dead_letters(bot, alice)


def test_a_longer_failure_keeps_the_reply_for_a_retry(
    alice: User, start: Start, answers: Answers, wechat: FakeWeChat, clock: ManualClock
) -> None:
    bot = start(answers.plugin, retry_seconds=5, typing=False)
    wechat.faults.fail("send", -1, times=4)
    alice.says("hi")
    alice.says("and then")
    advance_until_seen(clock, alice, "answer to and then")
    assert sends(alice) == 4 + 2
    assert replies(alice) == ["answer to hi", "answer to and then"]
    assert answers.asked == ["hi", "and then"]
    assert not dead_letters(bot, alice)


def test_a_permanent_failure_is_a_dead_letter_that_can_be_retried(
    alice: User, start: Start, answers: Answers, wechat: FakeWeChat, clock: ManualClock
) -> None:
    bot = start(answers.plugin, max_attempts=1, typing=False)
    wechat.faults.fail("send", -1, times=4)
    alice.says("hi")
    alice.says("next")
    advance_until_seen(clock, alice, "answer to next")
    (letter,) = dead_letters(bot, alice)
    assert "errcode -1" in letter.reason
    retry(bot, letter)
    advance_until_seen(clock, alice, "answer to hi")
    assert replies(alice) == ["answer to next", "answer to hi"]
    assert answers.asked == ["hi", "next"]
    assert not dead_letters(bot, alice)


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("fault", ["http_error", "drop"])
def test_an_unconfirmed_reply_is_sent_again_only_by_an_operator(
    alice: User, bot: Bot, answers: Answers, wechat: FakeWeChat, clock: ManualClock, fault: str, acted: bool
) -> None:
    getattr(wechat.faults, fault)("send", acted=acted)
    alice.says("hi")
    asks(alice, "next", "answer to next")
    seen = ["answer to hi"] if acted else []
    assert replies(alice) == [*seen, "answer to next"]
    (letter,) = dead_letters(bot, alice)
    assert letter.unsent == ({"kind": "text", "text": "answer to hi"},)
    retry(bot, letter)
    alice.says("last")
    advance_until_seen(clock, alice, "answer to last")
    assert sorted(replies(alice)[-2:]) == ["answer to hi", "answer to last"]
    assert answers.asked == ["hi", "next", "last"]


def test_a_revoked_token_is_replaced(alice: User, bot: Bot, wechat: FakeWeChat) -> None:
    asks(alice, "hi", "answer to hi")
    wechat.faults.revoke_token()
    asks(alice, "again", "answer to again")
    assert replies(alice) == ["answer to hi", "answer to again"]
    assert wechat.token_fetches == 2


def test_a_reply_after_48_hours_is_deferred_to_the_next_message(
    alice: User, bot: Bot, wechat: FakeWeChat, clock: ManualClock
) -> None:
    wechat.faults.fail("send", 45015)
    alice.says("hi")
    alice.waits_for_calls(3)
    clock.advance(1)
    asks(alice, "next", "answer to next")
    assert replies(alice) == ["answer to hi", "answer to next"]
    assert not dead_letters(bot, alice)


@pytest.mark.parametrize("failures", [0, 4])
def test_parts_after_an_unconfirmed_one_are_sent_in_order(
    alice: User, start: Start, answers: Answers, wechat: FakeWeChat, clock: ManualClock, failures: int
) -> None:
    """Check that the unconfirmed part is stored and not sent again, even if the others are retried later."""
    bot = start(answers.plugin, typing=False)
    wechat.faults.drop("send", acted=True)
    wechat.faults.fail("send", -1, times=failures)
    alice.says("three")
    advance_until_seen(clock, alice, "three")
    assert replies(alice) == ["one", "two", "three"]
    (letter,) = dead_letters(bot, alice)
    assert [reply["text"] for reply in letter.unsent] == ["one"]


def test_a_long_text_is_split_at_the_end_of_a_sentence(alice: User, bot: Bot) -> None:
    asks(alice, "long", lambda seen: seen.startswith("这是"), times=4)
    pieces = replies(alice)
    assert "".join(pieces) == "这是一句话。" * 400
    assert all(piece.endswith("。") and len(piece.encode()) <= 2000 for piece in pieces)


def test_state_survives_a_restart_and_a_failed_handler(
    alice: User, start: Start, answers: Answers, wechat: FakeWeChat
) -> None:
    bot = start(answers.plugin)
    asks(alice, "remember", "1 times")
    asks(alice, "forget", SORRY)
    asks(wechat.user("bob"), "remember", "1 times")
    (letter,) = dead_letters(bot, alice)
    assert "RuntimeError" in letter.reason
    start(answers.plugin)
    asks(alice, "remember", "2 times")


def test_state_that_cannot_be_stored_is_an_error_of_the_plugin(alice: User, bot: Bot) -> None:
    asks(alice, "state that is not JSON", SORRY)
    assert replies(alice) == [SORRY]
    (letter,) = dead_letters(bot, alice)
    assert "ctx.state" in letter.reason


def test_state_is_deleted_when_the_user_unsubscribes(alice: User, bot: Bot) -> None:
    asks(alice, "remember", "1 times")
    alice.does("unsubscribe").wait()
    alice.does("subscribe").wait()
    asks(alice, "remember", "1 times", times=2)
