"""Settings of all tests; and fixtures which check that no test leaves a thread, socket or file open."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.depth import EXAMPLES
from wxbot.typing_indicator import indicator as typing_indicator

# derandomize: the same examples on every machine. deadline=None: a slow machine must not fail a test.
settings.register_profile("wxbot", max_examples=EXAMPLES, derandomize=True, deadline=None, print_blob=True)
settings.load_profile("wxbot")

_THREAD_NAMES = ("wxbot", "chat-server", "fake-wechat")
"""The prefixes of the names of threads of the bot, of ``wxbot.testing.chat`` and of FakeWeChat."""


# The slowest files come first, because otherwise the run would end with one process working and the others idle.
# Each file runs in one process (--dist loadfile), so that its module fixtures are set up once.
_FIRST = (
    "tests/wakeups/dramatiq/test_dramatiq_faults.py",
    "tests/browser/",
    "tests/faults/",
    "tests/servers/test_servers.py",
    "tests/playground/",
    "tests/cli/",
    "tests/store/redis/",
    "tests/docs/test_code.py",
    "tests/store/",
    "tests/stories/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by duration, the slowest first. The order within a file stays the same."""
    items.sort(key=lambda item: next((n for n, path in enumerate(_FIRST) if item.nodeid.startswith(path)), len(_FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are processors, because many tests wait more than they compute."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_finish() -> None:
    """Exclude all objects of imports and collection from garbage collection, because they stay until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def typing_calls_may_be_slow() -> Iterator[None]:
    """Have replies wait for typing calls that are slow because the machine is busy, so that none overtakes another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typing_indicator, "MAX_REPLY_DELAY", 10.0)
        yield


@pytest.fixture(autouse=True)
def no_thread_outlives_the_test() -> Iterator[None]:
    """Fail a test that leaves a thread of the bot or of FakeWeChat running."""
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(_THREAD_NAMES)]
    left = [name for name in left if not name.startswith("wxbot-handler")]  # the threads of a pool end by themselves
    assert not left, f"threads still run after the test: {left}"


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_open() -> Iterator[None]:
    """Collect garbage after each module, because an unclosed socket or file warns then, and warnings are errors."""
    yield
    gc.collect()
