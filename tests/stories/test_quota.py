"""Quota: WeChat accepts five messages after a user's message. Further replies are merged, or deferred to a request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from tests.stories.support import Log, Start, advance_until, asks, bot_key, replies, waits_until_idle
from wxbot import Context, ImageMessage, ImageReply, Plugin
from wxbot.server.bot import Bot
from wxbot.testing import Allowance, FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE

NOTICE = "（未完，发送“继续”接着看）"
SENTENCE = "这是一句话。"


def a_notice(seen: str) -> bool:
    return seen.endswith(NOTICE)


def a_sentence(seen: str) -> bool:
    return SENTENCE in seen


def plugin_with_long_replies() -> Plugin:  # noqa: C901 - a list of handlers
    plugin = Plugin("plugin_with_long_replies")

    @plugin.text("eight")
    async def eight(ctx: Context) -> AsyncIterator[str]:
        for number in range(1, 9):
            yield f"part {number}"

    @plugin.text("left?")
    async def left(ctx: Context) -> AsyncIterator[str]:
        yield f"{ctx.quota.remaining} left"
        yield f"{ctx.quota.remaining} left"

    @plugin.text("book")
    async def book(ctx: Context) -> str:
        return SENTENCE * 900  # nine messages

    @plugin.text("pictures")
    async def pictures(ctx: Context) -> AsyncIterator[ImageReply]:
        for _ in range(6):
            yield ImageReply(SAMPLE_IMAGE)

    @plugin.text("fails late")
    async def fails_late(ctx: Context) -> AsyncIterator[str]:
        for number in range(1, 7):
            yield f"part {number}"
        raise RuntimeError("no more")

    @plugin.event("user_enter_tempsession")
    async def greet(ctx: Context) -> str:
        return f"welcome, {ctx.quota.remaining} left"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    return plugin


@pytest.fixture
def bot(start: Start) -> Bot:
    return start(plugin_with_long_replies())


def test_a_reply_in_eight_parts_is_merged_into_five_messages(alice: User, bot: Bot) -> None:
    asks(alice, "eight", "part 5\npart 6\npart 7\npart 8")
    assert replies(alice) == ["part 1", "part 2", "part 3", "part 4", "part 5\npart 6\npart 7\npart 8"]


def test_typing_is_renewed_while_parts_wait_for_the_last_message(alice: User, start: Start) -> None:
    plugin, goes_on = Plugin("slow"), threading.Event()

    @plugin.fallback
    async def five_and_one(ctx: Context) -> AsyncIterator[str]:
        for number in range(1, 6):
            yield f"part {number}"
        await asyncio.to_thread(goes_on.wait, 10)
        yield "part 6"

    start(plugin)
    asks(alice, "hi", "part 4")
    alice.waits_until_typing()
    goes_on.set()
    alice.waits_for("part 5\npart 6")


def test_a_handler_reads_the_remaining_quota(alice: User, bot: Bot) -> None:
    alice.enters()
    alice.waits_for("welcome, 2 left")
    asks(alice, "left?", "4 left")
    assert replies(alice) == ["welcome, 2 left", "5 left", "4 left"]


def test_a_long_text_is_deferred_and_continued_on_request(alice: User, bot: Bot) -> None:
    asks(alice, "book", a_notice)
    assert len(replies(alice)) == 5
    asks(alice, "继续", a_sentence, times=9)
    text = "".join(replies(alice)).replace(NOTICE, "").replace("\n", "")
    assert text == SENTENCE * 900
    assert all(len(each.encode()) <= 2000 for each in replies(alice))


def test_announced_replies_wait_during_other_messages(alice: User, bot: Bot) -> None:
    """Check also that the word is an ordinary text when there are no deferred replies."""
    asks(alice, "继续", "answer to 继续")
    asks(alice, "book", a_notice)
    asks(alice, "hi", "answer to hi")
    asks(alice, " 继续 ", a_sentence, times=9)


def test_images_are_not_merged_and_the_notice_is_a_message(alice: User, bot: Bot) -> None:
    alice.says("pictures")
    alice.waits_for(NOTICE)
    assert len(replies(alice)) == 5
    alice.says("继续")
    alice.waits_for(lambda seen: seen.startswith("[image"), times=6)


def test_a_failed_handlers_replies_come_before_the_error_text(alice: User, bot: Bot) -> None:
    alice.says("fails late")
    alice.waits_for(lambda seen: "抱歉" in seen)
    assert replies(alice)[-1] == "part 5\npart 6\n抱歉，出了点问题，请稍后再试。"


def test_a_reply_after_the_minute_is_deferred_to_the_next_message(
    alice: User, start: Start, clock: ManualClock, log: Log
) -> None:
    """Check that the bot sends no message that WeChat would refuse."""
    plugin, a_minute_is_over = Plugin("slow"), threading.Event()

    @plugin.event("user_enter_tempsession")
    async def greet(ctx: Context) -> str:
        await asyncio.to_thread(a_minute_is_over.wait, 10)
        return "welcome"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    start(plugin, typing=False)
    alice.enters().wait()
    clock.advance(61)
    a_minute_is_over.set()
    log.waits_for("deferred until the user asks")
    asks(alice, "hi", "answer to hi")
    assert replies(alice) == ["welcome", "answer to hi"]


def test_errcode_45047_defers_the_other_messages(alice: User, start: Start, wechat: FakeWeChat, log: Log) -> None:
    """Return errcode 45047 in the middle of a reply: the other messages are deferred."""
    start(plugin_with_long_replies())
    wechat.faults.fail("send", 45047)
    alice.says("hi").wait()
    log.waits_for("deferring the remaining replies")
    assert replies(alice) == []
    asks(alice, "again", "answer to again")
    assert replies(alice) == ["answer to hi", "answer to again"]


def test_deferred_replies_survive_a_restart(alice: User, start: Start, clock: ManualClock) -> None:
    start(plugin_with_long_replies())
    asks(alice, "book", a_notice)
    advance_until(clock, lambda _: None)
    start(plugin_with_long_replies())
    asks(alice, "继续", a_sentence, times=9)


def test_messages_sent_before_a_restart_count_in_the_quota(alice: User, start: Start, clock: ManualClock) -> None:
    """Send two long replies to one message, with a restart between them."""
    plugin = plugin_with_long_replies()
    start(plugin)
    asks(alice, "eight", "part 5\npart 6\npart 7\npart 8")
    bot = start(plugin)
    user = bot._started_runtime().find(bot_key(bot, alice.openid)).conversation
    assert user is not None
    assert user.quota is not None
    quota = user.quota
    assert (quota.remaining, round(quota.expires_at - clock.now())) == (0, 48 * 3600)


@pytest.mark.parametrize("wechat", [{"quota": {"message": Allowance(20, 48 * 3600)}}], indirect=True)
def test_the_quota_table_is_a_setting(alice: User, start: Start) -> None:
    start(plugin_with_long_replies(), quota="message=20/48h")
    asks(alice, "eight", "part 8")
    assert len(replies(alice)) == 8


def test_continue_words_and_notice_are_settings(alice: User, start: Start) -> None:
    words = {"continue_words": "more, go on", "continue_text": "(say more)"}
    start(plugin_with_long_replies(), **words)
    alice.says("book")
    alice.waits_for(lambda seen: seen.endswith("(say more)"))
    asks(alice, "Go on", a_sentence, times=9)


def test_a_deferred_reply_that_cannot_be_sent_is_a_dead_letter(
    alice: User, start: Start, wechat: FakeWeChat, clock: ManualClock, log: Log
) -> None:
    """Check a deferred file that WeChat has deleted meanwhile."""
    plugin = Plugin("pictures")

    @plugin.image
    async def back(ctx: Context) -> ImageReply:
        assert isinstance(ctx.message, ImageMessage)
        return ImageReply(ctx.message.media_id)

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    bot = start(plugin)
    wechat.faults.fail("send", 45047)
    alice.sends_image(SAMPLE_IMAGE).wait()
    log.waits_for("deferring the remaining replies")
    waits_until_idle(bot, alice)
    clock.advance(4 * 86_400)
    asks(alice, "hi", "answer to hi")
    log.waits_for("deferred reply refused, storing it as a dead letter")
    asks(alice, "again", "answer to again")
    assert replies(alice) == ["answer to hi", "answer to again"]


@pytest.mark.parametrize("wechat", [{"quota": {"message": Allowance(1, 48 * 3600)}}], indirect=True)
def test_a_quota_of_one_message_is_enough(alice: User, start: Start) -> None:
    """Check that images are sent although each message is needed for the notice too."""
    start(plugin_with_long_replies())
    for number, text in enumerate(("pictures", "继续", "继续"), 1):
        alice.says(text).wait()
        alice.waits_for(lambda seen: seen.startswith("[image"), times=number)


def test_announced_replies_are_not_sent_without_request(
    alice: User, start: Start, wechat: FakeWeChat, log: Log
) -> None:
    """Check that unannounced replies are sent with the next message, and announced replies are not."""
    start(plugin_with_long_replies())
    asks(alice, "book", a_notice)
    wechat.faults.fail("send", 45047)
    alice.says("unannounced").wait()
    log.waits_for("deferring the remaining replies")
    asks(alice, "hi", "answer to hi")
    assert replies(alice)[5:] == ["answer to unannounced", "answer to hi"]
    asks(alice, "继续", a_sentence, times=9)


def test_the_notice_of_an_interrupted_reply_is_not_sent_in_its_middle(
    alice: User, start: Start, wechat: FakeWeChat
) -> None:
    bot = start(plugin_with_long_replies())
    wechat.faults.fail("send", 45047, times=1)
    alice.says("book").wait()
    alice.waits_for_calls(3)
    waits_until_idle(bot, alice)
    asks(alice, "继续", a_sentence, times=5)
    asks(alice, "继续", a_sentence, times=9)
    assert "".join(replies(alice)).replace(f"\n{NOTICE}", "") == SENTENCE * 900
