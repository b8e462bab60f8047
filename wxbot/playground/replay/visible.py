"""The visible part of the typing indicator: a CancelTyping beside a message changes nothing on the screen.

The two calls use separate connections, so their order is random. Transcripts are compared without such a CancelTyping.
A CancelTyping that ends the indicator without a message is compared.
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
    """Return ``things`` without each CancelTyping beside a message."""
    return [thing for thing, is_hidden in zip(things, _hidden(things), strict=True) if not is_hidden]


def _hidden(things: Sequence[object]) -> list[bool]:
    is_message = [thing not in TYPING for thing in things]
    return [
        thing == CANCEL and any(is_message[max(0, at - 1) : at + 2])  # a CancelTyping itself is not a message
        for at, thing in enumerate(things)
    ]


def with_visible_things(steps: Sequence[t.Step]) -> list[t.Step]:
    """Return the steps with only the visible items of each user. Steps of other users in between do not matter."""
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
