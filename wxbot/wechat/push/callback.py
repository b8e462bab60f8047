"""The door of the message push: which request is WeChat's, what it says, and what makes it one of a kind. Pure.

Sources: docs/wechat.md, section "Message push", and
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
from wxbot.wechat.push.answer import to_text
from wxbot.wechat.push.codec import Format, check_message, fields_of, format_of
from wxbot.wechat.push.crypto import Envelope, same, signature

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
    """A push that is WeChat's and has what wxbot relies on (``codec.check_message``).

    ``key`` is the number of the AES key that opened it and ``nonce`` the query's: a passive answer needs both.
    ``dedup_key`` is the same for every delivery of one push and differs between two pushes of one user.
    ``interacted_at`` says when the user acted, in seconds since 1970; 0 for an event that is no act of theirs.
    """

    fields: Mapping[str, Any] = field(repr=False)
    format: Format
    encrypted: bool
    key: int
    nonce: str
    dedup_key: str
    interacted_at: float


@dataclass(frozen=True, slots=True)
class PassiveAnswer:
    """An answer to a push that says more than ``success``."""

    body: bytes = field(repr=False)
    content_type: str


class Callback:
    """Verifies, opens and checks the pushes of one account; safe to share between threads.

    Without ``aes_key`` the account is in plaintext mode and ``signature`` decides. With one, nothing but a push with
    a valid ``msg_signature`` is believed: ``signature`` does not cover the body. ``max_skew_seconds`` bounds the
    distance between a push's timestamp and our clock; 0 turns that check off.
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
            raise ValueError("the token is empty: anybody could sign as WeChat")
        self._token = token
        self._envelope = Envelope(appid, token, aes_key, previous_aes_key) if aes_key else None
        self._max_skew = max_skew_seconds

    def verify(self, query: Mapping[str, str]) -> str:
        """The ``echostr`` to answer to WeChat's GET, as plain text. Raises InvalidPush.

        The echostr of Mini Programs and Official Accounts is clear text in every mode.
        """
        self._check_signature(query, _timestamp(query), _nonce(query))
        echostr = _parameter(query, "echostr")
        # The signature does not cover it, so an old request could be used to make this address say anything.
        if not _ECHOSTR.fullmatch(echostr):
            raise InvalidPush("echostr holds characters that WeChat does not send")
        return echostr

    def open(
        self,
        query: Mapping[str, str],
        body: bytes,
        now: float,
        received_at: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Push | None:
        """The push in a POST. Raises InvalidPush: 403 if it is not WeChat's or not ours, 400 if it cannot be read.

        None: it is WeChat's, but neither a message nor an event of a user; there is nobody to answer.
        ``now`` is compared with the query's timestamp, ``received_at`` with CreateTime; both in seconds since 1970.
        ``headers``, by their names in lower case, count for nothing here: a signature does.
        """
        timestamp, nonce = _timestamp(query), _nonce(query)
        self._check_skew(timestamp, now)
        if self._envelope is None:
            self._check_signature(query, timestamp, nonce)
            fields, key = _clear_fields(body), 0
        else:
            fields, key = self._decrypted(self._envelope, query, timestamp, nonce, body)
        encrypted = self._envelope is not None
        return push_of(fields, format_of(body), received_at, encrypted=encrypted, key=key, nonce=nonce)

    def answer(self, push: Push, fields: Mapping[str, Any], now: float) -> PassiveAnswer:
        """``fields`` (``wire.passive_fields``) as the answer to ``push``: in its format, and encrypted if it was.

        ``now`` in seconds since 1970 is signed with an encrypted answer.
        """
        answer = clear_answer(push, fields)
        if not push.encrypted or self._envelope is None:
            return answer
        seal = self._envelope.seal_xml if push.format == "xml" else self._envelope.seal_json
        sealed = seal(answer.body, int(now), push.nonce, push.key)
        return PassiveAnswer(_encoded(sealed), answer.content_type)

    def _decrypted(
        self, envelope: Envelope, query: Mapping[str, str], timestamp: str, nonce: str, body: bytes
    ) -> tuple[dict[str, Any], int]:
        msg_signature = query.get("msg_signature")
        if not msg_signature:
            raise InvalidPush("the push has no msg_signature, and with WXBOT_AES_KEY set no other is believed", 403)
        ciphertext = fields_of(body).get("Encrypt")
        if not isinstance(ciphertext, str):
            raise InvalidPush("the push has no single Encrypt, and with WXBOT_AES_KEY set no other is believed", 403)
        envelope.verify_msg_signature(msg_signature, timestamp, nonce, ciphertext)
        opened = envelope.decrypt(ciphertext)
        return fields_of(opened.plaintext), opened.key

    def _check_signature(self, query: Mapping[str, str], timestamp: str, nonce: str) -> None:
        if not same(query.get("signature", ""), signature(self._token, timestamp, nonce)):
            raise InvalidPush("signature is wrong: check that WXBOT_TOKEN is the Token in WeChat's console", 403)

    def _check_skew(self, timestamp: str, now: float) -> None:
        skew = abs(now - int(timestamp))
        if 0 < self._max_skew < skew:
            raise InvalidPush(
                f"timestamp is {skew:.0f} seconds from our clock; WXBOT_MAX_SKEW_SECONDS is exceeded", 403
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
    """The push with ``fields``, which is known to be WeChat's; None if it names no user. Raises InvalidPush (400)."""
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


def clear_answer(push: Push, fields: Mapping[str, Any]) -> PassiveAnswer:
    """``fields`` as the answer to a push that came unencrypted, in its format."""
    return PassiveAnswer(_encoded(to_text(fields, push.format)), _CONTENT_TYPES[push.format])


def _encoded(text: str) -> bytes:
    """UTF-8. Half a surrogate pair has none: it becomes "?"."""
    return text.encode("utf-8", "replace")


def single_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The query as a dict. Raises InvalidPush if a name appears twice: nobody could say which one was signed."""
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidPush("a query parameter appears more than once")
        values[name] = value
    return values


def dedup_key(fields: Mapping[str, Any]) -> str:
    """What tells one push of a user from another, unchanged in every delivery of it.

    Messages: MsgId with CreateTime. Events have no MsgId, and two of one second can agree in Event and EventKey
    (LOCATION does), so a hash of all fields is part of theirs.
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


def _clear_fields(body: bytes) -> dict[str, Any]:
    fields = fields_of(body)
    # In compatible mode the clear fields stand beside Encrypt. Its random part differs in every delivery: drop it.
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
        raise InvalidPush("timestamp is not a time in seconds")
    return value


def _nonce(query: Mapping[str, str]) -> str:
    value = _parameter(query, "nonce")
    if len(value) > _MAX_NONCE_CHARS or not value.isprintable():
        raise InvalidPush("nonce is too long or holds control characters")
    return value


def _short(text: str) -> str:
    return text if len(text) <= _MAX_KEY_CHARS else _digest(text)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
