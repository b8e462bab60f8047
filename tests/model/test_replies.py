"""Test that replies can be stored and read again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.errors import InvalidReply
from wxbot.model.media import Media, MediaKind
from wxbot.model.replies import (
    KINDS,
    ArticleReply,
    ImageReply,
    LinkReply,
    MenuItem,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
    mini_program_link,
    reply_from_json,
    reply_to_json,
)

texts = st.text()
files = st.builds(Media, st.binary(), texts, texts) | texts
words = texts.filter(bool)
menu_items = st.lists(st.builds(MenuItem, words, words) | st.tuples(words, words))
notes: dict[str, Any] = {"ai": st.none() | st.booleans(), "agent": texts}

replies = st.one_of(
    st.builds(TextReply, texts, **notes),
    st.builds(ImageReply, files, **notes),
    st.builds(VoiceReply, files, **notes),
    st.builds(VideoReply, files, thumb=st.none() | files, title=texts, description=texts, **notes),
    st.builds(MusicReply, texts, files, title=texts, description=texts, hq_url=texts, **notes),
    st.builds(NewsReply, texts, texts, description=texts, picture_url=texts, **notes),
    st.builds(LinkReply, texts, texts, description=texts, thumb_url=texts, **notes),
    st.builds(MiniProgramPageReply, texts, texts, files, appid=texts, **notes),
    st.builds(MenuReply, texts, menu_items, tail=texts, **notes),
    st.builds(ArticleReply, texts, **notes),
)


@given(replies)
def test_a_reply_survives_the_store(reply: Reply) -> None:
    stored = json.dumps(reply_to_json(reply))
    assert reply_from_json(json.loads(stored)) == reply


def test_default_values_are_not_stored() -> None:
    assert reply_to_json(TextReply("hi")) == {"kind": "text", "text": "hi"}
    assert reply_to_json(TextReply("hi", ai=False)) == {"kind": "text", "text": "hi", "ai": False}


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"kind": "hologram", "media_id": "M1"}, "does not know the reply type 'hologram'"),
        ({"kind": "TEXT", "text": "hi"}, "'TEXT'"),
        ({"kind": None, "text": "hi"}, "None"),
        ({"kind": "text", "text": "hi", "colour": "red"}, "cannot read a reply of type 'text'.*colour"),
        ({"kind": "text"}, "cannot read"),
    ],
)
def test_an_unknown_reply_raises_an_error(stored: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reply_from_json(stored)


def test_reply_types_are_wechats_msgtypes() -> None:
    assert set(KINDS) == {
        *("text", "image", "voice", "video", "music"),
        *("news", "link", "miniprogrampage", "msgmenu", "mpnewsarticle"),
    }
    assert all(kind == reply.msg_type for kind, reply in KINDS.items())


@pytest.mark.parametrize("reply", KINDS.values())
def test_every_media_entry_is_a_field(reply: type[Reply]) -> None:
    assert set(reply.media) <= {field.name for field in dataclasses.fields(reply)}
    assert set(reply.media.values()) <= set(get_args(MediaKind))


def test_replies_are_frozen_and_agent_and_ai_are_keyword_arguments() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TextReply("hi").text = "ho"  # type: ignore[misc]
    with pytest.raises(TypeError):
        TextReply("hi", True)  # type: ignore[call-arg]


def test_a_menu_accepts_pairs() -> None:
    assert MenuReply("ok?", [("1", "yes"), MenuItem("2", "no")]).items == (MenuItem("1", "yes"), MenuItem("2", "no"))


def test_a_mini_program_link_is_escaped() -> None:
    link = mini_program_link('<Shop> & "more"', "wx1", "pages/a?x=1&y=2", "https://example.com/?a=1&b=2")
    assert link == (
        '<a href="https://example.com/?a=1&amp;b=2" data-miniprogram-appid="wx1" '
        'data-miniprogram-path="pages/a?x=1&amp;y=2">&lt;Shop&gt; &amp; "more"</a>'
    )


def test_repr_does_not_contain_the_file() -> None:
    assert "secret" not in repr(ImageReply(Media(b"secret", "image/png", "a.png")))


@pytest.mark.parametrize("item", ["No", ("1",), ("1", ""), (1, "one"), MenuItem("", "x"), None])
def test_an_invalid_menu_item_raises_an_error(item: object) -> None:
    """Refuse a text of two letters too, because it is no pair."""
    with pytest.raises(InvalidReply, match="an item must be MenuItem"):
        MenuReply("ok?", [item])  # type: ignore[list-item]


@pytest.mark.parametrize("parts", [("", "wx1", "p"), ("t", "", "p"), ("t", "wx1", "")])
def test_an_empty_part_of_a_link_raises_an_error(parts: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidReply, match="text, appid and path must not be empty"):
        mini_program_link(*parts)
