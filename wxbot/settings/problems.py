"""Texts of problems with settings. They never contain a value, because it may be a misplaced secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from wxbot.settings.schema import MISSING


def unknown_names(names: Iterable[str], known: Sequence[str], problem: str) -> list[str]:
    """Return ``problem`` for each of ``names`` that is not ``known``, with the most similar known name, if any."""
    return [f"{name} {problem}{did_you_mean(name, known)}" for name in sorted(set(names).difference(known))]


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the end of a problem's text that proposes the most similar of ``known``, if any."""
    return "".join(f"; did you mean {other}?" for other in difflib.get_close_matches(name, known, 1, cutoff=0.8))


def invalid_value(name: str, position: Iterable[int | str], message: str) -> str:
    """Return the text of a problem that pydantic found in the setting ``name``, at ``position`` in its value.

    An empty ``name`` is a problem of several settings together, which the message names itself.
    """
    message = message.removeprefix("Value error, ")
    if message == MISSING:
        return f"{name} is missing"
    where = name + "".join(f"[{part}]" for part in position)
    return f"{where}: {message}" if where else message
