"""What was answered and does not fit into the messages that are left: it is kept for the user. Pure.

The rest is kept with the conversation's state, beside what plugins keep there.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wxbot.replies import Reply, TextReply, reply_from_json, reply_to_json
from wxbot.splitting import split_text

log = logging.getLogger("wxbot.rest")

STATE_KEY = "_rest"
"""No plugin can have this name: theirs begin with a letter."""


class Rest(NamedTuple):
    """Replies that wait for the user. ``offered``: they have been told, and may ask for it."""

    replies: tuple[Reply, ...] = ()
    offered: bool = False


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
    first, *others = split_text(last.text, room)
    now.append(dataclasses.replace(last, text=f"{first}\n{hint}"))
    return Fitted(now, _merged([*(dataclasses.replace(last, text=each) for each in others), *kept], text_bytes))


def _merged(replies: Sequence[Reply], text_bytes: int) -> list[Reply]:
    """Neighbouring texts of the same look as few as possible."""
    merged: list[Reply] = []
    for reply in replies:
        before = merged[-1] if merged else None
        if isinstance(reply, TextReply) and isinstance(before, TextReply) and _look(reply) == _look(before):
            pieces = split_text(f"{before.text}\n{reply.text}", text_bytes)
            merged[-1:] = [dataclasses.replace(before, text=piece) for piece in pieces]
        else:
            merged.append(reply)
    return merged


def _look(reply: Reply) -> tuple[bool | None, str]:
    return reply.ai, reply.agent
