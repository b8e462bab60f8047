"""Answers to a push have its format, and are encrypted exactly if the push was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.errors import InvalidPush
from wxbot.model.replies import NewsReply, TextReply
from wxbot.server.assembly import make_callback
from wxbot.settings.environment import load_settings
from wxbot.testing import envelope
from wxbot.testing.envelope import Format, Keys, Mode
from wxbot.wechat.push.callback import Callback, Push, PushResponse
from wxbot.wechat.push.cloud_callback import CloudCallback
from wxbot.wechat.push.response import passive_fields, transfer_fields

NOW = 1_700_000_000
KEYS = Keys("wx1", "tok", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG")
OLD_KEYS = Keys("wx1", "tok", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg")
TEXT: dict[str, Any] = {
    "ToUserName": "gh_a",
    "FromUserName": "oUSER",
    "CreateTime": NOW,
    "MsgType": "text",
    "Content": "hi",
    "MsgId": 7,
}
CONTENT_TYPES = {"xml": "text/xml; charset=utf-8", "json": "application/json; charset=utf-8"}
PLAIN = Callback(appid="wx1", token="tok")
SAFE = Callback(appid="wx1", token="tok", aes_key=KEYS.aes_key, previous_aes_key=OLD_KEYS.aes_key)


def pushed(callback: Callback, mode: Mode, form: Format, keys: Keys = KEYS) -> Push:
    query, body = envelope.push(TEXT, keys, mode, form, str(NOW), "n1")
    push = callback.open(query, body, NOW, NOW)
    assert push is not None
    return push


def read(answer: PushResponse, mode: Mode, form: Format, keys: Keys = KEYS) -> dict[str, Any] | None:
    assert answer.content_type == CONTENT_TYPES[form]
    return envelope.read_answer(answer.body, keys, mode, form, "n1")


def as_read(fields: Any, form: Format) -> Any:
    """Return ``fields`` as a parser of ``form`` returns them: XML has no numbers and no lists of one item."""
    if form == "json":
        return fields
    if isinstance(fields, dict):
        return {name: as_read(value, form) for name, value in fields.items()}
    if isinstance(fields, list):
        return as_read(fields[0], form) if len(fields) == 1 else [as_read(each, form) for each in fields]
    return str(fields)


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("mode", ["plain", "compatible", "safe"])
def test_the_answer_has_the_format_and_encryption_of_the_push(mode: Mode, form: Format) -> None:
    callback = PLAIN if mode == "plain" else SAFE
    push = pushed(callback, mode, form)
    for fields in (
        passive_fields(push.fields, TextReply("你好 😀 ]]> <xml>&\n"), NOW),
        transfer_fields(push.fields, NOW, "test1@account"),
    ):
        answer = callback.make_response(push, fields, NOW + 3)
        assert (b"Encrypt" in answer.body) is (mode != "plain")
        assert read(answer, mode, form) == as_read(fields, form)


@pytest.mark.parametrize("form", ["xml", "json"])
def test_the_key_of_the_push_encrypts_the_answer(form: Format) -> None:
    push = pushed(SAFE, "safe", form, OLD_KEYS)
    answer = SAFE.make_response(push, transfer_fields(push.fields, NOW), NOW)
    assert read(answer, "safe", form, OLD_KEYS)
    with pytest.raises(envelope.Malformed):
        read(answer, "safe", form, KEYS)


def test_in_plaintext_mode_nothing_is_encrypted() -> None:
    push = pushed(PLAIN, "plain", "json")
    assert b"Encrypt" not in PLAIN.make_response(push, transfer_fields(push.fields, NOW), NOW).body


@given(st.text(), st.sampled_from(["xml", "json"]))
def test_an_answer_may_contain_any_text(text: str, form: Format) -> None:
    push = pushed(SAFE, "safe", form)
    answered = read(SAFE.make_response(push, passive_fields(push.fields, TextReply(text), NOW), NOW), "safe", form)
    assert answered is not None
    if form == "json":
        assert answered["Content"] == text.encode("utf-8", "replace").decode()
    else:
        assert len(answered["Content"]) == len(text.replace("\r\n", "\n"))


# --- on WeChat Cloud Hosting ---

CLOUD = CloudCallback("wx1")
SOURCE = {"x-wx-source": "wx_client"}


def clear(form: Format, **changed: Any) -> bytes:
    return envelope.to_text({**TEXT, **changed}, form).encode()


def received(body: bytes, headers: dict[str, str], query: dict[str, str] | None = None) -> Push | None:
    return CLOUD.open(query or {}, body, 0, NOW + 0.5, headers)


@pytest.mark.parametrize("form", ["xml", "json"])
def test_a_push_of_cloud_hosting_is_read_and_answered(form: Format) -> None:
    push = received(clear(form), SOURCE)
    assert push is not None
    assert push.fields == as_read(TEXT, form) | {"CreateTime": NOW}
    assert (push.format, push.encrypted, push.interacted_at) == (form, False, NOW + 0.5)
    assert push.dedup_key == f"m:7:{NOW}"
    answer = CLOUD.make_response(push, passive_fields(push.fields, NewsReply("t", "http://u"), NOW), NOW)
    assert answer.content_type == CONTENT_TYPES[form]
    fields = envelope.from_text(answer.body, form)
    assert fields["MsgType"] == "news"
    articles = fields["Articles"]
    assert (articles["item"] if form == "xml" else articles[0])["Title"] == "t"


def test_an_id_beyond_2_to_53_stays_exact() -> None:
    push = received(clear("json", MsgId=23_637_352_235_060_880), SOURCE)
    assert push is not None
    assert push.dedup_key == f"m:23637352235060880:{NOW}"


@pytest.mark.parametrize("headers", [{}, {"x-wx-source": ""}, {"x-wx-sources": "wx_client"}, {"x-wx-openid": "oUSER"}])
def test_a_push_without_the_header_is_rejected(headers: dict[str, str]) -> None:
    for query in ({}, {"signature": "x", "timestamp": str(NOW), "nonce": "n1"}):
        with pytest.raises(InvalidPush, match="X-WX-SOURCE") as caught:
            received(clear("json"), headers, query)
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("more", "rejected"),
    [
        ({"X-WX-APPID": "wx1"}, False),
        ({"X-WX-APPID": "wx2"}, True),
        ({"X-WX-APPID": "wx2", "X-WX-FROM-APPID": "wx1"}, False),
        ({"X-WX-APPID": "wx1", "X-WX-FROM-APPID": "wx2"}, True),
        ({"X-WX-APPID": "wx2", "X-WX-FROM-APPID": ""}, True),
        ({"X-WX-OPENID": "oSOMEBODY"}, False),
    ],
)
def test_a_push_for_another_account_is_rejected(more: dict[str, str], rejected: bool) -> None:
    headers = {"X-WX-Source": "wx_client", **more}
    if not rejected:
        assert received(clear("json"), headers) is not None
        return
    with pytest.raises(InvalidPush, match="WXBOT_APPID") as caught:
        received(clear("json"), headers)
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "body", [b'{"action": "CheckContainerPath"}', b"<xml>\n<action>CheckContainerPath</action>\n</xml>"]
)
@pytest.mark.parametrize("headers", [{}, SOURCE])
def test_the_path_check_of_the_console_is_acknowledged(body: bytes, headers: dict[str, str]) -> None:
    assert received(body, headers) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"action": "Else"}',
        b'{"action": ["CheckContainerPath"]}',
        b'{"action": "CheckContainerPath", "FromUserName": "oUSER"}',
        b'{"action": "CheckContainerPath"' + b" " * 300 + b"}",
        b"CheckContainerPath",
    ],
)
def test_other_bodies_are_not_the_path_check(body: bytes) -> None:
    with pytest.raises(InvalidPush):
        received(body, {})


def test_a_push_that_names_no_user_is_acknowledged() -> None:
    assert received(b'{"InfoType": "other", "CreateTime": 5}', SOURCE) is None


@pytest.mark.parametrize("body", [b"", b"x", b"[]", clear("json", FromUserName=7), clear("json", CreateTime="soon")])
def test_an_unreadable_push_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidPush) as caught:
        received(body, SOURCE)
    assert caught.value.status == 400


def test_an_encrypted_push_is_rejected_and_names_the_setting() -> None:
    _, body = envelope.push(TEXT, KEYS, "safe", "json", str(NOW), "n1")
    with pytest.raises(InvalidPush, match="WXBOT_TOKEN"):
        received(body, SOURCE)


def test_cloud_hosting_rejects_a_url_verification() -> None:
    with pytest.raises(InvalidPush, match="WXBOT_TOKEN") as caught:
        CLOUD.verify({"echostr": "1", "signature": "x", "timestamp": "1", "nonce": "n"})
    assert caught.value.status == 403


# --- the choice of the callback ---


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"secret": "s", "token": "tok"}, Callback),
        ({"cloud_call": "open"}, CloudCallback),
        ({"cloud_call": "token"}, CloudCallback),
        ({"cloud_call": "open", "token": "tok"}, Callback),
    ],
)
def test_the_settings_choose_the_callback(settings: dict[str, Any], kind: type[object]) -> None:
    assert type(make_callback(load_settings(env_file=None, appid="wx1", **settings).accounts[""])) is kind


def test_with_a_token_headers_are_not_used() -> None:
    settings = load_settings(env_file=None, appid="wx1", cloud_call="open", token="tok", aes_key=KEYS.aes_key)
    with pytest.raises(InvalidPush):
        make_callback(settings.accounts[""]).open({}, clear("json"), NOW, NOW, SOURCE)
    query, body = envelope.push(TEXT, KEYS, "safe", "json", str(NOW), "n1")
    assert make_callback(settings.accounts[""]).open(query, body, NOW, NOW, {}) is not None
