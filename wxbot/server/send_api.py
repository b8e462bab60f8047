"""Proactive messages: from a call of ``bot.send`` or of ``POST /send`` to the record that the store accepts."""

from __future__ import annotations

import json
import logging
import secrets
from typing import Any

from wxbot.clock import Clock
from wxbot.delivery.composer import Composer
from wxbot.delivery.turn import SENT_BY_BOT
from wxbot.errors import InvalidReply, InvalidRequest, SendNotAllowed
from wxbot.model.quota import Quota
from wxbot.model.replies import Reply, reply_to_json
from wxbot.server.runtime import Runtime
from wxbot.store.records import ConversationKey, IncomingMessage
from wxbot.wechat.api.send_body import reply_from_body
from wxbot.wechat.push.crypto import same

log = logging.getLogger("wxbot.send")

LONGEST_KEY = 128
"""Maximum length of an idempotency key and of an openid, in characters."""


class SendApi:
    """The proactive messages of one account. ``key`` is the secret of HTTP callers; None switches ``/send`` off."""

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
        """Return the openid and the reply of an HTTP call. ``body`` is what WeChat's own send call takes.

        Raises InvalidRequest (401, 404, 400) and InvalidReply.
        """
        if self._key is None:
            raise InvalidRequest("sending is off: set WXBOT_SEND_KEY", 404)
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not same(given.strip(), self._key):
            raise InvalidRequest("the key is wrong: send Authorization: Bearer with WXBOT_SEND_KEY", 401)
        try:
            fields = json.loads(body, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            raise InvalidRequest("the body is not JSON") from None
        if not isinstance(fields, dict):
            raise InvalidRequest("the body is JSON, but not an object")
        return reply_from_body(fields)

    def send(self, runtime: Runtime, openid: str, reply: Reply, key: str) -> str:
        """Store ``reply`` to be sent, and return its id. See ``Bot.send``."""
        messages = self._messages(openid, reply, key)
        now = self._clock.now()
        user = ConversationKey(self._appid, openid)
        message_id = key or secrets.token_hex(8)
        if not (key and runtime.seen(user, _dedup_key(key))):  # a repeated call succeeds, even after the window closed
            _check_quota(runtime.quota(user), now)
        fields = {"MsgType": SENT_BY_BOT, "FromUserName": openid, "ToUserName": "", "CreateTime": int(now)}
        unsent = tuple(reply_to_json(message) for message in messages)
        receipt = runtime.accept(IncomingMessage(user, _dedup_key(message_id), fields, now, 0.0, unsent=unsent))
        if not receipt.new:
            log.info("a message with the same idempotency key exists already")
        return message_id

    def _messages(self, openid: str, reply: Reply, key: str) -> list[Reply]:
        if not (_is_name(openid) and openid):
            raise InvalidReply("touser is no openid")
        if not _is_name(key):
            raise InvalidReply(f"the idempotency key has more than {LONGEST_KEY} characters, or strange ones")
        if not isinstance(reply, Reply):
            raise InvalidReply(f"{type(reply).__name__} is neither a text nor a reply such as ImageReply")
        if self._is_passive:
            raise InvalidReply("this account (WXBOT_ACCOUNT_KIND=unverified) cannot send first: it answers pushes only")
        messages = self._composer.messages(reply)
        if not messages:
            raise InvalidReply("the text is empty")
        return messages


def _is_name(text: object) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_KEY and text.isprintable()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise InvalidRequest("a key appears twice in the body")
    return fields


def _dedup_key(key: str) -> str:
    """Return the dedup key of a proactive message. The keys of pushes (wechat/push/callback.py) begin differently."""
    return f"s:{key}"


def _check_quota(quota: Quota | None, now: float) -> None:
    if quota is None:
        raise SendNotAllowed("nothing is known of this user: they must write to the account first")
    if now >= quota.expires_at:
        raise SendNotAllowed("the time in which this user may be written to is over: they must write again")
    if quota.remaining <= 0:
        raise SendNotAllowed("all messages that this user's last action allows are sent: they must write again")
