"""Fitting an answer into the messages that are left: nothing is lost, nothing is too long, and the user knows."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.delivery.composer import Composer
from wxbot.delivery.deferred import (
    MOST_ANNOUNCED,
    STATE_KEY,
    DeferredReplies,
    deferred_in,
    fit,
    with_deferred,
    without_notice,
)
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, MenuReply, Reply, TextReply

HINT = "(go on)"
LIMIT = 100

texts = st.builds(TextReply, st.text("ab 。字\n", min_size=1, max_size=300).filter(str.strip))
pictures = st.builds(ImageReply, st.sampled_from(["M1", "M2"]))
answers = st.lists(texts | pictures, max_size=12)


def said(replies: list[Reply]) -> str:
    """All that is in there, blanks aside."""
    whole = "".join(reply.text if isinstance(reply, TextReply) else f"[{reply}]" for reply in replies)
    return "".join(whole.replace(HINT, "").split())


def pieces(replies: list[Reply]) -> list[Reply]:
    """As a handler's answer comes: no message longer than the limit."""
    return [reply for reply in replies if not isinstance(reply, TextReply) or len(reply.text.encode()) <= LIMIT]


@given(answers, st.integers(0, 6))
def test_nothing_is_lost_and_nothing_is_too_long(answer: list[Reply], left: int) -> None:
    answer = pieces(answer)
    now, kept, _ = fit(answer, left, LIMIT, HINT)
    assert len(now) <= left
    assert said([*now, *kept]) == said(answer)
    assert all(len(each.text.encode()) <= LIMIT for each in [*now, *kept] if isinstance(each, TextReply))


@given(answers, st.integers(1, 6))
def test_who_gets_only_a_part_is_told_so(answer: list[Reply], left: int) -> None:
    now, kept, told = fit(pieces(answer), left, LIMIT, HINT)
    last = now[-1] if now else None
    assert bool(kept and told) == (isinstance(last, TextReply) and last.text.endswith(HINT))
    assert told or left == 1


@given(answers)
def test_who_has_read_something_may_be_given_nothing_but_the_hint(answer: list[Reply]) -> None:
    now, kept, told = fit(pieces(answer), 1, LIMIT, HINT, may_be_notice_only=True)
    assert told
    assert not kept or (isinstance(now[-1], TextReply) and now[-1].text.endswith(HINT))


@given(answers)
def test_what_fits_is_left_alone(answer: list[Reply]) -> None:
    assert fit(answer, len(answer), LIMIT, HINT) == (answer, [], True)


def test_texts_are_merged_before_anything_is_kept() -> None:
    now, kept, _ = fit([TextReply(str(number)) for number in range(10)], 2, LIMIT, HINT)
    assert (now, kept) == ([TextReply("0\n1\n2\n3\n4\n5\n6\n7\n8\n9")], [])


def test_texts_of_another_look_stay_apart() -> None:
    """A text that AI made must not be merged with one that it did not make."""
    answer: list[Reply] = [TextReply("a", ai=True), TextReply("b"), TextReply("c")]
    assert fit(answer, 2, LIMIT, HINT).now == [TextReply("a", ai=True), TextReply("b\nc")]


def test_what_is_kept_comes_back_and_plugins_keep_their_state() -> None:
    replies = (
        TextReply("text", ai=True),
        ImageReply(Media(b"\x00\xff", "image/png", "a.png")),
        MenuReply("head", [("1", "one")]),
    )
    state = with_deferred({"plugin": {"a": 1}}, DeferredReplies(replies, replies[:1]))
    stored = json.loads(json.dumps(state))
    assert deferred_in(stored) == DeferredReplies(replies, replies[:1])
    assert with_deferred(stored, DeferredReplies()) == {"plugin": {"a": 1}}


def test_pieces_of_one_text_are_put_together_as_they_were() -> None:
    """However often it is cut: no line break comes in where none was."""
    text = "一二三四五六七八九十，" * 60
    answer: list[Reply] = list(Composer(text_bytes=LIMIT).messages(TextReply(text)))
    read = ""
    while answer:
        now, answer, _ = fit(answer, 2, LIMIT, HINT)
        read += "".join(each.text.removesuffix(f"\n{HINT}") for each in now if isinstance(each, TextReply))
    assert read == text


def test_rests_add_up() -> None:
    """What goes on with the text that was just read comes first; what the user was never told of, in its order."""
    a, b, c = (TextReply(each) for each in "abc")
    assert DeferredReplies(announced=(a,)).plus([b], announced=True) == DeferredReplies(announced=(b, a))
    assert DeferredReplies(announced=(a,)).plus([b], announced=False) == DeferredReplies(
        unannounced=(b,), announced=(a,)
    )
    assert DeferredReplies(unannounced=(a,)).plus([b], announced=False) == DeferredReplies(unannounced=(a, b))
    assert DeferredReplies(unannounced=(a,)).plus([b, c], announced=True) == DeferredReplies(
        unannounced=(a,), announced=(b, c)
    )
    assert DeferredReplies(unannounced=(a,), announced=(b,)).in_order() == [a, b]


def test_of_very_much_the_oldest_is_forgotten() -> None:
    much = tuple(TextReply(str(number)) for number in range(MOST_ANNOUNCED))
    assert DeferredReplies(announced=much).plus([TextReply("new")], announced=True).announced == (
        TextReply("new"),
        *much[:-1],
    )


def test_a_single_message_that_is_left_is_no_mere_hint() -> None:
    """Else who may get one message at a time would read nothing but hints."""
    assert fit([ImageReply("M1"), ImageReply("M2")], 1, LIMIT, HINT) == ([ImageReply("M1")], [ImageReply("M2")], False)


@given(answers, st.integers(1, 6))
def test_a_hint_can_be_taken_out_again(answer: list[Reply], left: int) -> None:
    now, kept, told = fit(pieces(answer), left, LIMIT, HINT)
    if kept and told:
        again = [*without_notice(now, HINT), *kept]
        assert HINT not in "".join(each.text for each in again if isinstance(each, TextReply))
        assert said(again) == said(pieces(answer))


@pytest.mark.parametrize("kept", [{"untold": [{"kind": "hologram"}], "told": []}, {"told": 1}, ["odd"], 7])
def test_what_another_version_kept_stays_where_it_is(kept: object) -> None:
    assert deferred_in({STATE_KEY: kept}) == DeferredReplies()
