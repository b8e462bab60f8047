"""What WeChat pushes becomes typed messages; what a bot answers can be put away and taken out again."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.messages import (
    EventMessage,
    ImageMessage,
    Message,
    MiniProgramPageMessage,
    TextMessage,
    TextReply,
    UnknownMessage,
    message_from,
    reply_from_json,
    reply_to_json,
)

HEAD = {"ToUserName": "gh_1", "FromUserName": "oALICE", "CreateTime": "1700000000", "MsgId": "42"}


def received(**fields: Any) -> Message:
    return message_from("wx1", {**HEAD, **fields}, 1_700_000_001.5)


def facts(message: Message) -> dict[str, Any]:
    """What is particular to the kind of ``message``."""
    common = {field.name for field in dataclasses.fields(Message)}
    return {
        field.name: getattr(message, field.name) for field in dataclasses.fields(message) if field.name not in common
    }


@pytest.mark.parametrize(
    ("fields", "kind", "expected"),
    [
        ({"MsgType": "text", "Content": " 你好 \n"}, TextMessage, {"text": " 你好 \n"}),
        (
            {"MsgType": "image", "PicUrl": "http://pic", "MediaId": "M1"},
            ImageMessage,
            {"media_id": "M1", "pic_url": "http://pic"},
        ),
        (
            {
                "MsgType": "miniprogrampage",
                "Title": "Shop",
                "AppId": "wx9",
                "PagePath": "pages/a?b=1",
                "ThumbUrl": "http://thumb",
                "ThumbMediaId": "M2",
            },
            MiniProgramPageMessage,
            {
                "title": "Shop",
                "page_appid": "wx9",
                "page_path": "pages/a?b=1",
                "thumb_url": "http://thumb",
                "thumb_media_id": "M2",
            },
        ),
        (
            {"MsgType": "event", "Event": "user_enter_tempsession", "SessionFrom": "from-home"},
            EventMessage,
            {"event": "user_enter_tempsession", "key": "from-home"},
        ),
        ({"MsgType": "event", "Event": "CLICK", "EventKey": "K1"}, EventMessage, {"event": "click", "key": "K1"}),
        ({"MsgType": "event", "Event": "unsubscribe"}, EventMessage, {"event": "unsubscribe", "key": ""}),
        ({"MsgType": "Voice", "MediaId": "M3"}, UnknownMessage, {"kind": "Voice"}),
        ({}, UnknownMessage, {"kind": ""}),
    ],
)
def test_each_kind(fields: dict[str, Any], kind: type[Message], expected: dict[str, str]) -> None:
    message = received(**fields)
    assert type(message) is kind
    assert facts(message) == expected
    assert (message.appid, message.openid, message.account, message.msg_id) == ("wx1", "oALICE", "gh_1", "42")
    assert (message.created_at, message.received_at) == (1_700_000_000, 1_700_000_001.5)


@pytest.mark.parametrize("spelt", ["TEXT", "Text", "text"])
def test_the_case_of_a_kind_does_not_matter(spelt: str) -> None:
    assert isinstance(received(MsgType=spelt, Content="hi"), TextMessage)


@pytest.mark.parametrize("kind", ["text", "image", "miniprogrampage", "event"])
@pytest.mark.parametrize("nothing", [{}, None, ""])
def test_what_is_missing_is_empty(kind: str, nothing: Any) -> None:
    names = ("Content", "MediaId", "PicUrl", "Title", "AppId", "PagePath", "ThumbUrl", "ThumbMediaId", "Event")
    fields = {} if nothing == {} else dict.fromkeys(names, nothing)
    assert set(facts(received(MsgType=kind, **fields)).values()) == {""}


def test_events_have_no_id() -> None:
    fields = {name: value for name, value in HEAD.items() if name != "MsgId"}
    assert message_from("wx1", {**fields, "MsgType": "event", "Event": "subscribe"}, 0.0).msg_id == ""


def test_json_pushes_have_numbers_where_xml_has_text() -> None:
    from_json = received(MsgType="text", Content="hi", CreateTime=1_700_000_000, MsgId=23456789012345678)
    from_xml = received(MsgType="text", Content="hi", CreateTime="1700000000", MsgId="23456789012345678")
    assert dataclasses.replace(from_json, raw={}) == dataclasses.replace(from_xml, raw={})
    assert from_json.msg_id == "23456789012345678", "all digits are kept"


def test_zero_is_not_missing() -> None:
    assert received(MsgType="text", Content=0) == received(MsgType="text", Content=0)
    assert facts(received(MsgType="text", Content=0)) == {"text": "0"}


def test_nothing_wechat_sends_is_out_of_reach() -> None:
    assert received(MsgType="voice", Recognition="你好").raw["Recognition"] == "你好"


def test_what_a_user_wrote_is_not_printed_twice() -> None:
    assert repr(received(MsgType="text", Content="hello")).count("hello") == 1


def test_messages_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        received(MsgType="text", Content="hi").openid = "oBOB"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        TextReply("hi").text = "ho"  # type: ignore[misc]


@given(st.text())
def test_a_reply_survives_the_store(text: str) -> None:
    stored = json.dumps(reply_to_json(TextReply(text)))
    assert reply_from_json(json.loads(stored)) == TextReply(text)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"kind": "voice", "media_id": "M1"}, "knows no reply of the kind 'voice'"),
        ({"kind": "TEXT", "text": "hi"}, "'TEXT'"),
        ({"kind": None, "text": "hi"}, "None"),
    ],
)
def test_a_reply_that_another_version_wrote_is_not_guessed_at(stored: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reply_from_json(stored)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["MsgType", "Content", "Event", "EventKey", "SessionFrom", "MediaId", "Title", "MsgId", "X"])


@given(st.dictionaries(names, json_values), st.sampled_from(["text", "image", "miniprogrampage", "event", "else"]))
def test_no_value_of_a_field_makes_it_fail(fields: dict[str, Any], kind: str) -> None:
    message = received(**fields, **({} if "MsgType" in fields else {"MsgType": kind}))
    assert all(isinstance(value, str) for value in facts(message).values())
