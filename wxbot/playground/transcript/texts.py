"""How a text stands in YAML: as it is, in quotes or as a block, so that it is read again as it was."""

from __future__ import annotations

import re

import yaml
from yaml.nodes import ScalarNode

TAG = "tag:yaml.org,2002:"
"""What the tags of YAML's own types begin with."""

_PLAIN = re.compile(r"""[^-?:,\[\]{}#&*!|>'"%@`=<~ ][^?:#,\[\]{}"\\]*""")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_JOINER = "\u200d"  # within many emoji
_resolver = yaml.resolver.Resolver()


def tag_of_text(text: str, implicit: tuple[bool, bool]) -> str:
    """What YAML takes ``text`` for; ``implicit``: as in its events, whether it is plain, whether it is quoted."""
    return str(_resolver.resolve(ScalarNode, text, implicit))  # type: ignore[no-untyped-call]


def scalar(text: str) -> str:
    """``text`` without quotes where it can be read so in every place, else with them."""
    is_plain = _PLAIN.fullmatch(text) and text.isprintable() and not text.endswith(" ")
    return text if is_plain and tag_of_text(text, (True, False)) == TAG + "str" else quoted(text)


def quoted(text: str) -> str:
    """``text`` in double quotes."""
    return '"' + "".join(map(escaped, text)) + '"'


def escaped(character: str) -> str:
    """A character within double quotes."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() or character == _JOINER:
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def literal(text: str) -> list[str]:
    """``text`` of several lines as a block, if nothing in it could be lost or overlooked so; else nothing."""
    lines = text.removesuffix("\n").split("\n")
    is_clean = all(line.replace(_JOINER, "").isprintable() and not line.endswith(" ") for line in lines)
    if len(lines) < 2 or not is_clean or not lines[-1] or not lines[0] or lines[0].startswith(" "):
        return []
    return ["|" if text.endswith("\n") else "|-", *lines]
