"""English and Chinese say the same things in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import PAIRS, Block, blocks, code_words, headings, name_of, rows

both = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[name_of(pair[1]) for pair in PAIRS])


def test_what_is_there_in_both() -> None:
    assert [name_of(english) for english, _ in PAIRS] == [
        "README.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/playground.md",
        "docs/plugins.md",
        "docs/scaling.md",
    ]


@both
def test_headings(english: Path, chinese: Path) -> None:
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]


@both
def test_code(english: Path, chinese: Path) -> None:
    assert [without_remarks(block) for block in blocks(english)] == [
        without_remarks(block) for block in blocks(chinese)
    ]


@both
def test_tables(english: Path, chinese: Path) -> None:
    assert [len(row) for row in rows(english)] == [len(row) for row in rows(chinese)]
    if english.name != "README.md":  # its table is of documents, which have other names
        assert [code_words(row[0]) for row in rows(english)] == [code_words(row[0]) for row in rows(chinese)]


def without_remarks(block: Block) -> tuple[str, list[str]]:
    """The code without comments, and of a picture in text only its width in lines."""
    lines = block.code.splitlines()
    if block.language == "text" and "├──" in block.code:
        return block.language, [re.sub(r"\s{2,}.*", "", line) for line in lines]
    return block.language, [re.sub(r"\s*# .*", "", line) for line in lines]
