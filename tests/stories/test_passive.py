"""Passive replies: the response to a push carries one reply, and later replies come with the next message."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stories.support import SORRY, Log, Start, advance_until, bot_for, replies
from wxbot import Context, ImageReply, Plugin
from wxbot.server.bot import Bot
from wxbot.server.passive_replies import LAST_REPLY_AFTER, PassiveReplyWaiter
from wxbot.store.records import ConversationKey
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE

NOTICE = "（未完，发送“继续”接着看）"
WAIT = "还在处理中，请稍后发送“继续”查看回复。"
SENTENCE = "这是一句话。"


class WaitingPlugin:
    """A plugin whose reply to "think" waits until the test releases it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.released = threading.Event()
        self.thought = 0
        self.replies: list[str] = []
        self.plugin = Plugin("waiting")

        @self.plugin.text("think")
        async def think(ctx: Context) -> str:
            self.thought += 1
            self.began.set()
            await asyncio.to_thread(self.released.wait, 60)
            self.replies.append("a thought")
            return "a thought"

        @self.plugin.text("book")
        async def book(ctx: Context) -> str:
            return SENTENCE * 250

        @self.plugin.text("both")
        async def both(ctx: Context):  # type: ignore[no-untyped-def]
            yield "a picture:"
            yield ImageReply(SAMPLE_IMAGE)

        @self.plugin.text("fail")
        async def fail(ctx: Context) -> str:
            raise RuntimeError("broken")

        @self.plugin.event("subscribe")
        async def welcome(ctx: Context) -> str:
            return "welcome"

        @self.plugin.fallback
        async def echo(ctx: Context) -> str:
            self.replies.append(f"answer to {ctx.text}")
            return f"answer to {ctx.text}"


@pytest.fixture
def waiting_plugin() -> WaitingPlugin:
    return WaitingPlugin()


@pytest.fixture(params=["safe", "plain", "compatible"])
def wechat(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[FakeWeChat]:
    with FakeWeChat(clock, account_kind="unverified", mode=request.param) as wechat:
        yield wechat
        assert [record for record in wechat.timeline if record.kind in ("typing", "send")] == []


@pytest.fixture
def bot(start: Start, waiting_plugin: WaitingPlugin) -> Bot:
    return start(waiting_plugin.plugin)


class Deliveries:
    """A counter of deliveries that wait in the bot. The clock may advance only when a delivery waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived = 0

    def arrives(self) -> None:
        with self._changed:
            self._arrived += 1
            self._changed.notify_all()

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._arrived >= number, 10), f"delivery {number} has not come"


@pytest.fixture
def deliveries(monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    deliveries, look = Deliveries(), PassiveReplyWaiter._wait

    async def noted(room: PassiveReplyWaiter, key: ConversationKey, dedup_key: str, until: float) -> object:
        deliveries.arrives()
        return await look(room, key, dedup_key, until)

    monkeypatch.setattr(PassiveReplyWaiter, "_wait", noted)
    return deliveries


def advance_to_delivery(number: int, deliveries: Deliveries, clock: ManualClock) -> None:
    """Advance the clock by WeChat's timeout of five seconds, and wait for delivery ``number``."""
    for n in range(1, number):
        deliveries.wait_for(n)
        clock.advance(5)
    deliveries.wait_for(number)


def test_the_response_to_the_push_is_the_reply(alice: User, bot: Bot) -> None:
    for push in (alice.says("hi"), alice.follows(), alice.clicks("an event without a handler"), alice.says("fail")):
        assert push.wait().outcome == "success"
    assert alice.saw == ["answer to hi", "welcome", SORRY]


def test_deferred_replies_come_on_request(alice: User, bot: Bot) -> None:
    alice.says("book").wait()
    assert alice.saw[0].endswith(NOTICE)
    alice.says("继续").wait()
    alice.says("继续").wait()
    assert "".join(alice.saw).replace(NOTICE, "").replace("\n", "") == SENTENCE * 250


def test_an_image_after_a_text_is_deferred(alice: User, bot: Bot) -> None:
    alice.says("both").wait()
    alice.says("继续").wait()
    assert alice.saw == [f"a picture:\n{NOTICE}", "[image image.jpg]"]


in_safe_mode = pytest.mark.parametrize("wechat", ["safe"], indirect=True)


@in_safe_mode
def test_a_slow_reply_is_the_response_to_a_redelivery(
    alice: User, bot: Bot, waiting_plugin: WaitingPlugin, clock: ManualClock, deliveries: Deliveries
) -> None:
    push = alice.says("think")
    advance_to_delivery(2, deliveries, clock)
    waiting_plugin.released.set()
    assert push.wait().n == 2
    assert (alice.saw, waiting_plugin.thought) == (["a thought"], 1)


@in_safe_mode
@pytest.mark.parametrize(("text", "reply"), [("hi", "a thought\nanswer to hi"), ("继续", "a thought")])
def test_a_late_reply_comes_with_the_next_message(
    alice: User,
    bot: Bot,
    waiting_plugin: WaitingPlugin,
    clock: ManualClock,
    log: Log,
    deliveries: Deliveries,
    text: str,
    reply: str,
) -> None:
    push = alice.says("think")
    advance_to_delivery(3, deliveries, clock)
    clock.advance(LAST_REPLY_AFTER)
    push.wait()
    assert alice.saw == [WAIT]
    waiting_plugin.released.set()
    log.waits_for("too late, deferred")
    alice.says(text).wait()
    assert alice.saw == [WAIT, reply]
    assert waiting_plugin.thought == 1


@in_safe_mode
def test_a_redelivery_at_another_process_waits_for_the_same_reply(
    alice: User,
    bot: Bot,
    waiting_plugin: WaitingPlugin,
    wechat: FakeWeChat,
    clock: ManualClock,
    deliveries: Deliveries,
    tmp_path: Path,
) -> None:
    other = WaitingPlugin()
    first_door = wechat.callback_url
    push = alice.says("think")
    deliveries.wait_for(1)
    with bot_for(wechat, tmp_path / "wxbot.db", other.plugin, clock=clock):
        assert wechat.callback_url != first_door
        clock.advance(5)
        wechat.waits_until(lambda: len(push.attempts) == 1)
        waiting_plugin.released.set()
        advance_until(clock, push.wait, step=0.25, steps=40)
        assert (alice.saw, waiting_plugin.thought, other.thought) == (["a thought"], 1, 0)


@in_safe_mode
def test_a_redelivery_after_the_reply_gets_the_same_reply(alice: User, bot: Bot) -> None:
    push = alice.says("hi")
    push.wait()
    again = push.redeliver()
    again.wait()
    assert again.answer is not None
    assert again.answer["Content"] == "answer to hi"


@in_safe_mode
def test_pushes_of_one_user_are_answered_in_order(
    alice: User, bot: Bot, waiting_plugin: WaitingPlugin, wechat: FakeWeChat, deliveries: Deliveries
) -> None:
    """The answers go over two connections: which of them WeChat reads first is chance."""
    wechat.in_order = False
    first = alice.says("think")
    assert waiting_plugin.began.wait(10)
    second = alice.says("hi")
    deliveries.wait_for(2)
    waiting_plugin.released.set()
    first.wait()
    second.wait()
    assert waiting_plugin.replies == ["a thought", "answer to hi"]
    assert sorted(replies(alice)) == ["a thought", "answer to hi"]
