"""WeChat's API as far as a bot calls it: what comes in is checked, done, remembered and answered. No sockets here.

Paths, bodies and errcodes: docs/wechat.md, "Typing indicator", "Sending", "Access tokens".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from wxbot.testing.errcodes import errmsg
from wxbot.testing.platform import Platform
from wxbot.testing.records import Kind, short_form

MAX_TEXT = 2048
"""Bytes of a text message that WeChat still takes (measured by others; WeChat's pages give no limit)."""

_MINI_PROGRAM_KINDS = frozenset({"text", "image", "link", "miniprogrampage"})
_OFFICIAL_KINDS = frozenset(
    {
        "text",
        "image",
        "voice",
        "video",
        "music",
        "news",
        "mpnews",
        "mpnewsarticle",
        "msgmenu",
        "wxcard",
        "miniprogrampage",
    }
)
_ALL_KINDS = _MINI_PROGRAM_KINDS | _OFFICIAL_KINDS | {"transfer_customer_service"}
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


class Refused(Exception):
    """The call is answered with ``errcode``."""

    def __init__(self, errcode: int) -> None:
        super().__init__(errcode)
        self.errcode = errcode


@dataclass(slots=True)
class Call:
    """One call that came in. ``fields``: its JSON object, empty if there is none that can be read."""

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    arrived: float = field(default_factory=perf_counter)
    fields: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    needless: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        try:
            parsed = json.loads(self.body.decode()) if self.body else None
        except (ValueError, RecursionError):
            parsed = None
        self.fields = parsed if isinstance(parsed, dict) else None

    def text(self, name: str) -> str:
        """A field of the body that should be text; empty if it is not."""
        value = (self.fields or {}).get(name)
        return value if isinstance(value, str) else ""

    @property
    def what(self) -> str:
        """What the call asks for, in short: the command, the text."""
        if self.path.endswith("/typing"):
            return self.text("command")
        if not self.path.endswith("/send"):
            return self.path.rpartition("/")[2]
        kind = self.text("msgtype")
        content = (self.fields or {}).get(kind)
        inner = content if isinstance(content, dict) else {}
        return str(inner.get("content", "")) if kind == "text" else short_form(kind, inner)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the API."""

    kind: Kind
    method: Literal["GET", "POST"]
    act: Callable[[Call], dict[str, Any]]


class Api:
    """The addresses of the API, for one account."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._endpoints = {
            "/cgi-bin/token": Endpoint("token", "GET", self._token),
            "/cgi-bin/stable_token": Endpoint("token", "POST", self._stable_token),
            "/cgi-bin/message/custom/typing": Endpoint("typing", "POST", self._typing),
            "/cgi-bin/message/custom/business/typing": Endpoint("typing", "POST", self._business(self._typing)),
            "/cgi-bin/message/custom/send": Endpoint("send", "POST", self._send),
            "/cgi-bin/message/custom/business/send": Endpoint("send", "POST", self._business(self._send)),
            "/cgi-bin/getcallbackip": Endpoint("other", "GET", self._addresses),
            "/cgi-bin/get_api_domain_ip": Endpoint("other", "GET", self._addresses),
        }

    def kind_of(self, path: str) -> Kind | None:
        """Which faults and records a path belongs to; None for a path there is not."""
        endpoint = self._endpoints.get(path)
        return endpoint.kind if endpoint else None

    def answer(self, call: Call, fault: str = "", took: float | None = None) -> dict[str, Any]:
        """Do what the call asks for and remember it: the JSON of the answer."""
        with self._platform.memory.changed:
            answer = self._act(call)
            self._record(call, int(answer.get("errcode", 0)), str(answer.get("errmsg", "")), fault, took)
            return answer

    def refuse(self, call: Call, errcode: int, fault: str) -> dict[str, Any]:
        """Answer with an errcode that was ordered; nothing is done."""
        words = errmsg(errcode)
        self._record(call, errcode, words, fault, None)
        return {"errcode": errcode, "errmsg": words}

    def ignore(self, call: Call, fault: str) -> None:
        """Remember a call that WeChat neither did nor answered."""
        self._record(call, None, "", fault, None)

    def _act(self, call: Call) -> dict[str, Any]:
        endpoint = self._endpoints.get(call.path)
        try:
            if endpoint is None:
                raise Refused(40066)
            if call.method != endpoint.method:
                raise Refused(43002 if endpoint.method == "POST" else 43001)
            return endpoint.act(call)
        except Refused as refused:
            return {"errcode": refused.errcode, "errmsg": errmsg(refused.errcode)}

    def _record(self, call: Call, errcode: int | None, words: str, fault: str, took: float | None) -> None:
        kind = self.kind_of(call.path) or "other"
        self._platform.record(
            kind,
            call.what,
            call.text("touser"),
            errcode=errcode,
            errmsg=words,
            took=perf_counter() - call.arrived if took is None else took,
            fault=fault,
            needless=call.needless,
            path=call.path,
            body=(call.fields or {}) if kind in ("typing", "send") else {},
        )

    # -- access tokens

    def _token(self, call: Call) -> dict[str, Any]:
        self._check_client(call.query)
        value, expires_in = self._platform.tokens.fetch_classic()
        return {"access_token": value, "expires_in": expires_in}

    def _stable_token(self, call: Call) -> dict[str, Any]:
        asked = _json_of(call)
        self._check_client(asked)
        value, expires_in = self._platform.tokens.fetch_stable(asked.get("force_refresh") is True)
        return {"access_token": value, "expires_in": expires_in}

    def _check_client(self, asked: Mapping[str, Any]) -> None:
        account = self._platform.account
        if asked.get("grant_type") != "client_credential":
            raise Refused(40002)
        if not asked.get("appid"):
            raise Refused(41002)
        if asked["appid"] != account.appid:
            raise Refused(40013)
        if not asked.get("secret"):
            raise Refused(41004)
        if asked["secret"] != account.secret:
            raise Refused(40125)

    def _check_token(self, call: Call) -> None:
        if errcode := self._platform.tokens.check(call.query.get("access_token", "")):
            raise Refused(errcode)

    # -- customer-service messages

    def _business(self, act: Callable[[Call], dict[str, Any]]) -> Callable[[Call], dict[str, Any]]:
        def with_businessid(call: Call) -> dict[str, Any]:
            self._check_token(call)
            if not _json_of(call).get("businessid"):
                raise Refused(40101)
            return act(call)

        return with_businessid

    def _typing(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        command = _json_of(call).get("command")
        if self._platform.account.kind == "unverified":
            raise Refused(40200)
        if command not in ("Typing", "CancelTyping"):
            raise Refused(45072)
        errcode, call.needless = self._platform.typing(self._addressee(call), command)
        return _done(errcode)

    def _send(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        asked = _json_of(call)
        if self._platform.account.kind == "unverified":
            raise Refused(48001)
        openid = self._addressee(call)
        self._check_content(call.text("msgtype"), asked)
        return _done(self._platform.send(openid))

    def _addressee(self, call: Call) -> str:
        openid = call.text("touser")
        if not self._platform.knows(openid):
            raise Refused(40003)
        return openid

    def _check_content(self, kind: str, asked: Mapping[str, Any]) -> None:
        if kind not in _ALL_KINDS:
            raise Refused(40008)
        allowed = _MINI_PROGRAM_KINDS if self._platform.account.kind == "miniprogram" else _OFFICIAL_KINDS
        if kind not in allowed:
            raise Refused(45162)
        content = asked.get(kind)
        if not isinstance(content, dict):
            raise Refused(47001)
        _CHECKS.get(kind, _anything)(content)

    # -- addresses

    def _addresses(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        return {"ip_list": ["127.0.0.1"]}


def _done(errcode: int) -> dict[str, Any]:
    return {"errcode": errcode, "errmsg": errmsg(errcode)}


def _json_of(call: Call) -> Mapping[str, Any]:
    """The JSON object of the body, or the errcode for what is there instead."""
    if not call.body:
        raise Refused(44002)
    if call.fields is None:
        raise Refused(47001)
    if any(one[1] and int(one[1], 16) > 0x7F for one in _ESCAPE.finditer(call.body)):
        raise Refused(40033)
    return call.fields


def _check_text(content: Mapping[str, Any]) -> None:
    text = content.get("content", "")
    if not isinstance(text, str):
        raise Refused(47001)
    if not text:
        raise Refused(44004)
    if len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise Refused(45002)


def _check_media(content: Mapping[str, Any]) -> None:
    if not content.get("media_id"):
        raise Refused(40007)


def _check_news(content: Mapping[str, Any]) -> None:
    articles = content.get("articles")
    if not isinstance(articles, list) or not articles:
        raise Refused(47001)
    if len(articles) > 1:
        raise Refused(45008)


def _anything(content: Mapping[str, Any]) -> None:
    """Kinds whose fields are not looked at."""


_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "text": _check_text,
    "image": _check_media,
    "voice": _check_media,
    "video": _check_media,
    "mpnews": _check_media,
    "news": _check_news,
}
