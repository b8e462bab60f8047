"""The calls of WeChat's API that a bot makes: each call is checked, processed, recorded and answered. No sockets here.

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
"""The path prefix of a file that has its own address; the media_id follows. WeChat uses other hosts for such files."""

JSON_HEADERS = {"Content-Type": "application/json; encoding=utf-8"}
"""The headers of every JSON response."""

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def file_path(media_id: str) -> str:
    """Return the path where a file can be downloaded without a token."""
    return FILES + quote(media_id, safe="")


@dataclass(slots=True)
class Call:
    """An incoming call. ``fields``: the JSON object of its body; None if the body is not a JSON object.

    ``file``: the file to respond with instead of JSON. ``status``: the HTTP status of the response.
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
        """Return a text field of the body; empty if it is missing or not text."""
        value = (self.fields or {}).get(name)
        return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of the API."""

    kind: Kind
    method: Literal["GET", "POST"]
    act: Callable[[Call], dict[str, Any]]


class Api:
    """The endpoints of the API, for one account.

    ``check_token`` returns the errcode for the credentials of a call. By default a call needs an access token.
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
        """Return the kind of the records and faults of a path; None for an unknown path."""
        endpoint = self._endpoint_of(path)
        return endpoint.kind if endpoint else None

    def _endpoint_of(self, path: str) -> Endpoint | None:
        return self._files if path.startswith(FILES) else self._endpoints.get(path)

    def answer(self, call: Call, fault: str = "", took: float | None = None) -> dict[str, Any]:
        """Process and record the call. Return the JSON answer."""
        with self.platform.record_log.changed:
            answer = self._act(call)
            self._record(call, answer, fault, took)
            return answer

    def refuse(self, call: Call, errcode: int, fault: str = "") -> dict[str, Any]:
        """Record the call and answer with ``errcode``, because a fault was injected or the call is not allowed."""
        answer = _answer(errcode)
        self._record(call, answer, fault, None)
        return answer

    def ignore(self, call: Call, fault: str) -> None:
        """Record a call that WeChat neither processed nor answered."""
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
        fields = answer or {}
        self.platform.record(
            kind,
            self._summary(call, kind),
            call.text("touser"),
            errcode=None if answer is None else int(fields.get("errcode", 0)),
            errmsg=str(fields.get("errmsg", "")),
            took=perf_counter() - call.arrived if took is None else took,
            fault=fault,
            needless=call.needless,
            path=call.path,
            body=(call.fields or {}) if kind in ("typing", "send") else {},
            exchange=self._exchange(call, answer),
        )

    def _exchange(self, call: Call, answer: dict[str, Any] | None) -> Exchange:
        """Return the exchange of a call. With a fault, it has the response that WeChat would have sent without it."""
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

    def _summary(self, call: Call, kind: Kind) -> str:
        """Return the command, the text or the file of the call in short."""
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
        body = _json_of(call)
        self._check_client(body)
        value, expires_in = self.platform.tokens.fetch_stable(body.get("force_refresh") is True)
        return {"access_token": value, "expires_in": expires_in}

    def _check_client(self, fields: Mapping[str, Any]) -> None:
        account = self.platform.account
        if fields.get("grant_type") != "client_credential":
            raise Refused(40002)
        if not fields.get("appid"):
            raise Refused(41002)
        if fields["appid"] != account.appid:
            raise Refused(40013)
        if not fields.get("secret"):
            raise Refused(41004)
        if fields["secret"] != account.secret:
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
        return _answer(errcode)

    def _send(self, call: Call) -> dict[str, Any]:
        self._check_token(call)
        body = _json_of(call)
        if self.platform.account.kind == "unverified":
            raise Refused(48001)
        openid = self._addressee(call)
        check_sent(body, self.platform.account.kind, self.platform.media)
        return _answer(self.platform.send(openid))

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


def _answer(errcode: int) -> dict[str, Any]:
    return {"errcode": errcode, "errmsg": errmsg(errcode)}


def _json_of(call: Call) -> Mapping[str, Any]:
    """Return the JSON object of the body. Raises Refused for any other body."""
    if not call.body:
        raise Refused(44002)
    if call.fields is None:
        raise Refused(47001)
    if any(one[1] and int(one[1], 16) > 0x7F for one in _ESCAPE.finditer(call.body)):
        raise Refused(40033)
    return call.fields
