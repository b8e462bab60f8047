"""Fixtures of the tests of FakeWeChat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing.bot import Receiver
from wxbot.testing import FakeWeChat, ManualClock, User


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bot() -> Iterator[Receiver]:
    """Return a bot that receives the pushes, if the module's ``account`` has pushes."""
    with Receiver() as bot:
        yield bot


@pytest.fixture
def account(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of the module's FakeWeChat: its ACCOUNT, with the address of the bot if it has pushes."""
    chosen: dict[str, Any] = dict(getattr(request.module, "ACCOUNT", {}))
    if chosen.pop("pushes", False):
        chosen["callback_url"] = request.getfixturevalue("bot").url
    return chosen


@pytest.fixture
def wechat(clock: ManualClock, account: dict[str, Any]) -> Iterator[FakeWeChat]:
    with FakeWeChat(clock, **account) as wechat:
        yield wechat


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    return wechat.user("alice")
