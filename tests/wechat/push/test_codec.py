"""The codec reads both formats exactly, and rejects bad input cheaply and with a reason."""

from __future__ import annotations

import json
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.model.test_messages import EXAMPLES, specific_fields
from wxbot.errors import InvalidPush
from wxbot.model.messages import (
    MenuLocationEvent,
    MenuPicturesEvent,
    MenuScanEvent,
    Message,
    MiniProgramPageMessage,
    TextMessage,
    UnknownMessage,
    message_from,
)
from wxbot.testing.envelope import Format, to_text
from wxbot.wechat.push.codec import MAX_DEPTH, MAX_ELEMENTS, check_message, fields_of, format_of
from wxbot.wechat.push.crypto import cdata

GOOD: dict[str, Any] = {
    "ToUserName": "gh_a",
    "FromUserName": "oUSER",
    "CreateTime": 1482048670,
    "MsgType": "text",
    "Content": "你好",
    "MsgId": 23637352235060880,
}


def reason_for(body: bytes) -> str:
    with pytest.raises(InvalidPush) as caught:
        check_message(fields_of(body))
    assert caught.value.status == 400
    assert "\n" not in caught.value.reason
    return caught.value.reason


def reason_with(**changed: Any) -> str:
    return reason_for(json.dumps({**GOOD, **changed}).encode())


def xml(inner: str) -> bytes:
    return f"<xml>{inner}</xml>".encode()


def test_xml_text_is_read_exactly() -> None:
    fields = fields_of(xml("<Content><![CDATA[  hi\n ]]></Content><Blank> </Blank><Empty/><N>1</N>"))
    assert fields == {"Content": "  hi\n ", "Blank": " ", "Empty": "", "N": "1"}


def test_nested_elements_become_dicts_and_repeated_ones_lists() -> None:
    items = "<item><PicMd5Sum>a</PicMd5Sum></item><item><PicMd5Sum>b</PicMd5Sum></item><item/>"
    fields = fields_of(xml(f"<SendPicsInfo>\n<Count>2</Count>\n<PicList>{items}</PicList></SendPicsInfo>"))
    pictures = [{"PicMd5Sum": "a"}, {"PicMd5Sum": "b"}, ""]
    assert fields == {"SendPicsInfo": {"Count": "2", "PicList": {"item": pictures}}}


def test_json_numbers_stay_exact_beyond_2_to_53() -> None:
    body = json.dumps(GOOD).encode()
    assert check_message(fields_of(body)) == GOOD
    message = message_from("wx1", fields_of(body), 1.0)
    assert isinstance(message, TextMessage)
    assert message.msg_id == "23637352235060880"


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \r\n\t", b"\xef\xbb\xbf\n"])
def test_the_first_byte_determines_the_format(start: bytes) -> None:
    assert (format_of(start + b"<xml/>"), format_of(start + b"{}")) == ("xml", "json")
    assert fields_of(start + b'{"a": 1}') == {"a": 1}
    assert fields_of(start + b"<xml><a>1</a></xml>") == {"a": "1"}


def test_a_declared_encoding_is_ignored() -> None:
    body = '<?xml version="1.0" encoding="gbk"?><xml><a>你好</a></xml>'.encode()
    assert fields_of(body) == {"a": "你好"}


def test_control_characters_do_not_make_a_push_invalid() -> None:
    assert fields_of(xml("<Content>a\x08b\ufffe</Content>")) == {"Content": "a\ufffdb\ufffd"}
    assert fields_of(b'{"Content": "a\\u0000b\x01\n"}') == {"Content": "a\0b\x01\n"}


@given(st.text())
@example("]]>")
@example("😀 line\nline\r\n<xml>&amp;</xml>")
def test_any_text_is_read_from_json(text: str) -> None:
    for ascii_only in (True, False):
        assert fields_of(json.dumps({"Content": text}, ensure_ascii=ascii_only).encode()) == {"Content": text}


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")))
@example("]]>")
@example("😀 line\n<xml>&amp;</xml>\t")
def test_any_text_is_read_from_xml(text: str) -> None:
    for written in (cdata(text), escape(text)):
        assert fields_of(xml(f"<Content>{written}</Content>")) == {"Content": text}


