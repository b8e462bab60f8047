"""One keep-alive HTTP client for all calls to WeChat, whose failures say whether the call may have been acted on.

No exception that leaves here holds a URL: the access token is part of every URL, and the AppSecret of some. For the
same reason nothing is chained: aiohttp's own exceptions print the URL in their text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import aiohttp
from yarl import URL

from wxbot.errors import AnswerLost, ApiError, NotReached, SystemBusy, WeChatError, api_error
from wxbot.version import __version__

CONNECT_SECONDS = 5.0
KEEPALIVE_SECONDS = 15.0
"""Idle connections are closed by us after this long: well before usual servers do (60 to 75 s), because a POST on a
connection that the server is just closing may or may not have been read."""

MAX_CONNECTIONS = 512
"""Below the common limit of 1024 open files. A call that finds none free in time was not sent (NotReached)."""

_HEADERS = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"wxbot/{__version__}"}
_SKIPPED_HEADERS = ("Accept", "Accept-Encoding")
_ERRMSG_CHARS = 200
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


def limits(seconds: float) -> aiohttp.ClientTimeout:
    """Timeouts of a call that may take ``seconds`` in all. Connecting gets less, so that a connection that never
    came is told from an answer that never came."""
    return aiohttp.ClientTimeout(total=seconds, connect=min(CONNECT_SECONDS, seconds / 2))


class Transport:
    """Sends requests over one pool of connections. ``open`` it inside the running loop, after any fork."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Create the pool on the running loop; no connection is made yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=60
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            skip_auto_headers=_SKIPPED_HEADERS,
        )

    async def close(self) -> None:
        """Close every connection. Calls after it raise NotReached."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def exchange(
        self, method: str, url: URL, body: bytes | None, timeout: aiohttp.ClientTimeout, call: str
    ) -> tuple[int, bytes]:
        """Status and body of WeChat's answer. ``call`` names the call in errors.

        Raises NotReached if the request was certainly not sent, AnswerLost if it may have been.
        """
        if self._session is None:
            raise NotReached(f"{call} was not sent: the client is not open")
        try:
            # Redirects are not followed: they would carry the token to an address nobody configured.
            async with self._session.request(method, url, data=body, timeout=timeout, allow_redirects=False) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            failure = _failure(call, error)
        raise failure


def _failure(call: str, error: Exception) -> WeChatError:
    if isinstance(error, _NOT_SENT):
        return NotReached(f"{call} was not sent: {_connection_problem(error)}")
    if isinstance(error, TimeoutError):
        return AnswerLost(f"{call} was sent, but WeChat did not answer in time")
    return AnswerLost(f"{call} was sent, but the connection broke before WeChat's answer ({type(error).__name__})")


def _connection_problem(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "WeChat's host name cannot be resolved (check WXBOT_API_BASE and DNS)"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the TLS connection to WeChat failed (check certificates, proxies and the clock)"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection to WeChat in time"
    return "no connection to WeChat (refused or no route)"


def answer_of(call: str, status: int, body: bytes, secrets: Iterable[str]) -> dict[str, Any]:
    """WeChat's answer as a dict, with ``errcode`` as an int where there is one. Raises WeChatError.

    A status of 5xx, or a 200 with something else than a JSON object (a proxy's page), does not tell whether WeChat
    acted on the call: AnswerLost. Other statuses with an errcode are read like 200. Without one, 408 and 429 come
    from a gateway that did not pass the call on (SystemBusy: worth another try), the rest is an ApiError that has
    the HTTP status as its errcode. 503 is not among the safe ones: gateways also say it for a server that died
    after it had read the call.
    """
    fields = _object_in(body)
    errcode = _errcode(fields)
    if status >= 500 or (status == 200 and (fields is None or errcode is None)):
        raise AnswerLost(f"{call} was sent, but HTTP {status} came without a readable answer of WeChat's")
    if errcode is None or (status != 200 and errcode == 0):
        kind = SystemBusy if status in (408, 429) else ApiError
        raise kind(call, status, f"HTTP {status} without an errcode of WeChat's")
    if errcode == 0:
        return fields or {}
    errmsg = (fields or {}).get("errmsg", (fields or {}).get("errMsg", ""))
    raise api_error(call, errcode, one_line(str(errmsg), secrets))


def one_line(text: str, secrets: Iterable[str]) -> str:
    """Foreign ``text`` made fit for an error: one printable line of at most 200 characters, without ``secrets``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    printable = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(printable.split())[:_ERRMSG_CHARS]


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
        return int(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        return None
