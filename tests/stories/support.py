"""What stories share: a log that can be waited for, and time that passes until somebody has read something."""

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
    """Remembers the lines of wxbot's log and waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(record.getMessage())
            self._changed.notify_all()

    def count(self, words: str) -> int:
        """The lines with these words in them."""
        return sum(words in line for line in self.lines)

    def waits_for(self, words: str, *, times: int = 1, timeout: float = 10.0) -> None:
        """Until these words are in ``times`` lines; at most ``timeout`` real seconds."""
        with self._changed:
            there = self._changed.wait_for(lambda: self.count(words) >= times, timeout)
        assert there, f"not logged: {words!r}\n" + "\n".join(self.lines)


def turn_until(clock: ManualClock, waits: Callable[[float], None], *, step: float = 1.0, turns: int = 25) -> None:
    """Turn the clock by ``step`` seconds, ``turns`` times at most, until ``waits`` does not fail: it gets a limit."""
    for _ in range(turns):
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
    """A bot in front of ``wechat``, with its store in a file that others may share. ``choices``: fields of Settings."""
    bot = make_bot(settings_for(wechat, store, **choices), plugins=plugins, clock=clock)
    with serve(bot) as address:
        wechat.callback_url = address
        yield bot


def replies(user: User) -> list[str]:
    """What the user read."""
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def waits_until_idle(bot: Bot, user: User) -> None:
    """Until nothing of this user is worked any more."""
    engine = bot._started_runtime()
    for _ in range(1000):
        if engine._dispatcher is not None and not engine._dispatcher.is_active(bot_key(bot, user.openid)):
            return
        engine._loop.run(asyncio.sleep(0.01), 1)
    raise AssertionError(f"{user} is still answered")


def bot_key(bot: Bot, openid: str) -> ConversationKey:
    return ConversationKey(bot.appid, openid)
