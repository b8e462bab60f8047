"""All calls to WeChat over kept HTTP/1.1 connections, with failures that say whether the call may have been acted on.

No exception that leaves here holds a URL: the access token is part of every URL, and the AppSecret of some. For the
same reason nothing is chained: the exceptions of the network may quote addresses.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

from yarl import URL

from wxbot.errors import ApiError, DeliveryUnknown, RequestNotSent, SystemBusy, WeChatError, api_error
from wxbot.typing_indicator.port import Permit
from wxbot.version import __version__
from wxbot.wechat.http.connection import Call
from wxbot.wechat.http.pool import MAX_CONNECTIONS, Pool

CONNECT_SECONDS = 5.0

_MAX_ROUTES = 32
"""A few paths for each token; tokens come and go."""

_ERRMSG_CHARS = 200
_METHOD = re.compile(r"[A-Z]+")
_HOST = re.compile(r"[0-9A-Za-z._~:-]+")
_TARGET = re.compile(r"/[!-~]*")
"""What may stand in a request's head: no space and no line break, which would let a setting write headers."""


class Limits(NamedTuple):
    """Longest waits of a call in seconds: ``connect`` for a connection to be written to, ``total`` for the answer."""

    connect: float
    total: float


def limits(seconds: float) -> Limits:
    """Limits of a call that may take ``seconds`` in all."""
    return Limits(min(CONNECT_SECONDS, seconds), seconds)


class _Route(NamedTuple):
    """What all calls of one method to one URL share."""

    pool: Pool
    head: bytes
    """The request up to the first line that depends on the body."""


