"""A whole bot against FakeWeChat, in one process: real HTTP both ways, SQLite, one clock that is turned by hand."""

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

PATIENCE = 10.0  # real seconds until a test is given up


class Calls:
    """Watches the bot's calls to WeChat: a test may turn the clock once their answers have been read."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._under_way = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def waits_until_answered(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._under_way == 0, PATIENCE), f"{self._under_way} calls hang"

    def _count(self, change: int) -> None:
        with self._changed:
            self._under_way += change
            self._changed.notify_all()


class Stage:
    """The bot, WeChat, and the clock they share."""

    def __init__(self, wechat: FakeWeChat, bot: Bot, clock: ManualClock, calls: Calls) -> None:
        self.wechat = wechat
        self.bot = bot
        self.clock = clock
        self.alice = wechat.user("alice")
        self._calls = calls

    def rests(self) -> None:
        """Until the bot has read the answers to its calls, and drawn its conclusions."""
        self._calls.waits_until_answered()
        engine = self.bot._runtime
        assert engine is not None
        engine._loop.run(_some_passes(), PATIENCE)

    def turn(self, seconds: float) -> None:
        """Time passes, once the bot rests."""
        self.rests()
        self.clock.advance(seconds)

    def ends(self) -> None:
        """The bot finishes what it is at, and stops: nothing more will happen."""
        stopping = threading.Thread(target=self.bot.stop)
        stopping.start()
        stopping.join(PATIENCE)
        if stopping.is_alive():
            self.clock.advance(self.bot.drain_seconds)
            stopping.join(PATIENCE)
            raise AssertionError("the bot did not come to an end by itself")


class Thinker:
    """A plugin that takes its time for everything, and tells when it begins."""

    def __init__(self, clock: ManualClock, seconds: float = 0.0, answer: str | None = "answer") -> None:
        self.plugin = Plugin("thinker")
        self._begun = threading.Semaphore(0)

        @self.plugin.fallback
        async def think(ctx: Context) -> str | None:
            self._begun.release()
            if seconds:
                await pause(clock, seconds)
            return answer

    def begins(self) -> None:
        """Until the handler is at the next message."""
        assert self._begun.acquire(timeout=PATIENCE), "the handler was not called"


async def _some_passes() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Says nothing."""


@contextmanager
def served(bot: Bot, port: int = 0) -> Iterator[str]:
    """The bot's webhook on a port of its own; its callback URL."""
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
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread} outlives the test"
