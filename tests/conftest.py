"""Nothing outlives a test: no thread, no process, no open file of ours."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples everywhere, and no verdict by the speed of the machine.
settings.register_profile("wxbot", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("wxbot")

_OURS = ("wxbot", "chat-server", "fake-wechat")


@pytest.fixture(autouse=True)
def no_thread_outlives_the_test() -> Iterator[None]:
    """Fails a test that leaves a thread of the bot or of FakeWeChat behind."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(_OURS)]
    left = [name for name in left if not name.startswith("wxbot-handler")]  # a pool's threads end by themselves
    assert not left, f"threads were left behind: {left}"


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_open() -> Iterator[None]:
    """Sockets and files that were not closed warn when they are collected, and warnings are errors."""
    yield
    gc.collect()