class Transport:
    """Sends requests over kept connections. ``open`` it inside the running loop, after any fork.

    ``tls`` replaces the system's trust in certificates; ``max_connections`` is for each origin.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, max_connections: int = MAX_CONNECTIONS) -> None:
        self._tls = tls
        self._max_connections = max_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._routes: dict[tuple[str, URL], _Route] = {}

    async def open(self) -> None:
        """Bind to the running loop; no connection is made yet."""
        self._loop = asyncio.get_running_loop()
        self._pools, self._routes = {}, {}

    async def close(self) -> None:
        """Close every connection and fail the calls under way. Calls after it raise RequestNotSent."""
        self._loop = None
        pools, self._pools, self._routes = self._pools, {}, {}
        for pool in pools.values():
            await pool.close()

    async def exchange(
        self, method: str, url: URL, body: bytes | None, timeout: Limits, call: str, permit: Permit | None = None
    ) -> tuple[int, bytes]:
        """Status and body of WeChat's answer. ``call`` names the call in errors. Redirects are not followed: they
        would carry the token to an address nobody configured.

        If a connection is idle, the request is written before the first suspension: calls that are started one after
        the other are written in this order. ``permit`` is asked directly before that (see ``ports.Channel``). Raises
        RequestNotSent if the request was certainly not sent, DeliveryUnknown if it may have been.
        """
        if self._loop is None:
            raise RequestNotSent(f"{call} was not sent: the client is not open")
        route = self._routes.get((method, url)) or self._route(method, url, call)
        waiting = Call(_request(route.head, method, body), call, self._loop.create_future(), permit)
        route.pool.serve(waiting)
        timer = _Timer(self._loop, route.pool, waiting, timeout)
        try:
            outcome = await waiting.outcome
        finally:
            timer.cancel()
            if waiting.outcome.cancelled():
                route.pool.drop(waiting)
        if isinstance(outcome, WeChatError):
            raise outcome
        return outcome

    def _route(self, method: str, url: URL, call: str) -> _Route:
        if len(self._routes) >= _MAX_ROUTES:
            self._routes.clear()
        problem = _unfit(method, url)
        if problem:
            raise RequestNotSent(f"{call} was not sent: {problem}")
        route = self._routes[method, url] = _Route(self._pool(url), _head(method, url))
        return route

    def _pool(self, url: URL) -> Pool:
        origin = url.scheme, url.raw_host or "", url.port or 0
        if origin not in self._pools:
            if url.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
            tls = self._tls if url.scheme == "https" else None
            self._pools[origin] = Pool(origin[1], origin[2], tls, self._max_connections)
        return self._pools[origin]


class _Timer:
    """Ends a call at its limits. One timer of the loop at a time, and only one at all on a kept connection."""

    __slots__ = ("_call", "_handle", "_loop", "_pool", "_rest")

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, call: Call, timeout: Limits) -> None:
        self._loop = loop
        self._pool = pool
        self._call = call
        first = min(timeout) if call.connection is None else timeout.total
        self._rest = timeout.total - first
        self._handle = loop.call_later(first, self._due)

    def cancel(self) -> None:
        self._handle.cancel()

    def _due(self) -> None:
        call = self._call
        if call.connection is not None and self._rest > 0:
            self._handle, self._rest = self._loop.call_later(self._rest, self._due), 0.0
            return
        call.failed("no connection to WeChat in time" if call.connection is None else "WeChat did not answer in time")
        self._pool.drop(call)


def _unfit(method: str, url: URL) -> str:
    """Why no request can be made of these; empty if one can."""
    if url.scheme not in ("http", "https") or not url.port or not _HOST.fullmatch(url.raw_host or ""):
        return "the address is no http or https address (check WXBOT_API_BASE)"
    if url.raw_user is not None or url.raw_password is not None:
        return "the address holds a user name or password (check WXBOT_API_BASE)"
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(url.raw_path_qs):
        return "the path holds characters that no path may have"
    return ""


def _head(method: str, url: URL) -> bytes:
    # Without Accept-Encoding no answer comes compressed.
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    if not url.is_default_port():
        host = f"{host}:{url.port}"
    return f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wxbot/{__version__}\r\n".encode("ascii")


def _request(head: bytes, method: str, body: bytes | None) -> bytes:
    if body is None:
        return head + (b"\r\n" if method == "GET" else b"Content-Length: 0\r\n\r\n")
    return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def answer_of(call: str, status: int, body: bytes, secrets: Iterable[str]) -> dict[str, Any]:
    """WeChat's answer as a dict, with ``errcode`` as an int where there is one. Raises WeChatError.

    A status of 5xx, or a 200 with something else than a JSON object (a proxy's page), does not tell whether WeChat
    acted on the call: DeliveryUnknown. Other statuses with an errcode are read like 200. Without one, 408 and 429 come
    from a gateway that did not pass the call on (SystemBusy: worth another try), the rest is an ApiError that has
    the HTTP status as its errcode. 503 is not among the safe ones: gateways also say it for a server that died
    after it had read the call.
    """
    fields = _object_in(body)
    errcode = _errcode(fields)
    if status >= 500 or (status == 200 and (fields is None or errcode is None)):
        raise DeliveryUnknown(f"{call} was sent, but HTTP {status} came without a readable answer of WeChat's")
    if errcode is None or (status != 200 and errcode == 0):
        kind = SystemBusy if status in (408, 429) else ApiError
        raise kind(call, status, f"HTTP {status} without an errcode of WeChat's")
    if errcode == 0:
        return fields or {}
    errmsg = (fields or {}).get("errmsg", (fields or {}).get("errMsg", ""))
    raise api_error(call, errcode, one_line(str(errmsg), secrets))


def one_line(text: str, secrets: Iterable[str]) -> str:
    """Foreign ``text`` made fit for an error: one printable line of at most 200 characters, without ``secrets``."""
    for form in sorted({form for secret in secrets if secret for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, "***")
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_ERRMSG_CHARS]


def _forms(secret: str) -> set[str]:
    """``secret`` as it is and as it may stand in a URL."""
    encoded = {
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
    }
    return {secret, *encoded, *(re.sub("%..", lambda code: code[0].lower(), form) for form in encoded)}


def _object_in(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _errcode(fields: dict[str, Any] | None) -> int | None:
    """The errcode in an answer; 0 if the answer has none, None if it is unreadable.

    Calls that return data leave it out when they succeed; cloud calls spell it errCode (docs/wechat.md, "Cloud calls").
    """
    if fields is None:
        return None
    value = fields.get("errcode", fields.get("errCode", 0))
    try:
        return int(value) if not isinstance(value, bool | float) else None
    except (TypeError, ValueError):
        return None
