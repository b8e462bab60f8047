"""Split long text into messages that WeChat accepts: at the end of sentences, with limits in UTF-8 bytes."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_VIRAMA = 9  # the Unicode combining class of the signs that join an Indic letter to the next one
_CLOSING = "”’」』）》】"
_OPENING = "“‘「『（《【"
_CLOSERS = rf"[{_CLOSING})\]\"']*+"
# An ASCII mark ends a sentence only before a blank or Chinese text, not in 3.14, 12:30, 1,000 or https://x/?a=1.
_APART = r"(?=\s|[^\x00-\x7f])"

_BREAKS = (
    re.compile(r"(?=\n)"),
    re.compile(rf"[。！？…；]++[!?]*+{_CLOSERS}|(?<![!?;])[!?;]++{_CLOSERS}{_APART}|\.{_CLOSERS}(?=\s)"),
    re.compile(rf"[，、：]|[,:]{_APART}|(?=\s)"),
    re.compile(rf"(?:(?<=[^\x00-\x7f])|(?=[^\x00-\x7f]))(?<![{_OPENING}])(?![。！？…；，、：{_CLOSING}])"),
)
"""The places where a text may be split, best first: before a line end, after a sentence, after a clause or word, and
last between Chinese characters, so that numbers and foreign words stay whole."""

_LINK = re.compile(r"<a\s[^<>]*>[^<]*</a>", re.IGNORECASE)
"""A link. It is not split, because WeChat shows an incomplete link as HTML source."""


class Part(NamedTuple):
    """A part of a text. ``joint`` is the separator between this part and the part before it: blanks, or nothing."""

    joint: str
    text: str


def split_text(text: str, limit: int) -> list[str]:
    """Split ``text`` into parts of at most ``limit`` UTF-8 bytes (at least 4).

    Only blanks and line ends around a break are dropped. A text that fits is returned as it is. A link is not split if
    it fits into one part.
    """
    return [part.text for part in split_parts(text, limit)]


def split_parts(text: str, limit: int) -> list[Part]:
    """Split ``text`` as ``split_text`` does. All joints and parts together are the text without blanks at its end."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return [Part("", text)]
    parts: list[Part] = []
    start = end = 0
    links = [link.span() for link in _LINK.finditer(text)] if "</a>" in text else []
    while len(text[start : start + limit + 1].encode()) > limit:
        cut = _outside_links(links, start, _cut(text, start, limit))
        piece = text[start:cut].rstrip()
        if piece:
            parts.append(Part(text[end:start], piece))
            end = start + len(piece)
        start = _after_blanks(text, cut)
    if start < len(text) or not parts:
        parts.append(Part(text[end:start], text[start:]))
    return parts


def _outside_links(links: list[tuple[int, int]], start: int, cut: int) -> int:
    return next((begin for begin, end in links if start < begin < cut < end), cut)


def _after_blanks(text: str, index: int) -> int:
    while index < len(text) and text[index].isspace():
        index += 1
    return index


def _cut(text: str, start: int, limit: int) -> int:
    """Return the index at which the part that begins at ``start`` should end."""
    head = text[start : start + limit].encode()[:limit].decode(errors="ignore")
    end = start + len(head)
    # A break in the first third would make a very short part: it is better to break a sentence.
    earliest = start + len(head) / 3
    for pattern in _BREAKS:
        # The search includes one more character, because a mark at the end may continue, and a blank there is a break.
        breaks = [match.end() for match in pattern.finditer(text, start, end + 1)]
        for index in reversed(breaks):
            if earliest < index <= end and not _joined(text, start, index):
                return index
    return _between_characters(text, start, end)


def _between_characters(text: str, start: int, cut: int) -> int:
    """Return ``cut``, moved back if possible so that joined emoji and combining marks are not split."""
    moved = cut
    while moved > start and _joined(text, start, moved):
        moved -= 1
    return moved if moved > start else cut


def _joined(text: str, start: int, index: int) -> bool:
    """Return True if the characters before and after ``index`` are displayed as one."""
    before, after = text[index - 1], text[index]
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, start, index) % 2 == 1
    joiner, tags, skin_tones = "\u200d", ("\U000e0020", "\U000e007f"), ("\U0001f3fb", "\U0001f3ff")
    return (
        joiner in (before, after)
        or unicodedata.category(after) in ("Mn", "Me", "Mc")
        or unicodedata.combining(before) == _VIRAMA
        or skin_tones[0] <= after <= skin_tones[1]
        or tags[0] <= after <= tags[1]
    )


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_letters_before(text: str, start: int, index: int) -> int:
    first = index
    while first > start and _is_flag_letter(text[first - 1]):
        first -= 1
    return index - first
