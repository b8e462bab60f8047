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


def test_a_shared_clock_follows_the_server(watch: Watch) -> None:
    bot_clock = SharedClock()
    bot_clock.follow(SERVER, 5000.0, 5000.0)
    assert bot_clock.now() == SERVER
    watch.now += 12.5
    assert bot_clock.now() == SERVER + 12.5


def test_the_server_time_is_taken_in_the_middle_of_the_round_trip(watch: Watch) -> None:
    bot_clock = SharedClock()
    bot_clock.follow(SERVER, 5000.0, 5000.4)
    watch.now = 5000.4
    assert bot_clock.now() == pytest.approx(SERVER + 0.2)


def test_a_change_of_the_machines_clock_has_no_effect(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    bot_clock = SharedClock()
    bot_clock.follow(SERVER, 5000.0, 5000.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    watch.now += 1
    assert bot_clock.now() == SERVER + 1


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


def test_the_offset_is_read_from_the_file(stopped_time: None, file: Path) -> None:
    bot_clock = OffsetClock(file)
    assert bot_clock.now() == SERVER
    for offset in (31.0, 172800.5, 0.0):
        file.write_text(repr(offset))
        assert bot_clock.now() == SERVER + offset


@pytest.mark.parametrize("content", [b"", b" ", b"soon", b"\xff\xfe", "一".encode(), b"1 2", b"nan", b"inf"])
def test_a_file_without_a_number_means_no_offset(stopped_time: None, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert OffsetClock(file).now() == SERVER


def test_a_folder_in_place_of_the_file_means_no_offset(stopped_time: None, tmp_path: Path) -> None:
    assert OffsetClock(tmp_path).now() == SERVER


def test_the_offset_clock_follows_the_playgrounds_clock(file: Path, stopped_time: None) -> None:
    playground_clock = LeapingClock(file)
    bot_clock = [OffsetClock(file), OffsetClock(file)]
    for _ in range(3):
        playground_clock.advance(10.1)
        assert [each.now() for each in bot_clock] == [playground_clock.now()] * 2


def test_a_timer_runs_after_an_advance_and_not_before(file: Path, stopped_time: None) -> None:
    async def scenario() -> None:
        bot_clock, playground_clock = OffsetClock(file), LeapingClock(file)
        fired, last = asyncio.Event(), asyncio.Event()
        bot_clock.call_later(HOUR, fired.set)
        playground_clock.advance(HOUR - 1)
        bot_clock.call_later(0, last.set)
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


def test_an_overdue_timer_runs_at_once(file: Path, stopped_time: None) -> None:
    async def scenario() -> None:
        fired = asyncio.Event()
        OffsetClock(file).call_later(-5, fired.set)
        assert not fired.is_set()
        await asyncio.wait_for(fired.wait(), 10)

    asyncio.run(scenario())


def test_a_bot_has_an_offset_clock_only_with_a_clock_file(file: Path) -> None:
    given = {"appid": "wx0", "secret": "-", "token": "-", "store_url": "sqlite:///wxbot.db"}
    assert isinstance(make_clock(load_settings(env_file=None, **given, clock_file=str(file)).process), OffsetClock)
    assert type(make_clock(load_settings(env_file=None, **given).process)) is SystemClock
