"""Tests of the lines that the demo and the console print for each record."""

from __future__ import annotations

from wxbot.playground.demo import SCENARIOS
from wxbot.playground.replay.timeline import line
from wxbot.testing import Record


def test_a_push_has_an_arrow_to_the_bot_and_a_reply_from_it() -> None:
    push = Record(at=10.0, kind="push", what="你好", name="amy", attempt=2, outcome="success", status=200, took=0.0123)
    reply = Record(at=12.5, kind="send", what="Hello", name="amy", errcode=0, took=0.001)
    assert line(push, 10.0, "mini") == (
        "   0.00s  mini     amy      →  push 你好 (try 2)                            success 200       12.3 ms"
    )
    assert line(reply, 10.0, "mini") == (
        "   2.50s  mini     amy      ←  reply Hello                                  errcode 0          1.0 ms"
    )


def test_a_user_action_has_no_line_because_its_push_has_one() -> None:
    assert line(Record(at=0, kind="user", what="hi"), 0, "mini") is None


def test_long_texts_are_cut_by_display_width() -> None:
    printed = line(Record(at=0, kind="send", what="长" * 100, errcode=0), 0, "mini")
    assert printed is not None
    assert printed.count("长") == 18
    assert "…" in printed


def test_each_user_of_the_demo_has_one_scenario() -> None:
    assert len({scenario.user for scenario in SCENARIOS}) == len(SCENARIOS)
    assert {scenario.account for scenario in SCENARIOS} == {"mini", "official"}
