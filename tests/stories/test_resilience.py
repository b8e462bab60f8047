"""A plugin that misbehaves does not affect other users."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from wxbot import Context, Plugin
from wxbot.testing import ManualClock, chat

SORRY = "抱歉，出了点问题，请稍后再试。"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_background_task_that_exits_does_not_end_the_bot() -> None:
    plugin = Plugin("bad")

    @plugin.text("exit")
    async def leave(ctx: Context) -> str:
        async def later() -> None:
            sys.exit(3)

        ctx.state["task"] = bool(asyncio.get_running_loop().create_task(later()))
        return "good bye"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return ctx.text

    with chat(plugin, lease_seconds=1, poll_seconds=0.1) as user:
        user.says("exit").wait()
        user.says("still there?").wait()
        user.waits_for("still there?", timeout=20)


@pytest.mark.parametrize("kind", ["exit", "interrupt", "cancel"])
def test_a_handler_that_raises_more_than_an_exception_is_a_failed_handler(kind: str) -> None:
    plugin = Plugin("bad")

    @plugin.text("exit")
    async def leave(ctx: Context) -> str:
        sys.exit(3)

    @plugin.text("interrupt")
    def interrupt(ctx: Context) -> str:
        raise KeyboardInterrupt

    @plugin.text("cancel")
    async def cancel(ctx: Context) -> str:
        raise asyncio.CancelledError

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return ctx.text

    with chat(plugin) as user:
        user.says(kind)
        user.says("next")
        user.waits_for("next")
        assert [seen for seen in user.saw if "Typing" not in seen] == [SORRY, "next"]


def test_a_handler_that_times_out_is_cancelled_and_the_user_gets_a_text() -> None:
    plugin, clock = Plugin("slow"), ManualClock()
    cancelled = threading.Event()

    @plugin.text("wait")
    async def wait(ctx: Context) -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return "never"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return ctx.text

    with chat(plugin, clock=clock, handler_timeout=10, timeout_text="too slow") as user:
        user.says("wait")
        user.waits_until_typing()
        clock.advance(10)
        user.waits_for("too slow")
        assert cancelled.wait(5)
        user.says("next")
        user.waits_for("next")
        shown = [saw for saw in user.saw if saw != "CancelTyping"]
        assert shown == ["Typing", "too slow", "Typing", "next"]


def test_a_thread_that_hangs_does_not_stop_the_others() -> None:
    plugin, clock = Plugin("slow"), ManualClock()
    release = threading.Event()

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
        user.says("next")
        user.waits_for("next")
        release.set()


def test_a_predicate_that_fails_is_an_error_of_the_plugin() -> None:
    plugin = Plugin("bad")

    @plugin.on(lambda ctx: bool(1 / len(ctx.text)))
    async def never(ctx: Context) -> str:
        return f"{len(ctx.text)} characters"

    with chat(plugin) as user:
        user.sends_image()
        user.waits_for(SORRY)
        user.says("four")
        user.waits_for("4 characters")
