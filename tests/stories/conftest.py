"""Fixtures of the stories: tests that play a conversation between FakeWeChat and a bot."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.stories.support import Log


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
