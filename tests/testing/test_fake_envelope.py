"""Test the signatures, encryption and formats of FakeWeChat, with published examples and with round trips."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.testing import envelope
from wxbot.testing.envelope import Keys, Malformed

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text("utf-8"))
SEALED = [vector for vector in VECTORS if vector["encrypt"]]
SIGNED = [vector for vector in VECTORS if vector.get("signature")]
SIGNED_ANSWERS = [vector for vector in SEALED if vector["msg_signature"]]
KEYS = Keys("wxba5fad812f8e6fb9", "AAAAA", "A" * 43)
FIELDS = {"ToUserName": "gh_1", "FromUserName": "oUSER", "CreateTime": 1, "MsgType": "text", "Content": "你好 😀"}


def by_id(vector: dict[str, Any]) -> str:
    return str(vector["id"])


@pytest.mark.parametrize("vector", SEALED, ids=by_id)
def test_published_ciphertexts_are_decrypted(vector: dict[str, Any]) -> None:
    text, appid = envelope.decrypt(vector["encrypt"], vector["encoding_aes_key"])
    assert (text.decode(), appid) == (vector["expected_plaintext"], vector["app_id"])


@pytest.mark.parametrize("vector", SEALED, ids=by_id)
def test_published_ciphertexts_are_reproduced(vector: dict[str, Any]) -> None:
    text = vector["expected_plaintext"].encode()
    sealed = base64.b64decode(vector["encrypt"])
    made = envelope.encrypt(text, vector["app_id"], vector["encoding_aes_key"], _random_of(vector))
    assert base64.b64decode(made) == sealed


def _random_of(vector: dict[str, Any]) -> bytes:
    random: str = vector["random"]
    return random.encode() if len(random) == 16 else bytes.fromhex(random)


@pytest.mark.parametrize("vector", SIGNED, ids=by_id)
def test_published_signatures_are_reproduced(vector: dict[str, Any]) -> None:
    assert envelope.sign(vector["token"], vector["timestamp"], vector["nonce"]) == vector["signature"]


@pytest.mark.parametrize("vector", SIGNED_ANSWERS, ids=by_id)
def test_published_message_signatures_are_reproduced(vector: dict[str, Any]) -> None:
    parts = (vector["token"], vector["timestamp"], vector["nonce"], vector["encrypt"])
    assert envelope.sign(*parts) == vector["msg_signature"]


def test_the_published_json_answer_is_accepted() -> None:
    vector = next(vector for vector in VECTORS if vector["id"] == "mp-doc-json-reply")
    answer = envelope.read_answer(vector["body"].encode(), KEYS, "safe", "json", vector["nonce"])
    assert answer == {"demo_resp": "good luck"}


def test_parts_are_sorted_as_bytes() -> None:
    assert envelope.sign("b", "B", "1") == envelope.sign("1", "B", "b") == envelope.sign("B", "1", "b")


def test_a_new_aes_key_has_43_letters_and_digits() -> None:
    key = envelope.new_aes_key()
    assert len(key) == 43
    assert key.isalnum()
    assert len(base64.b64decode(key + "=", validate=True)) == 32


@given(text=st.binary(max_size=200), appid=st.text("wx0123456789abcdef", min_size=1))
def test_encrypted_text_can_be_decrypted(text: bytes, appid: str) -> None:
    sealed = envelope.encrypt(text, appid, KEYS.aes_key)
    assert len(base64.b64decode(sealed)) % 32 == 0
    assert envelope.decrypt(sealed, KEYS.aes_key) == (text, appid)


@given(content=st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_text_survives_both_formats(content: str) -> None:
    for form in ("xml", "json"):
        text = envelope.to_text({**FIELDS, "Content": content}, form)
        fields = envelope.from_text(text.encode(), form)
        expected = content if form == "json" else envelope._NOT_XML.sub("", content)
        assert fields["Content"] == expected


def test_lists_and_objects_become_nested_xml() -> None:
    fields = {"ScanCodeInfo": {"ScanType": "qrcode"}, "PicList": {"item": [{"PicMd5Sum": "a"}, {"PicMd5Sum": "b"}]}}
    text = envelope.to_text(fields, "xml")
    assert "<ScanCodeInfo><ScanType><![CDATA[qrcode]]></ScanType></ScanCodeInfo>" in text
    assert envelope.from_text(text.encode(), "xml") == fields


@pytest.mark.parametrize("form", ["xml", "json"])
def test_a_safe_push_shows_only_the_account(form: envelope.Format) -> None:
    query, body = envelope.push(FIELDS, KEYS, "safe", form, "1714112445", "415670741")
    outer = envelope.from_text(body, form)
    assert set(outer) == {"ToUserName", "Encrypt"}
    assert query["encrypt_type"] == "aes"
    assert query["msg_signature"] == envelope.sign("AAAAA", "1714112445", "415670741", outer["Encrypt"])
    text, appid = envelope.decrypt(outer["Encrypt"], KEYS.aes_key)
    assert appid == KEYS.appid
    assert envelope.from_text(text, form)["Content"] == "你好 😀"


def test_a_compatible_push_has_plain_and_encrypted_fields_a_plain_one_only_plain() -> None:
    query, body = envelope.push(FIELDS, KEYS, "compatible", "json", "1", "2")
    assert {**json.loads(body), "Encrypt": ""} == {**FIELDS, "Encrypt": ""}
    assert "msg_signature" in query
    query, body = envelope.push(FIELDS, KEYS, "plain", "json", "1", "2")
    assert json.loads(body) == FIELDS
    assert set(query) == {"signature", "timestamp", "nonce", "openid"}


def answer(form: envelope.Format = "xml", **changes: Any) -> bytes:
    """Return a valid encrypted answer with ``changes``."""
    keys: Keys = changes.pop("keys", KEYS)
    sealed = envelope.encrypt(envelope.to_text(FIELDS, form).encode(), keys.appid, keys.aes_key)
    signature = envelope.sign(keys.token, "17", "42", sealed)
    fields = {"Encrypt": sealed, "MsgSignature": signature, "TimeStamp": 17, "Nonce": "42", **changes}
    return envelope.to_text(fields, form).encode()


@pytest.mark.parametrize("form", ["xml", "json"])
def test_an_encrypted_answer_is_read_and_checked(form: envelope.Format) -> None:
    fields = envelope.read_answer(answer(form), KEYS, "safe", form, "42")
    assert fields is not None
    assert fields["Content"] == "你好 😀"


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        (answer(MsgSignature="0" * 40), "safe"),
        (answer(Nonce="43"), "safe"),
        (answer(Encrypt="AAAA"), "safe"),
        (answer(Extra="1"), "safe"),
        (answer(keys=Keys("wx_other", "AAAAA", "A" * 43)), "safe"),
        (answer("json"), "safe"),
        (answer("json", TimeStamp="17"), "safe"),
        (envelope.to_text(FIELDS, "xml").encode(), "safe"),
        (b'"success"', "safe"),
        (b"ok", "plain"),
        (b"<html></html>", "plain"),
        (b"<xml>&amp", "plain"),
        (b'<!DOCTYPE xml [<!ENTITY a "b">]><xml>&a;</xml>', "plain"),
    ],
)
def test_an_invalid_answer_raises_malformed(body: bytes, mode: envelope.Mode) -> None:
    with pytest.raises(Malformed):
        envelope.read_answer(body, KEYS, mode, "xml", "42")


def test_the_time_in_a_json_answer_must_be_a_number() -> None:
    with pytest.raises(Malformed, match="TimeStamp"):
        envelope.read_answer(answer("json", TimeStamp="17"), KEYS, "safe", "json", "42")


@pytest.mark.parametrize("mode", ["safe", "compatible", "plain"])
@pytest.mark.parametrize("body", [b"", b"success"])
def test_an_empty_body_and_success_are_always_accepted(body: bytes, mode: envelope.Mode) -> None:
    assert envelope.read_answer(body, KEYS, mode, "json", "42") is None


def test_compatible_mode_accepts_unencrypted_answers() -> None:
    clear = envelope.to_text(FIELDS, "json").encode()
    assert envelope.read_answer(clear, KEYS, "compatible", "json", "42") == FIELDS
    assert envelope.read_answer(answer("json"), KEYS, "compatible", "json", "42") == FIELDS
