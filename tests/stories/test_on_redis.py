"""The stories on a Redis store: the next process continues with the state that another process stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RedisServer
from tests.servers.fixtures import redis_server
from tests.stories.support import asks, bot_for, replies
from wxbot import Context, ImageReply, Message, Plugin, TextMessage
from wxbot.server.bot import Bot
from wxbot.testing import SAMPLE_IMAGE, FakeWeChat, ManualClock

__all__ = ["redis_server"]

SENTENCE = "这是一句话。"


def plugin() -> Plugin:
    plugin = Plugin("test")

    @plugin.hands_over
    def wants_agent(message: Message) -> bool:
        return isinstance(message, TextMessage) and message.text == "wants_agent"

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


class SharedStore:
    """FakeWeChat and a Redis store, for several bots one after the other."""

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
def shared_store(redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SharedStore]:
    clock = ManualClock()
    kind: Any = getattr(request, "param", "miniprogram")
    with FakeWeChat(clock, account_kind=kind, appid=f"wx{abs(hash(request.node.name)) % 10**16:016d}") as wechat:
        yield SharedStore(wechat, redis_server.url, tmp_path, clock)
        assert wechat.violations == []


def test_deferred_replies_and_quota_are_shared(shared_store: SharedStore) -> None:
    alice = shared_store.wechat.user("alice")
    with shared_store.process():
        alice.says("book").wait()
        alice.waits_for(lambda seen: SENTENCE in seen, times=5)
    with shared_store.process():
        alice.says("继续").wait()
        alice.waits_for(lambda seen: SENTENCE in seen, times=9)
    assert "".join(replies(alice)).count(SENTENCE) == 900


def test_a_handover_is_shared(shared_store: SharedStore) -> None:
    alice, agent = shared_store.wechat.user("alice"), shared_store.wechat.agent("kf1@shop")
    with shared_store.process():
        alice.says("wants_agent").wait()
    with shared_store.process():
        alice.says("hello?").wait()
        agent.takes(alice).wait()
        agent.closes(alice).wait()
        asks(alice, "hi", "answer to hi")
    assert agent.saw == [("alice", "wants_agent"), ("alice", "hello?")]
    assert replies(alice) == ["answer to hi"]


def test_an_uploaded_file_is_shared(shared_store: SharedStore) -> None:
    alice = shared_store.wechat.user("alice")
    for number in range(1, 3):
        with shared_store.process():
            alice.says("picture").wait()
            alice.waits_for("[image image.jpg]", times=number)
    assert len(shared_store.wechat.uploads) == 1


@pytest.mark.parametrize("shared_store", ["unverified"], indirect=True)
def test_a_passive_reply_and_its_deferred_replies_are_shared(shared_store: SharedStore) -> None:
    alice = shared_store.wechat.user("alice")
    with shared_store.process():
        push = alice.says("book")
        push.wait()
    with shared_store.process():
        again = push.redeliver()
        again.wait()
        assert again.answer == push.answer
        for _ in range(9):
            alice.says("继续").wait()
    assert "".join(replies(alice)).count(SENTENCE) >= 900
    assert not [record for record in shared_store.wechat.timeline if record.kind in ("send", "typing")]
