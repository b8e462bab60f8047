"""The callback: it verifies, decrypts, parses and checks WeChat's pushes, and computes their dedup keys.

This module does no I/O. Sources: docs/wechat.md, section "Message push", and
https://developers.weixin.qq.com/miniprogram/dev/framework/server-ability/message-push.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from wxbot.errors import InvalidPush
from wxbot.model.user_actions import interaction_time, is_interaction
from wxbot.wechat.push.codec import Format, check_message, fields_of, format_of
from wxbot.wechat.push.crypto import Envelope, same, signature
from wxbot.wechat.push.response import to_text

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_ECHOSTR = re.compile(r"[A-Za-z0-9+/=_.-]{1,1024}")
_MAX_NONCE_CHARS = 128
_MAX_KEY_CHARS = 64

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_CONTENT_TYPES: Mapping[Format, str] = {
    "xml": "text/xml; charset=utf-8",
    "json": "application/json; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Push:
    """A push that comes from WeChat and has the fields that wxbot relies on (``codec.check_message``).

    ``key`` is the number of the AES key that decrypted it, ``nonce`` is from the query. An encrypted
    response needs both.
    ``dedup_key`` is the same for every delivery of one push and differs between two pushes of one user.
    ``interacted_at`` is the time of the user action in seconds since 1970; 0 for an event that is no user action.
    """

    fields: Mapping[str, Any] = field(repr=False)
    format: Format
    encrypted: bool
    key: int
    nonce: str
    dedup_key: str
    interacted_at: float


@dataclass(frozen=True, slots=True)
class PushResponse:
    """A response to a push other than ``success``: a passive reply, or the transfer to human agents."""

    body: bytes = field(repr=False)
    content_type: str


class Callback:
    """A verifier, decrypter and parser of the pushes of one account. Threads may share it.

    Without ``aes_key`` the account is in plaintext mode and ``signature`` is checked. With ``aes_key`` only pushes with
    a valid ``msg_signature`` are accepted, because ``signature`` does not cover the body. ``max_skew_seconds`` is the
    largest accepted difference between a push's timestamp and the local clock; 0 turns this check off.
    """

    def __init__(
        self,
        *,
        appid: str,
        token: str,
        aes_key: str | None = None,
        previous_aes_key: str | None = None,
        max_skew_seconds: float = 300,
    ) -> None:
        if not token.strip():
            raise ValueError("the token is empty, so anybody could forge a push: set WXBOT_TOKEN")
        self._token = token
        self._envelope = Envelope(appid, token, aes_key, previous_aes_key) if aes_key else None
        self._max_skew = max_skew_seconds

    def verify(self, query: Mapping[str, str]) -> str:
        """Return the ``echostr`` for WeChat's GET request, which verifies the URL. Raises InvalidPush.

        Mini Programs and Official Accounts get an unencrypted echostr in every mode.
        """
        self._check_signature(query, _timestamp(query), _nonce(query))
        echostr = _parameter(query, "echostr")
        # The signature does not cover the echostr, so with an old signature this URL could be made to return any text.
        if not _ECHOSTR.fullmatch(echostr):
            raise InvalidPush("echostr has characters that WeChat never sends")
        return echostr

    def open(
        self,
        query: Mapping[str, str],
        body: bytes,
        now: float,
        received_at: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Push | None:
        """Return the push in a POST request; None if it is from WeChat but names no user to reply to.

        ``now`` is compared with the query's timestamp, ``received_at`` with CreateTime; both in seconds since 1970.
        ``headers`` (names in lower case) are not used, because the signature proves the sender. Raises InvalidPush with
        status 403 if the push is not from WeChat or is for another account, with status 400 if it cannot be read.
        """
        timestamp, nonce = _timestamp(query), _nonce(query)
        self._check_skew(timestamp, now)
        if self._envelope is None:
            self._check_signature(query, timestamp, nonce)
            fields, key = _plaintext_fields(body), 0
        else:
            fields, key = self._decrypted(self._envelope, query, timestamp, nonce, body)
        encrypted = self._envelope is not None
        return push_of(fields, format_of(body), received_at, encrypted=encrypted, key=key, nonce=nonce)

    def make_response(self, push: Push, fields: Mapping[str, Any], now: float) -> PushResponse:
        """Return ``fields`` as the response to ``push``, in its format, encrypted if the push was encrypted.

        ``fields`` come from ``passive_fields`` or ``transfer_fields`` (``push/response.py``). ``now``, in seconds since
        1970, is the signed timestamp of an encrypted response.
        """
        answer = plaintext_response(push, fields)
        if not push.encrypted or self._envelope is None:
            return answer
        encrypt = self._envelope.encrypted_xml if push.format == "xml" else self._envelope.encrypted_json
        encrypted = encrypt(answer.body, int(now), push.nonce, push.key)
        return PushResponse(_encoded(encrypted), answer.content_type)

    def _decrypted(
        self, envelope: Envelope, query: Mapping[str, str], timestamp: str, nonce: str, body: bytes
    ) -> tuple[dict[str, Any], int]:
        msg_signature = query.get("msg_signature")
        if not msg_signature:
            raise InvalidPush(
                "the push has no msg_signature; WXBOT_AES_KEY is set, so only encrypted pushes are accepted", 403
            )
        ciphertext = fields_of(body).get("Encrypt")
        if not isinstance(ciphertext, str):
            raise InvalidPush(
                "the push has no single Encrypt; WXBOT_AES_KEY is set, so only encrypted pushes are accepted",
                403,
            )
        envelope.verify_msg_signature(msg_signature, timestamp, nonce, ciphertext)
        decrypted = envelope.decrypt(ciphertext)
        return fields_of(decrypted.plaintext), decrypted.key

    def _check_signature(self, query: Mapping[str, str], timestamp: str, nonce: str) -> None:
        if not same(query.get("signature", ""), signature(self._token, timestamp, nonce)):
            raise InvalidPush("the signature is wrong: set WXBOT_TOKEN to the Token in WeChat's console", 403)

    def _check_skew(self, timestamp: str, now: float) -> None:
        skew = abs(now - int(timestamp))
        if 0 < self._max_skew < skew:
            raise InvalidPush(
                f"the timestamp differs from the local clock by {skew:.0f} seconds, more than WXBOT_MAX_SKEW_SECONDS: "
                "synchronise the clock (NTP)",
                403,
            )


def push_of(
    fields: Mapping[str, Any],
    form: Format,
    received_at: float,
    *,
    encrypted: bool = False,
    key: int = 0,
    nonce: str = "",
) -> Push | None:
    """Return the push with ``fields`` of a checked sender; None if it names no user. Raises InvalidPush (400)."""
    if "MsgType" not in fields and "FromUserName" not in fields:
        return None
    checked = check_message(fields)
    return Push(
        fields=checked,
        format=form,
        encrypted=encrypted,
        key=key,
        nonce=nonce,
        dedup_key=dedup_key(checked),
        interacted_at=_interacted_at(checked, received_at),
    )


def plaintext_response(push: Push, fields: Mapping[str, Any]) -> PushResponse:
    """Return ``fields`` as an unencrypted response in the format of ``push``."""
    return PushResponse(_encoded(to_text(fields, push.format)), _CONTENT_TYPES[push.format])


def _encoded(text: str) -> bytes:
    """Return ``text`` in UTF-8. A lone surrogate, which UTF-8 cannot express, becomes "?"."""
    return text.encode("utf-8", "replace")


def single_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the query as a dict. Raises InvalidPush if a name appears twice: it is unknown which value was signed."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidPush("the query has a parameter more than once")
        values[name] = value
    return values


def dedup_key(fields: Mapping[str, Any]) -> str:
    """Return the dedup key of a push: the same in every delivery, different for two pushes of one user.

    A message's key is MsgId with CreateTime. Events have no MsgId, and two events of the same second can have the same
    Event and EventKey (LOCATION does), so their key contains a hash of all fields.
    """
    created_at = fields["CreateTime"]
    msg_id = fields.get("MsgId")
    if msg_id is not None and fields["MsgType"].lower() != "event":
        return f"m:{_short(str(msg_id))}:{created_at}"
    event = str(fields.get("Event") or fields["MsgType"]).lower()
    key = str(fields.get("EventKey") or fields.get("SessionFrom") or "")
    return f"e:{created_at}:{_short(event)}:{_short(key)}:{_digest(json.dumps(fields, sort_keys=True))}"


def _interacted_at(fields: Mapping[str, Any], received_at: float) -> float:
    if not is_interaction(fields["MsgType"], str(fields.get("Event", ""))):
        return 0.0
    return interaction_time(fields["CreateTime"], received_at)


def _plaintext_fields(body: bytes) -> dict[str, Any]:
    fields = fields_of(body)
    # In compatible mode the body has Encrypt and the plaintext fields. Encrypt differs in every delivery, so it must
    # not be part of the dedup key.
    if fields.pop("Encrypt", None) is not None and "FromUserName" not in fields:
        raise InvalidPush("the push is encrypted: set WXBOT_AES_KEY to the EncodingAESKey in WeChat's console")
    return fields


def _parameter(query: Mapping[str, str], name: str) -> str:
    value = query.get(name)
    if not value:
        raise InvalidPush(f"the query has no {name}")
    return value


def _timestamp(query: Mapping[str, str]) -> str:
    value = _parameter(query, "timestamp")
    if not _TIMESTAMP.fullmatch(value):
        raise InvalidPush("the timestamp is not a time in seconds")
    return value


def _nonce(query: Mapping[str, str]) -> str:
    value = _parameter(query, "nonce")
    if len(value) > _MAX_NONCE_CHARS or not value.isprintable():
        raise InvalidPush("the nonce is too long or has control characters")
    return value


def _short(text: str) -> str:
    return text if len(text) <= _MAX_KEY_CHARS else _digest(text)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
