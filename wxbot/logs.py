"""Log lines for people, without secrets: every line, tracebacks included, is redacted as the last step.

What strangers write may be in a line (in a traceback, for one): it can neither begin a line of its own nor move the
cursor of a terminal. Where one deployment has several accounts, a line says whose it is.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(whose)s%(message)s"

_account: ContextVar[str] = ContextVar("wxbot_account", default="")


def speak_of(account: str) -> None:
    """From here on, lines written with this context say ``[account]``; empty: they say nothing of the kind."""
    _account.set(account)


@contextmanager
def speaking_of(account: str) -> Iterator[None]:
    """Lines written in here, and in whatever is started from here with this context, say ``[account]``."""
    token = _account.set(account)
    try:
        yield
    finally:
        _account.reset(token)


_QUOTE = r"""(?:\\*["'])?"""
_CREDENTIALS = re.compile(
    rf"""((?:access[_-]token|secret)(?:{_QUOTE}(?:\s*[=:]\s*|%3D)b?{_QUOTE}|\\*["']\s*,\s*b?\\*["']))[^&\s"',}}\\]+""",
    re.IGNORECASE,
)
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\t")}


class RedactingFormatter(logging.Formatter):
    """Replaces ``secrets``, and what looks like a credential in a URL or JSON, by ``***``."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        held = sorted(filter(None, secrets), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, held))) if held else None

    def format(self, record: logging.LogRecord) -> str:
        line = _CREDENTIALS.sub(r"\1***", self._formatted(record))
        line = line if self._secrets is None else self._secrets.sub("***", line)
        return "\n    ".join(each.translate(_CONTROLS) for each in line.splitlines())

    def _formatted(self, record: logging.LogRecord) -> str:
        account = _account.get()  # handlers format in the thread, and so in the context, that has something to say
        record.whose = f"[{account}] " if account else ""
        try:
            return super().format(record)
        except (TypeError, ValueError, KeyError):  # logging itself would print the arguments, secrets and all
            told = f"{record.msg!r} does not fit its arguments {record.args!r}"
            return super().format(logging.makeLogRecord({**vars(record), "msg": told, "args": None}))


def configure_logging(level: str, secrets: Iterable[str]) -> None:
    """Log to standard error from ``level`` on, redacted. Replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
