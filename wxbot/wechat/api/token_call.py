"""The two calls that give an access token, and what their errors mean in words.

``stable`` (stable_token) returns every process the same token and is the default; ``classic`` (cgi-bin/token) makes
the token before invalid. ``force_refresh`` is never set: it may be used 20 times a day and ends the token of every
other process at once. Source: docs/wechat.md, section "Access tokens", and
https://developers.weixin.qq.com/miniprogram/dev/server/API/mp-access-token/api_getstableaccesstoken.html
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from yarl import URL

from wxbot.errors import ApiError, DeliveryUnknown, RequestNotSent, SystemBusy, TokenUnavailable, WeChatError
from wxbot.wechat.api.token import FetchedToken
from wxbot.wechat.http.transport import Transport, answer_of, limits

_REASONS = {
    40001: "the AppSecret is wrong (WXBOT_SECRET)",
    40002: "WeChat did not understand grant_type; WXBOT_API_BASE may not lead to WeChat",
    40013: "the AppID is wrong (WXBOT_APPID)",
    40125: "the AppSecret is wrong (WXBOT_SECRET); it may have been reset in WeChat's console",
    40164: "the address of this server, {ip}, is not allowed: add it to the IP allowlist in WeChat's console",
    40243: "the AppSecret is frozen: unfreeze it in WeChat's console",
    41002: "the AppID is missing (WXBOT_APPID)",
    41004: "the AppSecret is missing (WXBOT_SECRET)",
    45009: "today's quota of token calls is used up",
    50004: "this account may not use the token call",
    50007: "the account is frozen",
    89503: "the account's administrator must confirm this server's address first: WeChat has sent them a message",
    89506: "the account's administrator has refused this server's address; WeChat asks again after 24 hours",
    89507: "the account's administrator has refused this server's address; WeChat asks again after one hour",
}
_SEEN_IP = re.compile(r"invalid ip\s+([0-9a-fA-F.:]+)", re.IGNORECASE)


class TokenCall:
    """Fetches one access token when called. Raises RequestNotSent or TokenUnavailable, never with the AppSecret in it."""

    def __init__(
        self,
        transport: Transport,
        *,
        appid: str,
        secret: str,
        api_base: str,
        kind: Literal["stable", "classic"] = "stable",
        seconds: float = 10.0,
    ) -> None:
        self._transport = transport
        self._secret = secret
        self._limits = limits(seconds)
        account = {"grant_type": "client_credential", "appid": appid, "secret": secret}
        self._call = "/cgi-bin/stable_token" if kind == "stable" else "/cgi-bin/token"
        url = URL(api_base + self._call)
        self._method = "POST" if kind == "stable" else "GET"
        self._url = url if kind == "stable" else url.with_query(account)
        self._body = json.dumps(account).encode() if kind == "stable" else None

    async def __call__(self) -> FetchedToken:
        try:
            status, body = await self._transport.exchange(self._method, self._url, self._body, self._limits, self._call)
            return _token_in(answer_of(self._call, status, body, (self._secret,)))
        except WeChatError as error:
            failure = _failure(error)
        raise failure


def _token_in(answer: dict[str, Any]) -> FetchedToken:
    value, expires_in = answer.get("access_token"), answer.get("expires_in")
    if isinstance(value, str) and value.isascii() and value.isprintable() and value:
        try:
            return FetchedToken(value, float(expires_in))  # type: ignore[arg-type]  # None and others: TypeError below
        except (TypeError, ValueError):
            pass
    raise DeliveryUnknown("WeChat's answer to the token call has no usable access_token and expires_in")


def _failure(error: WeChatError) -> WeChatError:
    """What a failed token call means to a sender: nothing of the sender's own was sent, so all may be repeated."""
    if not isinstance(error, ApiError):
        return RequestNotSent(f"no access token: {error}")
    if isinstance(error, SystemBusy):
        return RequestNotSent(f"no access token now, WeChat is busy: errcode {error.errcode}, {error.errmsg}")
    reason = _REASONS.get(error.errcode, "WeChat refused the token call")
    seen = _SEEN_IP.search(error.errmsg)
    reason = reason.format(ip=seen[1] if seen else "which errmsg should name")
    return TokenUnavailable(f"no access token: {reason} (errcode {error.errcode}, {error.errmsg})")
