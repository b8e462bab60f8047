"""The commands, options and make targets in the documents exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import click
import pytest

from tests.docs.documents import DOCUMENTS, ROOT, name_of, read, read_current
from wxbot.cli.main import main
from wxbot.plugin.discovery import find_plugins
from wxbot.testing import chat

COMMAND = re.compile(r"python -m wxbot ([^`\n#]+)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_documented_commands_exist(document: Path) -> None:
    for line in COMMAND.findall(read_current(document)):
        check_command(re.findall(r"[\w-]+", line.partition(" -- ")[0]))


def check_command(words: list[str]) -> None:
    command: click.Command = main
    for word in words:
        if isinstance(command, click.Group):
            if not re.fullmatch("[a-z]+", word):
                return  # the rest of the line is text
            assert word in command.commands, f"there is no command {word}"
            command = command.commands[word]
        elif word.startswith("--"):
            options = [option for parameter in command.params for option in parameter.opts]
            assert word in options, f"{command.name} has no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_documented_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", read(ROOT / "Makefile")))
    named = re.findall(r"(?:`|\$ )make ([a-z]+)", read_current(document))
    assert set(named) <= targets


def test_unknown_commands_and_options_are_found() -> None:
    for wrong in ("serve", "check --fix", "deadletters forget 17"):
        with pytest.raises(AssertionError):
            check_command(wrong.split())


def test_the_example_package_has_the_plugin_of_its_entry_point(bot_folder: Path) -> None:
    folder = ROOT / "examples" / "booking"
    declared = tomllib.loads(read(folder / "pyproject.toml"))
    ((name, value),) = declared["project"]["entry-points"]["wxbot.plugins"].items()
    assert value == "wxbot_booking:plugin"
    assert declared["tool"]["setuptools"]["py-modules"] == ["wxbot_booking"]
    (plugin,) = find_plugins([folder])
    assert plugin.name == name
    with chat(plugin) as user:
        for said, seen in (
            ("book", "几位用餐？"),
            ("13", "请回复 1 到 12 之间的数字。"),
            ("4", "几点到？例如 19:00"),
            ("19:30", "已预订：4 位，19:30。"),
            ("订位", "几位用餐？"),
            ("取消", "好的，已取消。"),
        ):
            times = user.saw.count(seen) + 1
            user.says(said)
            user.waits_for(seen, times=times)
            assert user.saw[-1] == seen
