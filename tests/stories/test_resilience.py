"""A plugin that misbehaves does not affect other users."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from tests.stories.support import SORRY, asks, replies
from wxbot import Context, Plugin
from wxbot.testing import ManualClock, chat


class Panic(BaseException):
    """An exception as an extension module may raise it."""


@pytest.fixture
def plugin() -> Plugin:
    """Return a plugin that echoes each text that a test's own handlers do not get."""
    plugin = Plugin("bad")

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return ctx.text

    return plugin


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_background_task_that_exits_does_not_end_the_bot(plugin: Plugin) -> None:
    @plugin.text("exit")
    async def leave(ctx: Context) -> str:
        async def later() -> None:
            sys.exit(3)

        ctx.state["task"] = bool(asyncio.get_running_loop().create_task(later()))
        return "good bye"

    with chat(plugin, lease_seconds=1, poll_seconds=0.1) as user:
        user.says("exit").wait()
        user.says("still there?").wait()
        user.waits_for("still there?", timeout=20)


@pytest.mark.parametrize("said", ["exit", "interrupt", "cancel", "panic", "exit in a predicate", "state", "image"])
def test_a_handler_that_raises_is_a_failed_handler(plugin: Plugin, said: str) -> None:
    @plugin.text("exit")
    async def leave(ctx: Context) -> str:
        sys.exit(3)

    @plugin.text("interrupt")
    def interrupt(ctx: Context) -> str:
        raise KeyboardInterrupt

    @plugin.text("cancel")
    async def cancel(ctx: Context) -> str:
        raise asyncio.CancelledError

    @plugin.text("panic")
    async def panic(ctx: Context) -> str:
        raise Panic

    @plugin.text("state")
    async def keep(ctx: Context) -> str:
        ctx.state["last"] = "\ud83d"  # a lone surrogate, as truncated streams contain it, cannot be stored
        return "never sent"

    @plugin.on(lambda ctx: ctx.text == "exit in a predicate" and sys.exit(3))
    @plugin.on(lambda ctx: bool(1 / len(ctx.text)) and False)  # fails for an image, which has no text
    async def never(ctx: Context) -> str:
        return "never sent"

    with chat(plugin) as user:
        if said == "image":
            user.sends_image()
        else:
            user.says(said)
        asks(user, "next", "next")
        assert replies(user) == [SORRY, "next"]


def test_a_reply_with_a_lone_surrogate_is_sent_without_it(plugin: Plugin) -> None:
    @plugin.text("reply")
    async def say(ctx: Context) -> str:
        return "half \ud83d emoji"

    with chat(plugin) as user:
        asks(user, "reply", "half ? emoji")


def test_a_handler_that_times_out_is_cancelled_and_the_user_gets_a_text(plugin: Plugin) -> None:
    clock, cancelled = ManualClock(), threading.Event()

    @plugin.text("wait")
    async def wait(ctx: Context) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return "never"

    with chat(plugin, clock=clock, handler_timeout=10, timeout_text="too slow") as user:
        user.says("wait")
        user.waits_until_typing()
        clock.advance(10)
        user.waits_for("too slow")
        assert cancelled.wait(5)
        asks(user, "next", "next")
        shown = [saw for saw in user.saw if saw != "CancelTyping"]
        assert shown == ["Typing", "too slow", "Typing", "next"]


def test_a_thread_that_hangs_does_not_stop_the_others() -> None:
    plugin, clock, release = Plugin("slow"), ManualClock(), threading.Event()

    @plugin.text("hang")
    def hang(ctx: Context) -> str:
        release.wait(30)
        return "never"

    @plugin.fallback
    def echo(ctx: Context) -> str:
        return ctx.text

    with chat(plugin, clock=clock, handler_timeout=5, timeout_text="too slow", handler_threads=2) as user:
        user.says("hang")
        user.waits_until_typing()
        clock.advance(5)
        user.waits_for("too slow")
        asks(user, "next", "next")
        release.set()
