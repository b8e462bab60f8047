"""What was answered and does not fit into the messages that are left: it is kept for the user. Pure.

The rest is kept with the conversation's state, beside what plugins keep there.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wxbot.replies import Reply, TextReply, reply_from_json, reply_to_json
from wxbot.splitting import split_parts

log = logging.getLogger("wxbot.rest")

STATE_KEY = "_rest"
"""No plugin can have this name: theirs begin with a letter."""


MOST_KEPT = 100
"""Messages; of more than that, the oldest offers are forgotten."""


class Rest(NamedTuple):
    """Replies that wait for the user. ``offered``: they have been told, and may ask for it."""

    replies: tuple[Reply, ...] = ()
    offered: bool = False

    def plus(self, replies: Sequence[Reply], *, offered: bool) -> Rest:
        """With ``replies`` as well. What goes on with what the user has just read comes first; nothing is replaced."""
        if not replies:
            return self
        in_order = not self.offered and not offered  # neither was told: the older one first
        both = (*self.replies, *_apart(replies)) if in_order else (*replies, *_apart(self.replies))
        if len(both) > MOST_KEPT:
            log.warning("%d message(s) of old answers that nobody asked for are forgotten", len(both) - MOST_KEPT)
        return Rest(both[:MOST_KEPT], offered)


def _apart(replies: Sequence[Reply]) -> Sequence[Reply]:
    """They do not go on with what stands before them now."""
    first = replies[0] if replies else None
    return [dataclasses.replace(first, joint="\n"), *replies[1:]] if isinstance(first, TextReply) else replies


def rest_in(state: Mapping[str, Any]) -> Rest:
    """What is kept in a conversation's ``state``."""
    kept = state.get(STATE_KEY)
    if not kept:
        return Rest()
    try:
        return Rest(tuple(reply_from_json(each) for each in kept["replies"]), bool(kept["offered"]))
    except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
        log.warning("the rest of an answer cannot be read and stays where it is: %s", error)
        return Rest()


def with_rest(state: Mapping[str, Any], rest: Rest) -> dict[str, Any]:
    """``state`` with ``rest`` in place of what was kept."""
    others = {name: value for name, value in state.items() if name != STATE_KEY}
    if not rest.replies:
        return others
    return {**others, STATE_KEY: {"replies": [reply_to_json(each) for each in rest.replies], "offered": rest.offered}}


class Fitted(NamedTuple):
    """Messages to send now, and what is kept."""

    now: list[Reply]
    kept: list[Reply]


def fit(replies: Sequence[Reply], left: int, text_bytes: int, hint: str) -> Fitted:
    """``replies`` in at most ``left`` messages of ``text_bytes``: texts are merged only if they must be.

    If even so not all fit, the last message ends with ``hint``, which says how to read on.
    """
    if len(replies) <= left:
        return Fitted(list(replies), [])
    merged = _merged(replies, text_bytes)
    if len(merged) <= left:
        return Fitted(merged, [])
    if left == 0:
        return Fitted([], merged)
    return _with_hint(merged[:left], merged[left:], text_bytes, hint)


def _with_hint(now: list[Reply], kept: list[Reply], text_bytes: int, hint: str) -> Fitted:
    last = now.pop()
    if not isinstance(last, TextReply):
        return Fitted([*now, TextReply(hint)], [last, *kept])
    room = max(text_bytes - len(hint.encode()) - 1, 4)
    first, *others = _pieces(last, last.text, room)
    now.append(dataclasses.replace(first, text=f"{first.text}\n{hint}"))
    return Fitted(now, _merged([*others, *kept], text_bytes))


def _merged(replies: Sequence[Reply], text_bytes: int) -> list[Reply]:
    """Neighbouring texts of the same look as few as possible."""
    merged: list[Reply] = []
    for reply in replies:
        before = merged[-1] if merged else None
        if isinstance(reply, TextReply) and isinstance(before, TextReply) and _look(reply) == _look(before):
            merged[-1:] = _pieces(before, before.text + reply.joint + reply.text, text_bytes)
        else:
            merged.append(reply)
    return merged


def _pieces(like: TextReply, text: str, text_bytes: int) -> list[TextReply]:
    first, *others = split_parts(text, text_bytes)
    return [
        dataclasses.replace(like, text=first.text),
        *(dataclasses.replace(like, text=part.text, joint=part.joint) for part in others),
    ]


def _look(reply: Reply) -> tuple[bool | None, str]:
    return reply.ai, reply.agent
