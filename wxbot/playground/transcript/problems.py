"""Errors in transcripts: the exceptions, and helpers for their texts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from yaml.nodes import Node

from wxbot.errors import WxbotError
from wxbot.playground.transcript.texts import escaped


class BadTranscript(WxbotError):
    """The transcript is invalid. The text names the file, the line, the reason, and the correction."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}, line {line}: {reason}")
        self.name = name
        self.line = line
        self.reason = reason


class InvalidNode(Exception):
    """An error at a node."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


def guess(word: str, known: Iterable[str]) -> str:
    """Return a suggestion from ``known`` for the end of a sentence, or "" if no word is similar."""
    near = difflib.get_close_matches(word[:200], list(known), 1, 0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""


def short(text: str) -> str:
    """Return ``text`` for an error message: on one line and shortened."""
    shown = "".join(character if character.isprintable() else escaped(character) for character in text[:60])
    return shown + ("…" if len(text) > 60 else "")
