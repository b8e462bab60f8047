"""Helpers of the stories: a log to wait for, a clock that advances until a condition holds, and a running bot."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wxbot import Plugin
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.store.records import ConversationKey
from wxbot.testing import FakeWeChat, ManualClock, User, serve, settings_for


class Log(logging.Handler):
    """A handler that stores the log lines of wxbot, and can wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def count(self, words: str) -> int:
        """Return the number of lines that contain ``words``."""
        return sum(words in line for line in self.lines)

    def waits_for(self, words: str, *, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``times`` lines contain ``words``, for at most ``timeout`` real seconds."""
        with self._changed:
            logged = self._changed.wait_for(lambda: self.count(words) >= times, timeout)
        assert logged, f"not logged: {words!r}\n" + "\n".join(self.lines)


def advance_until(clock: ManualClock, waits: Callable[[float], None], *, step: float = 1.0, steps: int = 25) -> None:
    """Advance the clock in steps of ``step`` seconds until ``waits``, which gets a time limit, does not fail."""
    for _ in range(steps):
        try:
            waits(0.1)
        except AssertionError:
            clock.advance(step)
        else:
            return
    waits(10.0)


@contextmanager
def bot_for(
    wechat: FakeWeChat, store: Path, *plugins: Plugin, clock: ManualClock | None = None, **choices: object
) -> Iterator[Bot]:
    """Run a bot for the pushes of ``wechat``, with its store in a file. ``choices``: fields of Settings."""
    bot = make_bot(settings_for(wechat, store, **choices), plugins=plugins, clock=clock)
    with serve(bot) as address:
        wechat.callback_url = address
        yield bot


def replies(user: User) -> list[str]:
    """Return the messages that the user saw."""
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def waits_until_idle(bot: Bot, user: User) -> None:
    """Wait until the bot no longer processes messages of this user."""
    runtime = bot._started_runtime()
    for _ in range(1000):
        if runtime._dispatcher is not None and not runtime._dispatcher.is_active(bot_key(bot, user.openid)):
            return
        runtime._loop.run(asyncio.sleep(0.01), 1)
    raise AssertionError(f"messages of {user} are still processed")


def bot_key(bot: Bot, openid: str) -> ConversationKey:
    return ConversationKey(bot.appid, openid)
