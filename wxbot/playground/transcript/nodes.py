"""Compose YAML text into nodes. Limits size and depth, refuses anchors, and reports each error with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wxbot.playground.transcript.problems import BadTranscript, InvalidNode
from wxbot.playground.transcript.steps import VERSION
from wxbot.playground.transcript.texts import TAG, tag_of_text

_MAX_NODES = 200_000
_MAX_DEPTH = 20


def compose(text: str, name: str) -> Node:
    """Return the root node of the file ``name``. Raises BadTranscript, and InvalidNode if the node is known."""
    try:
        node = _Composer(_parser(text)).document()
    except yaml.reader.ReaderError as problem:
        raise BadTranscript(name, *_unreadable(text, problem.position)) from None
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise BadTranscript(name, line, f"invalid YAML: {_yaml_words(problem)}") from None
    except (ValueError, OverflowError):  # from PyYAML for an escape beyond U+10FFFF, without a position
        reason = "invalid YAML: an escape in double quotes (\\U…) is not a character"
        raise BadTranscript(name, _line_of(text, "\\U"), reason) from None
    if node is None:
        raise BadTranscript(name, 1, f"the file is empty: the first line must be `wxbot-transcript: {VERSION}`")
    return node


def _parser(text: str) -> Iterator[yaml.Event]:
    """Return the YAML events of ``text``. Large texts use libyaml, because PyYAML needs a second for each MB."""
    if len(text) > _LARGE and yaml.__with_libyaml__ and not _SURROGATE.search(text):
        return yaml.parse(text, yaml.CSafeLoader)
    return yaml.parse(text, yaml.SafeLoader)


_LARGE = 1 << 18
_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")  # libyaml accepts no surrogates, not even as an escape


def _unreadable(text: str, position: int) -> tuple[int, str]:
    position = min(position, len(text) - 1)
    found = _NOT_YAML.search(text)
    if found is not None:
        position = found.start()
    code = ord(text[position])
    line = text[:position].count("\n") + 1
    return line, f'the character U+{code:04X} is not allowed in YAML: write it as "\\u{code:04x}" in double quotes'


_NOT_YAML = yaml.reader.Reader.NON_PRINTABLE


def _line_of(text: str, part: str) -> int:
    return text[: max(0, text.find(part))].count("\n") + 1


def _yaml_words(problem: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (problem.context, problem.problem) if part]
    hint = "; put a text with a colon in quotes" if "mapping values are not allowed" in str(problem.problem) else ""
    return ", ".join(map(str, parts)) + hint


class _Composer:
    """A composer of nodes without anchors and aliases, so that a small file cannot expand into a huge one."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._count = 0

    def document(self) -> Node | None:
        """Return the document of the file, or None if the file is empty."""
        node: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    _refuse(event, "there is a second document: a file contains one transcript")
                node = self._node(next(self._events), 0)
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        self._check(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return ScalarNode(_tag_of(event), event.value, *_marks(event))
        if isinstance(event, yaml.SequenceStartEvent):
            return SequenceNode(TAG + "seq", list(self._inner(depth)), *_marks(event))
        inner = list(self._inner(depth))
        pairs = list(zip(inner[::2], inner[1::2], strict=True))
        return MappingNode(TAG + "map", pairs, *_marks(event))

    def _inner(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            yield self._node(event, depth + 1)

    def _check(self, event: yaml.Event, depth: int) -> None:
        self._count += 1
        if getattr(event, "anchor", None) is not None:
            _refuse(
                event, "anchors and aliases (& and *) are not supported: repeat the value, or put the text in quotes"
            )
        if depth > _MAX_DEPTH:
            _refuse(event, f"there are more than {_MAX_DEPTH} levels")
        if self._count > _MAX_NODES:
            _refuse(event, f"there are more than {_MAX_NODES} values")


def _refuse(event: yaml.Event, reason: str) -> NoReturn:
    raise InvalidNode(ScalarNode(TAG + "str", "", *_marks(event)), reason)


def _marks(event: Any) -> tuple[Any, Any]:
    """Return the start and end of an event. The marks of libyaml have the same attributes as PyYAML's."""
    return event.start_mark, event.end_mark


def _tag_of(event: yaml.ScalarEvent) -> str:
    if event.tag is not None and event.tag != "!":
        return str(event.tag)
    return tag_of_text(event.value, event.implicit)
