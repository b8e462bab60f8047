"""Fixtures for stories."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.stories.support import Log


@pytest.fixture
def log() -> Iterator[Log]:
    """wxbot's log from INFO on."""
    log, wxbot = Log(), logging.getLogger("wxbot")
    level = wxbot.level
    wxbot.setLevel(logging.INFO)
    wxbot.addHandler(log)
    yield log
    wxbot.removeHandler(log)
    wxbot.setLevel(level)
