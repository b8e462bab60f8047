"""The bytes of requests and responses, with secrets redacted. Each record stores them for a detailed look.

A record's exchange has the method or status line, the headers and the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_STORED_BYTES = 64 * 1024
"""Maximum number of bytes of a body that are stored. A longer body is cut."""

MIN_SECRET_LENGTH = 8
"""Minimum number of characters of a secret that is redacted, because a shorter one occurs in ordinary words."""

HIDDEN = "•••"
_HIDDEN = HIDDEN.encode()
_OVERLAP = 1024
"""Bytes beyond MAX_STORED_BYTES that are searched for secrets, so that a cut leaves no part of a secret."""

Headers = tuple[tuple[str, str], ...]

_ACCESS_TOKEN = re.compile(rb"\d\d_[A-Za-z0-9_-]{120}")
_PARAMETER = re.compile(r"(?<=[?&])(access_token|cloudbase_access_token|secret)=[^&\s]*")
_FIELD = re.compile(rb'("(?:access_token|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """A request or a response: its first line without the HTTP version, its headers, and its body.

    ``body``: at most MAX_STORED_BYTES. ``size``: bytes of the complete body.
    """

    line: str
    headers: Headers
    body: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its response, if there was one. Secrets are redacted.

    ``clear`` and ``answer_clear``: the decrypted texts of both bodies; None for a body that was not encrypted.
    """

    request: HttpMessage
    answer: HttpMessage | None
    clear: str | None = None
    answer_clear: str | None = None


class Redactor:
    """A filter that redacts the secrets of one account. ``secrets``: the secrets whose values are known."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = sorted({secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH}, key=len, reverse=True)
        self._known = re.compile(b"|".join(re.escape(value.encode()) for value in values) or rb"(?!)")

    def redact(self, text: str) -> str:
        """Return ``text`` without known secrets and without anything that has the format of an access token."""
        return self._redact_bytes(text.encode(errors="surrogatepass")).decode(errors="replace")

    def message(self, line: str, headers: Mapping[str, str], body: bytes) -> HttpMessage:
        """Return a request or response without secrets. Also redact wrong values where a secret is expected."""
        shown = tuple((name, self.redact(value)) for name, value in headers.items())
        start = _FIELD.sub(rb'\1"' + _HIDDEN + b'"', body[: MAX_STORED_BYTES + _OVERLAP])
        stored = self._redact_bytes(start)[:MAX_STORED_BYTES]
        return HttpMessage(self.redact(_PARAMETER.sub(rf"\1={HIDDEN}", line)), shown, stored, len(body))

    def _redact_bytes(self, text: bytes) -> bytes:
        return _ACCESS_TOKEN.sub(_HIDDEN, self._known.sub(_HIDDEN, text))


def json_bytes(answer: Mapping[str, object]) -> bytes:
    """Return an answer of the API as the JSON that WeChat writes."""
    return json.dumps(answer, ensure_ascii=False).encode()
