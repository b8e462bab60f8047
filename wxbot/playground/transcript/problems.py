"""What is said of mistakes: the error, the reason at its node, what else may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from yaml.nodes import Node

from wxbot.errors import WxbotError
from wxbot.playground.transcript.steps import MAX_NAME
from wxbot.playground.transcript.texts import escaped


class BadTranscript(WxbotError):
    """A transcript that cannot be read. The text names file, line and reason, and what to do."""

    def __init__(self, name: str, line: int, reason: str) -> None:
        super().__init__(f"{name}, line {line}: {reason}")
        self.name = name
        self.line = line
        self.reason = reason


class Wrong(Exception):
    """What is wrong, and at which node."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(reason)
        self.node = node
        self.reason = reason


def guess(word: str, known: Iterable[str]) -> str:
    """Which of ``known`` may have been meant, to end a sentence with; empty if none comes near."""
    near = difflib.get_close_matches(word[:MAX_NAME], list(known), 1, 0.6)
    return f" (did you mean `{near[0]}`?)" if near else ""


def short(text: str) -> str:
    """``text`` for an error: in one line and not too long."""
    shown = "".join(character if character.isprintable() else escaped(character) for character in text[:60])
    return shown + ("…" if len(text) > 60 else "")