@given(st.binary())
@example(b"<xml>" + b"\xff" * 4)
@example(b'{"a": \xed\xa0\x80}')
def test_arbitrary_bytes_are_read_or_rejected(body: bytes) -> None:
    for start in (b"", b"<", b"{", b"<xml>", b'{"a":'):
        try:
            check_message(fields_of(start + body))
        except InvalidPush as refusal:
            assert "\n" not in refusal.reason  # noqa: PT017 - any other exception fails the test


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"hello", "neither"),
        (b"42", "neither"),
        (b'{"a": "\xff"}', "UTF-8"),
        ("<xml><a>中</a></xml>".encode("gbk"), "UTF-8"),
        (b"[1, 2]", "not an object"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": "\\ud83d"}', "surrogate"),
        (b'{"\\ude00": 1}', "surrogate"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "too many"),
        (b'{"a": ' + b"[" * 15_000 + b"]" * 15_000 + b"}", "deeply"),
        (b'{"a": [' + b"{}," * 20_000 + b"1]}", "too many"),
        (b'{"a": ' + b'{"b": ' * 17 + b"1" + b"}" * 18, "deeply"),
        (b'{"FromUserName": "a", "FromUserName": "b"}', "more than once"),
        (b'{"Encrypt": "a", "Encrypt": "b"}', "more than once"),
        (b"<xml><a></xml>", "well-formed"),
        (b"<xml/><xml/>", "well-formed"),
        (b"<xml>&nbsp;</xml>", "well-formed"),
        (b"<xml>&#8;</xml>", "well-formed"),
        (b"<xml>" * (MAX_DEPTH + 2), "deeply"),
        (xml("<a/>" * MAX_ELEMENTS), "elements"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><xml><a>&a;</a></xml>', "DOCTYPE"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml/>', "DOCTYPE"),
        (b"<xml></xml>", "FromUserName"),
        (b"<xml>text</xml>", "FromUserName"),
        (b"{}", "FromUserName"),
    ],
    ids=range(32),
)
def test_bad_input_is_rejected_with_its_reason(body: bytes, word: str) -> None:
    assert word in reason_for(body)


@pytest.mark.parametrize("user", [None, "", " ", 7, ["a", "b"], {"a": "b"}, "o\0", "o\n", "o" * 129, True])
def test_from_user_name_must_be_one_short_text(user: Any) -> None:
    assert "FromUserName" in reason_with(FromUserName=user)


def test_repeated_and_nested_user_names_in_xml_are_rejected() -> None:
    rest = "<CreateTime>1</CreateTime><MsgType>text</MsgType>"
    assert "FromUserName" in reason_for(xml("<FromUserName>a</FromUserName><FromUserName>b</FromUserName>" + rest))
    assert "FromUserName" in reason_for(xml("<FromUserName><a>b</a></FromUserName>" + rest))


@pytest.mark.parametrize("value", [None, "", "soon", "1.5", 1.5, -1, 0, 2**40, True, ["1"], "９", "1" * 5000])
def test_create_time_must_be_in_whole_seconds(value: Any) -> None:
    assert "CreateTime" in reason_with(CreateTime=value)


@pytest.mark.parametrize("value", ["1482048670", " 1482048670\n", 1482048670])
def test_create_time_becomes_an_int(value: Any) -> None:
    assert check_message({**GOOD, "CreateTime": value})["CreateTime"] == 1482048670


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MsgType", None),
        ("MsgType", []),
        ("MsgType", " "),
        ("MsgId", 1.5),
        ("MsgId", True),
        ("MsgId", ["1", "2"]),
        ("MsgId", "1" * 129),
        ("MsgId", -1),
        ("ToUserName", ["a"]),
        ("ToUserName", "a\0"),
    ],
)
def test_other_required_fields_must_have_their_type(name: str, value: Any) -> None:
    assert name in reason_with(**{name: value})


