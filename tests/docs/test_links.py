"""Links and references in the documents and docstrings lead to existing files and sections."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, anchor, headings, name_of, prose, read

LINK = re.compile(r"\]\(([^)\s]+)\)")
SOURCES = sorted(path for folder in ("wxbot", "plugins", "examples") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_existing_targets(document: Path) -> None:
    for link in LINK.findall(prose(document)):
        if link.startswith("https://"):
            continue
        path, _, fragment = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.is_file(), f"{link} does not exist"
        if fragment:
            assert fragment in {anchor(text) for _, text in headings(target)}, f"{link} is no heading"


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_documents_named_in_the_code_exist(source: Path) -> None:
    for named in re.findall(r"docs/[\w/-]+\.md", read(source)):
        assert (ROOT / named).is_file(), f"{name_of(source)} names {named}"


@pytest.mark.parametrize("source", SOURCES, ids=name_of)
def test_sections_named_in_the_code_exist(source: Path) -> None:
    sections = {text for _, text in headings(ROOT / "docs" / "wechat.md")}
    for names in re.findall(r'docs/wechat\.md,?\s+(?:sections?\s+)?((?:"[^"]+"(?:,|\s|and)*)+)', read(source)):
        for section in re.findall(r'"([^"]+)"', names):
            assert " ".join(section.split()) in sections, f'{name_of(source)} names the section "{section}"'


def test_the_sections_that_the_code_refers_to() -> None:
    wanted = ["What each account can do", "Message push", "Passive replies", "Messages and events", "Media", "Typing"]
    wanted += ["Sending", "Human agents", "Error codes", "Access tokens", "Cloud calls", "Known traps", "Pages"]
    found = headings(ROOT / "docs" / "wechat.md")
    assert [text for level, text in found if level == 2] == wanted
    assert (3, "Quota") in found


def test_every_page_that_is_cited_is_listed() -> None:
    text = prose(ROOT / "docs" / "wechat.md")
    cited = set(re.findall(r"\[([a-z]+(?:-[a-z]+)*)\](?!\()", text.partition("## Pages")[0]))
    listed = set(re.findall(r"(?m)^\| \[([a-z-]+)\]", text))
    assert cited == listed


def test_files_and_tables_named_in_the_recipes_exist() -> None:
    """A path may begin below wxbot/playground/, and a table is a name in capital letters."""
    recipes = read(ROOT / "CONTRIBUTING.md").partition("## Recipes")[2].partition("\n## ")[0]
    files = {name_of(path): path for path in ROOT.glob("wxbot/**/*.*") if path.suffix in (".py", ".js")}
    code = "\n".join(read(path) for path in files.values())
    paths = re.findall(r"`([\w/]+/\w+\.(?:py|js))`", recipes)
    tables = re.findall(r"`(_?[A-Z]+)`", recipes)
    assert paths
    assert tables
    missing = [name for name in paths if not (ROOT / name).is_file() and f"wxbot/playground/{name}" not in files]
    missing += [name for name in tables if not re.search(rf"(?m)^(?:const )?{name}\b.* = ", code)]
    assert not missing, f"CONTRIBUTING.md names what does not exist: {missing}"
