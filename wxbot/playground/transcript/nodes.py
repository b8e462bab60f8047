"""Compose YAML text into nodes. Limits size and depth, refuses anchors, and reports each error with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml
from yaml.nodes import Node, ScalarNode

from wxbot.playground.transcript.problems import BadTranscript, InvalidNode
from wxbot.playground.transcript.steps import VERSION
from wxbot.playground.transcript.texts import TAG

_MAX_NODES = 200_000
_MAX_DEPTH = 20


def compose(text: str, name: str) -> Node:
    """Return the root node of the file ``name``. Raises BadTranscript, and InvalidNode if the node is known."""
    # libyaml, because PyYAML needs a second for each MB. It accepts no surrogates, not even as an escape.
    loader = yaml.CSafeLoader if _is_large(text) else yaml.SafeLoader
    try:
        _check(yaml.parse(text, loader))
        node = yaml.compose(text, loader)
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


def _check(events: Iterator[yaml.Event]) -> None:
    """Refuse what a transcript does not need, so that a small file cannot expand into a huge one."""
    depth = documents = 0
    for count, event in enumerate(events):
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if documents > 1:
            _refuse(event, "there is a second document: a file contains one transcript")
        if getattr(event, "anchor", None) is not None:
            _refuse(
                event, "anchors and aliases (& and *) are not supported: repeat the value, or put the text in quotes"
            )
        if depth > _MAX_DEPTH:
            _refuse(event, f"there are more than {_MAX_DEPTH} levels")
        if count > _MAX_NODES:
            _refuse(event, f"there are more than {_MAX_NODES} values")


def _refuse(event: Any, reason: str) -> NoReturn:
    raise InvalidNode(ScalarNode(TAG + "str", "", event.start_mark, event.end_mark), reason)


def _is_large(text: str) -> bool:
    return len(text) > _LARGE and yaml.__with_libyaml__ and not _SURROGATE.search(text)


_LARGE = 1 << 18
_SURROGATE = re.compile("[\ud800-\udfff]|\\\\u[dD][89a-fA-F]")


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
