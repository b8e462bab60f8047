"""The visible items of the indicator: the order of a message and a CancelTyping beside it is random."""

from __future__ import annotations

import pytest

from wxbot.playground import transcript as t
from wxbot.playground.replay.visible import visible, with_visible_things


@pytest.mark.parametrize(
    ("things", "seen"),
    [
        (["Typing", "CancelTyping", "hi"], ["Typing", "hi"]),
        (["Typing", "hi", "CancelTyping"], ["Typing", "hi"]),
        (["Typing", "hi"], ["Typing", "hi"]),
        (["Typing", "CancelTyping"], ["Typing", "CancelTyping"]),
        (["Typing", "CancelTyping", "Typing", "hi"], ["Typing", "CancelTyping", "Typing", "hi"]),
        (["CancelTyping", "CancelTyping", "hi"], ["CancelTyping", "hi"]),
        ([], []),
    ],
)
def test_a_cancel_beside_a_message_is_hidden(things: list[str], seen: list[str]) -> None:
    assert visible(things) == seen


def test_steps_of_other_users_do_not_matter() -> None:
    steps = [
        t.Says("amy", "hi"),
        t.Sees("amy", ("Typing", "CancelTyping")),
        t.Sees("bob", ("CancelTyping",)),
        t.Sees("amy", (t.Matches("^h"), "Typing", "CancelTyping")),
    ]
    assert with_visible_things(steps) == [
        t.Says("amy", "hi"),
        t.Sees("amy", ("Typing",)),
        t.Sees("bob", ("CancelTyping",)),
        t.Sees("amy", (t.Matches("^h"), "Typing", "CancelTyping")),
    ]
