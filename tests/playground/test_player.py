"""The player: a matching replay passes, and a different one is reported."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.playground.support import TYPED, parrot, played, session
from tests.playground.test_recorder import asking
from tests.testing.bot import Receiver
from wxbot import Plugin
from wxbot.playground.replay.player import play
from wxbot.playground.replay.recorder import Recorder
from wxbot.playground.transcript import (
    ClearFaults,
    ClicksMenuItem,
    Closes,
    DeliverTwiceAtOnce,
    Does,
    Enters,
    Fault,
    Follows,
    Forward,
    HandsOver,
    Hold,
    InOrder,
    Leaves,
    Matches,
    Redeliver,
    Release,
    RevokeToken,
    Says,
    Sees,
    SendsLocation,
    SendsPicture,
    SendsVoice,
    SetFormat,
    SetMode,
    Step,
    Takes,
    Transcript,
    Writes,
    read,
    write,
)
from wxbot.testing.rules import AccountKind


def of(*steps: Step, typing: bool = True, kind: AccountKind = "miniprogram") -> Transcript:
    """Return a transcript as read from a file: each step has a line."""
    form = "json" if kind == "miniprogram" else "xml"
    return read(write(Transcript(kind, "safe", "json" if form == "json" else "xml", steps, typing)))


ALL_SORTS = of(
    Says("amy", "a"),
    Sees("amy", (*TYPED, "a")),
    Says("bob", "story"),
    Sees("bob", ("Typing",)),
    Sees("bob", ("one", "Typing", "two")),
    SendsPicture("amy", b"cat"),
    Sees("amy", (*TYPED, "a picture")),
    Enters("amy", "shop"),
    Does("amy", "CLICK", {"EventKey": "k"}),
    Forward(31),
    Redeliver("amy", 1),
    Redeliver("amy"),
    Fault("send", "fail"),
    Says("amy", "b"),
    Sees("amy", ("Typing", "CancelTyping", "b")),
    RevokeToken(),
    Fault("typing", "slow", seconds=3, times=None),
    Fault("typing", "http"),
    ClearFaults(),
    Says("amy", "c"),
    Sees("amy", (*TYPED, Matches("^c$"))),
    DeliverTwiceAtOnce(),
    InOrder(False),
    SetMode("compatible"),
    SetFormat("xml"),
    Hold(),
    Says("amy", "d"),
    Release(),
    Sees("amy", (*TYPED, "d")),
    DeliverTwiceAtOnce(False),
    InOrder(),
    Takes("kf1", "amy"),
    Writes("kf1", "hello", "amy"),
    Sees("amy", ("hello",)),
    Says("amy", "to the agent"),
    HandsOver("kf1", "amy", "kf2"),
    Closes("kf2", "amy"),
    Says("amy", "silence"),
    Sees("amy", TYPED),
)


def test_matching_replies_pass(tmp_path: Path) -> None:
    assert played(ALL_SORTS, tmp_path / "db") == []


def test_a_recording_can_be_replayed(tmp_path: Path) -> None:
    with session(tmp_path / "db") as (wechat, clock):
        recorder = Recorder(wechat)
        assert play(ALL_SORTS, wechat, clock.advance) == []
        actions = recorder.transcript()
    assert played(read(write(actions)), tmp_path / "again") == []


def test_actions_at_an_official_account(tmp_path: Path) -> None:
    steps = (
        Follows("amy", "7"),
        Says("amy", "ask"),
        Sees("amy", ("[msgmenu Well?]",)),
        ClicksMenuItem("amy", "Yes"),
        Sees("amy", (*TYPED, "Yes!")),
        SendsVoice("amy"),
        SendsLocation("amy", 1.0, 2.0),
        Leaves("amy"),
    )
    problems = played(of(*steps, kind="official", typing=False), tmp_path / "db", asking())
    assert problems == []


def test_the_number_of_completed_steps_is_reported(tmp_path: Path) -> None:
    done: list[int] = []
    played(of(Says("amy", "a"), Sees("amy", (*TYPED, "a")), Forward(1)), tmp_path / "db", on_step=done.append)
    assert done == [1, 2, 3]


def test_a_different_reply_stops_only_its_user(tmp_path: Path) -> None:
    transcript = of(
        Says("amy", "a"),
        Sees("amy", (*TYPED, "a")),
        Says("bob", "b"),
        Sees("bob", (*TYPED, "b!")),
        Says("amy", "never said"),
        Sees("amy", (*TYPED, "never said")),
    )
    first, *others = played(transcript, tmp_path / "db", parrot(answer="{}!"))
    assert others == []
    assert first.startswith(
        "step 2 (line 7): amy: replies differ\n"
        '  expected: ["Typing", "a"]\n'
        '  got:      ["Typing", "a!"]\n'
        '  the first difference: expected "a", got "a!"\n'
        "  what happened:\n"
    )
    assert "never said" not in first
    assert "amy: send 'a!' -> 0" in first


def test_differences_are_reported_per_user(tmp_path: Path) -> None:
    steps = (Says("amy", "a"), Says("bob", "b"), Sees("amy", (Matches("^x"),)), Sees("bob", ("c", "d")))
    amy, bob = played(of(*steps, typing=False), tmp_path / "db")
    assert amy.startswith('step 3 (line 9): amy: replies differ\n  expected: [{matches: "^x"}]\n')
    assert 'the first difference: expected {matches: "^x"}, got "a"' in amy
    assert 'the first difference: expected "c", got "b"' in bob


def test_a_missing_reply_is_a_difference(tmp_path: Path) -> None:
    transcript = of(Says("amy", "a"), Sees("amy", (*TYPED, "a", "b")))
    (problem,) = played(transcript, tmp_path / "db", patience=0.3)
    assert '  missing:  ["b"]\n  nothing more came within 0.3 s\n  what happened:\n' in problem


def test_within_overrides_the_timeout(tmp_path: Path) -> None:
    (problem,) = played(of(Sees("amy", ("a",), within=0.1)), tmp_path / "db")
    assert "nothing more came within 0.1 s\n  nothing happened" in problem


def test_an_unexpected_reply_is_a_difference(tmp_path: Path) -> None:
    transcript = of(Says("amy", "story"), Sees("amy", ("Typing", "one")))
    (problem,) = played(transcript, tmp_path / "db")
    assert problem.startswith('after the last step: amy saw more than expected: ["Typing"')
    (problem,) = played(of(Says("amy", "a")), tmp_path / "other")
    assert problem.startswith('after the last step: amy saw more than expected: ["Typing"')


def test_typing_can_be_ignored(tmp_path: Path) -> None:
    transcript = of(Says("amy", "story"), Sees("amy", ("one",)), Sees("amy", ("Typing", "two")), typing=False)
    assert played(transcript, tmp_path / "db") == []
    (problem,) = played(of(Says("amy", "a"), Sees("amy", ("b",)), typing=False), tmp_path / "other")
    assert 'expected: ["b"]\n  got:      ["a"]' in problem


def test_an_early_reply_is_accepted(tmp_path: Path) -> None:
    steps = (Says("amy", "a"), Says("bob", "b"), Sees("bob", ("b",)), Says("bob", "c"), Sees("bob", ("c",)))
    assert played(of(*steps, Sees("amy", ("a",)), typing=False), tmp_path / "db") == []


def test_an_impossible_step_is_a_difference(tmp_path: Path) -> None:
    steps = (ClicksMenuItem("amy", "Yes"), Redeliver("bob"), Redeliver("cat", 2), Closes("kf1", "dan"))
    problems = played(of(*steps, kind="official"), tmp_path / "db")
    assert [problem.partition(": ")[2] for problem in problems] == [
        "amy was sent no msgmenu with the item 'Yes'",
        "cannot redeliver: bob has 0 push(es) so far",
        "cannot redeliver: cat has 0 push(es) so far",
        "kf1 has no session with this user",
    ]
    assert problems[0].startswith("step 1 (line 6): ")


def test_a_step_without_a_file_has_no_line(tmp_path: Path) -> None:
    (problem,) = played(Transcript("miniprogram", "safe", "json", (Redeliver("bob"),)), tmp_path / "db")
    assert problem.startswith("step 1: cannot redeliver: bob has 0")


def test_an_unacknowledged_push_is_a_difference(tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False) as (wechat, clock), Receiver(lambda received: (500, b"")) as bot:
        wechat.callback_url, wechat.tries = bot.url, 1
        notice = Sees("amy", ("[该小程序客服暂时无法提供服务，请稍后再试]",))
        problems = play(of(Says("amy", "a"), notice), wechat, clock.advance)
    assert problems == ["the push <Push 'a', 1 attempt(s), done=True> of amy was not acknowledged: refused (HTTP 500)"]


def test_an_undelivered_push_is_a_difference(tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False) as (wechat, clock):
        (problem,) = play(of(Says("amy", "a")), wechat, clock.advance)
        assert problem.endswith("of amy was never delivered: no callback URL is set")
    with session(tmp_path / "db", bot=False) as (wechat, clock), Receiver(lambda received: None) as bot:
        wechat.callback_url = bot.url
        (problem,) = play(of(Says("amy", "a")), wechat, clock.advance, patience=0.2)
        assert problem.endswith("of amy is still being delivered")


def test_a_push_held_to_the_end_is_no_difference(tmp_path: Path) -> None:
    assert played(of(Hold(), Hold(), Says("amy", "a"), Redeliver("amy")), tmp_path / "db") == []
    steps = (Hold(), Says("amy", "a"), Says("bob", "b"), Release("reversed"), Sees("bob", ("b",)), Sees("amy", ("a",)))
    assert played(of(*steps, typing=False), tmp_path / "other") == []


def test_a_mode_switch_uses_the_callback(tmp_path: Path) -> None:
    modes: list[str] = []
    assert played(of(SetMode("plain")), tmp_path / "db", switch_mode=modes.append) == []
    assert modes == ["plain"]


def test_the_player_waits_for_the_end_of_the_indicator(tmp_path: Path) -> None:
    """The bot shows typing and sends nothing: typing ends by time, as in the transcript."""
    with session(tmp_path / "db", bot=False) as (wechat, clock), Receiver() as bot:
        wechat.callback_url = bot.url
        amy = wechat.user("amy")
        amy.says("a").wait()
        with wechat.record_log.changed:
            wechat.platform.typing(amy.openid, "Typing")
        clock.advance(14.5)
        began = time.monotonic()
        assert play(of(), wechat, clock.advance, settle=0.01) == []
        assert 0.2 < time.monotonic() - began < 10


@pytest.mark.parametrize("settle", [0.01])
def test_an_empty_transcript_passes(settle: float, tmp_path: Path) -> None:
    assert played(of(), tmp_path / "db", Plugin("none"), settle=settle) == []
