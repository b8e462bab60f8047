"""docs/configuration.md is the class Settings, in two languages, and .env.example is enough to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, name_of, read, rows
from wxbot.config import READ_ELSEWHERE, Settings, load_settings
from wxbot.errors import ConfigError

ENGLISH = ROOT / "docs" / "configuration.md"
CHINESE = ROOT / "docs" / "zh-CN" / "configuration.md"
EXAMPLE = ROOT / ".env.example"
MISSPELT_ON_PURPOSE = {"WXBOT_HANDLER_TIMOUT"}


def settings_rows(document: Path) -> list[list[str]]:
    """The rows of the first table, which ends where gunicorn's own begins."""
    table = rows(document)
    ends = [row[0] for row in table].index("`WXBOT_BIND`")
    return table[:ends]


def default_of(name: str, words: tuple[str, str]) -> str:
    """The default as the table shows it. ``words``: for a setting that is required, for one that is empty."""
    field = Settings.model_fields[name]
    if field.is_required():
        return words[0]
    shown = shown_value(field.default)
    return f"`{shown}`" if shown else words[1]


def shown_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_the_table_is_the_class() -> None:
    assert settings_rows(ENGLISH) == [
        [f"`WXBOT_{name.upper()}`", default_of(name, ("required", "empty")), field.description]
        for name, field in Settings.model_fields.items()
    ]


def test_the_chinese_table_has_the_same_names_and_defaults() -> None:
    table = settings_rows(CHINESE)
    assert [row[:2] for row in table] == [
        [f"`WXBOT_{name.upper()}`", default_of(name, ("必填", "空"))] for name in Settings.model_fields
    ]
    assert all(re.search("[\u4e00-\u9fff]", row[2]) for row in table)


@pytest.mark.parametrize("document", [*DOCUMENTS, EXAMPLE], ids=name_of)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"WXBOT_[A-Z_]*[A-Z]", read(document)))
    known = {f"WXBOT_{name.upper()}" for name in Settings.model_fields} | READ_ELSEWHERE | MISSPELT_ON_PURPOSE
    assert {name for name in named - known if not name.startswith("WXBOT_PLUGIN_")} - {"WXBOT_PLUGIN"} == set()


def test_gunicorn_reads_what_the_table_says() -> None:
    source = read(ROOT / "gunicorn.conf.py")
    for name, default in (("WXBOT_BIND", "127.0.0.1:8000"), ("WEB_CONCURRENCY", "2"), ("WXBOT_DRAIN_SECONDS", "25")):
        assert f'"{name}", "{default}"' in source
    for document in (ENGLISH, CHINESE):
        told = {row[0]: row[1] for row in rows(document)}
        assert told["`WXBOT_BIND`"] == "`127.0.0.1:8000`"
        assert told["`WEB_CONCURRENCY`"] == "`2`"


def test_the_example_lacks_what_only_its_user_knows(bot_folder: Path) -> None:
    """What is wrong with the file as it comes is just that the required settings are empty."""
    with pytest.raises(ConfigError) as refused:
        load_settings(env_file=str(EXAMPLE))
    required = [f"WXBOT_{name.upper()}" for name, field in Settings.model_fields.items() if field.is_required()]
    assert [problem.partition(":")[0] for problem in refused.value.problems] == required


def test_the_example_works_once_it_is_filled_in(bot_folder: Path) -> None:
    given = {"WXBOT_APPID": "wx0", "WXBOT_SECRET": "s", "WXBOT_TOKEN": "t", "WXBOT_AES_KEY": "a" * 43}
    text = read(EXAMPLE)
    for name, value in given.items():
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    filled = bot_folder / ".env"
    filled.write_text(re.sub(r"(?m)^# (WXBOT_)", r"\1", text), encoding="utf-8")  # what is commented out works too
    settings = load_settings(env_file=str(filled))
    assert settings.appid == "wx0"
    assert settings.aes_key is not None
    assert settings.plugins == ("faq", "echo")
