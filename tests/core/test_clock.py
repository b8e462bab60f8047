"""The clock that machines share."""

from __future__ import annotations

import time

import pytest

from wxbot import clock
from wxbot.clock import SharedClock

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
