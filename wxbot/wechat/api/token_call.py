"""The two calls that return an access token, and explanations of their errors.

``stable`` (stable_token) returns the same token to every process and is the default. ``classic`` (cgi-bin/token)
invalidates the previous token. ``force_refresh`` is never set, because it is limited to 20 calls a day and invalidates
the token of every other process immediately. Source: docs/wechat.md, section "Access tokens", and
https://developers.weixin.qq.com/miniprogram/dev/server/API/mp-access-token/api_getstableaccesstoken.html
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from yarl import URL

from wxbot.errors import ApiError, DeliveryUnknown, RequestNotSent, SystemBusy, TokenUnavailable, WeChatError
from wxbot.wechat.api.token import FetchedToken
from wxbot.wechat.http.transport import Transport, limits, parse_response

EXPLANATIONS = {
    40001: "the AppSecret is wrong: set WXBOT_SECRET to the AppSecret in WeChat's console",
    40002: "WeChat did not accept grant_type: check that WXBOT_API_BASE is WeChat's address",
    40013: "the AppID is wrong: set WXBOT_APPID to the AppID in WeChat's console",
    40125: "the AppSecret is wrong: set WXBOT_SECRET to the AppSecret in WeChat's console; it may have been reset",
    40164: "WeChat does not allow this server's address, {ip}: add it to the IP allowlist in WeChat's console",
    40243: "the AppSecret is frozen: unfreeze it in WeChat's console",
    41002: "the AppID is missing: set WXBOT_APPID",
    41004: "the AppSecret is missing: set WXBOT_SECRET",
    45009: "today's quota of token calls is used up",
    50004: "WeChat does not allow this account to make the token call",
    50007: "WeChat has frozen the account",
    89503: "the account's administrator must confirm this server's address: WeChat has sent them a message",
    89506: "the account's administrator has rejected this server's address; WeChat asks again after 24 hours",
    89507: "the account's administrator has rejected this server's address; WeChat asks again after one hour",
}
"""Cause and fix of each errcode, for operators. ``{ip}`` is the address that WeChat saw.

Source: docs/wechat.md, section "Error codes"."""

_SERVER_IP = re.compile(r"invalid ip\s+([0-9a-fA-F.:]+)", re.IGNORECASE)


class TokenCall:
    """A callable that fetches an access token. It raises RequestNotSent or TokenUnavailable, without the AppSecret."""

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
            return _token_in(parse_response(self._call, status, body, (self._secret,)))
        except WeChatError as error:
            failure = _failure(error)
        raise failure


def _token_in(answer: dict[str, Any]) -> FetchedToken:
    value, expires_in = answer.get("access_token"), answer.get("expires_in")
    if isinstance(value, str) and value.isascii() and value.isprintable() and value:
        try:
            return FetchedToken(value, float(expires_in))  # type: ignore[arg-type]  # None raises TypeError
        except (TypeError, ValueError):
            pass
    raise DeliveryUnknown("WeChat's answer to the token call has no valid access_token and expires_in")


def _failure(error: WeChatError) -> WeChatError:
    """Return the error that a sender gets after a failed token call. The sender's own request was not sent."""
    if not isinstance(error, ApiError):
        return RequestNotSent(f"no access token: {error}")
    if isinstance(error, SystemBusy):
        return RequestNotSent(f"no access token: WeChat is busy, retry later (errcode {error.errcode}, {error.errmsg})")
    explanation = EXPLANATIONS.get(error.errcode, "WeChat refused the token call")
    server = _SERVER_IP.search(error.errmsg)
    explanation = explanation.format(ip=server[1] if server else "which errmsg should name")
    return TokenUnavailable(f"no access token: {explanation} (errcode {error.errcode}, {error.errmsg})")
