"""Words of the page in either of its languages."""

from __future__ import annotations

import json
import re

from tests.browser.playground import STATIC

TYPING = "对方正在输入…"
"""The title of a phone while the bot writes: WeChat's words, whatever the language of the page is."""


def either(english: str, chinese: str, **values: object) -> re.Pattern[str]:
    """The accessible name that is one or the other: ``either("Phone of {name}", "{name} 的手机", name="amy")``."""
    names = (re.escape(name.format(**values)) for name in (english, chinese))
    return re.compile(f"^(?:{'|'.join(names)})$")


def dictionary() -> dict[str, tuple[str, str]]:
    """Every word of the page by its key, in English and in Chinese. Raises AssertionError for a line it cannot read."""
    source = (STATIC / "words.js").read_text(encoding="utf-8")
    begin, end = source.index("const WORDS = {\n"), source.index("\n};\n")
    told: dict[str, tuple[str, str]] = {}
    for line in source[begin:end].splitlines()[1:]:
        if not line.strip() or line.strip().startswith("//"):
            continue
        found = _ENTRY.fullmatch(line)
        assert found is not None, f"words.js: what is {line!r}?"
        key = found["quoted"] or found["bare"]
        assert key not in told, f"words.js: {key} is there twice"
        told[key] = (json.loads(found["english"]), json.loads(found["chinese"]))
    return told


_TEXT = r'"(?:[^"\\]|\\.)*"'
_ENTRY = re.compile(rf'  (?:"(?P<quoted>[^"]+)"|(?P<bare>\w+)): \[(?P<english>{_TEXT}), (?P<chinese>{_TEXT})\],')
