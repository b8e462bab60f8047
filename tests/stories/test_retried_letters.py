"""Dead letters with an unconfirmed reply that an operator retries: the handler runs again after the reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.stories.support import SORRY, Start, advance_until_seen, dead_letters, replies, retry
from wxbot import Context, Plugin
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User


class Handler:
    """A handler that says A, B and C. Its first run fails after A; ``before_b`` runs before B in the second run."""

    def __init__(self) -> None:
        self.runs = 0
        self.before_b: Callable[[], object] = bool
        self.hangs = False
        self.plugin = Plugin("test")

        @self.plugin.text()
        async def answer(ctx: Context) -> AsyncIterator[str]:
            self.runs += 1
            yield "A"
            if self.runs == 1:
                raise RuntimeError("the first run fails")
            if self.runs == 2:
                self.before_b()
                if self.hangs:
                    await asyncio.Event().wait()
            yield "B"
            yield "C"


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def bot(alice: User, wechat: FakeWeChat, handler: Handler, start: Start) -> Bot:
    """Return a bot with a dead letter: the response to A was lost, and then the handler failed."""
    bot = start(handler.plugin, typing=False)
    wechat.faults.drop("send", acted=False)
    alice.says("hi").wait()
    alice.waits_for(SORRY)
    assert [entry["kind"] for entry in dead_letters(bot, alice)[0].unsent] == ["text", "_again"]
    return bot


def retry_letter(bot: Bot, user: User) -> None:
    (letter,) = dead_letters(bot, user)
    retry(bot, letter)


def test_the_unconfirmed_reply_is_sent_before_the_handlers_new_ones(
    alice: User, bot: Bot, clock: ManualClock, handler: Handler
) -> None:
    retry_letter(bot, alice)
    advance_until_seen(clock, alice, "C")
    assert replies(alice) == [SORRY, "A", "B", "C"]
    assert not dead_letters(bot, alice)


def test_a_failure_of_the_unconfirmed_reply_loses_no_reply(
    alice: User, bot: Bot, clock: ManualClock, wechat: FakeWeChat
) -> None:
    wechat.faults.fail("send", -1, times=4)
    retry_letter(bot, alice)
    advance_until_seen(clock, alice, "C")
    assert replies(alice) == [SORRY, "A", "B", "C"]


def test_a_failure_after_the_unconfirmed_reply_loses_no_reply(
    alice: User, bot: Bot, clock: ManualClock, handler: Handler, wechat: FakeWeChat
) -> None:
    handler.before_b = lambda: wechat.faults.fail("send", -1, times=4)
    retry_letter(bot, alice)
    advance_until_seen(clock, alice, "C")
    assert replies(alice) == [SORRY, "A", "B", "C"]


def test_an_unconfirmed_reply_whose_response_is_lost_again_is_a_dead_letter(
    alice: User, bot: Bot, clock: ManualClock, handler: Handler, wechat: FakeWeChat
) -> None:
    wechat.faults.drop("send", acted=False)
    retry_letter(bot, alice)
    advance_until_seen(clock, alice, "C")
    (letter,) = dead_letters(bot, alice)
    assert replies(alice) == [SORRY, "B", "C"]
    assert letter.unsent == ({"kind": "text", "text": "A"},)
    assert handler.runs == 2


def test_a_stop_before_the_unconfirmed_reply_does_not_lose_it(
    alice: User, bot: Bot, clock: ManualClock, handler: Handler, start: Start, wechat: FakeWeChat
) -> None:
    wechat.faults.fail("send", -1, times=1)
    retry_letter(bot, alice)
    clock.advance(1)
    alice.waits_for_calls(3)  # the bot pauses before it repeats the send
    bot.stop(0)
    start(handler.plugin, typing=False)
    advance_until_seen(clock, alice, "C")
    assert replies(alice) == [SORRY, "A", "B", "C"]


def test_a_stop_after_the_unconfirmed_reply_neither_loses_nor_repeats_it(
    alice: User, bot: Bot, clock: ManualClock, handler: Handler, start: Start
) -> None:
    handler.hangs = True
    retry_letter(bot, alice)
    advance_until_seen(clock, alice, "A")
    bot.stop(0)
    start(handler.plugin, typing=False)
    advance_until_seen(clock, alice, "C")
    assert replies(alice) == [SORRY, "A", "B", "C"]
    assert handler.runs == 3