@pytest.mark.parametrize("event", [None, "", ["a"]])
def test_an_event_must_have_a_name(event: Any) -> None:
    assert "Event" in reason_with(MsgType="event", Event=event)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_msg_id_is_removed(empty: Any) -> None:
    assert "MsgId" not in check_message({**GOOD, "MsgId": empty})


def test_unknown_types_and_msg_ids_of_cloud_functions_are_accepted() -> None:
    fields = check_message({**GOOD, "MsgType": "hologram", "MsgId": "49d72d_1555684067"})
    assert isinstance(message_from("wx1", fields, 1.0), UnknownMessage)


def test_a_mini_program_card_is_read() -> None:
    body = xml(
        "<ToUserName>gh</ToUserName><FromUserName>o</FromUserName><CreateTime>1</CreateTime><MsgId>5</MsgId>"
        "<MsgType>miniprogrampage</MsgType><PagePath><![CDATA[pages/a?x=1&y=2]]></PagePath>"
    )
    message = message_from("wx1", check_message(fields_of(body)), 1.0)
    assert isinstance(message, MiniProgramPageMessage)
    assert message.page_path == "pages/a?x=1&y=2"


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize(("fields", "kind", "expected"), [each for each in EXAMPLES if each[0]])
def test_every_message_type_is_read_from_both_formats(
    fields: dict[str, Any], kind: type[Message], expected: dict[str, Any], form: Format
) -> None:
    head = {"ToUserName": "gh_a", "FromUserName": "oUSER", "CreateTime": 1482048670, "MsgDataId": 5, "Idx": 1}
    body = to_text({**head, **fields}, form).encode()
    message = message_from("wx1", check_message(fields_of(body)), 1.0)
    assert type(message) is kind
    assert specific_fields(message) == expected
    assert (message.article_id, message.article_number) == ("5", 1)


def event_of(inner: str) -> Message:
    head = "<ToUserName>gh_a</ToUserName>\n<FromUserName>o</FromUserName>\n<CreateTime>1</CreateTime>\n"
    body = xml(f"\n{head}<MsgType><![CDATA[event]]></MsgType>\n<EventKey><![CDATA[6]]></EventKey>\n{inner}\n")
    return message_from("wx1", check_message(fields_of(body)), 1.0)


def test_nested_events_of_wechats_documentation_are_read() -> None:
    scanned = event_of(
        "<Event><![CDATA[scancode_waitmsg]]></Event>\n<ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType>\n"
        "<ScanResult><![CDATA[2 1]]></ScanResult>\n</ScanCodeInfo>"
    )
    assert isinstance(scanned, MenuScanEvent)
    assert (scanned.key, scanned.scan_type, scanned.scan_result) == ("6", "qrcode", "2 1")
    pictures = event_of(
        "<Event><![CDATA[pic_weixin]]></Event>\n<SendPicsInfo><Count>1</Count>\n<PicList><item><PicMd5Sum>"
        "<![CDATA[5a75]]></PicMd5Sum>\n</item>\n</PicList>\n</SendPicsInfo>"
    )
    assert isinstance(pictures, MenuPicturesEvent)
    assert (pictures.count, pictures.md5_sums) == (1, ("5a75",))
    place = event_of(
        "<Event><![CDATA[location_select]]></Event>\n<SendLocationInfo><Location_X><![CDATA[23]]></Location_X>\n"
        "<Location_Y><![CDATA[113]]></Location_Y>\n<Scale><![CDATA[15]]></Scale>\n<Label><![CDATA[street 1]]></Label>"
        "\n<Poiname><![CDATA[]]></Poiname>\n</SendLocationInfo>"
    )
    assert isinstance(place, MenuLocationEvent)
    assert (place.latitude, place.longitude, place.scale, place.label, place.poi_name) == (23, 113, 15, "street 1", "")
