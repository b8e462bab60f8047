"""Calls to WeChat over persistent HTTP/1.1 connections. Errors say whether WeChat may have processed the call.

No error contains a URL, because every URL contains the access token, and some the AppSecret. For the same reason no
error is chained, because network errors may quote addresses.
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
"""Maximum number of cached routes. There are a few paths per token, and tokens are replaced."""

_ERRMSG_CHARS = 200
_METHOD = re.compile(r"[A-Z]+")
_HOST = re.compile(r"[0-9A-Za-z._~:-]+")
_TARGET = re.compile(r"/[!-~]*")
"""The characters of a request target. Spaces and line breaks are excluded: they could add headers to a request."""


class Limits(NamedTuple):
    """The time limits of a call in seconds: ``connect`` until the request is written, ``total`` until the response."""

    connect: float
    total: float


def limits(seconds: float) -> Limits:
    """Return the limits of a call that may take ``seconds`` in total."""
    return Limits(min(CONNECT_SECONDS, seconds), seconds)


class _Route(NamedTuple):
    """The parts that all calls of one method to one URL share."""

    pool: Pool
    head: bytes
    """The start of the request, up to the first line that depends on the body."""


class Transport:
    """A sender of requests over persistent connections. Call ``open`` on the running event loop, after a fork.

    ``tls`` replaces the default TLS settings (the system's CA certificates). ``max_connections`` applies per origin.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, max_connections: int = MAX_CONNECTIONS) -> None:
        self._tls = tls
        self._max_connections = max_connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[tuple[str, str, int], Pool] = {}
        self._routes: dict[tuple[str, URL], _Route] = {}

    async def open(self) -> None:
        """Prepare for calls on the running event loop. It opens no connection yet."""
        self._loop = asyncio.get_running_loop()
        self._pools, self._routes = {}, {}

    async def close(self) -> None:
        """Close every connection and fail the running calls. Later calls raise RequestNotSent."""
        self._loop = None
        pools, self._pools, self._routes = self._pools, {}, {}
        for pool in pools.values():
            await pool.close()

    async def exchange(
        self, method: str, url: URL, body: bytes | None, timeout: Limits, call: str, permit: Permit | None = None
    ) -> tuple[int, bytes]:
        """Send a request and return status and body of WeChat's response. ``call`` is the name of the call in errors.

        Redirects are not followed, because they would send the token to an address that is not configured. If a
        connection is idle, the request is written before the first suspension, so calls are written in the order in
        which they begin. ``permit`` is asked directly before the write (see ``wxbot.delivery.channel.Channel``).
        Raises RequestNotSent if the request was certainly not sent, DeliveryUnknown if WeChat may have received it.
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
        problem = _problem_in(method, url)
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
    """The timer that ends a call at its limits. A call on an idle connection needs only one timer of the event loop."""

    __slots__ = ("_call", "_handle", "_loop", "_pool", "_remaining")

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool, call: Call, timeout: Limits) -> None:
        self._loop = loop
        self._pool = pool
        self._call = call
        first = min(timeout) if call.connection is None else timeout.total
        self._remaining = timeout.total - first
        self._handle = loop.call_later(first, self._due)

    def cancel(self) -> None:
        self._handle.cancel()

    def _due(self) -> None:
        call = self._call
        if call.connection is not None and self._remaining > 0:
            self._handle, self._remaining = self._loop.call_later(self._remaining, self._due), 0.0
            return
        problem = (
            "no connection to WeChat was ready in time" if call.connection is None else "WeChat did not answer in time"
        )
        call.failed(problem)
        self._pool.drop(call)


def _problem_in(method: str, url: URL) -> str:
    """Return the reason why ``method`` and ``url`` make no valid request; empty if they do."""
    if url.scheme not in ("http", "https") or not url.port or not _HOST.fullmatch(url.raw_host or ""):
        return "the address is not an http or https URL; check WXBOT_API_BASE"
    if url.raw_user is not None or url.raw_password is not None:
        return "the address has a user name or password; remove it from WXBOT_API_BASE"
    if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(url.raw_path_qs):
        return "the path has characters that are not allowed in a URL"
    return ""


def _head(method: str, url: URL) -> bytes:
    # No Accept-Encoding, so that responses are not compressed.
    host = f"[{url.raw_host}]" if ":" in (url.raw_host or "") else url.raw_host
    if not url.is_default_port():
        host = f"{host}:{url.port}"
    return f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wxbot/{__version__}\r\n".encode("ascii")


def _request(head: bytes, method: str, body: bytes | None) -> bytes:
    if body is None:
        return head + (b"\r\n" if method == "GET" else b"Content-Length: 0\r\n\r\n")
    return b"%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def parse_response(call: str, status: int, body: bytes, secrets: Iterable[str]) -> dict[str, Any]:
    """Parse WeChat's response and return it as a dict. Raises WeChatError.

    - Status 5xx, or 200 without a JSON object (a proxy's page): DeliveryUnknown, because WeChat may have processed the
      call. This includes 503, which gateways also return for a server that died after it had read the call.
    - Any other status with an errcode is treated like 200: the errcode decides.
    - 408 and 429 without an errcode: SystemBusy, because a gateway did not forward the call.
    - Any other status without an errcode: ApiError with the HTTP status as its errcode.
    """
    fields = _object_in(body)
    errcode = _errcode(fields)
    if status >= 500 or (status == 200 and (fields is None or errcode is None)):
        raise DeliveryUnknown(f"{call} was sent, but the answer is HTTP {status} without readable JSON of WeChat")
    if errcode is None or (status != 200 and errcode == 0):
        kind = SystemBusy if status in (408, 429) else ApiError
        raise kind(call, status, f"HTTP {status} without an errcode of WeChat")
    if errcode == 0:
        return fields or {}
    errmsg = (fields or {}).get("errmsg", (fields or {}).get("errMsg", ""))
    raise api_error(call, errcode, one_line(str(errmsg), secrets))


def one_line(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` of WeChat for an error: one printable line of at most 200 characters, ``secrets`` redacted."""
    for form in sorted({form for secret in secrets if secret for form in _encodings_of(secret)}, key=len, reverse=True):
        text = text.replace(form, "***")
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_ERRMSG_CHARS]


def _encodings_of(secret: str) -> set[str]:
    """Return ``secret`` itself and its encodings in a URL."""
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
    """Return the errcode of a response; 0 if the response has none, None if it is not readable.

    Calls that return data omit it on success. Cloud calls spell it errCode (docs/wechat.md, "Cloud calls").
    """
    if fields is None:
        return None
    value = fields.get("errcode", fields.get("errCode", 0))
    try:
        return int(value) if not isinstance(value, bool | float) else None
    except (TypeError, ValueError):
        return None
