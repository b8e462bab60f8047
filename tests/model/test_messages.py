"""Test that pushes become typed messages."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.errors import PluginError
from wxbot.model.media import Media
from wxbot.model.messages import (
    AgentSessionEvent,
    AgentSwitchEvent,
    EnterSessionEvent,
    EventMessage,
    ImageMessage,
    LinkMessage,
    LocationEvent,
    LocationMessage,
    MediaMessage,
    MenuClickEvent,
    MenuLocationEvent,
    MenuPicturesEvent,
    MenuScanEvent,
    MenuViewEvent,
    Message,
    MiniProgramPageMessage,
    ScanEvent,
    ShortVideoMessage,
    SubscribeEvent,
    TextMessage,
    UnknownMessage,
    UnsubscribeEvent,
    VideoMessage,
    VoiceMessage,
    message_from,
)

HEAD = {"ToUserName": "gh_1", "FromUserName": "oALICE", "CreateTime": "1700000000", "MsgId": "42"}


def message_of(**fields: Any) -> Message:
    return message_from("wx1", {**HEAD, **fields}, 1_700_000_001.5)


def specific_fields(message: Message) -> dict[str, Any]:
    """Return the attributes that the class of ``message`` adds to ``Message``."""
    common = {field.name for field in dataclasses.fields(Message)} | {"download_from"}
    return {
        field.name: getattr(message, field.name) for field in dataclasses.fields(message) if field.name not in common
    }


def pushed(msg_type: str, **fields: Any) -> dict[str, Any]:
    return {"MsgType": msg_type, **fields}


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {"MsgType": "event", "Event": name, **fields}


def has(**attributes: Any) -> dict[str, Any]:
    return attributes


def has_event(event: str, key: str = "", **attributes: Any) -> dict[str, Any]:
    return {"event": event, "key": key, **attributes}


_SCAN = {"ScanType": "qrcode", "ScanResult": "1"}
_PICTURES = {"Count": "2", "PicList": {"item": [{"PicMd5Sum": "a"}, {"PicMd5Sum": "b"}]}}
_PLACE = {"Location_X": "23", "Location_Y": "113.5", "Scale": "15", "Label": "street 1", "Poiname": "shop"}
_LOCATION = {"Location_X": "23.134521", "Location_Y": "113.358803", "Scale": "20", "Label": "place"}
_PAGE = {"AppId": "wx9", "PagePath": "pages/a?b=1", "ThumbUrl": "http://thumb", "ThumbMediaId": "M2"}
_VIDEO = {"MediaId": "M1", "ThumbMediaId": "T1"}

Example = tuple[dict[str, Any], type[Message], dict[str, Any]]
EXAMPLES: list[Example] = [
    (pushed("text", Content=" 你好 \n"), TextMessage, has(text=" 你好 \n", menu_id="")),
    (pushed("text", Content="满意", bizmsgmenuid="101"), TextMessage, has(text="满意", menu_id="101")),
    (pushed("image", PicUrl="http://p", MediaId="M1"), ImageMessage, has(media_id="M1", pic_url="http://p")),
    (
        pushed("voice", MediaId="M1", Format="amr", MediaId16K="M16"),
        VoiceMessage,
        has(media_id="M1", format="amr", media_id_16k="M16", recognition=""),
    ),
    (
        pushed("voice", MediaId="M1", Format="speex", Recognition="你好"),
        VoiceMessage,
        has(media_id="M1", format="speex", media_id_16k="", recognition="你好"),
    ),
    (pushed("video", **_VIDEO), VideoMessage, has(media_id="M1", thumb_media_id="T1")),
    (pushed("shortvideo", **_VIDEO), ShortVideoMessage, has(media_id="M1", thumb_media_id="T1")),
    (
        pushed("location", **_LOCATION),
        LocationMessage,
        has(latitude=23.134521, longitude=113.358803, scale=20, label="place"),
    ),
    (pushed("link", Title="t", Description="d", Url="u"), LinkMessage, has(title="t", description="d", url="u")),
    (
        pushed("miniprogrampage", Title="Shop", **_PAGE),
        MiniProgramPageMessage,
        has(title="Shop", page_appid="wx9", page_path="pages/a?b=1", thumb_url="http://thumb", thumb_media_id="M2"),
    ),
    (
        event("user_enter_tempsession", SessionFrom="from-home"),
        EnterSessionEvent,
        has_event("user_enter_tempsession", "from-home"),
    ),
    (event("subscribe"), SubscribeEvent, has_event("subscribe", scene="", ticket="")),
    (
        event("subscribe", EventKey="qrscene_123123", Ticket="T"),
        SubscribeEvent,
        has_event("subscribe", "qrscene_123123", scene="123123", ticket="T"),
    ),
    (event("unsubscribe"), UnsubscribeEvent, has_event("unsubscribe")),
    (event("SCAN", EventKey="123", Ticket="T"), ScanEvent, has_event("scan", "123", scene="123", ticket="T")),
    (
        event("LOCATION", Latitude="23.137466", Longitude="113.352425", Precision="119.385040"),
        LocationEvent,
        has_event("location", latitude=23.137466, longitude=113.352425, precision=119.38504),
    ),
    (event("CLICK", EventKey="K1"), MenuClickEvent, has_event("click", "K1")),
    (event("VIEW", EventKey="http://u", MenuId="1"), MenuViewEvent, has_event("view", "http://u", menu_id="1")),
    (event("VIEW", EventKey="http://u", MenuID=7), MenuViewEvent, has_event("view", "http://u", menu_id="7")),
    (
        event("view_miniprogram", EventKey="pages/a", MenuId="2"),
        MenuViewEvent,
        has_event("view_miniprogram", "pages/a", menu_id="2"),
    ),
    *[
        (
            event(name, EventKey="K", ScanCodeInfo=_SCAN),
            MenuScanEvent,
            has_event(name, "K", scan_type="qrcode", scan_result="1"),
        )
        for name in ("scancode_push", "scancode_waitmsg")
    ],
    *[
        (
            event(name, EventKey="K", SendPicsInfo=_PICTURES),
            MenuPicturesEvent,
            has_event(name, "K", count=2, md5_sums=("a", "b")),
        )
        for name in ("pic_sysphoto", "pic_photo_or_album", "pic_weixin")
    ],
    (
        event("location_select", EventKey="K", SendLocationInfo=_PLACE),
        MenuLocationEvent,
        has_event("location_select", "K", latitude=23.0, longitude=113.5, scale=15, label="street 1", poi_name="shop"),
    ),
    (
        event("kf_create_session", KfAccount="test1@test"),
        AgentSessionEvent,
        has_event("kf_create_session", agent="test1@test", close_type=""),
    ),
    (
        event("kf_close_session", KfAccount="test1@test", CloseType="KF"),
        AgentSessionEvent,
        has_event("kf_close_session", agent="test1@test", close_type="KF"),
    ),
    (
        event("kf_switch_session", FromKfAccount="a@t", ToKfAccount="b@t"),
        AgentSwitchEvent,
        has_event("kf_switch_session", from_agent="a@t", to_agent="b@t"),
    ),
    (event("TEMPLATESENDJOBFINISH", MsgID="5"), EventMessage, has_event("templatesendjobfinish")),
    (pushed("Hologram", MediaId="M3"), UnknownMessage, has(msg_type="Hologram")),
    ({}, UnknownMessage, has(msg_type="")),
]


@pytest.mark.parametrize(("fields", "kind", "expected"), EXAMPLES)
def test_each_message_type_is_parsed(fields: dict[str, Any], kind: type[Message], expected: dict[str, Any]) -> None:
    message = message_of(**fields)
    assert type(message) is kind
    assert specific_fields(message) == expected
    assert (message.appid, message.openid, message.account, message.msg_id) == ("wx1", "oALICE", "gh_1", "42")
    assert (message.created_at, message.received_at) == (1_700_000_000, 1_700_000_001.5)
    assert (message.article_id, message.article_number) == ("", 0)


@pytest.mark.parametrize(
    ("listed", "sums"),
    [
        ({"item": {"PicMd5Sum": "a"}}, ("a",)),
        ({"item": ""}, ()),
        ("", ()),
        ([{"PicMd5Sum": "a"}, {"PicMd5Sum": "b"}], ("a", "b")),
        (None, ()),
    ],
)
def test_a_list_of_one_image_or_none_is_parsed(listed: Any, sums: tuple[str, ...]) -> None:
    message = message_of(MsgType="event", Event="pic_weixin", SendPicsInfo={"Count": 1, "PicList": listed})
    assert isinstance(message, MenuPicturesEvent)
    assert message.md5_sums == sums


def test_a_message_below_an_article_has_its_id() -> None:
    message = message_of(MsgType="text", Content="hi", MsgDataId="5", Idx="1")
    assert (message.article_id, message.article_number) == ("5", 1)


@pytest.mark.parametrize("spelt", ["TEXT", "Text", "text"])
def test_the_case_of_msg_type_does_not_matter(spelt: str) -> None:
    assert isinstance(message_of(MsgType=spelt, Content="hi"), TextMessage)


@pytest.mark.parametrize("fields", [fields for fields, _, _ in EXAMPLES if fields])
@pytest.mark.parametrize("nothing", [{}, None, ""])
def test_a_missing_field_is_empty(fields: dict[str, Any], nothing: Any) -> None:
    kind = {name: value for name, value in fields.items() if name in ("MsgType", "Event")}
    bare = kind if nothing == {} else {**dict.fromkeys(fields, nothing), **kind}
    found = {
        name: value for name, value in specific_fields(message_of(**bare)).items() if name not in ("event", "msg_type")
    }
    assert not any(found.values())
    assert {type(value) for value in found.values()} <= {str, int, float, tuple}


@pytest.mark.parametrize("odd", ["north", "nan", "inf", "1e300", ["1"], {"a": "b"}, "\u0661x"])
def test_an_invalid_number_becomes_zero(odd: Any) -> None:
    message = message_of(MsgType="location", Location_X=odd, Scale=odd)
    assert isinstance(message, LocationMessage)
    assert (message.latitude, message.scale) == (0.0, 0)


def test_an_event_has_no_msg_id() -> None:
    fields = {name: value for name, value in HEAD.items() if name != "MsgId"}
    assert message_from("wx1", {**fields, "MsgType": "event", "Event": "subscribe"}, 0.0).msg_id == ""


def test_json_and_xml_pushes_give_the_same_message() -> None:
    from_json = message_of(MsgType="text", Content="hi", CreateTime=1_700_000_000, MsgId=23456789012345678)
    from_xml = message_of(MsgType="text", Content="hi", CreateTime="1700000000", MsgId="23456789012345678")
    assert dataclasses.replace(from_json, raw={}) == dataclasses.replace(from_xml, raw={})
    assert from_json.msg_id == "23456789012345678", "all digits are kept"


def test_zero_is_not_missing_and_unknown_fields_stay_in_raw() -> None:
    message = message_of(MsgType="text", Content=0, bizmsgmenuid=0, New="field")
    assert specific_fields(message) == {"text": "0", "menu_id": "0"}
    assert message.raw["New"] == "field"


def test_repr_does_not_contain_raw() -> None:
    assert repr(message_of(MsgType="text", Content="hello")).count("hello") == 1


def test_messages_are_frozen_and_hashable() -> None:
    message = message_of(MsgType="image", MediaId="M1", PicUrl="http://pic")
    assert len({message, message_of(MsgType="image", MediaId="M1", PicUrl="http://pic")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.openid = "oBOB"  # type: ignore[misc]


async def fetch(media_id: str) -> Media:
    return Media(media_id.encode(), "image/png", "a.png")


@pytest.mark.parametrize("kind", ["image", "voice", "video", "shortvideo"])
def test_a_file_is_downloaded_by_its_media_id(kind: str) -> None:
    fields = {**HEAD, "MsgType": kind, "MediaId": "M1"}
    message = message_from("wx1", fields, 1.0, fetch)
    assert isinstance(message, MediaMessage)
    assert asyncio.run(message.download()).content == b"M1"
    assert message == message_from("wx1", fields, 1.0), "messages are compared by the fields of the push"


@pytest.mark.parametrize(("clearer", "fetched"), [("M16", b"M16"), ("", b"M1")])
def test_the_16k_version_of_a_voice_message_is_preferred(clearer: str, fetched: bytes) -> None:
    message = message_from("wx1", {**HEAD, **pushed("voice", MediaId="M1", MediaId16K=clearer)}, 1.0, fetch)
    assert isinstance(message, VoiceMessage)
    assert asyncio.run(message.download_16k()).content == fetched


def test_a_download_outside_of_a_bot_raises_an_error() -> None:
    message = message_of(MsgType="image", MediaId="M1")
    assert isinstance(message, ImageMessage)
    with pytest.raises(PluginError, match="running bot"):
        asyncio.run(message.download())


@pytest.mark.parametrize("odd", [{"a": 1}, [], ["x"], {}])
def test_a_text_field_of_another_type_is_empty_and_stays_in_raw(odd: Any) -> None:
    message = message_of(MsgType="text", Content=odd)
    assert isinstance(message, TextMessage)
    assert (message.text, message.raw["Content"]) == ("", odd)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
kinds = st.sampled_from([fields for fields, _, _ in EXAMPLES if fields])


@given(st.data(), kinds)
def test_no_field_value_raises_an_error(data: st.DataObject, example: dict[str, Any]) -> None:
    own = [name for name in example if name not in ("MsgType", "Event")] + ["MsgId", "EventKey", "Idx"]
    odd = {
        name: data.draw(json_values | st.dictionaries(st.sampled_from(["item", "PicList"]), json_values))
        for name in own
    }
    message = message_of(**{**example, **odd})
    assert {type(value) for value in specific_fields(message).values()} <= {str, int, float, tuple}
