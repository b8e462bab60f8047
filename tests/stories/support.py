"""Helpers of the stories: a log to wait for, a clock that advances until a condition holds, and a running bot."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from wxbot import Plugin
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.store.records import ConversationKey, DeadLetter
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat, ManualClock, User, serve, settings_for

SORRY = "抱歉，出了点问题，请稍后再试。"

Result = TypeVar("Result")


class Log(logging.Handler):
    """A handler that stores the log lines of wxbot, and can wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.line_of: Callable[[logging.LogRecord], str] = logging.LogRecord.getMessage
        self._changed = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.lines.append(self.line_of(record))
            self._changed.notify_all()

    def count(self, words: str) -> int:
        """Return the number of lines that contain ``words``."""
        return sum(words in line for line in self.lines)

    def waits_for(self, words: str, *, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``times`` lines contain ``words``, for at most ``timeout`` real seconds."""
        with self._changed:
            logged = self._changed.wait_for(lambda: self.count(words) >= times, timeout)
        assert logged, f"not logged: {words!r}\n" + "\n".join(self.lines)


def advance_until(clock: ManualClock, waits: Callable[[float], object], *, step: float = 1.0, steps: int = 25) -> None:
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


Start = Callable[..., Bot]
"""The type of the fixture ``start``."""


def asks(user: User, text: str, reply: str | Callable[[str], bool], times: int = 1) -> None:
    """Let the user write ``text``, and wait until they see ``reply`` for the n-th time in total."""
    user.says(text).wait()
    user.waits_for(reply, times=times)


def replies(user: User) -> list[str]:
    """Return the messages that the user saw."""
    return [seen for seen in user.saw if seen not in ("Typing", "CancelTyping")]


def sends(user: User) -> int:
    """Return the number of calls that sent the user a message, or tried to."""
    return sum(record.kind == "send" for record in user.timeline)


def advance_until_seen(clock: ManualClock, user: User, text: str) -> None:
    """Advance the clock second by second until ``user`` has seen ``text``, so that polling and retries run."""
    advance_until(clock, lambda limit: user.waits_for(text, timeout=limit), steps=60)


def in_store(file: Path, work: Callable[[SqliteStore], Coroutine[Any, Any, Result]]) -> Result:
    """Return the result of ``work`` with the store in ``file``, which a bot may use at the same time."""
    store = SqliteStore(file)
    store.open()
    try:
        return asyncio.run(work(store))
    finally:
        store.close()


def dead_letters(bot: Bot, user: User) -> Sequence[DeadLetter]:
    """Return all dead letters of the account, when the bot no longer processes messages of this user."""
    waits_until_idle(bot, user)
    runtime = bot._started_runtime()
    letters: Sequence[DeadLetter] = runtime._loop.run(runtime.store.dead_letters(bot.appid, 100), 10)
    return letters


def retry(bot: Bot, letter: DeadLetter) -> None:
    """Retry a dead letter, as an operator does."""
    runtime = bot._started_runtime()
    assert runtime._loop.run(runtime.store.remove_dead_letter(bot.appid, letter.seq, bot.clock.now()), 10)


def waits_until_idle(bot: Bot, user: User) -> None:
    """Wait until the bot no longer processes messages of this user."""
    waits_in_loop(bot, lambda: not _is_active(bot, bot_key(bot, user.openid)), f"messages of {user} are processed")


def _is_active(bot: Bot, key: ConversationKey) -> bool:
    dispatcher = bot._started_runtime()._dispatcher
    return dispatcher is None or dispatcher.is_active(key)


def waits_in_loop(bot: Bot, condition: Callable[[], bool], why: str) -> None:
    """Wait until ``condition`` holds. Raise AssertionError with ``why`` after 10 seconds or more."""
    for _ in range(1000):
        if condition():
            return
        bot._started_runtime()._loop.run(asyncio.sleep(0.01), 1)
    raise AssertionError(why)


def bot_key(bot: Bot, openid: str) -> ConversationKey:
    return ConversationKey(bot.appid, openid)
