"""A whole bot and FakeWeChat in one process, with real HTTP in both directions, SQLite and one manual clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wxbot.clock import pause
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock

TEST_TIMEOUT = 10.0  # real seconds until a test fails


class Calls:
    """A counter of the bot's calls in progress: a test may advance the clock when there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._in_progress = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def waits_until_answered(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._in_progress == 0, TEST_TIMEOUT), (
                f"{self._in_progress} calls hang"
            )

    def _count(self, change: int) -> None:
        with self._changed:
            self._in_progress += change
            self._changed.notify_all()


class Stage:
    """The bot, FakeWeChat, and their clock."""

    def __init__(self, wechat: FakeWeChat, bot: Bot, clock: ManualClock, calls: Calls) -> None:
        self.wechat = wechat
        self.bot = bot
        self.clock = clock
        self.alice = wechat.user("alice")
        self._calls = calls

    def waits_until_idle(self) -> None:
        """Wait until the bot has processed the answers to its calls."""
        self._calls.waits_until_answered()
        engine = self.bot._runtime
        assert engine is not None
        engine._loop.run(_some_iterations(), TEST_TIMEOUT)

    def advance(self, seconds: float) -> None:
        """Advance the clock when the bot is idle."""
        self.waits_until_idle()
        self.clock.advance(seconds)

    def alice_writes_and_typing_is_renewed(self) -> None:
        """Let Alice write, and advance the clock by 15 seconds to the second Typing."""
        self.alice.says("hi").wait()
        self.alice.waits_for("Typing")
        self.advance(15)
        self.alice.waits_for("Typing", times=2)

    def ends(self, *saw: str) -> None:
        """Stop the bot, and assert that Alice saw exactly this, and that no call was one that a bot should not make."""
        self.stop_when_idle()
        assert self.alice.saw == [*saw]
        assert self.wechat.violations == []

    def stop_when_idle(self) -> None:
        """Stop the bot, and assert that its running handlers finish by themselves."""
        stopping = threading.Thread(target=self.bot.stop)
        stopping.start()
        stopping.join(TEST_TIMEOUT)
        if stopping.is_alive():
            self.clock.advance(self.bot.drain_seconds)
            stopping.join(TEST_TIMEOUT)
            raise AssertionError("the bot did not stop by itself")


def slow_plugin(
    clock: ManualClock, seconds: float = 0.0, answer: str | None = "answer", started: threading.Event | None = None
) -> Plugin:
    """Return a plugin whose handler sets ``started`` and takes ``seconds`` for every message."""
    plugin = Plugin("slow")

    @plugin.fallback
    async def think(ctx: Context) -> str | None:
        if started is not None:
            started.set()
        if seconds:
            await pause(clock, seconds)
        return answer

    return plugin


async def _some_iterations() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
