"""The clock that machines share, and the one that a simulator moves."""

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
    """The machine's steady time, turned by hand."""

    def __init__(self) -> None:
        self.now = 5000.0


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    monkeypatch.setattr(clock, "elapsed", lambda: watch.now)
    return watch


def test_alone_it_is_the_machines_own() -> None:
    assert abs(SharedClock().now() - time.time()) < 1


def test_it_is_what_the_server_says(watch: Watch) -> None:
    ours = SharedClock()
    ours.follow(SERVER, 5000.0, 5000.0)
    assert ours.now() == SERVER
    watch.now += 12.5
    assert ours.now() == SERVER + 12.5


def test_the_way_there_and_back_is_taken_as_equally_long(watch: Watch) -> None:
    ours = SharedClock()
    ours.follow(SERVER, 5000.0, 5000.4)
    watch.now = 5000.4
    assert ours.now() == pytest.approx(SERVER + 0.2)


def test_setting_the_machines_clock_changes_nothing(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = SharedClock()
    ours.follow(SERVER, 5000.0, 5000.0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    watch.now += 1
    assert ours.now() == SERVER + 1


def test_two_machines_agree_however_wrong_they_are(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SharedClock()
    monkeypatch.setattr(time, "time", lambda: 123.0)
    other = SharedClock()
    assert abs(one.now() - other.now()) > 1000
    for each in (one, other):
        each.follow(SERVER, 5000.0, 5000.0)
    assert one.now() == other.now()


def test_an_answer_that_was_long_on_its_way_says_too_little(watch: Watch) -> None:
    ours = SharedClock()
    ours.follow(SERVER, 4999.0, 5000.0)
    first = ours.now()
    ours.follow(SERVER + 100, 4999.0, 5000.0)
    assert ours.now() == first
    ours.follow(SERVER + 100, 5000.0, 5000.0)
    assert ours.now() == SERVER + 100


# -- moved by a simulator

HOUR = 3600.0


@pytest.fixture
def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own time does not go on by itself."""
    monkeypatch.setattr(time, "time", lambda: SERVER)
    monkeypatch.setattr(clock, "CHECK_SECONDS", 0.001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clock"


def test_it_is_as_far_ahead_as_the_file_says(stands_still: None, file: Path) -> None:
    ours = OffsetClock(file)
    assert ours.now() == SERVER
    for ahead in (31.0, 172800.5, 0.0):
        file.write_text(repr(ahead))
        assert ours.now() == SERVER + ahead


@pytest.mark.parametrize("content", [b"", b" ", b"soon", b"\xff\xfe", "一".encode(), b"1 2", b"nan", b"inf"])
def test_a_file_that_holds_no_number_moves_nothing(stands_still: None, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert OffsetClock(file).now() == SERVER


def test_a_folder_moves_nothing(stands_still: None, tmp_path: Path) -> None:
    assert OffsetClock(tmp_path).now() == SERVER


def test_it_follows_the_simulators_clock(file: Path, stands_still: None) -> None:
    theirs = LeapingClock(file)
    ours = [OffsetClock(file), OffsetClock(file)]
    for _ in range(3):
        theirs.advance(10.1)
        assert [each.now() for each in ours] == [theirs.now()] * 2


def test_a_timer_rings_after_a_leap_and_not_before(file: Path, stands_still: None) -> None:
    async def story() -> None:
        ours, theirs = OffsetClock(file), LeapingClock(file)
        rang, last = asyncio.Event(), asyncio.Event()
        ours.call_later(HOUR, rang.set)
        theirs.advance(HOUR - 1)
        ours.call_later(0, last.set)
        await asyncio.wait_for(last.wait(), 10)
        assert not rang.is_set()
        theirs.advance(1)
        await asyncio.wait_for(rang.wait(), 10)

    asyncio.run(story())


def test_without_a_leap_a_timer_rings_in_its_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "CHECK_SECONDS", 0.001)

    async def story() -> None:
        rang = asyncio.Event()
        OffsetClock(file).call_later(0.01, rang.set)
        await asyncio.wait_for(rang.wait(), 10)

    asyncio.run(story())


def test_a_timer_that_was_called_off_does_not_ring(file: Path, stands_still: None) -> None:
    async def story() -> None:
        ours, theirs = OffsetClock(file), LeapingClock(file)
        rang: list[str] = []
        done = asyncio.Event()
        cancelled = [ours.call_later(HOUR, lambda: rang.append("cancelled")) for _ in range(2)]
        cancelled[0].cancel()
        ours.call_later(HOUR, done.set)
        await asyncio.sleep(0)
        cancelled[1].cancel()
        theirs.advance(HOUR)
        await asyncio.wait_for(done.wait(), 10)
        cancelled[1].cancel()
        assert rang == []

    asyncio.run(story())


def test_what_is_overdue_rings_at_once(file: Path, stands_still: None) -> None:
    async def story() -> None:
        rang = asyncio.Event()
        OffsetClock(file).call_later(-5, rang.set)
        assert not rang.is_set()
        await asyncio.wait_for(rang.wait(), 10)

    asyncio.run(story())


def test_a_bot_has_it_only_where_a_file_is_set(file: Path) -> None:
    given = {"appid": "wx0", "secret": "-", "token": "-", "store_url": "sqlite:///wxbot.db"}
    assert isinstance(make_clock(load_settings(env_file=None, **given, clock_file=str(file))), OffsetClock)
    assert type(make_clock(load_settings(env_file=None, **given))) is SystemClock
