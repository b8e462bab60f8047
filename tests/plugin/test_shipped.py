"""Test the shipped plugins, with FakeWeChat, a webhook and a running bot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.plugin.conftest import Visit, Write
from tests.plugin.messages import IMAGE, VOICE, chosen, context_for, event, text
from wxbot import Plugin, PluginError
from wxbot.plugin.discovery import find_plugins
from wxbot.server.assembly import make_plugins
from wxbot.settings.environment import load_settings
from wxbot.testing.chat import context

SHIPPED = Path(__file__).parents[2] / "plugins"


def shipped(name: str) -> Plugin:
    return next(plugin for plugin in find_plugins([SHIPPED]) if plugin.name == name)


def test_three_plugins_are_shipped() -> None:
    assert [plugin.name for plugin in find_plugins([SHIPPED])] == ["echo", "faq", "slow"]
    assert all(plugin.description for plugin in find_plugins([SHIPPED]))


def test_all_shipped_plugins_run_together(visit: Visit) -> None:
    """Use all shipped plugins together: faq answers a question, slow waits, and echo repeats all other texts."""
    with visit(SHIPPED) as alice:
        alice.says("hello there")
        alice.waits_for("hello there")
        assert alice.saw == ["Typing", "CancelTyping", "hello there"]
        alice.says("slow 0")
        alice.waits_for("That took 0 s.")
        question, answer = first_of_the_shipped_answers()
        alice.says(question)
        alice.waits_for(answer)
        said = ["hello there", "That took 0 s.", answer]
        assert alice.saw == [saw for reply in said for saw in ("Typing", "CancelTyping", reply)]
        assert alice.refused == []


def first_of_the_shipped_answers() -> tuple[str, str]:
    entry = yaml.safe_load((SHIPPED / "faq.yaml").read_text(encoding="utf-8"))[0]
    return entry["questions"][0], entry["answer"]


# -- echo


def test_echo_repeats_a_text_and_sends_no_reply_to_other_messages(visit: Visit) -> None:
    with visit(SHIPPED, plugins="echo") as alice:
        alice.sends_image()
        alice.sends("voice", MediaId="M")
        alice.enters()
        texts = ["你好", "<b>&amp;", "👨‍👩‍👧 and\ntwo lines"]
        for said in texts:
            alice.says(said)
            alice.waits_for(said)
        assert [saw for saw in alice.saw if saw not in ("Typing", "CancelTyping")] == texts


def test_echo_is_only_the_fallback() -> None:
    greeter = Plugin("greeter")
    greeter.text("hi")(lambda ctx: "hello")
    assert chosen(text("hi"), shipped("echo"), greeter) == "greeter.<lambda>"
    assert chosen(text("ho"), shipped("echo"), greeter) == "echo.echo"


# -- slow


@pytest.mark.parametrize(("said", "seconds"), [("slow 8", "8"), ("slow8", "8"), ("慢 30", "30"), ("慢3", "3")])
def test_slow_reads_the_seconds(said: str, seconds: str) -> None:
    assert context_for(text(said), shipped("slow")).match[1] == seconds


@pytest.mark.parametrize("said", ["slow", "slow eight", "slow 1000", "go slow 8", "slow 8 please", "slow -1"])
def test_slow_does_not_match_other_texts(said: str) -> None:
    assert chosen(text(said), shipped("slow")) is None


# -- faq

HOURS = """
- questions: [Opening hours, 营业时间]
  answer: 9 to 5.
- questions: ["Where are you?"]
  answer: |
    Market Street 1,
    first floor.
"""


@pytest.fixture
def faq_file(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that writes the file that faq reads."""

    def written(content: str) -> Path:
        path = write("answers.yaml", content, where=tmp_path)
        monkeypatch.setenv("WXBOT_PLUGIN_FAQ_FILE", str(path))
        return path

    return written


FaqFile = Callable[[str], Path]


def answers() -> dict[str, str]:
    """Return the answers that the setup of faq read."""
    settings = load_settings(appid="wx1", secret="s", token="t", plugin_folders=(SHIPPED,), plugins="faq")
    answers: dict[str, str] = make_plugins(settings.accounts[""]).resources["faq"]
    return answers


def setup_error() -> str:
    with pytest.raises(PluginError) as caught:
        answers()
    return str(caught.value)


