"""WeChat's API as far as a bot calls it: what comes in is checked, done, remembered and answered. No sockets here.

Paths, bodies and errcodes: docs/wechat.md, "Typing indicator", "Sending", "Media", "Access tokens".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal
from urllib.parse import quote, urlencode

from wxbot.testing.errcodes import Refused, errmsg
from wxbot.testing.exchange import Exchange, json_bytes
from wxbot.testing.media import BAD_MEDIA_ID, NO_FILE, UNKNOWN_KIND, StoredFile
from wxbot.testing.multipart import file_in
from wxbot.testing.platform import Platform
from wxbot.testing.records import Kind, short_form
from wxbot.testing.sent import check_sent, describe_sent

FILES = "/files/"
"""Where a file lies that WeChat gives an address of; the media_id follows. WeChat has other hosts for them."""

JSON_HEADERS = {"Content-Type": "application/json; encoding=utf-8"}
"""Of every answer that is JSON."""

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def file_path(media_id: str) -> str:
    """The path of a file that can be fetched without a token."""
    return FILES + quote(media_id, safe="")


@dataclass(slots=True)
class Call:
    """One call that came in. ``fields``: its JSON object, None if there is none that can be read.

    ``file`` and ``status`` are the answer where it is not JSON with HTTP 200: a file, another HTTP status.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    arrived: float = field(default_factory=perf_counter)
    fields: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    needless: bool = field(default=False, init=False)
    file: StoredFile | None = field(default=None, init=False)
    status: int = field(default=200, init=False)

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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the API."""

    kind: Kind
    method: Literal["GET", "POST"]
    act: Callable[[Call], dict[str, Any]]


class Api:
    """The addresses of the API, for one account.

    ``check_token`` gives the errcode of a call's credentials; unless given, it is an access token that is asked for.
    """

    def __init__(self, platform: Platform, check_token: Callable[[Call], int] | None = None) -> None:
        self.platform = platform
        self._token_errcode = check_token or self._access_token_errcode
        self._endpoints = {
            "/cgi-bin/token": Endpoint("token", "GET", self._token),
            "/cgi-bin/stable_token": Endpoint("token", "POST", self._stable_token),
            "/cgi-bin/message/custom/typing": Endpoint("typing", "POST", self._typing),
            "/cgi-bin/message/custom/business/typing": Endpoint("typing", "POST", self._business(self._typing)),
            "/cgi-bin/message/custom/send": Endpoint("send", "POST", self._send),
            "/cgi-bin/message/custom/business/send": Endpoint("send", "POST", self._business(self._send)),
            "/cgi-bin/media/upload": Endpoint("upload", "POST", self._upload),
            "/cgi-bin/media/get": Endpoint("download", "GET", self._download),
            "/cgi-bin/getcallbackip": Endpoint("other", "GET", self._addresses),
            "/cgi-bin/get_api_domain_ip": Endpoint("other", "GET", self._addresses),
        }
        self._files = Endpoint("download", "GET", self._file)

    def kind_of(self, path: str) -> Kind | None:
        """Which faults and records a path belongs to; None for a path there is not."""
        endpoint = self._endpoint_of(path)
        return endpoint.kind if endpoint else None

    def _endpoint_of(self, path: str) -> Endpoint | None:
        return self._files if path.startswith(FILES) else self._endpoints.get(path)

    def answer(self, call: Call, fault: str = "", took: float | None = None) -> dict[str, Any]:
        """Do what the call asks for and remember it: the JSON of the answer."""
        with self.platform.record_log.changed:
            answer = self._act(call)
            self._record(call, answer, fault, took)
            return answer

    def refuse(self, call: Call, errcode: int, fault: str = "") -> dict[str, Any]:
        """Answer with an errcode, because it was ordered or the call may not come this far; nothing is done."""
        answer = _done(errcode)
        self._record(call, answer, fault, None)
        return answer

    def ignore(self, call: Call, fault: str) -> None:
        """Remember a call that WeChat neither did nor answered."""
        self._record(call, None, fault, None)

    def _act(self, call: Call) -> dict[str, Any]:
        endpoint = self._endpoint_of(call.path)
        try:
            if endpoint is None:
                call.status = 404
                raise Refused(40066)
            if call.method != endpoint.method:
                raise Refused(43002 if endpoint.method == "POST" else 43001)
            return endpoint.act(call)
        except Refused as refused:
            return {"errcode": refused.errcode, "errmsg": errmsg(refused.errcode)}

    def _record(self, call: Call, answer: dict[str, Any] | None, fault: str, took: float | None) -> None:
        kind = self.kind_of(call.path) or "other"
        told = answer or {}
        self.platform.record(
            kind,
            self._what(call, kind),
            call.text("touser"),
            errcode=None if answer is None else int(told.get("errcode", 0)),
            errmsg=str(told.get("errmsg", "")),
            took=perf_counter() - call.arrived if took is None else took,
            fault=fault,
            needless=call.needless,
            path=call.path,
            body=(call.fields or {}) if kind in ("typing", "send") else {},
            exchange=self._exchange(call, answer),
        )

    def _exchange(self, call: Call, answer: dict[str, Any] | None) -> Exchange:
        """Of a call with a fault: what its deed would have been answered with."""
        redactor = self.platform.redactor
        query = f"?{urlencode(call.query)}" if call.query else ""
        request = redactor.message(f"{call.method} {call.path}{query}", call.headers, call.body)
        if answer is None:
            return Exchange(request, None)
        if call.file and not answer:
            return Exchange(
                request, redactor.message("HTTP 200", {"Content-Type": call.file.content_type}, call.file.content)
            )
        return Exchange(request, redactor.message(f"HTTP {call.status}", JSON_HEADERS, json_bytes(answer)))

    def _what(self, call: Call, kind: Kind) -> str:
        """What the call asks for, in short: the command, the text, the file."""
        if kind == "typing":
            return call.text("command")
        if kind == "send":
            return describe_sent(call.fields or {}, self.platform.media.name_of)
        if call.file is not None:
            return short_form(call.file.kind, {"media_id": call.file.media_id}, self.platform.media.name_of)
        return call.path.rpartition("/")[2]

    # -- access tokens

    def _token(self, call: Call) -> dict[str, Any]:
        self._check_client(call.query)
        value, expires_in = self.platform.tokens.fetch_classic()
        return {"access_token": value, "expires_in": expires_in}

    def _stable_token(self, call: Call) -> dict[str, Any]:
        asked = _json_of(call)
        self._check_client(asked)
        value, expires_in = self.platform.tokens.fetch_stable(asked.get("force_refresh") is True)
        return {"access_token": value, "expires_in": expires_in}

    def _check_client(self, asked: Mapping[str, Any]) -> None:
        account = self.platform.account
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
        if errcode := self._token_errcode(call):
            raise Refused(errcode)

    def _access_token_errcode(self, call: Call) -> int:
        return self.platform.tokens.check(call.query.get("access_token", ""))

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
        if self.platform.account.kind == "unverified":
            raise Refused(40200)
        if command not in ("Typing", "CancelTyping"):
            raise Refused(45072)
        errcode, call.needless = self.platform.typing(self._addressee(call), command)
        return _done(errcode)

    def _send(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        asked = _json_of(call)
        if self.platform.account.kind == "unverified":
            raise Refused(48001)
        openid = self._addressee(call)
        check_sent(asked, self.platform.account.kind, self.platform.media)
        return _done(self.platform.send(openid))

    def _addressee(self, call: Call) -> str:
        openid = call.text("touser")
        if not self.platform.knows(openid):
            raise Refused(40003)
        return openid

    # -- files

    def _upload(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        kind = call.query.get("type", "")
        if kind not in self.platform.uploadable:
            raise Refused(UNKNOWN_KIND)
        found = file_in(call.content_type, call.body, "media")
        if found is None:
            raise Refused(NO_FILE)
        call.file = self.platform.upload(kind, *found)
        created_at = int(self.platform.clock.now())
        return {"type": kind, "media_id": call.file.media_id, "created_at": created_at}

    def _download(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        media = self._media(call.query.get("media_id", ""))
        if media.kind == "video":
            return {"video_url": self.platform.origin + file_path(media.media_id)}
        call.file = media
        return {}

    def _file(self, call: Call) -> dict[str, Any]:
        call.status = 404
        call.file = self._media(call.path.removeprefix(FILES))
        call.status = 200
        return {}

    def _media(self, media_id: str) -> StoredFile:
        media = self.platform.media.get(media_id)
        if media is None:
            raise Refused(BAD_MEDIA_ID)
        return media

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
