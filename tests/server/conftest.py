"""A bot with its real HTTP entry points and FakeWeChat, in each encryption mode and data format."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from wxbot import Context, Plugin, UnknownMessage
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, serve, settings_for
from wxbot.testing.envelope import Format, Mode


class Webhook:
    """FakeWeChat and a running bot. ``handled``: the types of the messages that its handler got."""

    def __init__(self, wechat: FakeWeChat, bot: Bot, store: Path, handled: list[str]) -> None:
        self.wechat = wechat
        self.bot = bot
        self.handled = handled
        self._store = store

    def stored_messages(self) -> int:
        """Return the number of messages in the inbox, answered ones included."""
        with closing(sqlite3.connect(self._store)) as db:
            (rows,) = db.execute("SELECT count(*) FROM inbox").fetchone()
        return int(rows)


@contextmanager
def running_webhook(folder: Path, mode: Mode = "safe", form: Format = "json", **choices: object) -> Iterator[Webhook]:
    clock = ManualClock()
    handled: list[str] = []
    plugin = Plugin("repeat")

    @plugin.fallback
    async def repeat(ctx: Context) -> str:
        kind = ctx.message.msg_type if isinstance(ctx.message, UnknownMessage) else type(ctx.message).__name__
        handled.append(kind)
        return f"got {kind} {ctx.text}".strip()

    with FakeWeChat(clock, mode=mode, format=form, retry_pause=0) as wechat:
        store = folder / "wxbot.db"
        bot = make_bot(settings_for(wechat, store, **choices), plugins=[plugin], clock=clock)
        with serve(bot) as address:
            wechat.callback_url = address
            yield Webhook(wechat, bot, store, handled)


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[Webhook]:
    """Return the bot of a Mini Program in safe mode with JSON."""
    with running_webhook(tmp_path) as running:
        yield running
