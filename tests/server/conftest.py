"""A bot behind its real HTTP entrance, in each of WeChat's modes and formats."""

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


class Door:
    """FakeWeChat, the bot behind the door, and what got through."""

    def __init__(self, wechat: FakeWeChat, bot: Bot, store: Path, handled: list[str]) -> None:
        self.wechat = wechat
        self.bot = bot
        self.handled = handled
        self._store = store

    def kept(self) -> int:
        """Messages in the inbox, answered ones included."""
        with closing(sqlite3.connect(self._store)) as db:
            (rows,) = db.execute("SELECT count(*) FROM inbox").fetchone()
        return int(rows)


@contextmanager
def open_door(folder: Path, mode: Mode = "safe", form: Format = "json", **choices: object) -> Iterator[Door]:
    clock = ManualClock()
    handled: list[str] = []
    plugin = Plugin("hear")

    @plugin.fallback
    async def hear(ctx: Context) -> str:
        kind = ctx.message.msg_type if isinstance(ctx.message, UnknownMessage) else type(ctx.message).__name__
        handled.append(kind)
        return f"heard {kind} {ctx.text}".strip()

    with FakeWeChat(clock, mode=mode, format=form, retry_pause=0) as wechat:
        store = folder / "wxbot.db"
        bot = make_bot(settings_for(wechat, store, **choices), plugins=[plugin], clock=clock)
        with serve(bot) as address:
            wechat.callback_url = address
            yield Door(wechat, bot, store, handled)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The door of a Mini Program in safe mode with JSON."""
    with open_door(tmp_path) as opened:
        yield opened
