"""Proactive messages: turn a call of ``bot.send`` or ``POST /send`` into the record that the store accepts."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from typing import Any

from wxbot.clock import Clock
from wxbot.delivery.composer import Composer
from wxbot.delivery.turn import SENT_BY_BOT
from wxbot.errors import InvalidReply, InvalidRequest, SendNotAllowed
from wxbot.model.quota import Quota
from wxbot.model.replies import Reply, reply_to_json
from wxbot.server.runtime import Runtime
from wxbot.server.send_body_reader import reply_from_body
from wxbot.store.records import ConversationKey, ConversationRecord, IncomingMessage
from wxbot.wechat.push.crypto import same

log = logging.getLogger("wxbot.send")

MAX_KEY_LENGTH = 128
"""Maximum length of an idempotency key and of an openid, in characters."""


class SendApi:
    """The proactive messages of one account. ``key`` is the secret of HTTP callers; None turns ``/send`` off."""

    def __init__(self, appid: str, composer: Composer, clock: Clock, *, key: str | None, is_passive: bool) -> None:
        self._appid = appid
        self._composer = composer
        self._clock = clock
        self._key = key
        self._is_passive = is_passive

    @property
    def is_open(self) -> bool:
        """Return True if HTTP callers may send."""
        return self._key is not None

    def read(self, authorization: str, body: bytes) -> tuple[str, Reply]:
        """Return the openid and the reply of an HTTP call. ``body``: the JSON body of WeChat's own send call.

        Raises InvalidRequest (401, 404, 400) and InvalidReply.
        """
        if self._key is None:
            raise InvalidRequest("/send is off: set WXBOT_SEND_KEY to use it", 404)
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not same(given.strip(), self._key):
            raise InvalidRequest("the key is missing or wrong: send Authorization: Bearer with WXBOT_SEND_KEY", 401)
        try:
            fields = json.loads(body, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            raise InvalidRequest("the body is not JSON") from None
        if not isinstance(fields, dict):
            raise InvalidRequest("the body is JSON, but not an object")
        return reply_from_body(fields)

    def send(self, get_runtime: Callable[[], Runtime], openid: str, reply: Reply, key: str) -> str:
        """Store ``reply`` to be sent, and return its id. See ``Bot.send``.

        ``get_runtime`` returns the runtime that stores the message. It is called only for a valid message.
        """
        messages = self._messages(openid, reply, key)
        runtime = get_runtime()
        now = self._clock.now()
        user = ConversationKey(self._appid, openid)
        message_id = key or secrets.token_hex(8)
        found = runtime.find(user, _dedup_key(message_id))
        if not found.is_known:  # a repeated call succeeds, even after the window closed
            _check_quota(found.conversation.quota if found.conversation else None, now)
        fields = {"MsgType": SENT_BY_BOT, "FromUserName": openid, "ToUserName": "", "CreateTime": int(now)}
        unsent = tuple(reply_to_json(message) for message in messages)
        accepted = runtime.accept(
            IncomingMessage(user, _dedup_key(message_id), fields, now, ConversationRecord(), unsent=unsent)
        )
        if not accepted.new:
            log.info("message not stored again: the idempotency key was used before")
        return message_id

    def _messages(self, openid: str, reply: Reply, key: str) -> list[Reply]:
        if not (_is_valid_key(openid) and openid):
            raise InvalidReply("touser is not an openid")
        if not _is_valid_key(key):
            raise InvalidReply(f"the idempotency key must have at most {MAX_KEY_LENGTH} characters, all printable")
        if not isinstance(reply, Reply):
            raise InvalidReply(f"{type(reply).__name__} is neither a text nor a reply such as ImageReply")
        if self._is_passive:
            raise InvalidReply(
                "this account (WXBOT_ACCOUNT_KIND=unverified) cannot send proactive messages: it only replies to pushes"
            )
        messages = self._composer.messages(reply)
        if not messages:
            raise InvalidReply("the text is empty")
        return messages


def _is_valid_key(text: object) -> bool:
    return isinstance(text, str) and len(text) <= MAX_KEY_LENGTH and text.isprintable()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequest("a key appears twice in the body")
    return fields


def _dedup_key(key: str) -> str:
    """Return the dedup key of a proactive message. The keys of pushes have other prefixes (wechat/push/callback.py)."""
    return f"s:{key}"


def _check_quota(quota: Quota | None, now: float) -> None:
    """Raise SendNotAllowed if WeChat does not accept a message for this user now."""
    if quota is None:
        raise SendNotAllowed("no action of this user is known: they must write to the account first")
    if now >= quota.expires_at:
        raise SendNotAllowed("WeChat's time limit after this user's last action is over: they must write again")
    if quota.remaining <= 0:
        raise SendNotAllowed("the quota of this user's last action is used up: they must write again")
