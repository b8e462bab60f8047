"""wechatpy's client for plugin authors, with wxbot's access token and without wechatpy's unsafe behaviour.

wechatpy retries a refused token without limit, has no timeouts, and puts the access token into its errors. So the
client never fetches a token itself, and all its requests go through ``_Session``.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeout
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import requests
import wechatpy
from requests.adapters import HTTPAdapter
from wechatpy.session import SessionStorage

from wxbot.errors import PluginError, RequestNotSent
from wxbot.wechat.api.address import API_BASE, ApiAddress
from wxbot.wechat.api.token import Tokens

_TOKEN_REFUSED_ERRCODES = frozenset((40001, 40014, 41001, 42001))
_TEN_YEARS = 10 * 365 * 86_400.0
_CONNECT_SECONDS = 5.0
_POOL_CONNECTIONS = 32
_NO_TOKEN = "none"  # noqa: S105 - wechatpy fetches a token if this is empty


class BlockingTokens(Protocol):
    """The source of the access token for code that may block its thread."""

    def get(self) -> str: ...

    def replace(self, refused: str) -> str: ...


class ThreadTokens:
    """The tokens of the bot's event loop for other threads. A call raises RequestNotSent after ``seconds``."""

    def __init__(self, tokens: Tokens, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._tokens = tokens
        self._loop = loop
        self._seconds = seconds

    def get(self) -> str:
        """Return a token that should be valid now. Raises WeChatError; PluginError if called on the event loop."""
        self._check_thread()
        return self._wait_for(self._tokens.get())

    def replace(self, refused: str) -> str:
        """Return another token than ``refused``. Raises as ``get`` does."""
        self._check_thread()
        return self._wait_for(self._tokens.replace(refused))

    def _check_thread(self) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is self._loop:
            raise PluginError(
                "ctx.wechatpy blocks, so an async handler must not call it: make the handler a plain def, "
                "or wrap the call in asyncio.to_thread"
            )

    def _wait_for(self, request: Any) -> str:
        try:
            future = asyncio.run_coroutine_threadsafe(request, self._loop)
        except RuntimeError:  # the loop has closed
            request.close()
            raise RequestNotSent("no access token: the bot is stopping") from None
        try:
            token: str = future.result(self._seconds)
        except FutureTimeout:
            future.cancel()
            raise RequestNotSent("no access token arrived in time") from None
        return token


def wechatpy_client(appid: str, tokens: BlockingTokens, address: ApiAddress, timeout: float) -> Any:
    """Return a ``wechatpy.WeChatClient`` that gets its token from ``tokens`` and calls ``address``.

    ``timeout``, in seconds, limits each wait of a request. Threads may share the client; create it after a fork. Its
    errors have the types of wechatpy and requests, without URL and token in their text, traceback and attributes.
    """
    client = wechatpy.WeChatClient(appid, "", session=_TokenStorage(appid, tokens), timeout=timeout, auto_retry=False)
    client._http.close()  # noqa: SLF001 - wechatpy has no other way to set timeouts for every call
    client._http = _Session(tokens, address, timeout)  # noqa: SLF001
    client.fetch_access_token = _reject_fetch
    logging.getLogger("urllib3.connectionpool").addFilter(_urls_without_query)
    return client


def _reject_fetch() -> None:
    raise PluginError("wxbot fetches the access token itself; use client.access_token")


def _urls_without_query(record: logging.LogRecord) -> bool:
    """Remove queries from log records, because urllib3 logs each path with its access token at level DEBUG."""
    if isinstance(record.args, tuple):
        record.args = tuple(_without_query(arg) if isinstance(arg, str) else arg for arg in record.args)
    return True


class _TokenStorage(SessionStorage):  # type: ignore[misc]  # wechatpy has no types
    """A session store for wechatpy: it returns wxbot's access token and stores other values (tickets) with a TTL."""

    def __init__(self, appid: str, tokens: BlockingTokens) -> None:
        self._token_key = f"{appid}_access_token"
        self._tokens = tokens
        self._values: dict[str, tuple[Any, float]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, default: Any = None) -> Any:
        if key == self._token_key:
            return self._tokens.get() or _NO_TOKEN
        if key == self._token_key + "_expires_at":
            return time.time() + _TEN_YEARS  # so that wechatpy never fetches one
        with self._lock:
            value, expires_at = self._values.get(key, (default, 0.0))
        return value if expires_at > time.monotonic() else default

    def set(self, key: str, value: Any, ttl: float | None = None) -> None:
        if value is not None and not key.startswith(self._token_key):
            with self._lock:
                self._values[key] = value, time.monotonic() + (ttl or _TEN_YEARS)

    def delete(self, key: str) -> None:
        with self._lock:
            self._values.pop(key, None)

    def __getitem__(self, key: str) -> Any:
        return self.get(key)


class _Session(requests.Session):
    """A requests session with timeouts, wxbot's API address, one retry with a new token, and errors without secrets."""

    def __init__(self, tokens: BlockingTokens, address: ApiAddress, timeout: float) -> None:
        super().__init__()
        self._tokens = tokens
        self._address = address
        self._limits = (min(_CONNECT_SECONDS, timeout), timeout)
        self.trust_env = False  # use no .netrc and no proxy, as the bot's own calls do
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=_POOL_CONNECTIONS))

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request as requests does, and once more with a new token if WeChat refuses the one in ``params``."""
        address = url.decode() if isinstance(url, bytes) else url
        if address.startswith(API_BASE + "/"):
            address = self._address.base + address.removeprefix(API_BASE)
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self._limits
        params = kwargs.get("params")
        token = params.get("access_token") if isinstance(params, dict) else None
        if token is None:
            return self._request_without_secrets(method, address, *args, **kwargs)
        answer = self._request_without_secrets(method, address, *args, **self._with_token(kwargs, token))
        if not _token_was_refused(answer, kwargs):
            return answer
        token = self._tokens.replace("" if token == _NO_TOKEN else token)
        retry = self._with_token(kwargs, token)
        return self._request_without_secrets(method, address, *args, **retry) if _can_be_sent_again(kwargs) else answer

    def _with_token(self, kwargs: dict[str, Any], token: str) -> dict[str, Any]:
        """Return ``kwargs`` with the token under the address's parameter name. Cloud calls use another or none."""
        others = {name: value for name, value in kwargs["params"].items() if name != "access_token"}
        return {**kwargs, "params": {**others, **self._address.credentials(token)}}

    def _request_without_secrets(self, method: str | bytes, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            return _without_secrets(super().request(method, url, *args, **kwargs))
        except requests.RequestException as error:
            failure = _error_without_url(error)
        # Raised outside the except block, so that the original error, whose text has the URL, is not chained.
        raise failure


def _error_without_url(error: requests.RequestException) -> requests.RequestException:
    if isinstance(error, requests.ConnectTimeout):
        return requests.ConnectTimeout("no connection to WeChat was made in time")
    if isinstance(error, requests.Timeout):
        return requests.ReadTimeout("WeChat did not answer in time")
    if isinstance(error, requests.exceptions.SSLError):
        return requests.exceptions.SSLError("the TLS connection to WeChat failed")
    if isinstance(error, requests.ConnectionError):
        return requests.ConnectionError("the connection to WeChat failed or broke")
    return requests.RequestException(f"the call to WeChat failed ({type(error).__name__})")


def _without_secrets(answer: requests.Response) -> requests.Response:
    """Remove the queries from all URLs in ``answer`` and return it: its errors and its repr would print them."""
    if _is_page(answer):
        raise requests.RequestException("the answer is a web page, not WeChat's: check proxies and WXBOT_API_BASE")
    for response in (answer, *answer.history):
        response.url = _without_query(response.url)
        response.request = copy.copy(response.request)
        response.request.url = _without_query(response.request.url or "")
        response._next = None  # type: ignore[attr-defined]  # noqa: SLF001 - requests stores the redirect here
        original = getattr(response.raw, "_original_response", None)
        for headers in (response.headers, response.raw.headers, getattr(original, "headers", {})):
            if "Location" in headers:
                del headers["Location"]
        response.raw.url = _without_query(response.raw.url or "")
        response.raw.retries = None
    return answer


def _is_page(answer: requests.Response) -> bool:
    """Return True if ``answer`` is a proxy's web page, which wechatpy would return as a success."""
    is_html = answer.headers.get("Content-Type", "").startswith("text/html")
    return answer.status_code == requests.codes.ok and is_html and answer.content.lstrip().startswith(b"<")


def _without_query(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _token_was_refused(answer: requests.Response, kwargs: dict[str, Any]) -> bool:
    if kwargs.get("stream") or not answer.content.lstrip().startswith(b"{"):
        return False
    try:
        fields = json.loads(answer.content)
    except (ValueError, RecursionError):
        return False
    return str(fields.get("errcode")) in {str(code) for code in _TOKEN_REFUSED_ERRCODES}


def _can_be_sent_again(kwargs: dict[str, Any]) -> bool:
    """Return False for a file or a generator: it has been read, so a retry would send it empty."""
    return not kwargs.get("files") and isinstance(kwargs.get("data"), (bytes, str, dict, type(None)))
