"""Every bad input gets a 4xx with one line and one log line with the reason. Nothing is handled or stored."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.conftest import Webhook, running_webhook
from tests.server.test_pushes import text_of
from wxbot.server.deployment import Deployment
from wxbot.server.web import create_app
from wxbot.testing.envelope import Keys, encrypt, new_aes_key, sign, to_text

Query = dict[str, str]
Request = tuple[Query, bytes]

OPENID = "oALICE00000000000000000000000"
NOW = "1700000000"


def safe(webhook: Webhook, **changed: object) -> Request:
    """Return the query and the body of a valid push."""
    return webhook.wechat.envelope(text_of(OPENID, **changed))


def encrypted(webhook: Webhook, clear: bytes, **keys: str) -> Request:
    """Return a push with ``clear`` as its content, signed and encrypted as WeChat does it."""
    own = webhook.wechat.keys
    ciphertext = encrypt(clear, keys.get("appid", own.appid), keys.get("aes_key", own.aes_key))
    return enveloped(webhook, ciphertext)


def enveloped(webhook: Webhook, ciphertext: str) -> Request:
    """Return a push with ``ciphertext`` and the right signature for it."""
    token = webhook.wechat.keys.token
    query = {"signature": sign(token, NOW, "n"), "timestamp": NOW, "nonce": "n", "encrypt_type": "aes"}
    query["msg_signature"] = sign(token, NOW, "n", ciphertext)
    return query, json.dumps({"ToUserName": "gh_0", "Encrypt": ciphertext}).encode()


def without(name: str) -> Callable[[Webhook], Request]:
    def make(webhook: Webhook) -> Request:
        query, body = safe(webhook)
        return {key: value for key, value in query.items() if key != name}, body

    return make


def with_query(**changed: str) -> Callable[[Webhook], Request]:
    def make(webhook: Webhook) -> Request:
        query, body = safe(webhook)
        return query | changed, body

    return make


def with_clear(clear: bytes) -> Callable[[Webhook], Request]:
    return lambda webhook: encrypted(webhook, clear)


def with_fields(**changed: object) -> Callable[[Webhook], Request]:
    return lambda webhook: encrypted(webhook, json.dumps(text_of(OPENID, **changed)).encode())


def at_time(timestamp: str) -> Callable[[Webhook], Request]:
    return lambda webhook: webhook.wechat.envelope(text_of(OPENID), timestamp=timestamp)


def tampered(webhook: Webhook) -> Request:
    query, body = safe(webhook)
    outer = json.loads(body)
    ciphertext = outer["Encrypt"]
    outer["Encrypt"] = ciphertext[:40] + ("A" if ciphertext[40] != "A" else "B") + ciphertext[41:]
    return query, json.dumps(outer).encode()


def truncated(webhook: Webhook) -> Request:
    ciphertext = str(json.loads(safe(webhook)[1])["Encrypt"])
    return enveloped(webhook, ciphertext[:-8])


def badly_padded(webhook: Webhook) -> Request:
    ciphertext = str(json.loads(safe(webhook)[1])["Encrypt"])
    return enveloped(webhook, ciphertext[: len(ciphertext) // 2 // 4 * 4])


def signature_as_msg_signature(webhook: Webhook) -> Request:
    query, body = safe(webhook)
    return query | {"msg_signature": query["signature"]}, body


def plaintext_push(webhook: Webhook) -> Request:
    return webhook.wechat.envelope(text_of(OPENID), mode="plain")


def compatible_push_without_msg_signature(webhook: Webhook) -> Request:
    query, body = webhook.wechat.envelope(text_of(OPENID), mode="compatible")
    del query["msg_signature"]
    return query, body


DEEP_JSON = b'{"a":' * 5000 + b"1" + b"}" * 5000
DEEP_XML = b"<xml>" + b"<a>" * 5000 + b"</a>" * 5000 + b"</xml>"
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xml><Content>&b;</Content></xml>'
EXTERNAL = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><Content>&a;</Content></xml>'
TWO_USERS = b'{"FromUserName":"a","FromUserName":"b","ToUserName":"g","CreateTime":1700000000,"MsgType":"text"}'
TWO_USERS_XML = (
    b"<xml><FromUserName>a</FromUserName><FromUserName>b</FromUserName><ToUserName>g</ToUserName>"
    b"<CreateTime>1700000000</CreateTime><MsgType>text</MsgType></xml>"
)
NESTED_USER_XML = TWO_USERS_XML.replace(
    b"<FromUserName>a</FromUserName><FromUserName>b</FromUserName>", b"<FromUserName><a>b</a></FromUserName>"
)

BAD_INPUT: dict[str, tuple[Callable[[Webhook], Request], int]] = {
    "no msg_signature": (without("msg_signature"), 403),
    "an empty msg_signature": (with_query(msg_signature=""), 403),
    "a wrong msg_signature": (with_query(msg_signature="0" * 40), 403),
    "a msg_signature that is not ASCII": (with_query(msg_signature="签" * 40), 403),
    "signature in place of msg_signature": (signature_as_msg_signature, 403),
    "no timestamp": (without("timestamp"), 400),
    "no nonce": (without("nonce"), 400),
    "a timestamp that is not a number": (with_query(timestamp="soon"), 400),
    "another nonce": (with_query(nonce="other"), 403),
    "a push of ten minutes ago": (at_time("1699999400"), 403),
    "a push of tomorrow": (at_time("1700086400"), 403),
    "a plaintext push although there is a key": (plaintext_push, 403),
    "a compatible push without msg_signature": (compatible_push_without_msg_signature, 403),
    "tampered ciphertext": (tampered, 403),
    "truncated ciphertext": (truncated, 400),
    "bad padding": (badly_padded, 400),
    "not base64": (lambda webhook: enveloped(webhook, "%%%"), 400),
    "empty ciphertext": (lambda webhook: enveloped(webhook, ""), 400),
    "another account's appid": (lambda webhook: encrypted(webhook, b"{}", appid="wxother"), 403),
    "another key": (lambda webhook: encrypted(webhook, b"{}", aes_key=new_aes_key()), 400),
    "not UTF-8 inside": (with_clear(b'{"FromUserName":"\xff\xfe"}'), 400),
    "not UTF-8 outside": (lambda webhook: (safe(webhook)[0], b'{"Encrypt":"\xff"}'), 400),
    "neither XML nor JSON": (with_clear(b"hello"), 400),
    "empty content": (with_clear(b""), 400),
    "an empty body": (lambda webhook: (safe(webhook)[0], b""), 400),
    "JSON truncated short": (with_clear(b'{"FromUserName":"a"'), 400),
    "a JSON list": (with_clear(b"[]"), 400),
    "XML truncated short": (with_clear(b"<xml><a>"), 400),
    "an entity bomb": (with_clear(BOMB), 400),
    "an external entity": (with_clear(EXTERNAL), 400),
    "a bomb outside": (lambda webhook: (safe(webhook)[0], BOMB), 400),
    "JSON nested thousands deep": (with_clear(DEEP_JSON), 400),
    "JSON nested thousands deep outside": (lambda webhook: (safe(webhook)[0], DEEP_JSON), 400),
    "XML nested thousands deep": (with_clear(DEEP_XML), 400),
    "FromUserName twice in JSON": (with_clear(TWO_USERS), 400),
    "FromUserName twice in XML": (with_clear(TWO_USERS_XML), 400),
    "FromUserName nested in XML": (with_clear(NESTED_USER_XML), 400),
    "FromUserName a list": (with_fields(FromUserName=["a"]), 400),
    "FromUserName an object": (with_fields(FromUserName={"a": "b"}), 400),
    "FromUserName empty": (with_fields(FromUserName=""), 400),
    "FromUserName with a line break": (with_fields(FromUserName="a\nb"), 400),
    "no CreateTime": (with_fields(CreateTime=None), 400),
    "CreateTime is not a number": (with_fields(CreateTime="now"), 400),
    "MsgType a list": (with_fields(MsgType=["text"]), 400),
    "a lone surrogate": (with_clear(b'{"FromUserName":"a","MsgType":"text","CreateTime":1,"Content":"\\ud800"}'), 400),
    "a body that is too large": (lambda webhook: (safe(webhook)[0], b"{" + b" " * 1024 * 1024 + b"}"), 413),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_and_nothing_is_stored(
    name: str, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    make, status = BAD_INPUT[name]
    query, body = make(webhook)
    with caplog.at_level(logging.DEBUG, "wxbot"):
        answer = webhook.wechat.push_raw(query, body)
    assert answer[0] == status
    assert_one_line(answer[1].decode())
    assert_one_log_line(caplog, webhook)
    assert webhook.handled == []
    assert webhook.stored_messages() == 0


@pytest.mark.parametrize("form", ["json", "xml"])
def test_in_plaintext_mode_an_unsigned_push_is_refused(
    form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_webhook(tmp_path, "plain", "json" if form == "json" else "xml") as webhook:
        query, body = safe(webhook)
        for damage in ({"signature": "0" * 40}, {"signature": ""}, {"nonce": "other"}):
            assert webhook.wechat.push_raw(query | damage, body)[0] == 403
        assert webhook.stored_messages() == 0


def test_a_repeated_parameter_is_refused(webhook: Webhook) -> None:
    query, body = safe(webhook)
    webhook.wechat.callback_url += "?nonce=first"
    assert webhook.wechat.push_raw(query, body)[0] == 400
    assert webhook.stored_messages() == 0


def test_url_verification_requires_a_signature(webhook: Webhook) -> None:
    query, _ = safe(webhook)
    assert webhook.wechat.push_raw(query | {"echostr": "1", "signature": "0" * 40}, b"", method="GET")[0] == 403
    assert webhook.wechat.push_raw({}, b"", method="GET")[0] == 400
    assert webhook.wechat.push_raw(query | {"echostr": "<script>"}, b"", method="GET")[0] == 400


def test_other_paths_and_methods_get_an_error_of_one_line(webhook: Webhook) -> None:
    assert webhook.wechat.push_raw({}, b"", method="PUT") == (405, b"method not allowed")
    webhook.wechat.callback_url += "/other"
    assert webhook.wechat.push_raw({}, b"") == (404, b"not found")


def test_the_error_names_the_missing_aes_key(tmp_path: Path) -> None:
    with running_webhook(tmp_path, "plain") as webhook:
        keys = Keys(webhook.wechat.keys.appid, webhook.wechat.keys.token, new_aes_key())
        query, body = webhook.wechat.envelope(text_of(OPENID), mode="safe", keys=keys)
        status, answer = webhook.wechat.push_raw(query, body)
    assert status == 400
    assert b"WXBOT_AES_KEY" in answer


def assert_one_line(text: str) -> None:
    assert text
    assert "\n" not in text
    assert len(text) < 200


def assert_one_log_line(caplog: pytest.LogCaptureFixture, webhook: Webhook) -> None:
    records = [record for record in caplog.records if record.name.startswith("wxbot")]
    assert len(records) == 1, records
    line = records[0].getMessage()
    assert_one_line(line)
    assert line.startswith("request refused: ")
    assert records[0].exc_info is None
    keys = webhook.wechat.keys
    assert not any(secret in line for secret in (keys.token, keys.aes_key))


def test_the_helper_writes_xml_as_wechat_does() -> None:
    assert to_text({"a": 1}, "xml") == "<xml><a>1</a></xml>"


# The path /send


def test_errors_of_send_are_json(tmp_path: Path) -> None:
    with running_webhook(tmp_path, send_key="k" * 20, max_body_bytes=2000) as webhook:
        client = create_app(Deployment({"": webhook.bot})).test_client()
        wrong = client.get("/send")
        assert (wrong.status_code, wrong.json) == (405, {"error": "method not allowed"})
        assert wrong.headers["Allow"] == "OPTIONS, POST"
        long = client.post("/send", data=b"x" * 2001)
        assert (long.status_code, long.json) == (413, {"error": "the body is too large"})
        unknown = client.post("/send/orders")
        assert (unknown.status_code, unknown.json) == (404, {"error": "not found"})


def test_without_a_send_key_the_404_of_send_is_json(webhook: Webhook) -> None:
    send = create_app(Deployment({"": webhook.bot})).test_client().post("/send")
    assert (send.status_code, send.json) == (404, {"error": "not found"})
    other = create_app(Deployment({"": webhook.bot})).test_client().post("/sender")
    assert (other.status_code, other.text) == (404, "not found")
