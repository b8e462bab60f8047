"""What went over the wire, byte for byte but for secrets: kept with each record for who wants to look closely."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_STORED_BYTES = 64 * 1024
"""Bytes of a body that are kept; of a longer one the first."""

SHORTEST = 8
"""Characters of a secret that is hidden wherever it stands: a shorter one is found in words that are none."""

HIDDEN = "•••"
_HIDDEN = HIDDEN.encode()
_OVERLAP = 1024
"""Bytes beyond MAX_STORED_BYTES that are looked at, so that no part of a secret stays where a body is cut."""

Headers = tuple[tuple[str, str], ...]

_ACCESS_TOKEN = re.compile(rb"\d\d_[A-Za-z0-9_-]{120}")
_PARAMETER = re.compile(r"(?<=[?&])(access_token|cloudbase_access_token|secret)=[^&\s]*")
_FIELD = re.compile(rb'("(?:access_token|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """A request or an answer: its first line without the version of HTTP, its headers, the body and its whole size."""

    line: str
    headers: Headers
    body: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, if there was one. Secrets are hidden.

    ``clear`` and ``answer_clear`` are what was encrypted in their bodies, as it was written; None where nothing was.
    """

    request: HttpMessage
    answer: HttpMessage | None
    clear: str | None = None
    answer_clear: str | None = None


class Redactor:
    """Hides the secrets of one account. ``secrets``: those whose value is known."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._known = re.compile(b"|".join(re.escape(value.encode()) for value in values) or rb"(?!)")

    def redact(self, text: str) -> str:
        """``text`` without secrets whose value is known, and without anything that looks like an access token."""
        return self._values(text.encode(errors="surrogatepass")).decode(errors="replace")

    def message(self, line: str, headers: Mapping[str, str], body: bytes) -> HttpMessage:
        """A request or an answer without secrets; what stands where a secret belongs is none to be shown either."""
        shown = tuple((name, self.redact(value)) for name, value in headers.items())
        kept = self._values(_FIELD.sub(rb'\1"' + _HIDDEN + b'"', body[: MAX_STORED_BYTES + _OVERLAP]))[
            :MAX_STORED_BYTES
        ]
        return HttpMessage(self.redact(_PARAMETER.sub(rf"\1={HIDDEN}", line)), shown, kept, len(body))

    def _values(self, text: bytes) -> bytes:
        return _ACCESS_TOKEN.sub(_HIDDEN, self._known.sub(_HIDDEN, text))


def json_bytes(answer: Mapping[str, object]) -> bytes:
    """An answer of the API as WeChat writes it."""
    return json.dumps(answer, ensure_ascii=False).encode()
