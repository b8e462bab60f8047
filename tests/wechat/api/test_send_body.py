"""Replies as WeChat wants them written: the bodies of its pages, word for word, and what other systems write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wxbot.errors import InvalidReply
from wxbot.model.media import Media
from wxbot.model.replies import (
    KINDS,
    ArticleReply,
    ImageReply,
    LinkReply,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
)
from wxbot.wechat.api.send_body import reply_from_body, send_body
from wxbot.wechat.push.answer import passive_fields, to_json, to_text, to_xml, transfer_fields
from wxbot.wechat.push.codec import fields_of

PUSH = {"ToUserName": "gh_a", "FromUserName": "oUSER", "CreateTime": 5, "MsgType": "text", "Content": "hi"}

SENT: list[tuple[Reply, dict[str, Any]]] = [
    (TextReply("你好"), {"msgtype": "text", "text": {"content": "你好"}}),
    (ImageReply("M"), {"msgtype": "image", "image": {"media_id": "M"}}),
    (VoiceReply("M"), {"msgtype": "voice", "voice": {"media_id": "M"}}),
    (
        VideoReply("M", "T", "t", "d"),
        {"msgtype": "video", "video": {"media_id": "M", "thumb_media_id": "T", "title": "t", "description": "d"}},
    ),
    (
        MusicReply("http://m", "T", "t", "d", "http://hq"),
        {
            "msgtype": "music",
            "music": {
                "title": "t",
                "description": "d",
                "musicurl": "http://m",
                "hqmusicurl": "http://hq",
                "thumb_media_id": "T",
            },
        },
    ),
    (
        NewsReply("t", "http://u", "d", "http://p"),
        {
            "msgtype": "news",
            "news": {"articles": [{"title": "t", "description": "d", "url": "http://u", "picurl": "http://p"}]},
        },
    ),
    (
        LinkReply("t", "http://u", "d", "http://p"),
        {"msgtype": "link", "link": {"title": "t", "description": "d", "url": "http://u", "thumb_url": "http://p"}},
    ),
    (
        MiniProgramPageReply("t", "pages/a?x=1", "T", "wx1"),
        {
            "msgtype": "miniprogrampage",
            "miniprogrampage": {"title": "t", "appid": "wx1", "pagepath": "pages/a?x=1", "thumb_media_id": "T"},
        },
    ),
    (
        MenuReply("ok?", [("101", "yes"), ("102", "no")], "thanks"),
        {
            "msgtype": "msgmenu",
            "msgmenu": {
                "head_content": "ok?",
                "list": [{"id": "101", "content": "yes"}, {"id": "102", "content": "no"}],
                "tail_content": "thanks",
            },
        },
    ),
    (ArticleReply("A"), {"msgtype": "mpnewsarticle", "mpnewsarticle": {"article_id": "A"}}),
    (TextReply("a", ai=True), {"msgtype": "text", "text": {"content": "a"}, "aimsgcontext": {"is_ai_msg": 1}}),
    (TextReply("a", ai=False), {"msgtype": "text", "text": {"content": "a"}, "aimsgcontext": {"is_ai_msg": 0}}),
    (
        ImageReply("M", agent="test1@account"),
        {"msgtype": "image", "image": {"media_id": "M"}, "customservice": {"kf_account": "test1@account"}},
    ),
]

WITHOUT_OPTIONS: list[tuple[Reply, dict[str, Any]]] = [
    (VideoReply("M"), {"media_id": "M"}),
    (MusicReply("http://m", "T"), {"musicurl": "http://m", "hqmusicurl": "http://m", "thumb_media_id": "T"}),
    (NewsReply("t", "http://u"), {"articles": [{"title": "t", "url": "http://u"}]}),
    # WeChat's page calls all four necessary.
    (LinkReply("t", "http://u"), {"title": "t", "description": "", "url": "http://u", "thumb_url": ""}),
    (MiniProgramPageReply("t", "p", "T"), {"title": "t", "pagepath": "p", "thumb_media_id": "T"}),
    (MenuReply("ok?", [("1", "yes")]), {"head_content": "ok?", "list": [{"id": "1", "content": "yes"}]}),
]


def test_every_kind_is_in_the_table() -> None:
    assert {reply.msg_type for reply, _ in SENT} == set(KINDS)


@pytest.mark.parametrize(("reply", "body"), SENT)
def test_each_kind_as_it_is_sent(reply: Reply, body: dict[str, Any]) -> None:
    assert send_body("oUSER", reply) == {"touser": "oUSER", **body}


@pytest.mark.parametrize(("reply", "content"), WITHOUT_OPTIONS)
def test_what_is_empty_is_left_out(reply: Reply, content: dict[str, Any]) -> None:
    assert send_body("oUSER", reply) == {"touser": "oUSER", "msgtype": reply.msg_type, reply.msg_type: content}


@pytest.mark.parametrize("write", [lambda reply: send_body("o", reply), lambda reply: passive_fields(PUSH, reply, 0)])
def test_a_file_that_is_not_uploaded_is_refused(write: Any) -> None:
    with pytest.raises(InvalidReply, match=r"image of a reply of the kind image .* must be uploaded"):
        write(ImageReply(Media(b"x")))


# --- answers to a push ---

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
def test_each_kind_as_it_is_answered(reply: Reply, fields: dict[str, Any]) -> None:
    assert passive_fields(PUSH, reply, 1_700_000_000.9) == {**HEAD, **fields}


def test_other_kinds_are_no_answer() -> None:
    for reply, _ in SENT:
        if reply.msg_type in {each.msg_type for each, _ in PASSIVE}:
            continue
        with pytest.raises(
            InvalidReply, match=f"of the kind {reply.msg_type}, only with text, image, voice, video, music"
        ):
            passive_fields(PUSH, reply, 0)


def test_handing_over_to_people() -> None:
    transfer = {**HEAD, "MsgType": "transfer_customer_service"}
    assert transfer_fields(PUSH, 1_700_000_000.9) == transfer
    assert transfer_fields(PUSH, 1_700_000_000.9, "a@t") == {**transfer, "TransInfo": {"KfAccount": "a@t"}}


def test_xml_as_wechats_page_has_it() -> None:
    fields = passive_fields(PUSH, NewsReply("a]]>b", "http://u?a=1&b=2", picture_url="http://p"), 5)
    assert to_text(fields, "xml") == (
        "<xml><ToUserName><![CDATA[oUSER]]></ToUserName><FromUserName><![CDATA[gh_a]]></FromUserName>"
        "<CreateTime>5</CreateTime><MsgType><![CDATA[news]]></MsgType><ArticleCount>1</ArticleCount>"
        "<Articles><item><Title><![CDATA[a]]]]><![CDATA[>b]]></Title><Description><![CDATA[]]></Description>"
        "<PicUrl><![CDATA[http://p]]></PicUrl><Url><![CDATA[http://u?a=1&b=2]]></Url></item></Articles></xml>"
    )


def test_json_has_plain_lists_and_raw_characters() -> None:
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


# A carriage return is read as a line feed, whatever is done about it.
xml_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\n"))
tags = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,9}", fullmatch=True)
xml_values = st.recursive(
    xml_texts,
    lambda inner: (
        st.dictionaries(tags, inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=2, max_size=3).filter(
            lambda items: not any(isinstance(item, list) for item in items)
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(tags, xml_values, max_size=4))
@example({"A": "]]>", "B": ["]]", "]]]>>"], "C": {"D": {"E": " \t\n<xml>&amp;"}}})
def test_xml_round_trip(fields: dict[str, Any]) -> None:
    assert fields_of(to_xml(fields).encode()) == fields


@given(st.text())
@example("\x00\x08\ud83d\ufffe")
def test_no_text_breaks_the_xml(text: str) -> None:
    read = fields_of(to_xml({"Content": text, "MsgType": "text"}).encode())
    assert read["MsgType"] == "text"
    assert len(read["Content"]) == len(text.replace("\r\n", "\n"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_round_trip(text: str) -> None:
    assert fields_of(to_json({"Content": text, "Number": 7}).encode()) == {"Content": text, "Number": 7}


# --- what other systems write ---


@pytest.mark.parametrize(("reply", "body"), SENT)
def test_what_is_written_can_be_read(reply: Reply, body: dict[str, Any]) -> None:
    assert reply_from_body({"touser": "oUSER", **body}) == ("oUSER", reply)


@pytest.mark.parametrize(
    "reply", [VideoReply("M"), NewsReply("t", "http://u"), LinkReply("t", "http://u"), MenuReply("?", [("1", "a")])]
)
def test_options_may_be_missing(reply: Reply) -> None:
    assert reply_from_body(send_body("oUSER", reply)) == ("oUSER", reply)


def test_ids_of_menu_items_may_be_numbers() -> None:
    menu = {"head_content": "?", "list": [{"id": 101, "content": "yes"}]}
    _, reply = reply_from_body({"touser": "o", "msgtype": "msgmenu", "msgmenu": menu})
    assert reply == MenuReply("?", [("101", "yes")])


TEXT: dict[str, Any] = {"touser": "oUSER", "msgtype": "text", "text": {"content": "hi"}}


def body_of(kind: str, **content: Any) -> dict[str, Any]:
    return {"touser": "oUSER", "msgtype": kind, kind: content}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ([], "the body must be a JSON object"),
        ({}, "touser is missing"),
        ({**TEXT, "touser": ""}, "touser is empty"),
        ({**TEXT, "touser": 7}, "touser must be a text"),
        ({**TEXT, "touser": "o" * 129}, "touser is longer than 128 characters or holds control characters"),
        ({**TEXT, "touser": "o\n"}, "touser is longer than 128 characters or holds control characters"),
        ({"touser": "o"}, "msgtype is missing"),
        ({**TEXT, "msgtype": ["text"]}, "msgtype must be a text"),
        (
            {**TEXT, "msgtype": "mpnews"},
            "msgtype is 'mpnews', which is none of text, image, voice, video, music, news, link, miniprogrampage, "
            "msgmenu, mpnewsarticle",
        ),
        ({"touser": "o", "msgtype": "text"}, "text is missing"),
        ({**TEXT, "text": "hi"}, "text must be a JSON object"),
        ({**TEXT, "text": {}}, "text.content is missing"),
        ({**TEXT, "text": {"content": ""}}, "text.content is empty"),
        ({**TEXT, "text": {"content": 7}}, "text.content must be a text"),
        ({**TEXT, "text": {"content": None}}, "text.content must be a text"),
        (
            {**TEXT, "text": {"content": "hi", "colour": "red"}},
            "text.'colour' is no field that wxbot knows; there are content",
        ),
        (
            {**TEXT, "image": {}},
            "'image' is no field that wxbot knows; there are aimsgcontext, customservice, msgtype, text, touser",
        ),
        ({**TEXT, "aimsgcontext": 1}, "aimsgcontext must be a JSON object"),
        ({**TEXT, "aimsgcontext": {}}, "aimsgcontext.is_ai_msg must be 0 or 1"),
        ({**TEXT, "aimsgcontext": {"is_ai_msg": "1"}}, "aimsgcontext.is_ai_msg must be 0 or 1"),
        ({**TEXT, "customservice": {"kf_account": ""}}, "customservice.kf_account is empty"),
        (body_of("image"), "image.media_id is missing"),
        (body_of("miniprogrampage", title="t", thumb_media_id="T"), "miniprogrampage.pagepath is missing"),
        (body_of("news"), "news.articles is missing"),
        (body_of("news", articles=[]), "news.articles must be a list with something in it"),
        (
            body_of("news", articles=[{}, {}]),
            "news.articles has more than one article, and WeChat takes one for each message",
        ),
        (body_of("news", articles=["x"]), "news.articles[0] must be a JSON object"),
        (body_of("news", articles=[{"title": "t"}]), "news.articles[0].url is missing"),
        (body_of("image", media_id="a b.png"), "image.media_id is no media id of WeChat's"),
        (body_of("video", media_id="M", thumb_media_id="/t.jpg"), "video.thumb_media_id is no media id of WeChat's"),
        (body_of("link", title=" ", url="http://u"), "link.title is empty"),
        (body_of("link", title="t", url="\t"), "link.url is empty"),
        (body_of("msgmenu", list=[{"id": "1", "content": "a"}]), "msgmenu.head_content is missing"),
        (body_of("msgmenu", head_content="?"), "msgmenu.list is missing"),
        (body_of("msgmenu", list="x"), "msgmenu.list must be a list with something in it"),
        (body_of("msgmenu", list=["x"]), "msgmenu.list[0] must be a JSON object"),
        (body_of("msgmenu", list=[{"id": "1", "content": "a"}, {"id": True}]), "msgmenu.list[1].id must be a text"),
        (body_of("msgmenu", list=[{"id": "1"}]), "msgmenu.list[0].content is missing"),
    ],
)
def test_what_is_wrong_is_named(body: Any, sentence: str) -> None:
    with pytest.raises(InvalidReply) as caught:
        reply_from_body(body)
    assert str(caught.value) == sentence


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["content", "media_id", "articles", "list", "title", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KINDS)), json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=2))
def test_any_body_is_read_or_refused_in_one_line(kind: str, content: Any, more: dict[str, Any]) -> None:
    try:
        reply_from_body({"touser": "oUSER", "msgtype": kind, kind: content, **more})
    except InvalidReply as refused:
        assert "\n" not in str(refused)  # noqa: PT017 - anything else escapes
