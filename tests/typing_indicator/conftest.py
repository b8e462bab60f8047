"""Fixtures of the stories: a clock, and a bot with FakeWeChat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from tests.stories.support import bot_for
from tests.typing_indicator.stage import Calls, Stage
from wxbot.plugin.plugin import Plugin
from wxbot.testing import FakeWeChat, ManualClock
from wxbot.typing_indicator.port import Permit
from wxbot.wechat.http.transport import Limits, Transport


@pytest.fixture(autouse=True)
def typing_calls_may_be_slow() -> None:
    """Leave the bot its own limit, because these tests have slow calls and a manual clock."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    exchange = Transport.exchange

    async def watched(
        self: Transport,
        method: str,
        url: URL,
        body: bytes | None,
        timeout: Limits,
        call: str,
        permit: Permit | None = None,
    ) -> tuple[int, bytes]:
        with calls.one():
            return await exchange(self, method, url, body, timeout, call, permit)

    monkeypatch.setattr(Transport, "exchange", watched)
    return calls


@pytest.fixture
def play(clock: ManualClock, calls: Calls, tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Return a function that starts a bot with a plugin.

    ``account_kind`` is FakeWeChat's; ``taken_for`` is the bot's, if it differs. All others are settings of the bot.
    """
    with ExitStack() as stack:

        def start(plugin: Plugin, *, account_kind: Any = "miniprogram", taken_for: str = "", **settings: Any) -> Stage:
            wechat = stack.enter_context(FakeWeChat(clock, account_kind=account_kind))
            settings |= {"account_kind": taken_for} if taken_for else {}
            bot = stack.enter_context(bot_for(wechat, tmp_path / "wxbot.db", plugin, clock=clock, **settings))
            return Stage(wechat, bot, clock, calls)

        yield start
