"""Fixtures of the stories: tests that play a conversation between FakeWeChat and a bot."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.stories.support import Log, Start, bot_for
from wxbot import Plugin
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User


@pytest.fixture
def log() -> Iterator[Log]:
    """Return the log lines of wxbot from INFO on."""
    log, wxbot = Log(), logging.getLogger("wxbot")
    level = wxbot.level
    wxbot.setLevel(logging.INFO)
    wxbot.addHandler(log)
    yield log
    wxbot.removeHandler(log)
    wxbot.setLevel(level)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def wechat(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[FakeWeChat]:
    """Return the platform, and check at the end that the bot made no call that WeChat would refuse.

    A test may set arguments of FakeWeChat: ``parametrize("wechat", [{"account_kind": "official"}], indirect=True)``.
    """
    with FakeWeChat(clock, **getattr(request, "param", {})) as wechat:
        yield wechat
        assert wechat.violations == []


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    return wechat.user("alice")


@pytest.fixture
def start(wechat: FakeWeChat, clock: ManualClock, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a bot. It runs until the test ends or the function is called again: a restart."""
    with ExitStack() as running:

        def start(*plugins: Plugin, **choices: object) -> Bot:
            running.close()
            return running.enter_context(bot_for(wechat, tmp_path / "wxbot.db", *plugins, clock=clock, **choices))

        yield start
