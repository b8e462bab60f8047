"""The kinds of values in a transcript: how each is read from a node and written."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from wxbot.playground.transcript.problems import InvalidNode, guess, short
from wxbot.playground.transcript.texts import TAG, literal, quoted, scalar

MAX_SECONDS = 30 * 24 * 3600.0
"""Maximum number of seconds that one step advances the clock: 30 days."""
MAX_NAME = 200
"""Maximum length of a user's or an agent's name in characters. YAML limits a key to 1024."""

_SCALAR_TAGS = {TAG + tag for tag in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{0,30})?(?:[eE][-+]?[0-9]{1,3})?")
_BASE64_COLUMNS = 76
_FLOW_COLUMNS = 100


@dataclass(frozen=True)
class Matches:
    """An expected message, given as a regular expression that must be found in it."""

    pattern: str


Thing: TypeAlias = str | Matches
"""One item that a user sees: the text that FakeWeChat reports, or a pattern for it."""


@dataclass(frozen=True)
class Kind:
    """A kind of value. ``read`` raises InvalidNode; ``write`` returns one line, or the lines of a block.

    ``key``: the key in YAML, if it is not the name of the field. ``is_main``: the value is in the head of the step.
    """

    read: Callable[[Node], Any]
    write: Callable[[Any], list[str]]
    key: str = ""
    is_main: bool = False

    def named(self, key: str) -> Kind:
        return replace(self, key=key)

    def main(self) -> Kind:
        return replace(self, is_main=True)


Pairs: TypeAlias = Mapping[str, tuple[Node, Node]]
"""Key and value nodes, by the text of the key."""


def is_empty(node: Node) -> bool:
    """Return True if the node has no value at all."""
    return isinstance(node, ScalarNode) and node.tag == TAG + "null" and node.value == ""


def pairs_of(node: MappingNode) -> dict[str, tuple[Node, Node]]:
    """Return the pairs of a mapping. Raises InvalidNode for a duplicate key and for a key that is not text."""
    pairs: dict[str, tuple[Node, Node]] = {}
    for key, value in node.value:
        text = read_text(key)
        if text in pairs:
            raise InvalidNode(key, f"duplicate key `{short(text)}`: begin a new step with a dash")
        pairs[text] = (key, value)
    return pairs


def check_keys(node: Node, pairs: Pairs, known: Iterable[str], what: str) -> None:
    """Raise InvalidNode for a key that is not in ``known``. ``what``: the owner of the keys, for the error."""
    names = list(known)
    for key, (key_node, _) in pairs.items():
        if key not in names:
            there = f"known: {', '.join(names)}" if names else "it has no details"
            raise InvalidNode(key_node, f"{what} has no `{short(key)}`{guess(key, names)}; {there}")


def read_text(node: Node) -> str:
    """Return the text as written, even if YAML reads it as a number or a date, because users send such texts."""
    if not isinstance(node, ScalarNode):
        raise InvalidNode(node, "expected a text: put it in quotes if it contains brackets, braces or a colon")
    if node.tag not in _SCALAR_TAGS:
        raise InvalidNode(node, f"expected a text without the tag {short(node.tag)}")
    if is_empty(node):
        raise InvalidNode(node, 'the text is missing: write "" for an empty text')
    return str(node.value)


def _read_name(node: Node) -> str:
    name = read_text(node)
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidNode(node, f"a name has 1 to {MAX_NAME} characters")
    return name


def _read_number(node: Node, low: float = -1e300, high: float = 1e300) -> float:
    text = read_text(node)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not low <= number <= high:
        bounds = "" if high == 1e300 else f" from {low:g} to {high:g}"
        raise InvalidNode(node, f"{short(text)} is not a number{bounds}")
    return number


def _read_integer(node: Node, low: int = -(10**18), high: int = 10**18) -> int:
    text = read_text(node)
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or not low <= number <= high:
        bounds = "" if high == 10**18 else f" from {low} to {high}"
        raise InvalidNode(node, f"{short(text)} is not a whole number{bounds}")
    return number


def _read_flag(node: Node) -> bool:
    text = read_text(node)
    if text not in ("true", "false"):
        raise InvalidNode(node, f"{short(text)} is neither true nor false")
    return text == "true"


def _read_times(node: Node) -> int | None:
    if read_text(node) == "always":
        return None
    try:
        return _read_integer(node, 1, 10**6)
    except InvalidNode as error:
        raise InvalidNode(node, error.reason + ", nor `always`") from None


def _read_bytes(node: Node) -> bytes | None:
    if is_empty(node):
        return None
    if not isinstance(node, ScalarNode) or node.tag != TAG + "binary":
        raise InvalidNode(node, "expected a file as `!!binary` with base64, or no value for a small sample")
    try:
        content = base64.b64decode("".join(node.value.split()), validate=True)
    except (binascii.Error, ValueError):  # ValueError: non-ASCII characters
        raise InvalidNode(node, "invalid base64: `base64 < FILE` writes it") from None
    if not content:
        raise InvalidNode(node, "the file is empty: leave the value out for a small sample")
    return content


def _read_pattern(node: Node) -> Matches:
    text = read_text(node)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as problem:
        raise InvalidNode(node, f"{short(text)} is not a regular expression: {problem}") from None
    return Matches(text)


def _read_thing(node: Node) -> Thing:
    if not isinstance(node, MappingNode):
        return read_text(node)
    pairs = pairs_of(node)
    check_keys(node, pairs, ["matches"], "what a user sees (put a text with a colon in quotes)")
    if "matches" not in pairs:
        raise InvalidNode(node, "expected a text or {matches: REGULAR EXPRESSION}")
    return _read_pattern(pairs["matches"][1])


def _read_things(node: Node) -> tuple[Thing, ...]:
    items = node.value if isinstance(node, SequenceNode) else [node]
    return tuple(_read_thing(item) for item in items)


def _read_fields(node: Node) -> dict[str, Any]:
    if not isinstance(node, MappingNode):
        raise InvalidNode(node, "expected fields, such as {EventKey: menu-1}")
    return {name: _read_any(value) for name, (_, value) in pairs_of(node).items()}


def _read_any(node: Node) -> Any:
    if isinstance(node, MappingNode):
        return _read_fields(node)
    if isinstance(node, SequenceNode):
        return [_read_any(item) for item in node.value]
    if is_empty(node):
        return None
    text = read_text(node)
    if node.tag == TAG + "int" and _INTEGER.fullmatch(text):
        return int(text)
    if node.tag == TAG + "float" and _NUMBER.fullmatch(text):
        return float(text)
    known = {"true": True, "false": False, "null": None}  # other YAML booleans, such as yes and no, are chat texts
    return known.get(text, text) if node.tag in (TAG + "bool", TAG + "null") else text


def choice(options: Iterable[str]) -> Kind:
    """Return the kind of value that is one of ``options``."""
    known = tuple(options)

    def read(node: Node) -> str:
        text = read_text(node)
        if text not in known:
            raise InvalidNode(node, f"{short(text)} is not one of {', '.join(known)}{guess(text, known)}")
        return text

    return Kind(read, lambda value: [value])


def _inline(write: Callable[[Any], str]) -> Callable[[Any], list[str]]:
    return lambda value: [write(value)]


def _write_text(text: str) -> list[str]:
    return literal(text) or [scalar(text)]


def _write_bytes(content: bytes | None) -> list[str]:
    if content is None:
        return [""]
    encoded = base64.b64encode(content).decode()
    if len(encoded) <= _BASE64_COLUMNS:
        return [f"!!binary {encoded}"]
    return ["!!binary |-", *_cut(encoded, _BASE64_COLUMNS)]


def _write_things(things: Sequence[Thing]) -> list[str]:
    flow = f"[{', '.join(map(_write_thing, things))}]"
    if len(flow) <= _FLOW_COLUMNS and not any(isinstance(thing, str) and "\n" in thing for thing in things):
        return [flow]
    lines = [""]
    for thing in things:
        first, *rest = _write_text(thing) if isinstance(thing, str) else [_write_thing(thing)]
        lines += [f"- {first}", *(line and "  " + line for line in rest)]
    return lines


def _write_thing(thing: Thing) -> str:
    return scalar(thing) if isinstance(thing, str) else f"{{matches: {quoted(thing.pattern)}}}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(str(name))}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value) if isinstance(value, (int, float)) else scalar(str(value))


def _number(value: float) -> str:
    text = repr(value)
    if "e" in text and "." not in text:
        return text.replace("e", ".0e")  # without the dot YAML reads it as text
    return text


def _seconds(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 10**15 else _number(value)


def _cut(text: str, columns: int) -> Iterator[str]:
    return (text[start : start + columns] for start in range(0, len(text), columns))


# the kinds of values
TEXT = Kind(read_text, _write_text)
OPTIONAL = Kind(
    lambda node: "" if is_empty(node) else read_text(node), lambda text: _write_text(text) if text else [""]
)
"""An optional text."""
NAME = Kind(_read_name, _inline(scalar))
BYTES = Kind(_read_bytes, _write_bytes)
"""The content of a file, or None if it is left out."""
DEGREES = Kind(_read_number, _inline(_number))
SECONDS = Kind(lambda node: _read_number(node, 0, MAX_SECONDS), _inline(_seconds))
INT = Kind(_read_integer, _inline(str))
COUNT = Kind(lambda node: _read_integer(node, 1, 10**6), _inline(str))
"""A number from 1."""
STATUS = Kind(lambda node: _read_integer(node, 100, 599), _inline(str))
"""An HTTP status."""
TIMES = Kind(_read_times, lambda times: ["always" if times is None else str(times)])
"""A number of times. None is written ``always``."""
FLAG = Kind(_read_flag, lambda flag: ["true" if flag else "false"])
SEEN = Kind(_read_things, _write_things)
"""The items that a user sees: one, or a list."""
FIELDS = Kind(_read_fields, _inline(_flow))
"""The fields of a message by name, with values of any type."""
MODE = choice(("plain", "compatible", "safe"))
FORMAT = choice(("json", "xml"))
