"""Long text into messages that WeChat takes: at sentence ends, counted in UTF-8 bytes."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

_VIRAMA = 9  # Unicode's combining class of the signs that join an Indic letter to the next
_CLOSING = "”’」』）》】"
_OPENING = "“‘「『（《【"
_CLOSERS = rf"[{_CLOSING})\]\"']*+"
# In 3.14, 12:30, 1,000 and https://x/?a=1 nothing ends: an ASCII mark counts only before a blank or Chinese text.
_APART = r"(?=\s|[^\x00-\x7f])"

_PLACES_TO_BREAK = (
    re.compile(r"(?=\n)"),
    re.compile(rf"[。！？…；]++[!?]*+{_CLOSERS}|(?<![!?;])[!?;]++{_CLOSERS}{_APART}|\.{_CLOSERS}(?=\s)"),
    re.compile(rf"[，、：]|[,:]{_APART}|(?=\s)"),
    re.compile(rf"(?:(?<=[^\x00-\x7f])|(?=[^\x00-\x7f]))(?<![{_OPENING}])(?![。！？…；，、：{_CLOSING}])"),
)
"""Best first: before a new line, after a sentence, after a clause or word, at least not in a number or foreign word."""


_LINK = re.compile(r"<a\s[^<>]*>[^<]*</a>", re.IGNORECASE)
"""Half of a link would be shown as written."""


class Part(NamedTuple):
    """A piece of a text, and what stood between it and the piece before: blanks, or nothing."""

    joint: str
    text: str


def split_text(text: str, limit: int) -> list[str]:
    """``text`` in pieces of at most ``limit`` UTF-8 bytes (at least 4), broken where it hurts least.

    Nothing is dropped except blanks and line ends around a break. Text that fits comes back as it is. A link stays
    whole if it fits at all.
    """
    return [part.text for part in split_parts(text, limit)]


def split_parts(text: str, limit: int) -> list[Part]:
    """As ``split_text``; joints and pieces together are the whole text, but for blanks at its end."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return [Part("", text)]
    parts: list[Part] = []
    start = end = 0
    links = [link.span() for link in _LINK.finditer(text)] if "</a>" in text else []
    while len(text[start : start + limit + 1].encode()) > limit:
        cut = _outside_of(links, start, _place_to_cut(text, start, limit))
        piece = text[start:cut].rstrip()
        if piece:
            parts.append(Part(text[end:start], piece))
            end = start + len(piece)
        start = _after_blanks(text, cut)
    if start < len(text) or not parts:
        parts.append(Part(text[end:start], text[start:]))
    return parts


def _outside_of(links: list[tuple[int, int]], start: int, cut: int) -> int:
    return next((begin for begin, end in links if start < begin < cut < end), cut)


def _after_blanks(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _place_to_cut(text: str, start: int, limit: int) -> int:
    head = text[start : start + limit].encode()[:limit].decode(errors="ignore")
    end = start + len(head)
    # A break in the first third would leave a stub: rather break a sentence than that.
    earliest = start + len(head) / 3
    for pattern in _PLACES_TO_BREAK:
        # One character more is looked at: a mark at the very end may go on, and a blank there is a place to break.
        places = [match.end() for match in pattern.finditer(text, start, end + 1)]
        for place in reversed(places):
            if earliest < place <= end and not _joined(text, start, place):
                return place
    return _between_characters(text, start, end)


def _between_characters(text: str, start: int, cut: int) -> int:
    """``cut``, moved back so that joined emoji and combining marks stay whole, if that is possible."""
    moved = cut
    while moved > start and _joined(text, start, moved):
        moved -= 1
    return moved if moved > start else cut


def _joined(text: str, start: int, place: int) -> bool:
    """Whether the characters before and after ``place`` are seen as one."""
    before, after = text[place - 1], text[place]
    if _is_flag_letter(before) and _is_flag_letter(after):
        return _flag_letters_before(text, start, place) % 2 == 1
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


def _flag_letters_before(text: str, start: int, place: int) -> int:
    first = place
    while first > start and _is_flag_letter(text[first - 1]):
        first -= 1
    return place - first
