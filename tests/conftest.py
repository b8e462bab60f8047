"""Nothing outlives a test: no thread, no process, no open file of ours."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.depth import EXAMPLES

# The same examples everywhere, and no verdict by the speed of the machine.
settings.register_profile("wxbot", max_examples=EXAMPLES, derandomize=True, deadline=None, print_blob=True)
settings.load_profile("wxbot")

_OURS = ("wxbot", "chat-server", "fake-wechat")


# What takes longest comes first, so that no process is left alone with it at the end. Files are handed out whole
# (--dist loadfile): what a module sets up is set up once.
_FIRST = (
    "tests/wakeups/dramatiq/test_dramatiq_faults.py",
    "tests/faults/",
    "tests/browser/",
    "tests/servers/test_servers.py",
    "tests/simulator/",
    "tests/cli/",
    "tests/backends/",
    "tests/docs/test_code.py",
    "tests/contracts/",
    "tests/stories/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by how long they take; the order within a file stays as it is."""
    items.sort(key=lambda item: next((n for n, path in enumerate(_FIRST) if item.nodeid.startswith(path)), len(_FIRST)))


def pytest_xdist_auto_num_workers() -> int:
    """Have two processes for each processor, as far as eight: most tests wait more than they compute."""
    processors = len(os.sched_getaffinity(0))
    return max(processors, min(2 * processors, 8))


def pytest_collection_finish() -> None:
    """Let the collector pass over what was imported and collected: it stays until the end, and no test has made it."""
    gc.collect()
    gc.freeze()


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
