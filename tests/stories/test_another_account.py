"""Another kind of account is one more row and one more channel: no typing, 5 messages in 48 hours, safe repeats."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.stories.support import Log, advance_until, bot_for
from wxbot import Context, Plugin
from wxbot.delivery.channel import Channel
from wxbot.errors import DeliveryUnknown, InvalidReply, ReplyQuotaExceeded, RequestNotSent
from wxbot.model.accounts import ACCOUNTS, Account
from wxbot.model.media import Media
from wxbot.model.quota import Allowance
from wxbot.model.replies import ImageReply, Reply, TextReply
from wxbot.server.assembly import CHANNELS
from wxbot.server.bot import Bot
from wxbot.store.records import DeadLetter
from wxbot.testing import FakeWeChat, ManualClock
from wxbot.testing.media import SAMPLE_IMAGE
from wxbot.typing_indicator.port import TypingCommand

SHOP = Account(
    "Shop",
    receives=("text",),
    sends=("text",),
    allowances={"message": Allowance(5, 48 * 3600.0)},
    has_ai_mark=False,
    recognizes_repeats=True,
)


class Shop:
    """A platform that is not WeChat, with its rules, and the channel to it."""

    def __init__(self) -> None:
        self.saw: dict[str, str] = {}
        """What the user saw, by the id of the message."""
        self.sends: list[str] = []
        self.left = 5
        self.loses_responses = 0
        self._changed = threading.Condition()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, openid: str, reply: Reply, *, send_id: str, permit: Callable[[], bool]) -> None:
        assert isinstance(reply, TextReply)
        assert len(send_id) <= 32
        if not permit():
            raise RequestNotSent("no permit")
        self.sends.append(send_id)
        if send_id not in self.saw:
            if self.left == 0:
                raise ReplyQuotaExceeded("shop", 45047, "all messages were sent")
            self.left -= 1
            with self._changed:
                self.saw[send_id] = reply.text
                self._changed.notify_all()
        if self.loses_responses:
            self.loses_responses -= 1
            raise DeliveryUnknown("no response")

    async def typing(self, openid: str, command: TypingCommand, *, permit: Callable[[], bool]) -> None:
        raise AssertionError("this account has no typing indicator")

    async def prepare(self, reply: Reply) -> None: ...

    async def uploaded(self, reply: Reply) -> Reply:
        return reply

    async def download(self, media_id: str) -> Media:
        raise NotImplementedError

    def wechatpy(self) -> Any:
        raise NotImplementedError

    @property
    def texts(self) -> list[str]:
        return list(self.saw.values())

    def waits_for(self, text: str, timeout: float = 10.0, times: int = 1) -> None:
        with self._changed:
            seen = self._changed.wait_for(lambda: self.texts.count(text) >= times, timeout)
        assert seen, f"saw only {self.texts}"


plugin = Plugin("counter")


@plugin.text("picture")
async def picture(ctx: Context) -> ImageReply:
    return ImageReply(SAMPLE_IMAGE)


@plugin.fallback
async def count(ctx: Context) -> AsyncIterator[str]:
    for number in range(int(ctx.text)):
        yield f"part {number + 1}"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop()
    channel: Channel = shop
    monkeypatch.setitem(ACCOUNTS, "shop", SHOP)
    monkeypatch.setitem(CHANNELS, "shop", lambda process, account, store, clock: channel)
    return shop


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def wechat(clock: ManualClock) -> Iterator[FakeWeChat]:
    """The pushes have WeChat's form. Its API is not called."""
    with FakeWeChat(clock) as wechat:
        yield wechat
        assert (wechat.token_fetches, wechat.violations) == (0, [])


@contextmanager
def opened(wechat: FakeWeChat, folder: Path, clock: ManualClock) -> Iterator[Bot]:
    with bot_for(wechat, folder / "wxbot.db", plugin, clock=clock, account_kind="shop") as bot:
        yield bot


def dead_letters(bot: Bot) -> list[DeadLetter]:
    runtime = bot._started_runtime()
    return list(runtime._loop.run(runtime.store.dead_letters(bot.appid, 9), 5))


def test_a_reply_is_sent_without_typing(shop: Shop, wechat: FakeWeChat, clock: ManualClock, tmp_path: Path) -> None:
    with opened(wechat, tmp_path, clock):
        wechat.user("alice").says("1").wait()
        shop.waits_for("part 1")


def test_at_most_five_messages_are_sent_for_each_message_of_the_user(
    shop: Shop, wechat: FakeWeChat, clock: ManualClock, tmp_path: Path
) -> None:
    with opened(wechat, tmp_path, clock):
        alice = wechat.user("alice")
        alice.says("8").wait()
        shop.waits_for("part 5\npart 6\npart 7\npart 8")
        assert shop.texts[:4] == ["part 1", "part 2", "part 3", "part 4"]
        shop.left = 5
        alice.says("2").wait()
        shop.waits_for("part 2", times=2)
        assert len(shop.sends) == 7, "no send was refused"


@pytest.mark.parametrize("lost", [1, 3, 5])
def test_a_message_whose_response_was_lost_is_sent_again_and_seen_once(
    shop: Shop, wechat: FakeWeChat, clock: ManualClock, tmp_path: Path, lost: int
) -> None:
    """With five lost responses, the message is retried in a second attempt."""
    shop.loses_responses = lost
    with opened(wechat, tmp_path, clock) as bot:
        wechat.user("alice").says("2").wait()
        advance_until(clock, lambda timeout: shop.waits_for("part 2", timeout))
        assert shop.texts == ["part 1", "part 2"]
        assert len(shop.sends) == lost + 2
        assert len(set(shop.sends)) == 2
        assert dead_letters(bot) == []


def test_a_reply_that_the_account_cannot_send_is_refused(
    shop: Shop, wechat: FakeWeChat, clock: ManualClock, tmp_path: Path, log: Log
) -> None:
    with opened(wechat, tmp_path, clock) as bot:
        wechat.user("alice").says("picture").wait()
        shop.waits_for("抱歉，出了点问题，请稍后再试。")
        assert log.count("handler failed") == 1
        with pytest.raises(InvalidReply, match=r"\(Shop\) cannot send the type 'image'"):
            bot.send_api._messages("alice", ImageReply(SAMPLE_IMAGE), "")
