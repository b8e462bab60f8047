"""Log lines for people, without secrets: every line, tracebacks included, is redacted as the last step."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_CREDENTIALS = re.compile(r"""((?:access_token|secret|corpsecret)["']?\s*[=:]\s*["']?)[^&\s"',}]+""", re.IGNORECASE)


class RedactingFormatter(logging.Formatter):
    """Replaces ``secrets``, and what looks like a credential in a URL or JSON, by ``***``."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        held = sorted(filter(None, secrets), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, held))) if held else None

    def format(self, record: logging.LogRecord) -> str:
        line = _CREDENTIALS.sub(r"\1***", super().format(record))
        return line if self._secrets is None else self._secrets.sub("***", line)


def configure_logging(level: str, secrets: Iterable[str]) -> None:
    """Log to standard error from ``level`` on, redacted. Replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
