"""The fields of passive replies and transfers, and how they are written as XML and JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.wechat.send_bodies import SENT
from wxbot.errors import InvalidReply
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, MusicReply, NewsReply, Reply, TextReply, VideoReply, VoiceReply
from wxbot.wechat.push.codec import fields_of
from wxbot.wechat.push.response import passive_fields, to_json, to_text, to_xml, transfer_fields

PUSH = {"ToUserName": "gh_a", "FromUserName": "oUSER", "CreateTime": 5, "MsgType": "text", "Content": "hi"}

HEAD = {"ToUserName": "oUSER", "FromUserName": "gh_a", "CreateTime": 1_700_000_000}
PASSIVE: list[tuple[Reply, dict[str, Any]]] = [
    (TextReply("你好"), {"MsgType": "text", "Content": "你好"}),
    (ImageReply("M"), {"MsgType": "image", "Image": {"MediaId": "M"}}),
    (VoiceReply("M"), {"MsgType": "voice", "Voice": {"MediaId": "M"}}),
    (
        VideoReply("M", "T", "t", "d"),
        {"MsgType": "video", "Video": {"MediaId": "M", "Title": "t", "Description": "d"}},
    ),
    (VideoReply("M"), {"MsgType": "video", "Video": {"MediaId": "M"}}),
    (
        MusicReply("http://m", "T", "t", "d", "http://hq"),
        {
            "MsgType": "music",
            "Music": {
                "Title": "t",
                "Description": "d",
                "MusicUrl": "http://m",
                "HQMusicUrl": "http://hq",
                "ThumbMediaId": "T",
            },
        },
    ),
    (MusicReply("http://m", "T"), {"MsgType": "music", "Music": {"MusicUrl": "http://m", "ThumbMediaId": "T"}}),
    (
        NewsReply("t", "http://u"),
        {
            "MsgType": "news",
            "ArticleCount": 1,
            "Articles": {"item": [{"Title": "t", "Description": "", "PicUrl": "", "Url": "http://u"}]},
        },
    ),
]


@pytest.mark.parametrize(("reply", "fields"), PASSIVE)
def test_a_passive_reply_has_the_fields_of_wechats_documentation(reply: Reply, fields: dict[str, Any]) -> None:
    assert passive_fields(PUSH, reply, 1_700_000_000.9) == {**HEAD, **fields}


def test_a_file_that_was_not_uploaded_is_rejected() -> None:
    with pytest.raises(InvalidReply, match=r"image of a reply of type image .* must be uploaded"):
        passive_fields(PUSH, ImageReply(Media(b"x")), 0)


def test_other_types_are_rejected() -> None:
    for reply, _ in SENT:
        if reply.msg_type in {each.msg_type for each, _ in PASSIVE}:
            continue
        with pytest.raises(
            InvalidReply, match=f"reply of type {reply.msg_type}: WeChat accepts only text, image, voice, video, music"
        ):
            passive_fields(PUSH, reply, 0)


def test_transfer_to_human_agents() -> None:
    transfer = {**HEAD, "MsgType": "transfer_customer_service"}
    assert transfer_fields(PUSH, 1_700_000_000.9) == transfer
    assert transfer_fields(PUSH, 1_700_000_000.9, "a@t") == {**transfer, "TransInfo": {"KfAccount": "a@t"}}


def test_xml_is_written_as_in_wechats_documentation() -> None:
    fields = passive_fields(PUSH, NewsReply("a]]>b", "http://u?a=1&b=2", picture_url="http://p"), 5)
    assert to_text(fields, "xml") == (
        "<xml><ToUserName><![CDATA[oUSER]]></ToUserName><FromUserName><![CDATA[gh_a]]></FromUserName>"
        "<CreateTime>5</CreateTime><MsgType><![CDATA[news]]></MsgType><ArticleCount>1</ArticleCount>"
        "<Articles><item><Title><![CDATA[a]]]]><![CDATA[>b]]></Title><Description><![CDATA[]]></Description>"
        "<PicUrl><![CDATA[http://p]]></PicUrl><Url><![CDATA[http://u?a=1&b=2]]></Url></item></Articles></xml>"
    )


def test_json_has_plain_lists_and_unescaped_characters() -> None:
    text = to_text(passive_fields(PUSH, NewsReply("你好 😀", "http://u"), 5), "json")
    assert "你好 😀" in text
    article = {"Title": "你好 😀", "Description": "", "PicUrl": "", "Url": "http://u"}
    assert json.loads(text) == {
        "ToUserName": "oUSER",
        "FromUserName": "gh_a",
        "CreateTime": 5,
        "MsgType": "news",
        "ArticleCount": 1,
        "Articles": [article],
    }


# No carriage returns, because an XML parser reads each as a line feed.
xml_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\n"))
names = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,9}", fullmatch=True)
xml_values = st.recursive(
    xml_texts,
    lambda inner: (
        st.dictionaries(names, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=2, max_size=3).filter(
            lambda items: not any(isinstance(item, list) for item in items)
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(names, xml_values, max_size=4))
@example({"A": "]]>", "B": ["]]", "]]]>>"], "C": {"D": {"E": " \t\n<xml>&amp;"}}})
def test_xml_is_parsed_back_to_the_same_fields(fields: dict[str, Any]) -> None:
    assert fields_of(to_xml(fields).encode()) == fields


@given(st.text())
@example("\x00\x08\ud83d\ufffe")
def test_any_text_gives_valid_xml(text: str) -> None:
    read = fields_of(to_xml({"Content": text, "MsgType": "text"}).encode())
    assert read["MsgType"] == "text"
    assert len(read["Content"]) == len(text.replace("\r\n", "\n"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_parsed_back_to_the_same_fields(text: str) -> None:
    assert fields_of(to_json({"Content": text, "Number": 7}).encode()) == {"Content": text, "Number": 7}
