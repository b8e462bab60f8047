"""Read the documents: their blocks of code, headings and tables."""

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
"""Pairs of a document in English and in Chinese."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code. ``line`` is the number of the first line of its code."""

    language: str
    code: str
    line: int

    @property
    def path(self) -> str:
        """Return the file name in the comment on the first line; "" if there is none."""
        named = re.match(r"# ([\w/]+\.py)$", self.code.partition("\n")[0])
        return named[1] if named else ""


def name_of(path: Path) -> str:
    """Return the name of a document in the id of a test."""
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read_current(path: Path) -> str:
    """Return the text without the old names, which are in the first column of the two-column tables of CHANGELOG.md."""
    text = read(path)
    return re.sub(r"(?m)^ *\| [^|]+ (\| [^|]+ \|)$", r"\1", text) if path.name == "CHANGELOG.md" else text


def blocks(path: Path, language: str = "") -> list[Block]:
    """Return the fenced blocks of a document; only those of ``language`` if it is given."""
    found, opened, first = [], "", 0
    lines = read(path).splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("```"):
            continue
        if first:
            found.append(Block(opened, "\n".join(lines[first : number - 1]), first + 1))
            first = 0
        else:
            opened, first = line.removeprefix("```"), number
    assert not first, f"{name_of(path)}:{first}: this block does not end"
    return [block for block in found if language in ("", block.language)]


def prose(path: Path) -> str:
    """Return the document with empty lines in place of its blocks of code, so that line numbers stay the same."""
    shown, inside = [], False
    for line in read(path).splitlines():
        fence = line.startswith("```")
        inside = inside is not fence
        shown.append("" if inside or fence else line)
    return "\n".join(shown)


def headings(path: Path) -> list[tuple[int, str]]:
    """Return level and text of each heading."""
    return [(len(found[1]), found[2]) for found in re.finditer(r"(?m)^(#+) (.*)$", prose(path))]


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def rows(path: Path) -> list[list[str]]:
    """Return the cells of every row of every table, without the table heads."""
    lines = prose(path).splitlines()
    table = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("|") and not line.startswith("| ---") and not following.startswith("| ---")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def code_words(cell: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`]+)`", cell)
