"""Deferred replies: the part of a reply that does not fit into the messages that WeChat still accepts.

They are stored in the conversation's state, beside the state of the plugins. All functions are pure.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wxbot.model.replies import Reply, TextReply, reply_from_json, reply_to_json
from wxbot.model.text_splitting import split_parts

log = logging.getLogger("wxbot.deferred")

STATE_KEY = "_rest"
"""The key in the conversation's state. No plugin can have this name, because plugin names begin with a letter."""

_STORED_AS = {"unannounced": "untold", "announced": "told"}
"""The keys of the stored JSON. They are older than the names in the code, but existing stores contain them."""

MOST_ANNOUNCED = 100
"""Maximum number of announced replies that are stored. Beyond it the oldest are dropped."""


class DeferredReplies(NamedTuple):
    """Replies that are stored for a user. ``announced``: the user was told of them and may ask for them."""

    unannounced: tuple[Reply, ...] = ()
    announced: tuple[Reply, ...] = ()

    def plus(self, replies: Sequence[Reply], *, announced: bool) -> DeferredReplies:
        """Return these with ``replies`` added. New announced replies come first: they continue the latest reply."""
        if not announced:
            return DeferredReplies((*self.unannounced, *_apart(replies)), self.announced)
        both = (*replies, *_apart(self.announced))
        if len(both) > MOST_ANNOUNCED:
            log.warning("oldest deferred replies dropped: count=%d", len(both) - MOST_ANNOUNCED)
        return DeferredReplies(self.unannounced, both[:MOST_ANNOUNCED])

    def in_order(self) -> list[Reply]:
        """Return all deferred replies in the order in which they are sent if the user asks for them."""
        return [*self.unannounced, *_apart(self.announced)]


def _apart(replies: Sequence[Reply]) -> Sequence[Reply]:
    """Return ``replies`` so that the first is not joined to the text before it."""
    first = replies[0] if replies else None
    return [dataclasses.replace(first, joint="\n"), *replies[1:]] if isinstance(first, TextReply) else replies


def deferred_in(state: Mapping[str, Any]) -> DeferredReplies:
    """Return the deferred replies in a conversation's ``state``."""
    stored = state.get(STATE_KEY)
    if not stored:
        return DeferredReplies()
    try:
        return DeferredReplies(
            **{name: tuple(reply_from_json(each) for each in stored[key]) for name, key in _STORED_AS.items()}
        )
    except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
        log.warning("deferred replies cannot be read and stay in the store: %s", error)
        return DeferredReplies()


def with_deferred(state: Mapping[str, Any], deferred: DeferredReplies) -> dict[str, Any]:
    """Return ``state`` with ``deferred`` in place of the deferred replies in it."""
    others = {name: value for name, value in state.items() if name != STATE_KEY}
    if not (deferred.unannounced or deferred.announced):
        return others
    stored = {key: [reply_to_json(each) for each in getattr(deferred, name)] for name, key in _STORED_AS.items()}
    return {**others, STATE_KEY: stored}


class Fitted(NamedTuple):
    """The result of ``fit``: messages to send ``now``, and the ``rest``, to be deferred.

    ``announced``: the last message to send now contains the notice.
    """

    now: list[Reply]
    rest: list[Reply]
    announced: bool = True


def fit(
    replies: Sequence[Reply], left: int, text_bytes: int, notice: str, *, may_be_notice_only: bool = False
) -> Fitted:
    """Fit ``replies`` into at most ``left`` messages of ``text_bytes``. Texts are merged only if necessary.

    If they still do not fit, the last message ends with ``notice``, which says how to get the others.
    ``may_be_notice_only``: a single message may be nothing but the notice, because the user has read something already.
    """
    if len(replies) <= left:
        return Fitted(list(replies), [])
    merged = _merged(replies, text_bytes)
    if len(merged) <= left:
        return Fitted(merged, [])
    if left == 0:
        return Fitted([], merged, announced=False)
    if left == 1 and not may_be_notice_only and not isinstance(merged[0], TextReply):
        return Fitted(merged[:1], merged[1:], announced=False)  # an image without the notice is better than no image
    return _with_notice(merged[:left], merged[left:], text_bytes, notice)


def without_notice(replies: Sequence[Reply], notice: str) -> list[Reply]:
    """Return ``replies`` as they were before ``fit`` added ``notice`` to the last one, because it was not sent."""
    *others, last = replies
    if not isinstance(last, TextReply) or last.text == notice:
        return [*others] if isinstance(last, TextReply) else [*replies]
    return [*others, dataclasses.replace(last, text=last.text.removesuffix(f"\n{notice}"))]


def _with_notice(now: list[Reply], rest: list[Reply], text_bytes: int, notice: str) -> Fitted:
    last = now.pop()
    if not isinstance(last, TextReply):
        return Fitted([*now, TextReply(notice)], [last, *rest])
    room = max(text_bytes - len(notice.encode()) - 1, 4)
    first, *others = _pieces(last, last.text, room)
    now.append(dataclasses.replace(first, text=f"{first.text}\n{notice}"))
    return Fitted(now, _merged([*others, *rest], text_bytes))


def _merged(replies: Sequence[Reply], text_bytes: int) -> list[Reply]:
    """Merge neighbouring texts of the same style into as few messages as possible."""
    merged: list[Reply] = []
    for reply in replies:
        before = merged[-1] if merged else None
        if isinstance(reply, TextReply) and isinstance(before, TextReply) and _style(reply) == _style(before):
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


def _style(reply: Reply) -> tuple[bool | None, str]:
    return reply.ai, reply.agent
