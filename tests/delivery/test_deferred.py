"""Test that an answer is fitted into the quota: nothing is lost, nothing is too long, and the user is told."""

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
    with_deferred,
)
from wxbot.model.accounts import ACCOUNTS
from wxbot.model.fitting import fit, without_notice
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, MenuReply, Reply, TextReply
from wxbot.settings.schema import ReplySettings

NOTICE = "(go on)"
LIMIT = 100

texts = st.builds(TextReply, st.text("ab 。字\n", min_size=1, max_size=300).filter(str.strip))
images = st.builds(ImageReply, st.sampled_from(["M1", "M2"]))
answers = st.lists(texts | images, max_size=12)


def content_of(replies: list[Reply]) -> str:
    """Return the content of all ``replies`` without blanks and notices."""
    whole = "".join(reply.text if isinstance(reply, TextReply) else f"[{reply}]" for reply in replies)
    return "".join(whole.replace(NOTICE, "").split())


def sendable(replies: list[Reply]) -> list[Reply]:
    """Return the replies that fit into one message each, because the composer gives no longer ones."""
    return [reply for reply in replies if not isinstance(reply, TextReply) or len(reply.text.encode()) <= LIMIT]


@given(answers, st.integers(0, 6))
def test_nothing_is_lost_and_nothing_is_too_long(answer: list[Reply], left: int) -> None:
    answer = sendable(answer)
    now, rest, _ = fit(answer, left, LIMIT, NOTICE)
    assert len(now) <= left
    assert content_of([*now, *rest]) == content_of(answer)
    assert all(len(each.text.encode()) <= LIMIT for each in [*now, *rest] if isinstance(each, TextReply))


@given(answers, st.integers(1, 6))
def test_a_user_who_gets_only_a_part_gets_the_notice(answer: list[Reply], left: int) -> None:
    now, rest, announced = fit(sendable(answer), left, LIMIT, NOTICE)
    last = now[-1] if now else None
    assert bool(rest and announced) == (isinstance(last, TextReply) and last.text.endswith(NOTICE))
    assert announced or left == 1


@given(answers)
def test_a_single_message_may_be_only_the_notice_if_something_was_sent(answer: list[Reply]) -> None:
    now, rest, announced = fit(sendable(answer), 1, LIMIT, NOTICE, may_be_notice_only=True)
    assert announced
    assert not rest or (isinstance(now[-1], TextReply) and now[-1].text.endswith(NOTICE))


@given(answers)
def test_replies_that_fit_are_unchanged(answer: list[Reply]) -> None:
    assert fit(answer, len(answer), LIMIT, NOTICE) == (answer, [], True)


def test_texts_are_merged_before_any_reply_is_deferred() -> None:
    now, rest, _ = fit([TextReply(str(number)) for number in range(10)], 2, LIMIT, NOTICE)
    assert (now, rest) == ([TextReply("0\n1\n2\n3\n4\n5\n6\n7\n8\n9")], [])


def test_texts_of_different_styles_are_not_merged() -> None:
    """Do not merge a text with the AI mark and a text without it."""
    answer: list[Reply] = [TextReply("a", ai=True), TextReply("b"), TextReply("c")]
    assert fit(answer, 2, LIMIT, NOTICE).now == [TextReply("a", ai=True), TextReply("b\nc")]


def test_deferred_replies_are_stored_beside_the_state_of_the_plugins() -> None:
    replies = (
        TextReply("text", ai=True),
        ImageReply(Media(b"\x00\xff", "image/png", "a.png")),
        MenuReply("head", [("1", "one")]),
    )
    state = with_deferred({"plugin": {"a": 1}}, DeferredReplies(replies, replies[:1]))
    stored = json.loads(json.dumps(state))
    assert deferred_in(stored) == DeferredReplies(replies, replies[:1])
    assert with_deferred(stored, DeferredReplies()) == {"plugin": {"a": 1}}


def test_parts_of_one_text_are_joined_as_they_were() -> None:
    """Add no line break, however often the text is cut."""
    text = "一二三四五六七八九十，" * 60
    answer: list[Reply] = list(
        Composer(ACCOUNTS["miniprogram"], ReplySettings(text_bytes=LIMIT)).messages(TextReply(text))
    )
    read = ""
    while answer:
        now, answer, _ = fit(answer, 2, LIMIT, NOTICE)
        read += "".join(each.text.removesuffix(f"\n{NOTICE}") for each in now if isinstance(each, TextReply))
    assert read == text


def test_deferred_replies_are_added_in_order() -> None:
    """Put new announced replies first, because they continue the latest text; keep unannounced ones in their order."""
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


def test_the_oldest_announced_replies_are_dropped() -> None:
    much = tuple(TextReply(str(number)) for number in range(MOST_ANNOUNCED))
    assert DeferredReplies(announced=much).plus([TextReply("new")], announced=True).announced == (
        TextReply("new"),
        *much[:-1],
    )


def test_a_single_message_is_not_only_the_notice() -> None:
    """Send the image, because a user with a quota of one message would otherwise get only notices."""
    assert fit([ImageReply("M1"), ImageReply("M2")], 1, LIMIT, NOTICE) == (
        [ImageReply("M1")],
        [ImageReply("M2")],
        False,
    )


@given(answers, st.integers(1, 6))
def test_the_notice_can_be_removed_again(answer: list[Reply], left: int) -> None:
    now, rest, announced = fit(sendable(answer), left, LIMIT, NOTICE)
    if rest and announced:
        again = [*without_notice(now, NOTICE), *rest]
        assert NOTICE not in "".join(each.text for each in again if isinstance(each, TextReply))
        assert content_of(again) == content_of(sendable(answer))


@pytest.mark.parametrize("stored", [{"untold": [{"kind": "hologram"}], "told": []}, {"told": 1}, ["odd"], 7])
def test_deferred_replies_of_another_version_are_not_read(stored: object) -> None:
    assert deferred_in({STATE_KEY: stored}) == DeferredReplies()
