"""The timeline of the console: one line for each record with time, user, direction, content, errcode and duration."""

from __future__ import annotations

from collections.abc import Callable

from wxbot.testing import Record

HEADER = f"{'time':>8}  {'account':<8} {'user':<8} {'':<2} {'what':<44} {'result':<16} {'took':>8}"

_ARROWS = {"push": "→", "passive": "←", "notice": "←", "typing": "←", "send": "←", "token": "←", "other": "←"}


def line(record: Record, began: float, account: str) -> str | None:
    """Return the line for ``record``, or None for a user action, because its push is shown.

    ``→`` goes to the bot, ``←`` comes from it.
    """
    if record.kind == "user":
        return None
    result = _result(record)
    took = f"{record.took * 1000:.1f} ms"
    what = _fit(_what(record), 44)
    arrow = _ARROWS[record.kind]
    return f"{record.at - began:7.2f}s  {account:<8} {record.name:<8} {arrow:<2} {what} {result:<16} {took:>8}".rstrip()


def _what(record: Record) -> str:
    text = record.what.replace("\n", "⏎")
    if record.kind == "push":
        again = f" (try {record.attempt})" if record.attempt > 1 else ""
        return f"push {text}{again}"
    return {"send": f"reply {text}", "typing": text, "token": f"token {text}"}.get(record.kind, text)


def _result(record: Record) -> str:
    if record.kind == "push":
        return f"{record.outcome} {record.status or ''}".strip()
    return "" if record.errcode is None else f"errcode {record.errcode}"


def _fit(text: str, width: int) -> str:
    """Return ``text`` cut or padded to ``width`` columns. A Chinese character has two columns."""
    shown, used = "", 0
    for character in text:
        wide = 2 if ord(character) > 0x2E80 else 1
        if used + wide > width - 1:
            return shown + "…" + " " * (width - used - 1)
        shown, used = shown + character, used + wide
    return shown + " " * (width - used)


def record_printer(say: Callable[[str], None], began: float, account: str) -> Callable[[Record], None]:
    """Return a function that prints the line of each record. ``began``: the start, in seconds since 1970."""

    def print_record(record: Record) -> None:
        text = line(record, began, account)
        if text is not None:
            say(text)

    return print_record
