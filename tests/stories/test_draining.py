"""The process ends during a send or a handler: no message is answered twice, and unconfirmed replies are stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stories.support import SORRY, Start, asks, bot_for, dead_letters
from wxbot import Context, Plugin
from wxbot.testing import FakeWeChat, User


def steps() -> Plugin:
    """Return a plugin with a dialogue in which the same text has another meaning at each step."""
    plugin = Plugin("steps")

    @plugin.text("order")
    async def order(ctx: Context) -> str:
        ctx.state["step"] = ctx.state.get("step", 0) + 1
        return f"step {ctx.state['step']}"

    @plugin.text("break")
    async def broken(ctx: Context) -> str:
        raise RuntimeError("on purpose")

    return plugin


@pytest.mark.parametrize(
    ("text", "reply", "next_reply"), [("order", "step 1", "step 2"), ("break", SORRY, "step 1")], ids=["order", "break"]
)
def test_a_send_in_progress_at_the_end_of_the_drain_is_recorded(
    tmp_path: Path, text: str, reply: str, next_reply: str
) -> None:
    with FakeWeChat() as wechat:
        alice = wechat.user("alice")
        wechat.faults.slow("send", 0.5, times=1)
        with bot_for(wechat, tmp_path / "wxbot.db", steps(), typing=False):
            alice.says(text)
            alice.waits_for(reply)  # WeChat has delivered the reply, but the bot stops before it gets the response
        with bot_for(wechat, tmp_path / "wxbot.db", steps(), typing=False):
            asks(alice, "order", next_reply)
        assert alice.saw == [reply, next_reply]


def test_an_unconfirmed_reply_is_stored_when_the_bot_stops_during_the_handler(
    alice: User, start: Start, wechat: FakeWeChat
) -> None:
    """Check that the next process sends the other parts, and stores the unconfirmed part as a dead letter."""
    plugin, reached, goes_on = Plugin("parts"), threading.Event(), threading.Event()

    @plugin.fallback
    async def parts(ctx: Context) -> AsyncIterator[str]:
        yield "one"
        reached.set()
        if not goes_on.is_set():
            await asyncio.Event().wait()  # until the bot stops
        yield "two"

    start(plugin, typing=False)
    wechat.faults.drop("send")
    alice.says("hi").wait()
    assert reached.wait(10)
    goes_on.set()
    bot = start(plugin, typing=False)
    alice.waits_for("two")
    (letter,) = dead_letters(bot, alice)
    assert (letter.reason, letter.unsent) == ("WeChat's answer to a reply was lost", ({"kind": "text", "text": "one"},))
    assert alice.saw == ["two"]
