"""Texts of the page in both languages."""

from __future__ import annotations

import json
import re

from tests.browser.playground import STATIC

TYPING = "对方正在输入…"
"""The title of a phone while typing is showing: WeChat's text, in both languages of the page."""


def either(english: str, chinese: str, **values: object) -> re.Pattern[str]:
    """Return a pattern for the English or Chinese name: ``either("Phone of {name}", "{name} 的手机", name="amy")``."""
    names = (re.escape(name.format(**values)) for name in (english, chinese))
    return re.compile(f"^(?:{'|'.join(names)})$")


def dictionary() -> dict[str, tuple[str, str]]:
    """Return all texts of the page by key, in English and Chinese. Raises AssertionError for an invalid line."""
    source = (STATIC / "words.js").read_text(encoding="utf-8")
    begin, end = source.index("const WORDS = {\n"), source.index("\n};\n")
    texts: dict[str, tuple[str, str]] = {}
    for line in source[begin:end].splitlines()[1:]:
        if not line.strip() or line.strip().startswith("//"):
            continue
        found = _ENTRY.fullmatch(line)
        assert found is not None, f"words.js: cannot parse {line!r}"
        key = found["quoted"] or found["bare"]
        assert key not in texts, f"words.js: {key} is there twice"
        texts[key] = (json.loads(found["english"]), json.loads(found["chinese"]))
    return texts


_TEXT = r'"(?:[^"\\]|\\.)*"'
_ENTRY = re.compile(rf'  (?:"(?P<quoted>[^"]+)"|(?P<bare>\w+)): \[(?P<english>{_TEXT}), (?P<chinese>{_TEXT})\],')
