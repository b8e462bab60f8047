"""Log lines without secrets: the last step redacts every line, tracebacks included.

A line may contain text from outside, for example in a traceback. Its control characters are escaped, so that it can
neither forge a log line nor control a terminal. If a deployment has several accounts, a line names its account.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(wxbot_account)s%(message)s"

_account: ContextVar[str] = ContextVar("wxbot_account", default="")


def set_log_account(account: str) -> None:
    """Begin the log lines of the current context with ``[account]`` from now on; "" removes it."""
    _account.set(account)


@contextmanager
def account_in_logs(account: str) -> Iterator[None]:
    """Begin the log lines of the body, and of tasks that are started in it, with ``[account]``."""
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
    """A formatter that replaces ``secrets``, and credentials in a URL or in JSON, by ``***``."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        longest_first = sorted(filter(None, secrets), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def format(self, record: logging.LogRecord) -> str:
        line = _CREDENTIALS.sub(r"\1***", self._formatted(record))
        line = line if self._secrets is None else self._secrets.sub("***", line)
        return "\n    ".join(each.translate(_CONTROLS) for each in line.splitlines())

    def _formatted(self, record: logging.LogRecord) -> str:
        account = _account.get()  # the context is the right one, because a handler formats in the thread that logs
        record.wxbot_account = f"[{account}] " if account else ""
        try:
            return super().format(record)
        except (TypeError, ValueError, KeyError):  # else logging would print the arguments without redaction
            text = f"{record.msg!r} does not fit its arguments {record.args!r}"
            return super().format(logging.makeLogRecord({**vars(record), "msg": text, "args": None}))


def configure_logging(level: str, secrets: Iterable[str]) -> None:
    """Write log lines from ``level`` on to standard error, redacted. Replaces the handlers of the root logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
