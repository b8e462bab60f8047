"""Real processes, real HTTP, real time; nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.support import Deployment, Stage
from wxbot.testing import Allowance, FakeWeChat


@pytest.fixture
def wechat(request: pytest.FixtureRequest) -> Iterator[FakeWeChat]:
    """The parameter, if there is one, is how many messages a user's message allows."""
    quota = {"message": Allowance(getattr(request, "param", 5), 48 * 3600)}
    with FakeWeChat(retry_pause=0.1, tries=20, quota=quota) as wechat:
        yield wechat


@pytest.fixture
def stage() -> Iterator[Stage]:
    with closing(Stage()) as stage:
        yield stage


@pytest.fixture
def bot(wechat: FakeWeChat, stage: Stage, tmp_path: Path) -> Iterator[Deployment]:
    """Not started yet."""
    with Deployment(wechat, stage, tmp_path) as bot:
        yield bot
    print(bot.story())  # noqa: T201 - pytest shows it where a test has failed
