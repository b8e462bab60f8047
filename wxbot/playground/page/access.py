"""Access control of the page: this machine, or a client with the key. Other web sites in the same browser are refused.

A web page in a browser can send requests to servers on loopback. The Host header reveals DNS rebinding (a foreign name
that resolves to this machine), the Origin header reveals a form or script of another site.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from aiohttp import web

COOKIE = "wxbot-playground"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response."""


def is_loopback(host: str) -> bool:
    """Return True if ``host`` (a name or an address) is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_key() -> str:
    """Return a random key for clients on other machines."""
    return secrets.token_urlsafe(24)


class Access:
    """The access check of the page. ``key``: the required key, or "" if the page listens on loopback only."""

    def __init__(self, key: str = "") -> None:
        self._key = key

    def refusal_of(self, request: web.BaseRequest) -> str:
        """Return the reason why this request is refused, or "" if it is allowed."""
        if not self._key and not is_loopback(_host_of(f"//{request.headers.get('Host', '')}")):
            return "the page accepts this machine only: open it as http://127.0.0.1 or http://localhost"
        origin = request.headers.get("Origin")
        if origin is not None and _host_and_port_of(origin) != request.headers.get("Host"):
            return "the request comes from another site (Origin header)"
        if self._key and not self._is_key(request.cookies.get(COOKIE, "")):
            return "the access key is missing or wrong: open the complete URL that was printed at startup"
        return ""

    def brings_key(self, request: web.BaseRequest) -> bool:
        """Return True if the URL contains the right key, which is then stored in a cookie."""
        return bool(self._key) and self._is_key(request.query.get("key", ""))

    def set_cookie(self, response: web.Response) -> None:
        """Store the key in a cookie of the browser."""
        response.set_cookie(COOKIE, self._key, httponly=True, samesite="Strict")

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self._key.encode())


def _host_of(address: str) -> str:
    """Return the host name in ``address``, or "" if it is invalid."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _host_and_port_of(address: str) -> str:
    """Return host name and port in ``address``, or "" if it is invalid."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""
