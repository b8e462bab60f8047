"""docs/configuration.md describes all settings in two languages, and .env.example is a working start."""

from __future__ import annotations

import ast
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.documents import DOCUMENTS, ROOT, blocks, name_of, read, read_current, rows
from wxbot.errors import ConfigError
from wxbot.model.replies import TextReply
from wxbot.server.send_body_reader import reply_from_body
from wxbot.settings.environment import READ_ELSEWHERE, VARIABLES, load_settings
from wxbot.settings.schema import ACCOUNT_SETTINGS, NOT_GIVEN, PROCESS_SETTINGS, Setting

ENGLISH = ROOT / "docs" / "configuration.md"
CHINESE = ROOT / "docs" / "zh-CN" / "configuration.md"
EXAMPLE = ROOT / ".env.example"
SETTINGS = (*ACCOUNT_SETTINGS.values(), *PROCESS_SETTINGS.values())
REQUIRED = [each.variable for each in SETTINGS if each.field.is_required() or each.field.default is NOT_GIVEN]
"""The variables that most accounts need; with cloud call the secrets are not needed."""
MISSPELT_ON_PURPOSE = {"WXBOT_HANDLER_TIMOUT"}


def settings_rows(document: Path) -> list[list[str]]:
    """Return the rows of the two tables of settings, which end where gunicorn's table begins."""
    table = rows(document)
    ends = [row[0] for row in table].index("`WXBOT_BIND`")
    return table[:ends]


def default_of(setting: Setting, required: str, empty: str) -> str:
    """Return the default as the table shows it. ``required`` and ``empty`` are the words of the document."""
    if setting.variable in REQUIRED:
        return required
    shown = shown_value(setting.field.default)
    return f"`{shown}`" if shown else empty


def shown_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, frozenset, dict)):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def docstrings() -> list[str]:
    """Return the docstrings below the fields in the order of the source, each as one line without the full stop."""
    classes = [
        each for each in ast.parse(read(ROOT / "wxbot/settings/schema.py")).body if isinstance(each, ast.ClassDef)
    ]
    pairs = [pair for each in classes for pair in itertools.pairwise(each.body)]
    found = [
        str(ast.literal_eval(below.value))
        for field, below in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    ]
    return [" ".join(text.removesuffix(".").split()) for text in found]


def test_the_tables_agree_with_the_classes() -> None:
    assert settings_rows(ENGLISH) == [
        [f"`{setting.variable}`", default_of(setting, "required", "empty"), text]
        for setting, text in zip(SETTINGS, docstrings(), strict=True)
    ]


def test_the_chinese_tables_have_the_same_names_and_defaults() -> None:
    table = settings_rows(CHINESE)
    assert [row[:2] for row in table] == [[f"`{each.variable}`", default_of(each, "必填", "空")] for each in SETTINGS]
    assert all(re.search("[\u4e00-\u9fff]", row[2]) for row in table)


@pytest.mark.parametrize("document", [*DOCUMENTS, EXAMPLE], ids=name_of)
def test_every_documented_setting_exists(document: Path) -> None:
    named = set(re.findall(r"WXBOT_[A-Z_]*[A-Z]", read_current(document)))
    known = {*VARIABLES, *READ_ELSEWHERE, *MISSPELT_ON_PURPOSE}
    assert {name for name in named - known if not name.startswith("WXBOT_PLUGIN_")} - {"WXBOT_PLUGIN"} == set()


def test_the_table_agrees_with_gunicorn_conf() -> None:
    source = read(ROOT / "gunicorn.conf.py")
    for name, default in (("WXBOT_BIND", "127.0.0.1:8000"), ("WEB_CONCURRENCY", "2"), ("WXBOT_DRAIN_SECONDS", "25")):
        assert f'"{name}", "{default}"' in source
    (threads,) = re.findall(r'threads = (\d+) if .*WXBOT_ACCOUNT_KIND"\) == "unverified" else (\d+)', source)
    assert threads == ("64", "8")
    for document in (ENGLISH, CHINESE):
        documented = {row[0]: row[1] for row in rows(document)}
        assert documented["`WXBOT_BIND`"] == "`127.0.0.1:8000`"
        assert documented["`WEB_CONCURRENCY`"] == "`2`"


def test_the_example_lacks_only_the_required_settings(bot_folder: Path) -> None:
    """The only problem of the unchanged file is that the required settings are empty."""
    with pytest.raises(ConfigError) as refused:
        load_settings(env_file=str(EXAMPLE))
    assert [problem.partition(":")[0] for problem in refused.value.problems] == REQUIRED


def test_the_example_works_when_it_is_filled_in(bot_folder: Path) -> None:
    given = {"WXBOT_APPID": "wx0", "WXBOT_SECRET": "s", "WXBOT_TOKEN": "t", "WXBOT_AES_KEY": "a" * 43}
    text = read(EXAMPLE)
    for name, value in given.items():
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    filled = bot_folder / ".env"
    filled.write_text(re.sub(r"(?m)^# (WXBOT_)", r"\1", text), encoding="utf-8")  # the commented-out lines work too
    account = load_settings(env_file=str(filled)).accounts[""]
    assert account.credentials.appid == "wx0"
    assert account.credentials.aes_key is not None
    assert account.plugins.names == ("faq", "echo")


def test_the_file_with_several_accounts_works(bot_folder: Path) -> None:
    (accounts,) = blocks(ENGLISH, "toml")
    (bot_folder / "accounts.toml").write_text(accounts.code, encoding="utf-8")
    environment, *_ = [block for block in blocks(ENGLISH, "shell") if "WXBOT_ACCOUNTS" in block.code]
    (bot_folder / ".env").write_text(environment.code.replace("…", "a" * 43), encoding="utf-8")
    made = load_settings().accounts
    assert {name: each.credentials.kind for name, each in made.items()} == {
        "orders": "miniprogram",
        "club": "official",
        "news": "unverified",
    }
    assert made["orders"].push.path == "/wechat/orders"
    assert made["club"].plugin_settings == {"faq": {"file": "plugins/faq-club.yaml"}}
    assert made["club"].replies.quota["message"] == (20, 48 * 3600)


@pytest.mark.parametrize("document", [ENGLISH, CHINESE], ids=name_of)
def test_the_settings_of_each_kind_of_account_work(document: Path, bot_folder: Path) -> None:
    environments = [block for block in blocks(document, "shell") if "WXBOT_APPID" in block.code]
    assert len(environments) >= 3
    for block in environments:
        (bot_folder / ".env").write_text(block.code.replace("…", "a" * 43), encoding="utf-8")
        assert load_settings().accounts[""].credentials.appid


def test_the_example_body_of_send_is_accepted() -> None:
    (example,) = [block for block in blocks(ENGLISH, "console") if "curl" in block.code]
    body = re.search(r"--data '(.*)'", example.code)
    assert body is not None
    openid, reply = reply_from_body(json.loads(body[1]))
    assert openid
    assert isinstance(reply, TextReply)
    assert "Idempotency-Key: " in example.code
    assert "Authorization: Bearer " in example.code
