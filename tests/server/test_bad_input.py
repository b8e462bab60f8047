"""Every bad input: a 4xx with one line, one log line that names the reason, no handler run, nothing kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.conftest import Door, open_door
from tests.server.test_pushes import text_of
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app
from wxbot.testing.envelope import Keys, encrypt, new_aes_key, sign, to_text

Query = dict[str, str]
Request = tuple[Query, bytes]

OPENID = "oALICE00000000000000000000000"
NOW = "1700000000"


def safe(door: Door, **changed: object) -> Request:
    """A good push, to be damaged."""
    return door.wechat.envelope(text_of(OPENID, **changed))


def sealed(door: Door, clear: bytes, **keys: str) -> Request:
    """Any bytes, signed and encrypted as WeChat would."""
    own = door.wechat.keys
    secret = encrypt(clear, keys.get("appid", own.appid), keys.get("aes_key", own.aes_key))
    return enveloped(door, secret)


def enveloped(door: Door, secret: str) -> Request:
    token = door.wechat.keys.token
    query = {"signature": sign(token, NOW, "n"), "timestamp": NOW, "nonce": "n", "encrypt_type": "aes"}
    query["msg_signature"] = sign(token, NOW, "n", secret)
    return query, json.dumps({"ToUserName": "gh_0", "Encrypt": secret}).encode()


def without(name: str) -> Callable[[Door], Request]:
    def make(door: Door) -> Request:
        query, body = safe(door)
        return {key: value for key, value in query.items() if key != name}, body

    return make


def with_query(**changed: str) -> Callable[[Door], Request]:
    def make(door: Door) -> Request:
        query, body = safe(door)
        return query | changed, body

    return make


def with_clear(clear: bytes) -> Callable[[Door], Request]:
    return lambda door: sealed(door, clear)


def with_fields(**changed: object) -> Callable[[Door], Request]:
    return lambda door: sealed(door, json.dumps(text_of(OPENID, **changed)).encode())


def at_time(timestamp: str) -> Callable[[Door], Request]:
    return lambda door: door.wechat.envelope(text_of(OPENID), timestamp=timestamp)


def tampered(door: Door) -> Request:
    query, body = safe(door)
    outer = json.loads(body)
    secret = outer["Encrypt"]
    outer["Encrypt"] = secret[:40] + ("A" if secret[40] != "A" else "B") + secret[41:]
    return query, json.dumps(outer).encode()


def cut(door: Door) -> Request:
    secret = str(json.loads(safe(door)[1])["Encrypt"])
    return enveloped(door, secret[:-8])


def badly_padded(door: Door) -> Request:
    secret = str(json.loads(safe(door)[1])["Encrypt"])
    return enveloped(door, secret[: len(secret) // 2 // 4 * 4])


def signature_in_its_place(door: Door) -> Request:
    query, body = safe(door)
    return query | {"msg_signature": query["signature"]}, body


def clear_push(door: Door) -> Request:
    return door.wechat.envelope(text_of(OPENID), mode="plain")


def clear_push_beside_a_foreign_one(door: Door) -> Request:
    query, body = door.wechat.envelope(text_of(OPENID), mode="compatible")
    del query["msg_signature"]
    return query, body


DEEP_JSON = b'{"a":' * 5000 + b"1" + b"}" * 5000
DEEP_XML = b"<xml>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</xml>"
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><Content>&b;</Content></xml>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><Content>&a;</Content></xml>'
TWO_USERS = b'{"FromUserName":"a","FromUserName":"b","ToUserName":"g","CreateTime":1700000000,"MsgType":"text"}'
TWO_USERS_XML = (
    b"<xml><FromUserName>a</FromUserName><FromUserName>b</FromUserName><ToUserName>g</ToUserName>"
    b"<CreateTime>1700000000</CreateTime><MsgType>text</MsgType></xml>"
)
NESTED_USER_XML = TWO_USERS_XML.replace(
    b"<FromUserName>a</FromUserName><FromUserName>b</FromUserName>", b"<FromUserName><a>b</a></FromUserName>"
)

BAD: dict[str, tuple[Callable[[Door], Request], int]] = {
    "no msg_signature": (without("msg_signature"), 403),
    "an empty msg_signature": (with_query(msg_signature=""), 403),
    "a wrong msg_signature": (with_query(msg_signature="0" * 40), 403),
    "a msg_signature that is not ASCII": (with_query(msg_signature="签" * 40), 403),
    "signature in place of msg_signature": (signature_in_its_place, 403),
    "no timestamp": (without("timestamp"), 400),
    "no nonce": (without("nonce"), 400),
    "a timestamp that is no number": (with_query(timestamp="soon"), 400),
    "another nonce": (with_query(nonce="other"), 403),
    "a push of ten minutes ago": (at_time("1699999400"), 403),
    "a push of tomorrow": (at_time("1700086400"), 403),
    "a clear push although there is a key": (clear_push, 403),
    "a compatible push without msg_signature": (clear_push_beside_a_foreign_one, 403),
    "tampered ciphertext": (tampered, 403),
    "truncated ciphertext": (cut, 400),
    "bad padding": (badly_padded, 400),
    "not base64": (lambda door: enveloped(door, "%%%"), 400),
    "empty ciphertext": (lambda door: enveloped(door, ""), 400),
    "another account's appid": (lambda door: sealed(door, b"{}", appid="wxother"), 403),
    "another key": (lambda door: sealed(door, b"{}", aes_key=new_aes_key()), 400),
    "not UTF-8 inside": (with_clear(b'{"FromUserName":"\xff\xfe"}'), 400),
    "not UTF-8 outside": (lambda door: (safe(door)[0], b'{"Encrypt":"\xff"}'), 400),
    "neither XML nor JSON": (with_clear(b"hello"), 400),
    "nothing at all": (with_clear(b""), 400),
    "an empty body": (lambda door: (safe(door)[0], b""), 400),
    "JSON cut short": (with_clear(b'{"FromUserName":"a"'), 400),
    "a JSON list": (with_clear(b"[]"), 400),
    "XML cut short": (with_clear(b"<xml><a>"), 400),
    "an entity bomb": (with_clear(BOMB), 400),
    "an outside entity": (with_clear(OUTSIDE), 400),
    "a bomb outside": (lambda door: (safe(door)[0], BOMB), 400),
    "JSON nested thousands deep": (with_clear(DEEP_JSON), 400),
    "JSON nested thousands deep outside": (lambda door: (safe(door)[0], DEEP_JSON), 400),
    "XML nested thousands deep": (with_clear(DEEP_XML), 400),
    "FromUserName twice in JSON": (with_clear(TWO_USERS), 400),
    "FromUserName twice in XML": (with_clear(TWO_USERS_XML), 400),
    "FromUserName nested in XML": (with_clear(NESTED_USER_XML), 400),
    "FromUserName a list": (with_fields(FromUserName=["a"]), 400),
    "FromUserName an object": (with_fields(FromUserName={"a": "b"}), 400),
    "FromUserName empty": (with_fields(FromUserName=""), 400),
    "FromUserName with a line break": (with_fields(FromUserName="a\nb"), 400),
    "no CreateTime": (with_fields(CreateTime=None), 400),
    "CreateTime is no number": (with_fields(CreateTime="now"), 400),
    "MsgType a list": (with_fields(MsgType=["text"]), 400),
    "a lone surrogate": (with_clear(b'{"FromUserName":"a","MsgType":"text","CreateTime":1,"Content":"\\ud800"}'), 400),
    "too large a body": (lambda door: (safe(door)[0], b"{" + b" " * 1024 * 1024 + b"}"), 413),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_leaves_no_trace(name: str, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    make, status = BAD[name]
    query, body = make(door)
    with caplog.at_level(logging.DEBUG, "wxbot"):
        answer = door.wechat.push_raw(query, body)
    assert answer[0] == status
    assert_one_line(answer[1].decode())
    assert_one_log_line(caplog, door)
    assert door.handled == []
    assert door.kept() == 0


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_plain_account_refuses_what_is_not_signed(
    form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_door(tmp_path, "plain", "json" if form == "json" else "xml") as door:
        query, body = safe(door)
        for damage in ({"signature": "0" * 40}, {"signature": ""}, {"nonce": "other"}):
            assert door.wechat.push_raw(query | damage, body)[0] == 403
        assert door.kept() == 0


def test_a_repeated_parameter_is_refused(door: Door) -> None:
    query, body = safe(door)
    door.wechat.callback_url += "?nonce=first"
    assert door.wechat.push_raw(query, body)[0] == 400
    assert door.kept() == 0


def test_verification_wants_a_signature(door: Door) -> None:
    query, _ = safe(door)
    assert door.wechat.push_raw(query | {"echostr": "1", "signature": "0" * 40}, b"", method="GET")[0] == 403
    assert door.wechat.push_raw({}, b"", method="GET")[0] == 400
    assert door.wechat.push_raw(query | {"echostr": "<script>"}, b"", method="GET")[0] == 400


def test_other_addresses_and_methods_get_a_line_too(door: Door) -> None:
    assert door.wechat.push_raw({}, b"", method="PUT") == (405, b"method not allowed")
    door.wechat.callback_url += "/other"
    assert door.wechat.push_raw({}, b"") == (404, b"not found")


def test_a_key_that_is_not_set_is_named_in_the_refusal(tmp_path: Path) -> None:
    with open_door(tmp_path, "plain") as door:
        keys = Keys(door.wechat.keys.appid, door.wechat.keys.token, new_aes_key())
        query, body = door.wechat.envelope(text_of(OPENID), mode="safe", keys=keys)
        status, answer = door.wechat.push_raw(query, body)
    assert status == 400
    assert b"WXBOT_AES_KEY" in answer


def assert_one_line(text: str) -> None:
    assert text
    assert "\n" not in text
    assert len(text) < 200


def assert_one_log_line(caplog: pytest.LogCaptureFixture, door: Door) -> None:
    records = [record for record in caplog.records if record.name.startswith("wxbot")]
    assert len(records) == 1, records
    line = records[0].getMessage()
    assert_one_line(line)
    assert line.startswith("request refused: ")
    assert records[0].exc_info is None
    keys = door.wechat.keys
    assert not any(secret in line for secret in (keys.token, keys.aes_key))


def test_the_helper_writes_what_wechat_writes() -> None:
    assert to_text({"a": 1}, "xml") == "<xml><a>1</a></xml>"


# --- the send address ---


def test_what_is_wrong_at_the_send_address_is_json(tmp_path: Path) -> None:
    with open_door(tmp_path, send_key="k" * 20, max_body_bytes=2000) as door:
        client = create_app(Deployment({"": door.bot})).test_client()
        wrong = client.get("/send")
        assert (wrong.status_code, wrong.json) == (405, {"error": "method not allowed"})
        assert wrong.headers["Allow"] == "OPTIONS, POST"
        long = client.post("/send", data=b"x" * 2001)
        assert (long.status_code, long.json) == (413, {"error": "the body is too large"})
        unknown = client.post("/send/orders")
        assert (unknown.status_code, unknown.json) == (404, {"error": "not found"})


def test_without_a_send_key_the_404_is_json_too(door: Door) -> None:
    nothing = create_app(Deployment({"": door.bot})).test_client().post("/send")
    assert (nothing.status_code, nothing.json) == (404, {"error": "not found"})
    elsewhere = create_app(Deployment({"": door.bot})).test_client().post("/sender")
    assert (elsewhere.status_code, elsewhere.text) == (404, "not found")
