"""Answers from a YAML file, so that those who know the answers need not write Python.

The file is a list of entries, each with ``questions`` (the user's whole text, case aside) and ``answer``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wxbot import Context, Plugin, PluginError

DEFAULT_FILE = Path(__file__).with_name("faq.yaml")


@dataclass
class FaqSettings:
    """``WXBOT_PLUGIN_FAQ_FILE``: the file with questions and answers."""

    file: Path = DEFAULT_FILE


plugin = Plugin("faq", description="Answers questions from a YAML file", settings=FaqSettings)


@plugin.setup
def load(settings: FaqSettings) -> dict[str, str]:
    """The answer to each question. Raises PluginError that names the file and what is wrong in it."""
    try:
        entries = yaml.safe_load(settings.file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PluginError(f"faq: cannot read {settings.file}: {error.strerror}; set WXBOT_PLUGIN_FAQ_FILE") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or no date such as 2024-13-45
        raise PluginError(f"faq: {settings.file} is not YAML: {error}") from None
    if not isinstance(entries, list):
        raise PluginError(f"faq: {settings.file} must be a list of entries with `questions` and `answer`")
    return {
        _normal(question): answer
        for number, entry in enumerate(entries, 1)
        for question, answer in _read(entry, f"faq: entry {number} of {settings.file}")
    }


def _read(entry: Any, where: str) -> list[tuple[str, str]]:
    if not isinstance(entry, dict) or set(entry) != {"questions", "answer"}:
        raise PluginError(f"{where} must have exactly `questions` and `answer`")
    questions, answer = entry["questions"], entry["answer"]
    texts = isinstance(questions, list) and all(isinstance(question, str) for question in questions)
    if not texts or not isinstance(answer, str):
        raise PluginError(f"{where}: `questions` is a list of texts and `answer` one text (quote numbers and yes/no)")
    if not all(map(_normal, questions)):
        raise PluginError(f"{where}: a question needs more than blanks and marks")
    return [(question, answer) for question in questions]


def _normal(text: str) -> str:
    return text.strip().rstrip("?？!！。. \u3000").casefold()


@plugin.on(lambda ctx: _normal(ctx.text) in ctx.resource)
async def answer(ctx: Context) -> str:
    known: dict[str, str] = ctx.resource
    return known[_normal(ctx.text)]
