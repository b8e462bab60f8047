"""Tests of the shared clock, which follows the store's server, and of the playground's offset clock."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from wxbot import clock
from wxbot.clock import OffsetClock, SharedClock, SystemClock
from wxbot.server.assembly import make_clock
from wxbot.settings.environment import load_settings
from wxbot.testing import LeapingClock

SERVER = 1_700_000_000.0


class Watch:
    """A replacement of ``elapsed`` that a test advances."""

    def __init__(self) -> None:
        self.now = 5000.0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(clock, "elapsed", lambda: watch.now)
    return watch


def test_a_shared_clock_begins_with_the_machines_time() -> None:
    assert abs(SharedClock().now() - time.time()) < 1


def test_a_shared_clock_follows_the_server_and_not_the_machine(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the server's time for that of the middle of the round trip."""
    bot_clock = SharedClock()
    bot_clock.follow(SERVER, 5000.0, 5000.4)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    for later in (0.2, 0.4, 12.5):
        watch.now = 5000.0 + later
        assert bot_clock.now() == pytest.approx(SERVER + later)


def test_two_machines_with_wrong_clocks_agree(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SharedClock()
    monkeypatch.setattr(time, "time", lambda: 123.0)
    second = SharedClock()
    assert abs(first.now() - second.now()) > 1000
    for each in (first, second):
        each.follow(SERVER, 5000.0, 5000.0)
    assert first.now() == second.now()


def test_a_slow_response_is_ignored(watch: Watch) -> None:
    bot_clock = SharedClock()
    bot_clock.follow(SERVER, 4999.0, 5000.0)
    first = bot_clock.now()
    bot_clock.follow(SERVER + 100, 4999.0, 5000.0)
    assert bot_clock.now() == first
    bot_clock.follow(SERVER + 100, 5000.0, 5000.0)
    assert bot_clock.now() == SERVER + 100


# The offset clock

HOUR = 3600.0


@pytest.fixture
def stopped_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the machine's time."""
    monkeypatch.setattr(time, "time", lambda: SERVER)
    monkeypatch.setattr(clock, "CHECK_SECONDS", 0.001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clock"


@pytest.mark.parametrize("content", [b"", b" ", b"soon", b"\xff\xfe", "一".encode(), b"1 2", b"nan", b"inf"])
def test_a_file_without_a_number_means_no_offset(stopped_time: None, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert OffsetClock(file).now() == OffsetClock(file.parent).now() == OffsetClock(file / "none").now() == SERVER


def test_the_offset_clock_follows_the_playgrounds_clock(file: Path, stopped_time: None) -> None:
    playground_clock = LeapingClock(file)
    bot_clock = [OffsetClock(file), OffsetClock(file)]
    for seconds in (0.0, 31.0, 172_800.5):
        playground_clock.advance(seconds)
        assert [each.now() for each in bot_clock] == [playground_clock.now()] * 2


def test_a_timer_runs_after_an_advance_and_not_before(file: Path, stopped_time: None) -> None:
    async def scenario() -> None:
        bot_clock, playground_clock = OffsetClock(file), LeapingClock(file)
        fired, last = asyncio.Event(), asyncio.Event()
        bot_clock.call_later(HOUR, fired.set)
        playground_clock.advance(HOUR - 1)
        bot_clock.call_later(-5, last.set)
        assert not last.is_set()
        await asyncio.wait_for(last.wait(), 10)
        assert not fired.is_set()
        playground_clock.advance(1)
        await asyncio.wait_for(fired.wait(), 10)

    asyncio.run(scenario())


def test_without_an_advance_a_timer_runs_on_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "CHECK_SECONDS", 0.001)

    async def scenario() -> None:
        fired = asyncio.Event()
        OffsetClock(file).call_later(0.01, fired.set)
        await asyncio.wait_for(fired.wait(), 10)

    asyncio.run(scenario())


def test_a_cancelled_timer_does_not_run(file: Path, stopped_time: None) -> None:
    async def scenario() -> None:
        bot_clock, playground_clock = OffsetClock(file), LeapingClock(file)
        fired: list[str] = []
        done = asyncio.Event()
        cancelled = [bot_clock.call_later(HOUR, lambda: fired.append("cancelled")) for _ in range(2)]
        cancelled[0].cancel()
        bot_clock.call_later(HOUR, done.set)
        await asyncio.sleep(0)
        cancelled[1].cancel()
        playground_clock.advance(HOUR)
        await asyncio.wait_for(done.wait(), 10)
        cancelled[1].cancel()
        assert fired == []

    asyncio.run(scenario())


def test_a_bot_has_an_offset_clock_only_with_a_clock_file(file: Path) -> None:
    given = {"appid": "wx0", "secret": "-", "token": "-", "store_url": "sqlite:///wxbot.db"}
    assert isinstance(make_clock(load_settings(env_file=None, **given, clock_file=str(file)).process), OffsetClock)
    assert type(make_clock(load_settings(env_file=None, **given).process)) is SystemClock
