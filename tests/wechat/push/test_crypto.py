"""Encryption: published examples are decrypted and encrypted, damaged ones are rejected with a reason."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wechatpy.crypto.base import WeChatCipher

from tests.wechat.push.vectors import where
from wxbot.errors import InvalidPush
from wxbot.model.accounts import decode_aes_key
from wxbot.wechat.push.codec import fields_of
from wxbot.wechat.push.crypto import Envelope, cdata, same, signature

KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OTHER_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg"
ENVELOPE = Envelope("wx123", "tok", KEY)

Vector = dict[str, Any]


def envelope_of(vector: Vector) -> Envelope:
    return Envelope(vector["app_id"], vector["token"], vector["encoding_aes_key"])


def aes(padded: bytes, key: str = KEY) -> str:
    return base64.b64encode(WeChatCipher(decode_aes_key(key)).encrypt(padded)).decode()


def refusal_of(ciphertext: str, envelope: Envelope = ENVELOPE) -> InvalidPush:
    with pytest.raises(InvalidPush) as caught:
        envelope.decrypt(ciphertext)
    assert "\n" not in caught.value.reason
    return caught.value


@where("encrypt")
def test_published_ciphertexts_are_decrypted(vector: Vector) -> None:
    assert envelope_of(vector).decrypt(vector["encrypt"]).plaintext.decode() == vector["expected_plaintext"]


@where("encrypt", "random")
def test_encryption_gives_the_published_ciphertext(vector: Vector) -> None:
    encrypted = envelope_of(vector).encrypt(vector["expected_plaintext"].encode(), random16=vector["random"].encode())
    assert encrypted == vector["encrypt"]


@where("encrypt", "msg_signature")
def test_only_published_msg_signatures_are_accepted(vector: Vector) -> None:
    envelope = envelope_of(vector)
    envelope.verify_msg_signature(vector["msg_signature"], vector["timestamp"], vector["nonce"], vector["encrypt"])
    with pytest.raises(InvalidPush) as caught:
        envelope.verify_msg_signature(vector["msg_signature"], vector["timestamp"], "other", vector["encrypt"])
    assert caught.value.status == 403


@where("signature")
def test_published_signatures_are_computed(vector: Vector) -> None:
    assert signature(vector["token"], vector["timestamp"], vector["nonce"]) == vector["signature"]


@where("body", kind="encrypt", format="json")
def test_the_encrypted_json_answer_is_as_published(vector: Vector) -> None:
    encrypted = envelope_of(vector).encrypted_json(
        vector["expected_plaintext"].encode(),
        int(vector["timestamp"]),
        vector["nonce"],
        random16=vector["random"].encode(),
    )
    assert json.loads(encrypted) == json.loads(vector["body"])


@where("body", kind="encrypt", format="xml")
def test_the_encrypted_xml_answer_is_as_published(vector: Vector) -> None:
    encrypted = envelope_of(vector).encrypted_xml(
        vector["expected_plaintext"].encode(),
        int(vector["timestamp"]),
        vector["nonce"],
        random16=vector["random"].encode(),
    )
    assert "".join(encrypted.split()) == "".join(vector["body"].split())


def test_the_signature_sorts_by_bytes() -> None:
    assert signature("b", "A", "1") == signature("1", "b", "A") == hashlib.sha1(b"1Ab").hexdigest()  # noqa: S324


def test_any_text_can_be_compared_with_a_signature() -> None:
    assert not same("签名\ud800", signature("a"))
    assert same("签名", "签名")


def test_a_nonce_cannot_inject_xml() -> None:
    encrypted = ENVELOPE.encrypted_xml(b"hi", 1, "]]></Nonce><Evil>x</Evil>")
    assert set(fields_of(encrypted.encode())) == {"Encrypt", "MsgSignature", "TimeStamp", "Nonce"}
    assert fields_of(encrypted.encode())["Nonce"] == "]]></Nonce><Evil>x</Evil>"


def test_after_a_key_change_both_keys_decrypt_and_the_same_key_encrypts_the_answer() -> None:
    changed = Envelope("wx123", "tok", OTHER_KEY, previous_aes_key=KEY)
    decrypted = changed.decrypt(ENVELOPE.encrypt(b"old key"))
    assert decrypted == (b"old key", 1)
    assert ENVELOPE.decrypt(changed.encrypt(b"answer", decrypted.key)).plaintext == b"answer"
    assert changed.decrypt(changed.encrypt(b"new key")) == (b"new key", 0)


def test_each_encryption_uses_new_random_bytes() -> None:
    assert ENVELOPE.encrypt(b"x") != ENVELOPE.encrypt(b"x")


@pytest.mark.parametrize(
    ("ciphertext", "word"),
    [
        ("", "multiple of 16"),
        ("%%%%", "base64"),
        ("密文", "base64"),
        ("\ud800", "base64"),
        ("YWJj", "multiple of 16"),
        (aes(b"\x00" * 32), "WXBOT_AES_KEY"),
        (aes(b"x" * 31 + b"\x21"), "WXBOT_AES_KEY"),
        (aes(b"x" * 29 + b"\x01\x02\x03"), "WXBOT_AES_KEY"),
        (aes(b"\x20" * 32), "length prefix"),
        (aes(b"r" * 16 + b"\x00\x00\x00\xff" + b"wx123" + b"\x07" * 7), "length prefix"),
        (aes(b"r" * 16 + b"\xff\xff\xff\xff" + b"wx123" + b"\x07" * 7), "length prefix"),
        (ENVELOPE.encrypt(b"hi")[:-4], "multiple of 16"),
    ],
    ids=range(12),
)
def test_damaged_ciphertext_is_rejected_with_its_reason(ciphertext: str, word: str) -> None:
    assert word in refusal_of(ciphertext).reason


def test_a_push_for_another_account_is_rejected() -> None:
    refusal = refusal_of(Envelope("wx124", "tok", KEY).encrypt(b"hi"))
    assert (refusal.status, "WXBOT_APPID" in refusal.reason) == (403, True)


def test_padding_is_to_32_bytes() -> None:
    for length in range(64):
        assert ENVELOPE.decrypt(ENVELOPE.encrypt(b"x" * length)).plaintext == b"x" * length


@given(st.binary(max_size=500))
def test_any_message_is_encrypted_and_decrypted(message: bytes) -> None:
    assert ENVELOPE.decrypt(ENVELOPE.encrypt(message)).plaintext == message


@given(st.one_of(st.text(), st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode())))
def test_any_ciphertext_is_decrypted_or_rejected(ciphertext: str) -> None:
    refusal_of(ciphertext)


@given(st.binary(min_size=1, max_size=96).map(lambda data: aes(data + b"\x00" * (-len(data) % 16))))
def test_random_ciphertext_blocks_are_rejected(ciphertext: str) -> None:
    refusal_of(ciphertext)


@given(st.text())
def test_cdata_contains_any_text(text: str) -> None:
    assert "]]>" not in cdata(text)[9:-3].replace("]]]]><![CDATA[>", "")


@pytest.mark.parametrize("key", ["", "short", "密" * 43, "A" * 44])
def test_bad_keys_are_value_errors(key: str) -> None:
    with pytest.raises(ValueError, match="43"):
        Envelope("wx123", "tok", key)


def test_the_repr_has_no_secret() -> None:
    assert KEY not in repr(ENVELOPE)
    assert "tok" not in repr(ENVELOPE).lower().replace("token", "")
