"""What was answered and does not fit into the messages that are left: it is kept for the user. Pure.

The rest is kept with the conversation's state, beside what plugins keep there.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wxbot.delivery.text_splitting import split_parts
from wxbot.model.replies import Reply, TextReply, reply_from_json, reply_to_json

log = logging.getLogger("wxbot.rest")

STATE_KEY = "_rest"
"""No plugin can have this name: theirs begin with a letter."""


MOST_KEPT = 100
"""Messages; of more than that, the oldest offers are forgotten."""


class Rest(NamedTuple):
    """Replies that wait for the user: what they were never told of, and what they may ask for."""

    untold: tuple[Reply, ...] = ()
    told: tuple[Reply, ...] = ()

    def plus(self, replies: Sequence[Reply], *, told: bool) -> Rest:
        """With ``replies`` as well; nothing is replaced. What goes on with what the user has just read comes first."""
        if not told:
            return Rest((*self.untold, *_apart(replies)), self.told)
        both = (*replies, *_apart(self.told))
        if len(both) > MOST_KEPT:
            log.warning("%d message(s) of old answers that nobody asked for are forgotten", len(both) - MOST_KEPT)
        return Rest(self.untold, both[:MOST_KEPT])

    def all_of_it(self) -> list[Reply]:
        """What the user gets who asks for it."""
        return [*self.untold, *_apart(self.told)]


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
        return Rest(*(tuple(reply_from_json(each) for each in kept[name]) for name in Rest._fields))
    except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
        log.warning("the rest of an answer cannot be read and stays where it is: %s", error)
        return Rest()


def with_rest(state: Mapping[str, Any], rest: Rest) -> dict[str, Any]:
    """``state`` with ``rest`` in place of what was kept."""
    others = {name: value for name, value in state.items() if name != STATE_KEY}
    if not (rest.untold or rest.told):
        return others
    kept = {name: [reply_to_json(each) for each in replies] for name, replies in rest._asdict().items()}
    return {**others, STATE_KEY: kept}


class Fitted(NamedTuple):
    """Messages to send now, and what is kept; ``told``: who reads the last one knows that there is more."""

    now: list[Reply]
    kept: list[Reply]
    told: bool = True


def fit(replies: Sequence[Reply], left: int, text_bytes: int, hint: str, *, may_only_hint: bool = False) -> Fitted:
    """``replies`` in at most ``left`` messages of ``text_bytes``: texts are merged only if they must be.

    If even so not all fit, the last message ends with ``hint``, which says how to read on. ``may_only_hint``: a single
    message that is left may be nothing but that, because the user has read something already.
    """
    if len(replies) <= left:
        return Fitted(list(replies), [])
    merged = _merged(replies, text_bytes)
    if len(merged) <= left:
        return Fitted(merged, [])
    if left == 0:
        return Fitted([], merged, told=False)
    if left == 1 and not may_only_hint and not isinstance(merged[0], TextReply):
        return Fitted(merged[:1], merged[1:], told=False)  # better a picture without the hint than no picture
    return _with_hint(merged[:left], merged[left:], text_bytes, hint)


def without_hint(replies: Sequence[Reply], hint: str) -> list[Reply]:
    """``replies`` as they were before ``fit`` put ``hint`` into the last of them, which was not sent after all."""
    *others, last = replies
    if not isinstance(last, TextReply) or last.text == hint:
        return [*others] if isinstance(last, TextReply) else [*replies]
    return [*others, dataclasses.replace(last, text=last.text.removesuffix(f"\n{hint}"))]


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
