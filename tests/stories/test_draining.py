"""The process ends during a send or a handler: no message is answered twice, and unconfirmed replies are stored."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stories.support import waits_until_idle
from wxbot import Context, Plugin
from wxbot.server.assembly import make_bot
from wxbot.settings.schema import Settings
from wxbot.testing import FakeWeChat, serve, settings_for

SORRY = "抱歉，出了点问题，请稍后再试。"


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


@pytest.mark.parametrize(("text", "reply"), [("order", "step 1"), ("break", SORRY)])
def test_a_send_in_progress_at_the_end_of_the_drain_is_recorded(tmp_path: Path, text: str, reply: str) -> None:
    with FakeWeChat() as wechat:
        bot = make_bot(settings_for(wechat, tmp_path / "wxbot.db", typing=False), plugins=[steps()])
        alice = wechat.user("alice")
        with serve(bot) as address:
            wechat.callback_url = address
            wechat.faults.slow("send", 0.5, times=1)
            alice.says(text)
            alice.waits_for(reply)  # WeChat has delivered the reply, but the bot stops before it gets the response
        bot = make_bot(settings_for(wechat, tmp_path / "wxbot.db", typing=False), plugins=[steps()])
        with serve(bot) as address:
            wechat.callback_url = address
            alice.says("order")
            alice.waits_for("step 2" if text == "order" else "step 1")
        assert alice.saw == [reply, "step 2" if text == "order" else "step 1"]


def test_an_unconfirmed_reply_is_stored_when_the_bot_stops_during_the_handler(tmp_path: Path) -> None:
    """Check that the next process sends the other parts, and stores the unconfirmed part as a dead letter."""
    plugin, reached, goes_on = Plugin("parts"), threading.Event(), threading.Event()

    @plugin.fallback
    async def parts(ctx: Context) -> AsyncIterator[str]:
        yield "one"
        reached.set()
        if not goes_on.is_set():
            await asyncio.Event().wait()  # until the bot stops
        yield "two"

    with FakeWeChat() as wechat:
        settings, alice = settings_for(wechat, tmp_path / "wxbot.db", typing=False), wechat.user("alice")
        with serve(make_bot(settings, plugins=[plugin])) as address:
            wechat.callback_url = address
            wechat.faults.drop("send")
            alice.says("hi").wait()
            assert reached.wait(10)
        goes_on.set()
        bot = make_bot(settings, plugins=[plugin])
        with serve(bot):
            alice.waits_for("two")
            waits_until_idle(bot, alice)
        letters = dead_letters(settings)
    assert alice.saw == ["two"]
    assert letters == [("WeChat's answer to a reply was lost", [{"kind": "text", "text": "one"}])]


def dead_letters(settings: Settings) -> list[tuple[str, list[dict[str, str]]]]:
    from wxbot.server.assembly import make_store

    account = settings.accounts[""]
    store = make_store(settings.process, account.retention)
    store.open()

    async def read() -> list[tuple[str, list[dict[str, str]]]]:
        found = await store.dead_letters(account.credentials.appid, 10)
        return [(letter.reason, [dict(reply) for reply in letter.unsent]) for letter in found]

    try:
        return asyncio.run(read())
    finally:
        store.close()


def test_a_lone_surrogate_is_a_failed_handler(tmp_path: Path) -> None:
    """Check a lone surrogate, as truncated streams contain it: it can be neither stored nor sent."""
    plugin = Plugin("half")

    @plugin.text("state")
    async def keep(ctx: Context) -> str:
        ctx.state["last"] = "\ud83d"
        return "never sent"

    @plugin.text("reply")
    async def say(ctx: Context) -> str:
        return "half \ud83d emoji"

    with FakeWeChat() as wechat:
        bot = make_bot(settings_for(wechat, tmp_path / "wxbot.db", typing=False), plugins=[plugin])
        with serve(bot) as address:
            wechat.callback_url = address
            alice = wechat.user("alice")
            alice.says("state")
            alice.says("reply")
            alice.waits_for("half ? emoji")
        assert alice.saw == [SORRY, "half ? emoji"]


class Panic(BaseException):
    """An exception as an extension module may raise it."""


def test_an_exception_of_an_extension_module_is_a_failed_handler(tmp_path: Path) -> None:
    plugin = Plugin("panics")

    @plugin.text("panic")
    async def panic(ctx: Context) -> str:
        raise Panic

    @plugin.on(lambda ctx: ctx.text == "exit" and exit(3))
    async def never(ctx: Context) -> str:
        return "never"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return ctx.text

    with FakeWeChat() as wechat:
        bot = make_bot(settings_for(wechat, tmp_path / "wxbot.db", typing=False), plugins=[plugin])
        with serve(bot) as address:
            wechat.callback_url = address
            alice = wechat.user("alice")
            for text in ("panic", "exit", "next"):
                alice.says(text)
            alice.waits_for("next")
        assert alice.saw == [SORRY, SORRY, "next"]
