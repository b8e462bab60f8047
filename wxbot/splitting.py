"""Long text into messages that WeChat takes: at sentence ends, counted in UTF-8 bytes."""

from __future__ import annotations

import re

_PLACES_TO_BREAK = (
    re.compile(r"\n+"),
    re.compile(r"[。！？!?…；;]+[”’」』）)\"']*\s*|\.[”’)\"']*\s+"),
    re.compile(r"[，、,：:]\s*|\s+"),
)
"""Best first: after a line, after a sentence, after a clause or word."""


def split_text(text: str, limit: int) -> list[str]:
    """``text`` in pieces of at most ``limit`` UTF-8 bytes (at least 4), broken where it hurts least.

    Nothing is dropped except blanks and line ends around a break. Text that fits comes back as it is.
    """
    pieces = []
    while len(text.encode()) > limit:
        cut = _place_to_cut(text, limit)
        piece, text = text[:cut].rstrip(), text[cut:].lstrip()
        if piece:
            pieces.append(piece)
    if text or not pieces:
        pieces.append(text)
    return pieces


def _place_to_cut(text: str, limit: int) -> int:
    head = text.encode()[:limit].decode(errors="ignore")
    for pattern in _PLACES_TO_BREAK:
        ends = [match.end() for match in pattern.finditer(head)]
        # A break in the first third would leave a stub: rather break a sentence than that.
        if ends and ends[-1] > len(head) / 3:
            return ends[-1]
    return _between_characters(text, len(head))


def _between_characters(text: str, cut: int) -> int:
    """``cut``, moved back so that joined emoji and combining marks stay whole, if that is possible."""
    moved = cut
    while moved > 1 and _joins(text[moved - 1], text[moved : moved + 1]):
        moved -= 1
    return moved if moved > 1 else cut


def _joins(before: str, after: str) -> bool:
    joiner, variation, keycap = "\u200d", "\ufe0f", "\u20e3"
    skin_tone = "\U0001f3fb" <= after <= "\U0001f3ff"
    return before == joiner or after in (joiner, variation, keycap) or skin_tone