def test_faq_answers_from_the_configured_file_and_sends_no_reply_to_other_messages(
    visit: Visit, faq_file: FaqFile
) -> None:
    faq_file(HOURS)
    with visit(SHIPPED, plugins="faq") as alice:
        for said in ("who are you?", "?", "opening"):
            alice.says(said)
        alice.sends_image()
        alice.enters()
        alice.says("营业时间？")
        alice.waits_for("9 to 5.")
        assert alice.saw == ["Typing", "CancelTyping", "9 to 5."], "no Typing for a message without a handler"
        alice.says("where are you")
        alice.waits_for("Market Street 1,\nfirst floor.\n")


@pytest.mark.parametrize(
    ("handler", "texts"),
    [
        (
            "faq.answer",
            ["opening hours", "Opening Hours?", "  OPENING HOURS !  ", "opening hours ?!", "opening hours。"],
        ),
        ("faq.answer", ["Opening hours\n"]),
        (None, ["opening", "opening hours today", "opening  hours", "", "?", " "]),
    ],
)
def test_faq_ignores_case_blanks_and_marks_only(faq_file: FaqFile, handler: str | None, texts: list[str]) -> None:
    faq_file(HOURS)
    known = answers()
    assert {chosen(text(said), shipped("faq"), resource=known) for said in texts} == {handler}


def test_faq_matches_text_only(faq_file: FaqFile) -> None:
    faq_file(HOURS)
    known = answers()
    assert [chosen(message, shipped("faq"), resource=known) for message in (IMAGE, VOICE, event("click"))] == [None] * 3


def test_faq_has_default_answers_unless_the_file_is_empty(faq_file: FaqFile, monkeypatch: pytest.MonkeyPatch) -> None:
    faq_file("[]")
    assert answers() == {}
    monkeypatch.delenv("WXBOT_PLUGIN_FAQ_FILE")
    question, answer = first_of_the_shipped_answers()
    assert answer in answers().values()
    assert chosen(text(question), shipped("faq"), resource=answers()) == "faq.answer"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "must be a list of entries with `questions` and `answer`"),
        ("just words", "must be a list of entries"),
        ("questions: [a]\nanswer: b", "must be a list of entries"),
        ("- [unclosed", "is not YAML: "),
        ("- questions: !!python/name:os.system x\n  answer: b", "is not YAML: "),
        ("- questions: [a]\n  answer: 2024-13-45", "is not YAML: "),
        ("- just words", "entry 1 of {file} must have exactly `questions` and `answer`"),
        ("- questions: [a]", "entry 1 of {file} must have exactly"),
        ("- {questions: [a], answer: b}\n- {question: [c], answer: d}", "entry 2 of {file} must have exactly"),
        ("- {questions: [a], answer: b, extra: c}", "entry 1 of {file} must have exactly"),
        ("- {questions: a, answer: b}", "entry 1 of {file}: `questions` must be a list of texts and `answer` one text"),
        ("- {questions: [1], answer: b}", "(write numbers and yes/no in quotes)"),
        ("- {questions: [yes], answer: b}", "(write numbers and yes/no in quotes)"),
        ("- {questions: [a], answer: 42}", "(write numbers and yes/no in quotes)"),
        ("- {questions: [a], answer: }", "entry 1 of {file}: "),
        (
            "- {questions: [a, '?'], answer: b}",
            "entry 1 of {file}: a question must have more than blanks and punctuation",
        ),
    ],
)
def test_faq_names_the_mistake_in_the_file(faq_file: FaqFile, content: str, problem: str) -> None:
    path = faq_file(content)
    error = setup_error()
    assert error.startswith("faq: ")
    assert str(path) in error
    assert problem.replace("{file}", str(path)) in error


def test_faq_without_its_file_raises_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WXBOT_PLUGIN_FAQ_FILE", str(tmp_path / "missing.yaml"))
    assert re.fullmatch(r"faq: cannot read .*missing\.yaml: No such file or directory; set .*_FAQ_FILE", setup_error())
    monkeypatch.setenv("WXBOT_PLUGIN_FAQ_FILE", str(tmp_path))
    assert "Is a directory" in setup_error()


def test_faq_with_a_file_that_is_no_text_raises_an_error(faq_file: FaqFile) -> None:
    faq_file("").write_bytes(b"- questions: [\xff\xfe]")
    assert "is not YAML" in setup_error()


# -- handlers without a bot


def test_a_handler_can_be_called_as_a_function() -> None:
    plugin = shipped("slow")
    said = context("slow 0", plugin=plugin)
    assert asyncio.run(plugin.handlers[0].function(said)) == "That took 0 s."
