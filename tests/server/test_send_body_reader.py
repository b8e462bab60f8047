"""The reader of ``/send`` accepts bodies in the format of custom/send, and names the field of every error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wechat.send_bodies import SENT
from wxbot.errors import InvalidReply
from wxbot.model.replies import KINDS, LinkReply, MenuReply, NewsReply, Reply, VideoReply
from wxbot.server.send_body_reader import reply_from_body
from wxbot.wechat.api.send_body import send_body


@pytest.mark.parametrize(("reply", "body"), SENT)
def test_the_reader_accepts_what_send_body_writes(reply: Reply, body: dict[str, Any]) -> None:
    assert reply_from_body({"touser": "oUSER", **body}) == ("oUSER", reply)


@pytest.mark.parametrize(
    "reply", [VideoReply("M"), NewsReply("t", "http://u"), LinkReply("t", "http://u"), MenuReply("?", [("1", "a")])]
)
def test_optional_fields_may_be_missing(reply: Reply) -> None:
    assert reply_from_body(send_body("oUSER", reply)) == ("oUSER", reply)


def test_ids_of_menu_items_may_be_numbers() -> None:
    menu = {"head_content": "?", "list": [{"id": 101, "content": "yes"}]}
    _, reply = reply_from_body({"touser": "o", "msgtype": "msgmenu", "msgmenu": menu})
    assert reply == MenuReply("?", [("101", "yes")])


TEXT: dict[str, Any] = {"touser": "oUSER", "msgtype": "text", "text": {"content": "hi"}}


def body_of(msg_type: str, **content: Any) -> dict[str, Any]:
    return {"touser": "oUSER", "msgtype": msg_type, msg_type: content}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "the body must be a JSON object"),
        ({}, "touser is missing"),
        ({**TEXT, "touser": ""}, "touser is empty"),
        ({**TEXT, "touser": 7}, "touser must be a string"),
        ({**TEXT, "touser": "o" * 129}, "touser is longer than 128 characters or has control characters"),
        ({**TEXT, "touser": "o\n"}, "touser is longer than 128 characters or has control characters"),
        ({"touser": "o"}, "msgtype is missing"),
        ({**TEXT, "msgtype": ["text"]}, "msgtype must be a string"),
        (
            {**TEXT, "msgtype": "mpnews"},
            "msgtype is 'mpnews', but must be one of text, image, voice, video, music, news, link, miniprogrampage, "
            "msgmenu, mpnewsarticle",
        ),
        ({"touser": "o", "msgtype": "text"}, "text is missing"),
        ({**TEXT, "text": "hi"}, "text must be a JSON object"),
        ({**TEXT, "text": {}}, "text.content is missing"),
        ({**TEXT, "text": {"content": ""}}, "text.content is empty"),
        ({**TEXT, "text": {"content": 7}}, "text.content must be a string"),
        ({**TEXT, "text": {"content": None}}, "text.content must be a string"),
        (
            {**TEXT, "text": {"content": "hi", "colour": "red"}},
            "text.'colour' is not a known field; known fields: content",
        ),
        (
            {**TEXT, "image": {}},
            "'image' is not a known field; known fields: aimsgcontext, customservice, msgtype, text, touser",
        ),
        ({**TEXT, "aimsgcontext": 1}, "aimsgcontext must be a JSON object"),
        ({**TEXT, "aimsgcontext": {}}, "aimsgcontext.is_ai_msg must be 0 or 1"),
        ({**TEXT, "aimsgcontext": {"is_ai_msg": "1"}}, "aimsgcontext.is_ai_msg must be 0 or 1"),
        ({**TEXT, "customservice": {"kf_account": ""}}, "customservice.kf_account is empty"),
        (body_of("image"), "image.media_id is missing"),
        (body_of("miniprogrampage", title="t", thumb_media_id="T"), "miniprogrampage.pagepath is missing"),
        (body_of("news"), "news.articles is missing"),
        (body_of("news", articles=[]), "news.articles must be a list with at least one item"),
        (
            body_of("news", articles=[{}, {}]),
            "news.articles has more than one article, but WeChat accepts one per message",
        ),
        (body_of("news", articles=["x"]), "news.articles[0] must be a JSON object"),
        (body_of("news", articles=[{"title": "t"}]), "news.articles[0].url is missing"),
        (body_of("image", media_id="a b.png"), "image.media_id is not a media id of WeChat"),
        (body_of("video", media_id="M", thumb_media_id="/t.jpg"), "video.thumb_media_id is not a media id of WeChat"),
        (body_of("link", title=" ", url="http://u"), "link.title is empty"),
        (body_of("link", title="t", url="\t"), "link.url is empty"),
        (body_of("msgmenu", list=[{"id": "1", "content": "a"}]), "msgmenu.head_content is missing"),
        (body_of("msgmenu", head_content="?"), "msgmenu.list is missing"),
        (body_of("msgmenu", list="x"), "msgmenu.list must be a list with at least one item"),
        (body_of("msgmenu", list=["x"]), "msgmenu.list[0] must be a JSON object"),
        (body_of("msgmenu", list=[{"id": "1", "content": "a"}, {"id": True}]), "msgmenu.list[1].id must be a string"),
        (body_of("msgmenu", list=[{"id": "1"}]), "msgmenu.list[0].content is missing"),
    ],
)
def test_the_error_names_the_wrong_field(body: Any, error: str) -> None:
    with pytest.raises(InvalidReply) as caught:
        reply_from_body(body)
    assert str(caught.value) == error


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["content", "media_id", "articles", "list", "title", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(KINDS)), json_values, st.dictionaries(st.text(max_size=5), json_values, max_size=2))
def test_any_body_is_read_or_rejected_in_one_line(msg_type: str, content: Any, more: dict[str, Any]) -> None:
    try:
        reply_from_body({"touser": "oUSER", "msgtype": msg_type, msg_type: content, **more})
    except InvalidReply as error:
        assert "\n" not in str(error)  # noqa: PT017 - any other exception fails the test
