"""Fixtures for tests with real processes, real HTTP and real time. All processes end after each test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.support import Deployment, HandlerControl
from wxbot.testing import Allowance, FakeWeChat


@pytest.fixture
def wechat(request: pytest.FixtureRequest) -> Iterator[FakeWeChat]:
    """Return a FakeWeChat. The parameter, if there is one, is the number of messages that a user's message allows."""
    quota = {"message": Allowance(getattr(request, "param", 5), 48 * 3600)}
    with FakeWeChat(retry_pause=0.1, tries=20, quota=quota) as wechat:
        yield wechat


@pytest.fixture
def handlers() -> Iterator[HandlerControl]:
    with closing(HandlerControl()) as handlers:
        yield handlers


@pytest.fixture
def bot(wechat: FakeWeChat, handlers: HandlerControl, tmp_path: Path) -> Iterator[Deployment]:
    """Return a deployment that is not started yet."""
    with Deployment(wechat, handlers, tmp_path) as bot:
        yield bot
    print(bot.log_text())  # noqa: T201 - pytest shows it if the test has failed
