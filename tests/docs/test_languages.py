"""The English and Chinese documents have the same structure, code and tables."""

from __future__ import annotations

import ast
import re
from itertools import zip_longest
from pathlib import Path

import pytest

from tests.docs.documents import PAIRS, Block, blocks, code_words, headings, name_of, rows

CHINESE = re.compile(r"[\u4e00-\u9fff]")

both = pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=[name_of(pair[1]) for pair in PAIRS])


def test_these_documents_exist_in_both_languages() -> None:
    assert [name_of(english) for english, _ in PAIRS] == [
        "README.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/playground.md",
        "docs/plugins.md",
        "docs/scaling.md",
    ]


@both
def test_headings_have_the_same_levels(english: Path, chinese: Path) -> None:
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(chinese)]


@both
def test_code_is_the_same(english: Path, chinese: Path) -> None:
    pairs = list(zip(blocks(english), blocks(chinese), strict=True))
    assert [block.language for block, _ in pairs] == [block.language for _, block in pairs]
    for here, there in pairs:
        if here.language == "python":
            assert same_python(here.code, there.code), f"{chinese.name}:{there.line} differs from {english.name}"
        else:
            assert without_remarks(here) == without_remarks(there)


@both
def test_tables_have_the_same_shape(english: Path, chinese: Path) -> None:
    assert [len(row) for row in rows(english)] == [len(row) for row in rows(chinese)]
    if english.name != "README.md":  # its table lists documents, which have other names in Chinese
        assert [code_words(row[0]) for row in rows(english)] == [code_words(row[0]) for row in rows(chinese)]


def same_python(english: str, chinese: str) -> bool:
    """Return True if both are the same code. Comments differ, and a Chinese string may replace an English one."""
    pairs = zip_longest(ast.walk(ast.parse(english)), ast.walk(ast.parse(chinese)))
    return all(same_node(here, there) for here, there in pairs)


def same_node(english: ast.AST | None, chinese: ast.AST | None) -> bool:
    if isinstance(english, ast.Constant) and isinstance(chinese, ast.Constant):
        return english.value == chinese.value or bool(CHINESE.search(str(chinese.value)))
    names = [
        [getattr(node, name, None) for name in ("id", "attr", "arg", "name", "module")] for node in (english, chinese)
    ]
    return type(english) is type(chinese) and names[0] == names[1]


def without_remarks(block: Block) -> tuple[str, list[str]]:
    """Return the language and the code without comments; for a folder tree, only the names."""
    lines = block.code.splitlines()
    if block.language == "text" and "├──" in block.code:
        return block.language, [re.sub(r"\s{2,}.*", "", line) for line in lines]
    return block.language, [re.sub(r"\s*# .*", "", line) for line in lines]
