"""The options, steps, keys and controls in docs/playground.md are the existing ones, and its transcript works."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from tests.docs.documents import ROOT, Block, blocks, code_words, name_of, prose, read, rows
from wxbot.cli.main import main
from wxbot.playground import transcript as t
from wxbot.playground.replay.export import as_pytest
from wxbot.playground.transcript.reading import TOP
from wxbot.playground.transcript.steps import FORMS, WORDS, has_subject
from wxbot.testing.faults import Endpoint

ENGLISH = ROOT / "docs" / "playground.md"
CHINESE = ROOT / "docs" / "zh-CN" / "playground.md"
STATIC = ROOT / "wxbot" / "playground" / "page" / "static"
LANGUAGES = {ENGLISH: 0, CHINESE: 1}

both = pytest.mark.parametrize("document", LANGUAGES, ids=name_of)


def transcripts(document: Path) -> list[Block]:
    return [block for block in blocks(document, "yaml") if block.code.startswith("wxbot-transcript:")]


@both
def test_the_options_are_those_of_the_command(document: Path) -> None:
    listed = [word.split()[0] for row in rows(document) for word in code_words(row[0]) if word.startswith("--")]
    options = [option for parameter in main.commands["playground"].params for option in parameter.opts]
    assert sorted(listed) == sorted(options)


@both
def test_the_steps_are_those_of_the_grammar(document: Path) -> None:
    steps = {f"NAME {words}" if has_subject(step) else words: step for words, step in WORDS.items()}
    listed = {}
    for row in rows(document):
        head = re.match(r"`([A-Za-z ]+):?[^`]*`", row[0])
        if head and len(row) == 3:
            listed[re.sub("^AGENT ", "NAME ", head[1])] = row
    assert list(listed) == list(steps)
    for words, row in listed.items():
        form = FORMS[steps[words]]
        assert code_words(row[1]) == list(form.details), words
        assert (":" in row[0]) == (form.main is not None), words
        if form.main is not None:
            assert ("*" in row[0]) == (not form.main.is_needed), words
        assert ("AGENT" in row[0]) == issubclass(steps[words], t.AgentStep), words


@both
def test_the_keys_of_a_transcript_are_documented(document: Path) -> None:
    listed = [word for row in rows(document) for word in code_words(row[0]) if word in TOP and len(row) == 2]
    assert listed == list(TOP)


@both
def test_the_kinds_of_faults_are_documented(document: Path) -> None:
    kinds = [row[0].strip("`") for row in rows(document) if row[0].strip("`") in get_args(t.FaultKind)]
    assert kinds == list(get_args(t.FaultKind))
    for value in get_args(Endpoint):
        assert f"`{value}`" in prose(document)


@both
def test_the_keys_are_those_of_the_page(document: Path) -> None:
    listed = re.search(r"const LISTED = (\[.*?\n\]);", read(STATIC / "keys.js"), re.DOTALL)
    assert listed is not None
    keys = [re.findall(r'"([^"]+)"', line) for line in listed[1].splitlines() if '"' in line]
    assert [code_words(row[0]) for row in rows(document) if code_words(row[0]) in keys] == keys


@both
def test_the_controls_are_those_of_the_page(document: Path) -> None:
    words = dict(re.findall(r'(?m)^  "(control\.[\w.]+)": (\[.*\]),$', read(STATIC / "words.js")))
    names = [re.findall(r'"([^"]+)"', words[key])[LANGUAGES[document]] for key in words if f"{key}.why" in words]
    assert len(names) > 10
    listed = [row[0] for row in rows(document)]
    start = listed.index(names[0])
    assert listed[start : start + len(names)] == names


@both
def test_the_documented_transcript_is_valid(document: Path) -> None:
    (block,) = transcripts(document)
    transcript = t.read(block.code)
    assert t.read(t.write(transcript)) == transcript
    assert f"PASS: {len(transcript.steps)} steps" in read(document)


@both
def test_the_documented_pytest_file_is_the_export_of_the_transcript(document: Path) -> None:
    (block,) = transcripts(document)
    (exported,) = blocks(document, "python")
    assert exported.code + "\n" == as_pytest(t.read(block.code), "plugins,examples/plugins")


@pytest.mark.usefixtures("bot_folder")
def test_the_exported_test_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the exported test of the document's transcript, with the plugins of this folder."""
    monkeypatch.chdir(ROOT)
    (exported,) = blocks(ENGLISH, "python")
    module: dict[str, object] = {}
    exec(compile(exported.code, str(ENGLISH), "exec"), module)  # noqa: S102 - our own document
    test = module["test_conversation"]
    assert inspect.isfunction(test)
    test()


def test_the_documented_difference_fits_the_transcript() -> None:
    (block,) = transcripts(ENGLISH)
    (shown,) = [block for block in blocks(ENGLISH, "text") if "FAIL: replies differ" in block.code]
    found = re.search(r"step (\d+) \(line (\d+)\): amy: replies differ", shown.code)
    assert found is not None
    step = t.read(block.code).steps[int(found[1]) - 1]
    assert isinstance(step, t.Sees)
    assert step.line == int(found[2])
    assert f'got:      ["{step.things[0]}", "{step.things[1]}", "{step.things[2]}"]' in shown.code
