"""The line that the demo and the console print for each thing that happens."""

from __future__ import annotations

from wxbot.playground.demo import SCENARIOS
from wxbot.playground.replay.timeline import line
from wxbot.testing import Record


def test_a_push_points_to_the_bot_and_a_reply_away_from_it() -> None:
    push = Record(at=10.0, kind="push", what="你好", name="amy", attempt=2, outcome="success", status=200, took=0.0123)
    reply = Record(at=12.5, kind="send", what="Hello", name="amy", errcode=0, took=0.001)
    assert line(push, 10.0, "mini") == (
        "   0.00s  mini     amy      →  push 你好 (try 2)                            success 200       12.3 ms"
    )
    assert line(reply, 10.0, "mini") == (
        "   2.50s  mini     amy      ←  reply Hello                                  errcode 0          1.0 ms"
    )


def test_what_the_user_did_is_told_by_its_push() -> None:
    assert line(Record(at=0, kind="user", what="hi"), 0, "mini") is None


def test_long_texts_are_cut_by_columns_and_not_by_characters() -> None:
    told = line(Record(at=0, kind="send", what="长" * 100, errcode=0), 0, "mini")
    assert told is not None
    assert told.count("长") == 18
    assert "…" in told


def test_the_demo_has_a_scene_for_every_user_and_tells_them_apart() -> None:
    assert len({scenario.user for scenario in SCENARIOS}) == len(SCENARIOS)
    assert {scenario.account for scenario in SCENARIOS} == {"mini", "official"}
