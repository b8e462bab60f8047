"""The same on the shared store: what one process notes of a user counts for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.servers.fixtures import redis_server
from tests.stories.support import bot_for, replies
from wxbot import Context, ImageReply, Message, Plugin, TextMessage
from wxbot.model.accounts import AccountKind
from wxbot.server.bot import Bot
from wxbot.testing import SAMPLE_IMAGE, FakeWeChat, ManualClock

__all__ = ["redis_server"]

SENTENCE = "这是一句话。"


def plugin() -> Plugin:
    plugin = Plugin("test")

    @plugin.hands_over
    def people(message: Message) -> bool:
        return isinstance(message, TextMessage) and message.text == "people"

    @plugin.text("book")
    async def book(ctx: Context) -> str:
        return SENTENCE * 900

    @plugin.text("picture")
    async def picture(ctx: Context) -> ImageReply:
        return ImageReply(SAMPLE_IMAGE)

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    return plugin


class Town:
    """FakeWeChat, and one process of the bot after the other on one Redis."""

    def __init__(self, wechat: FakeWeChat, url: str, folder: Path, clock: ManualClock) -> None:
        self.wechat = wechat
        self._url, self._folder, self._clock = url, folder, clock

    @contextmanager
    def process(self) -> Iterator[Bot]:
        store = self._folder / "not used.db"
        with bot_for(self.wechat, store, plugin(), clock=self._clock, store_url=self._url) as bot:
            yield bot
        assert not store.exists()


@pytest.fixture
def town(redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    clock = ManualClock()
    kind: AccountKind = getattr(request, "param", "miniprogram")
    with FakeWeChat(clock, account_kind=kind, appid=f"wx{abs(hash(request.node.name)) % 10**16:016d}") as wechat:
        yield Town(wechat, redis_server.url, tmp_path, clock)
        assert wechat.violations == []


def test_the_rest_and_the_quota(town: Town) -> None:
    alice = town.wechat.user("alice")
    with town.process():
        alice.says("book").wait()
        alice.waits_for(lambda seen: SENTENCE in seen, times=5)
    with town.process():
        alice.says("继续").wait()
        alice.waits_for(lambda seen: SENTENCE in seen, times=9)
    assert "".join(replies(alice)).count(SENTENCE) == 900


def test_the_silence_of_a_handed_over_user(town: Town) -> None:
    alice, agent = town.wechat.user("alice"), town.wechat.agent("kf1@shop")
    with town.process():
        alice.says("people").wait()
    with town.process():
        alice.says("hello?").wait()
        agent.takes(alice).wait()
        agent.closes(alice).wait()
        alice.says("hi").wait()
        alice.waits_for("answer to hi")
    assert agent.saw == [("alice", "people"), ("alice", "hello?")]
    assert replies(alice) == ["answer to hi"]


def test_an_uploaded_file(town: Town) -> None:
    alice = town.wechat.user("alice")
    for number in range(1, 3):
        with town.process():
            alice.says("picture").wait()
            alice.waits_for("[image image.jpg]", times=number)
    assert len(town.wechat.uploads) == 1


@pytest.mark.parametrize("town", ["unverified"], indirect=True)
def test_a_passive_answer_and_its_rest(town: Town) -> None:
    alice = town.wechat.user("alice")
    with town.process():
        push = alice.says("book")
        push.wait()
    with town.process():
        again = push.redeliver()
        again.wait()
        assert again.answer == push.answer
        for _ in range(9):
            alice.says("继续").wait()
    assert "".join(replies(alice)).count(SENTENCE) >= 900
    assert not [record for record in town.wechat.timeline if record.kind in ("send", "typing")]
