"""The callback accepts only WeChat's pushes, and a push has the same dedup key in every delivery."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wechat.push.vectors import where
from wxbot.errors import InvalidPush
from wxbot.model.user_actions import interaction_time
from wxbot.wechat.push.callback import Callback, Push, dedup_key, single_values
from wxbot.wechat.push.codec import check_message
from wxbot.wechat.push.crypto import Envelope, cdata, signature

KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
OLD_KEY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg"
NOW = 1_700_000_000
TEXT: dict[str, Any] = {
    "ToUserName": "gh_a",
    "FromUserName": "oUSER",
    "CreateTime": NOW,
    "MsgType": "text",
    "Content": "你好 😀",
    "MsgId": 9_007_199_254_740_993,
}
PLAIN = Callback(appid="wx1", token="tok")
SAFE = Callback(appid="wx1", token="tok", aes_key=KEY, previous_aes_key=OLD_KEY)


def plain_query(**changed: str) -> dict[str, str]:
    return {"signature": signature("tok", str(NOW), "n1"), "timestamp": str(NOW), "nonce": "n1", **changed}


def safe_query(encrypted: str, **changed: str) -> dict[str, str]:
    signed = signature("tok", str(NOW), "n1", encrypted)
    return {**plain_query(), "encrypt_type": "aes", "msg_signature": signed, **changed}


def encrypted_push(fields: Any = TEXT, key: str = KEY, appid: str = "wx1") -> str:
    return Envelope(appid, "tok", key).encrypt(json.dumps(fields, ensure_ascii=False).encode())


def receive(callback: Callback, query: dict[str, str], body: Any) -> Push:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return the_push(callback.open(query, data, now=NOW, received_at=NOW + 0.5))


def the_push(push: Push | None) -> Push:
    assert push is not None
    return push


def refusal(callback: Callback, query: dict[str, str], body: Any) -> InvalidPush:
    with pytest.raises(InvalidPush) as caught:
        receive(callback, query, body)
    assert "\n" not in caught.value.reason
    assert "tok" not in caught.value.reason.replace("token", "")
    return caught.value


@where("echostr", kind="signature")
def test_published_url_verifications_return_the_echostr(vector: dict[str, Any]) -> None:
    callback = Callback(appid="wx1", token=vector["token"], aes_key=KEY)
    assert callback.verify(vector) == vector["expected_plaintext"]


@where("body", kind="decrypt")
def test_published_pushes_are_accepted(vector: dict[str, Any]) -> None:
    callback = Callback(
        appid=vector["app_id"], token=vector["token"], aes_key=vector["encoding_aes_key"], max_skew_seconds=0
    )
    push = the_push(callback.open(vector, vector["body"].encode(), now=0, received_at=0))
    assert push.fields["FromUserName"] in vector["expected_plaintext"]
    assert (push.format, push.encrypted, push.nonce) == (vector["format"], True, vector["nonce"])


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"signature": "0" * 40}, 403),
        ({"signature": ""}, 403),
        ({"nonce": "n2"}, 403),
        ({"timestamp": ""}, 400),
        ({"timestamp": "1e9"}, 400),
        ({"timestamp": "１"}, 400),
        ({"nonce": ""}, 400),
        ({"echostr": ""}, 400),
        ({"echostr": "<script>"}, 400),
        ({"echostr": "a\nb"}, 400),
    ],
)
def test_a_bad_verification_is_rejected(changed: dict[str, str], status: int) -> None:
    with pytest.raises(InvalidPush) as caught:
        PLAIN.verify(plain_query(echostr="123") | changed)
    assert caught.value.status == status


def test_a_plaintext_push_is_read() -> None:
    push = receive(PLAIN, plain_query(), TEXT)
    assert push.fields == TEXT
    assert (push.format, push.encrypted) == ("json", False)
    assert push.interacted_at == NOW + 0.5
    assert push.dedup_key == f"m:9007199254740993:{NOW}"


@pytest.mark.parametrize("name", ["timestamp", "nonce"])
def test_a_plaintext_push_requires_every_parameter(name: str) -> None:
    query = plain_query()
    del query[name]
    assert (refusal(PLAIN, query, TEXT).status, name in refusal(PLAIN, query, TEXT).reason) == (400, True)


def test_a_plaintext_push_requires_a_signature() -> None:
    assert refusal(PLAIN, {"timestamp": str(NOW), "nonce": "n1"}, TEXT).status == 403
    assert refusal(PLAIN, plain_query(signature="é" * 40), TEXT).status == 403


def test_an_encrypted_push_without_a_key_names_the_setting() -> None:
    body = {"ToUserName": "gh_a", "Encrypt": encrypted_push()}
    assert "WXBOT_AES_KEY" in refusal(PLAIN, plain_query(), body).reason


def test_in_compatible_mode_without_a_key_the_plaintext_fields_are_used() -> None:
    first = receive(PLAIN, plain_query(), {**TEXT, "Encrypt": encrypted_push()})
    assert first.fields == TEXT


def test_an_encrypted_push_is_read_in_both_formats() -> None:
    encrypted = encrypted_push()
    for format_, body in (
        ("json", json.dumps({"Encrypt": encrypted}).encode()),
        ("xml", f"<xml><ToUserName>gh</ToUserName><Encrypt>{cdata(encrypted)}</Encrypt></xml>".encode()),
    ):
        push = receive(SAFE, safe_query(encrypted), body)
        assert (push.fields, push.format, push.encrypted, push.key) == (TEXT, format_, True, 0)


def test_a_push_encrypted_with_the_previous_key_is_read() -> None:
    encrypted = encrypted_push(key=OLD_KEY)
    assert receive(SAFE, safe_query(encrypted), {"Encrypt": encrypted}).key == 1


def test_with_a_key_a_plaintext_push_is_rejected_despite_a_valid_signature() -> None:
    assert refusal(SAFE, plain_query(), TEXT).status == 403
    assert refusal(SAFE, safe_query("x"), TEXT).status == 403


def test_with_a_key_a_push_requires_msg_signature() -> None:
    encrypted = encrypted_push()
    for query in (plain_query(), safe_query(encrypted, msg_signature="0" * 40), safe_query(encrypted, nonce="n2")):
        assert refusal(SAFE, query, {**TEXT, "Encrypt": encrypted}).status == 403


def test_in_compatible_mode_with_a_key_the_plaintext_fields_are_ignored() -> None:
    encrypted = encrypted_push()
    push = receive(SAFE, safe_query(encrypted), {**TEXT, "FromUserName": "oEVIL", "Encrypt": encrypted})
    assert push.fields["FromUserName"] == "oUSER"


@pytest.mark.parametrize("encrypt", [["a", "b"], {"a": "b"}, 5, None])
def test_encrypt_must_be_a_single_text(encrypt: Any) -> None:
    assert refusal(SAFE, safe_query("x"), {"Encrypt": encrypt}).status == 403


def test_a_push_for_another_account_is_rejected() -> None:
    encrypted = encrypted_push(appid="wx2")
    assert refusal(SAFE, safe_query(encrypted), {"Encrypt": encrypted}).status == 403


def test_a_push_that_names_no_user_is_acknowledged() -> None:
    encrypted = encrypted_push({"InfoType": "component_verify_ticket", "CreateTime": NOW})
    body = json.dumps({"Encrypt": encrypted}).encode()
    assert SAFE.open(safe_query(encrypted), body, now=NOW, received_at=NOW) is None


@pytest.mark.parametrize("inside", [[], "text", {"MsgType": "text", "CreateTime": NOW}, {"FromUserName": "o1"}])
def test_the_decrypted_fields_are_checked(inside: Any) -> None:
    encrypted = encrypted_push(inside)
    assert refusal(SAFE, safe_query(encrypted), {"Encrypt": encrypted}).status == 400


@pytest.mark.parametrize(("now", "refused"), [(NOW + 300, False), (NOW + 301, True), (NOW - 301, True)])
def test_a_timestamp_beyond_max_skew_is_rejected(now: float, refused: bool) -> None:
    body = json.dumps(TEXT).encode()
    if not refused:
        assert the_push(PLAIN.open(plain_query(), body, now, now)).interacted_at == NOW
        return
    with pytest.raises(InvalidPush) as caught:
        PLAIN.open(plain_query(), body, now, now)
    assert caught.value.status == 403


def test_zero_turns_the_timestamp_check_off() -> None:
    callback = Callback(appid="wx1", token="tok", max_skew_seconds=0)
    assert the_push(callback.open(plain_query(), json.dumps(TEXT).encode(), now=0, received_at=0)).fields == TEXT


def test_an_empty_token_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        Callback(appid="wx1", token=" ")


def test_repeated_parameters_are_rejected() -> None:
    assert single_values([("a", "1"), ("b", "2")]) == {"a": "1", "b": "2"}
    with pytest.raises(InvalidPush):
        single_values([("a", "1"), ("a", "1")])


ENCRYPTED = encrypted_push()


@given(st.integers(0, len(ENCRYPTED) - 1), st.characters(codec="ascii"))
def test_any_change_of_the_ciphertext_is_rejected(at: int, char: str) -> None:
    changed = ENCRYPTED[:at] + char + ENCRYPTED[at + 1 :]
    if changed != ENCRYPTED:
        assert refusal(SAFE, safe_query(ENCRYPTED), {"Encrypt": changed}).status == 403


@given(st.integers(0, len(ENCRYPTED) - 1))
def test_a_truncated_ciphertext_is_rejected_even_if_signed(length: int) -> None:
    changed = ENCRYPTED[:length]
    refusal(SAFE, safe_query(changed), {"Encrypt": changed})


@given(st.integers(0, 255), st.integers(0, 200))
def test_a_signed_but_damaged_ciphertext_raises_only_invalid_push(byte: int, at: int) -> None:
    changed = ENCRYPTED[:at] + chr(byte) + ENCRYPTED[at + 1 :]
    try:
        receive(SAFE, safe_query(changed), {"Encrypt": changed})
    except InvalidPush as refused:
        assert refused.status in (400, 403)  # noqa: PT017 - any other exception fails the test


# --- dedup keys ---


def key_of(**fields: Any) -> str:
    common = {"ToUserName": "gh", "FromUserName": "o", "CreateTime": NOW, "MsgType": "event"}
    return dedup_key(check_message({**common, **fields}))


def test_a_redelivered_event_has_the_same_dedup_key() -> None:
    fields = {"Event": "CLICK", "EventKey": "menu"}
    assert key_of(**fields) == key_of(**dict(reversed(fields.items())))
    assert key_of(**fields).startswith(f"e:{NOW}:click:menu:")


def test_two_events_of_one_second_have_different_keys() -> None:
    first = key_of(Event="LOCATION", Latitude="23.1")
    assert len({first, key_of(Event="LOCATION", Latitude="23.2"), key_of(Event="unsubscribe")}) == 3


def test_entering_from_another_page_has_another_key() -> None:
    entered = "user_enter_tempsession"
    assert key_of(Event=entered, SessionFrom="a") != key_of(Event=entered, SessionFrom="b")


def test_messages_with_one_id_in_different_seconds_have_different_keys() -> None:
    assert key_of(MsgType="text", MsgId=5) == f"m:5:{NOW}" == key_of(MsgType="text", MsgId="5", Content="x")
    assert key_of(MsgType="text", MsgId=5, CreateTime=NOW + 1) != key_of(MsgType="text", MsgId=5)


def test_the_key_of_a_message_without_id_depends_on_its_content() -> None:
    assert key_of(MsgType="odd", Content="a") != key_of(MsgType="odd", Content="b")


def test_dedup_keys_have_a_maximum_length() -> None:
    assert len(key_of(Event="VIEW", EventKey="https://example.com/" * 100)) < 150


@pytest.mark.parametrize(
    ("received_at", "expected"),
    [(NOW - 3.0, NOW - 3.0), (NOW + 0.9, NOW + 0.9), (NOW + 1.0, NOW), (NOW + 12.5, NOW)],
)
def test_the_interaction_time_of_a_late_push_is_create_time(received_at: float, expected: float) -> None:
    assert interaction_time(NOW, received_at) == expected
