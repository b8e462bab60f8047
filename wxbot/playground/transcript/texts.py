"""Write texts as YAML: plain, quoted or as a block, so that reading returns the same text."""

from __future__ import annotations

import re

import yaml
from yaml.nodes import ScalarNode

TAG = "tag:yaml.org,2002:"
"""The prefix of the tags of YAML's own types."""

_PLAIN = re.compile(r"""[^-?:,\[\]{}#&*!|>'"%@`=<~ ][^?:#,\[\]{}"\\]*""")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_JOINER = "\u200d"  # part of many emoji
_resolver = yaml.resolver.Resolver()


def tag_of_text(text: str, implicit: tuple[bool, bool]) -> str:
    """Return the tag that YAML gives to ``text``. ``implicit``: (plain, quoted), as in YAML events."""
    return str(_resolver.resolve(ScalarNode, text, implicit))  # type: ignore[no-untyped-call]


def scalar(text: str) -> str:
    """Return ``text`` without quotes if YAML reads it as the same text everywhere, otherwise quoted."""
    is_plain = _PLAIN.fullmatch(text) and text.isprintable() and not text.endswith(" ")
    return text if is_plain and tag_of_text(text, (True, False)) == TAG + "str" else quoted(text)


def quoted(text: str) -> str:
    """Return ``text`` in double quotes."""
    return '"' + "".join(map(escaped, text)) + '"'


def escaped(character: str) -> str:
    """Return a character as it is written within double quotes."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() or character == _JOINER:
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def literal(text: str) -> list[str]:
    """Return the lines of a YAML block for ``text``, or [] if a block could change it or has only one line."""
    lines = text.removesuffix("\n").split("\n")
    is_clean = all(line.replace(_JOINER, "").isprintable() and not line.endswith(" ") for line in lines)
    if len(lines) < 2 or not is_clean or not lines[-1] or not lines[0] or lines[0].startswith(" "):
        return []
    return ["|" if text.endswith("\n") else "|-", *lines]
