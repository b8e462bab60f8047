"""Answer questions from a YAML file, which can be edited without knowing Python.

The file is a list of entries with ``questions`` and ``answer``. A question matches if it is the user's whole text;
case, surrounding blanks and a final ``?``, ``!`` or ``.`` do not matter.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wxbot import Context, Plugin, PluginError

DEFAULT_FILE = Path(__file__).with_name("faq.yaml")


@dataclass
class FaqSettings:
    """The settings. ``file``: the file with questions and answers (``WXBOT_PLUGIN_FAQ_FILE``)."""

    file: Path = DEFAULT_FILE


plugin = Plugin("faq", description="Answers questions from a YAML file", settings=FaqSettings)


@plugin.setup
def load(settings: FaqSettings) -> dict[str, str]:
    """Return the answer for each question. Raises PluginError that names the file and the problem."""
    try:
        entries = yaml.safe_load(settings.file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PluginError(f"faq: cannot read {settings.file}: {error.strerror}; set WXBOT_PLUGIN_FAQ_FILE") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an invalid date such as 2024-13-45
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
    are_texts = isinstance(questions, list) and all(isinstance(question, str) for question in questions)
    if not are_texts or not isinstance(answer, str):
        raise PluginError(
            f"{where}: `questions` must be a list of texts and `answer` one text (write numbers and yes/no in quotes)"
        )
    if not all(map(_normal, questions)):
        raise PluginError(f"{where}: a question must have more than blanks and punctuation")
    return [(question, answer) for question in questions]


def _normal(text: str) -> str:
    return text.strip().rstrip("?？!！。. \u3000").casefold()


@plugin.on(lambda ctx: _normal(ctx.text) in ctx.resource)
async def answer(ctx: Context) -> str:
    answers: dict[str, str] = ctx.resource
    return answers[_normal(ctx.text)]
