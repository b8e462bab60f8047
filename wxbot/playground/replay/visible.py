"""What a user really sees of the typing indicator: a message ends it, so a CancelTyping beside one shows nothing.

The two travel on connections of their own, and which of them comes first is chance. Transcripts are compared without
such a CancelTyping; one that ends the indicator without a message counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from wxbot.playground import transcript as t

CANCEL = "CancelTyping"
TYPING = ("Typing", CANCEL)

Thing = TypeVar("Thing")


def visible(things: Sequence[Thing]) -> list[Thing]:
    """``things`` without each CancelTyping beside a message."""
    return [thing for thing, is_hidden in zip(things, _hidden(things), strict=True) if not is_hidden]


def _hidden(things: Sequence[object]) -> list[bool]:
    is_message = [thing not in TYPING for thing in things]
    return [
        thing == CANCEL and any(is_message[max(0, at - 1) : at + 2])  # itself is none
        for at, thing in enumerate(things)
    ]


def with_visible_things(steps: Sequence[t.Step]) -> list[t.Step]:
    """The steps with what each user sees as ``visible`` has it, whatever others do in between."""
    hidden: dict[str, list[bool]] = {}
    for user in {step.user for step in steps if isinstance(step, t.Sees)}:
        seen = [thing for step in steps if isinstance(step, t.Sees) and step.user == user for thing in step.things]
        hidden[user] = _hidden(seen)
    shown: list[t.Step] = []
    for step in steps:
        if isinstance(step, t.Sees):
            marks, hidden[step.user] = hidden[step.user][: len(step.things)], hidden[step.user][len(step.things) :]
            things = tuple(thing for thing, is_hidden in zip(step.things, marks, strict=True) if not is_hidden)
            step = replace(step, things=things)
        shown.append(step)
    return shown
