"""A whole bot and FakeWeChat in one process, with real HTTP in both directions, SQLite and one manual clock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from wxbot.clock import pause
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app
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

    def stop_when_idle(self) -> None:
        """Stop the bot, and assert that its running handlers finish by themselves."""
        stopping = threading.Thread(target=self.bot.stop)
        stopping.start()
        stopping.join(TEST_TIMEOUT)
        if stopping.is_alive():
            self.clock.advance(self.bot.drain_seconds)
            stopping.join(TEST_TIMEOUT)
            raise AssertionError("the bot did not stop by itself")


class SlowHandler:
    """A plugin whose handler takes ``seconds`` for every message and signals its start."""

    def __init__(self, clock: ManualClock, seconds: float = 0.0, answer: str | None = "answer") -> None:
        self.plugin = Plugin("slow")
        self._started = threading.Semaphore(0)

        @self.plugin.fallback
        async def think(ctx: Context) -> str | None:
            self._started.release()
            if seconds:
                await pause(clock, seconds)
            return answer

    def waits_for_start(self) -> None:
        """Wait until the handler starts for the next message."""
        assert self._started.acquire(timeout=TEST_TIMEOUT), "the handler was not called"


async def _some_iterations() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Log nothing."""


@contextmanager
def served(bot: Bot, port: int = 0) -> Iterator[str]:
    """Serve the bot's webhook on a port, and yield its callback URL."""
    server = make_server("127.0.0.1", port, create_app(Deployment({"": bot})), threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/wechat"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(TEST_TIMEOUT)
        assert not thread.is_alive(), f"{thread} is still running after the test"
