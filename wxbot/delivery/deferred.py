"""Deferred replies: the part of a reply that does not fit into the messages that WeChat still accepts.

They are stored in the conversation's state, beside the state of the plugins. All functions are pure.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wxbot.model.replies import Reply, TextReply, reply_from_json, reply_to_json

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
