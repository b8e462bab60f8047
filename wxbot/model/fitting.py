"""Fit replies into the number of messages that WeChat still accepts: merge texts, defer the rest. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from wxbot.model.replies import Reply, TextReply
from wxbot.model.text_splitting import split_parts


class Fitted(NamedTuple):
    """The result of ``fit``: messages to send ``now``, and the ``rest``, to be deferred.

    ``announced`` is False if there is a ``rest`` and no message to send now contains the notice.
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
