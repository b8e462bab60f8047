"""Who may use the page: this machine; anybody else only with the key. A foreign web page in the same browser never.

A page in a browser can reach servers on loopback: the Host header tells a name that was made to point here (DNS
rebinding), the Origin header a form or script of another site.
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
"""Of every answer."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` (a name or an address) can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def new_key() -> str:
    """A random key for who comes from another machine."""
    return secrets.token_urlsafe(24)


class Access:
    """``key``: what everybody must have; empty if the page listens on loopback only."""

    def __init__(self, key: str = "") -> None:
        self._key = key

    def refusal_of(self, request: web.BaseRequest) -> str:
        """Why this request is not served; empty if it is."""
        if not self._key and not is_loopback(_host_of(f"//{request.headers.get('Host', '')}")):
            return "this page is for this machine only: open it as http://127.0.0.1 or http://localhost"
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin) != request.headers.get("Host"):
            return "another site asked for this"
        if self._key and not self._is_key(request.cookies.get(COOKIE, "")):
            return "the access key is missing or wrong: open the whole address that was printed at the start"
        return ""

    def brings_key(self, request: web.BaseRequest) -> bool:
        """Whether the address opened has the right key, to be kept as a cookie from now on."""
        return bool(self._key) and self._is_key(request.query.get("key", ""))

    def keep(self, response: web.Response) -> None:
        """Let the browser have the key."""
        response.set_cookie(COOKIE, self._key, httponly=True, samesite="Strict")

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="surrogateescape"), self._key.encode())


def _host_of(address: str) -> str:
    """The name in ``address``; empty where nobody can tell."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _place_of(address: str) -> str:
    """Name and port in ``address``; empty where nobody can tell."""
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""
