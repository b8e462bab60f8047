"""The documents as tests see them: blocks of code, headings, links and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PAIRS = [
    (ROOT / "README.md", ROOT / "README.zh-CN.md"),
    *((ROOT / "docs" / path.name, path) for path in sorted(ROOT.glob("docs/zh-CN/*.md"))),
]
"""Documents that are there in both languages: English, Chinese."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code; ``line`` is where its code begins."""

    language: str
    code: str
    line: int

    @property
    def path(self) -> str:
        """The file that the block says it is, in a comment on its first line; empty if it does not."""
        named = re.match(r"# ([\w/]+\.py)$", self.code.partition("\n")[0])
        return named[1] if named else ""


def name_of(path: Path) -> str:
    """How a test's id calls a document."""
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str = "") -> list[Block]:
    """The fenced blocks of a document, those of one language if it is given."""
    found, opened, begun = [], "", 0
    lines = read(path).splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("```"):
            continue
        if begun:
            found.append(Block(opened, "\n".join(lines[begun : number - 1]), begun + 1))
            begun = 0
        else:
            opened, begun = line.removeprefix("```"), number
    assert not begun, f"{name_of(path)}:{begun}: this block does not end"
    return [block for block in found if language in ("", block.language)]


def prose(path: Path) -> str:
    """The document without its blocks of code; lines keep their places."""
    shown, inside = [], False
    for line in read(path).splitlines():
        fence = line.startswith("```")
        inside = inside is not fence
        shown.append("" if inside or fence else line)
    return "\n".join(shown)


def headings(path: Path) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [(len(found[1]), found[2]) for found in re.finditer(r"(?m)^(#+) (.*)$", prose(path))]


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def rows(path: Path) -> list[list[str]]:
    """The cells of every row of every table, heads left out."""
    lines = prose(path).splitlines()
    table = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not line.startswith("| ---") and not following.startswith("| ---")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def code_words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)
