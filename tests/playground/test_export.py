"""The export to pytest: readable source that passes every check and fails when a reply changes."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.playground.support import MINI_PROGRAM, OFFICIAL, TYPED, played
from wxbot.errors import PluginError
from wxbot.playground.replay.export import NotExportable, as_pytest
from wxbot.playground.transcript import (
    Closes,
    Enters,
    Fault,
    Forward,
    Hold,
    Matches,
    Redeliver,
    Release,
    Says,
    Sees,
    SendsPicture,
    SetMode,
    Step,
    Takes,
    Transcript,
    Writes,
)
from wxbot.testing import chat, wechat_for

ROOT = Path(__file__).parents[2]

PROJECT = Path(__file__).parents[2]
PLUGIN = """\
from collections.abc import AsyncIterator

from wxbot import Context, Plugin

plugin = Plugin("parrot")


@plugin.image
async def picture(ctx: Context) -> str:
    return "a picture"


@plugin.fallback
async def back(ctx: Context) -> str | None:
    return ctx.text or None
"""
TWICE = """\
    yield ctx.text
    yield ctx.text"""
EXPECTED = '''\
"""Replay a conversation recorded in the playground: two users."""

import re

from wxbot.testing import LeapingClock, wechat_for


class Like:
    """A value that equals every text in which the pattern is found."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(re.search(self.pattern, other))

    def __hash__(self) -> int:
        return hash(self.pattern)

    def __repr__(self) -> str:
        return f"Like({self.pattern!r})"


def test_two_users() -> None:
    clock = LeapingClock()
    with wechat_for(
        clock=clock,
        mode="safe",
        format="json",
        plugin_folders="plugins",
        plugins="parrot",
    ) as wechat:
        amy = wechat.user("amy")
        bob = wechat.user("Bob")
        amy.says("你好").wait()
        amy.waits_for("你好")
        assert amy.saw[:3] == ["Typing", "CancelTyping", "你好"]
        clock.advance(31)
        wechat.faults.fail("send", errcode=-1, times=1)
        push_2_of_amy = amy.enters("shop")
        push_2_of_amy.redeliver()
        bob.says("order")
        bob.waits_for(lambda _: True, timeout=90, times=3)
        amy.says("你好")
        amy.waits_for("你好", times=2)
        wechat.waits_until_quiet()  # a reply too many would come now
        assert amy.saw[3:] == ["Typing", "CancelTyping", "你好"]
        assert bob.saw == ["Typing", "CancelTyping", Like("^Order [0-9]+$")]
'''
TWO_USERS = (
    Says("amy", "你好"),
    Sees("amy", (*TYPED, "你好")),
    Forward(31.0),
    Fault("send", "fail"),
    Enters("amy", "shop"),
    Redeliver("amy"),
    Says("Bob", "order"),
    Sees("Bob", (*TYPED, Matches("^Order [0-9]+$")), within=90),
    Says("amy", "你好"),
    Sees("amy", (*TYPED, "你好")),
)


def of(*steps: Step, typing: bool = True) -> Transcript:
    return Transcript("miniprogram", "safe", "json", steps, typing)


TALK = of(
    Says("amy", "你好"),
    Sees("amy", (*TYPED, "你好")),
    SendsPicture("bob b", b"x" * 100),
    Sees("bob b", ("Typing",)),
    Sees("bob b", ("CancelTyping", Matches("^a p"))),
    Redeliver("amy"),
    Forward(31),
    Fault("send", "fail"),
    Says("amy", "again"),
    Sees("amy", (*TYPED, "again")),
    Hold(),
    Says("amy", "held"),
    Release(),
    Sees("amy", (*TYPED, "held")),
    SetMode("compatible"),
    Takes("kf1", "amy"),
    Writes("kf1", "hello", "amy"),
    Sees("amy", ("hello",)),
    Closes("kf1", "amy"),
)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    ours = {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, **ours},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_export_is_readable_source() -> None:
    source = as_pytest(of(*TWO_USERS), "plugins", "parrot", "two users")
    assert source == EXPECTED


def test_the_export_passes_formatter_linter_and_type_checker(tmp_path: Path) -> None:
    for number, transcript in enumerate([MINI_PROGRAM, OFFICIAL, of(*TWO_USERS), of(), TALK]):
        source = as_pytest(transcript, "a,b", "", 'a "name"\\ of\n它')
        (tmp_path / f"test_{number}.py").write_text(source, encoding="utf-8")
    formatted = run(tmp_path, "ruff", "format", "--isolated", "--diff", ".")
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    linted = run(tmp_path, "ruff", "check", "--isolated", ".")
    assert linted.returncode == 0, linted.stdout
    typed = run(ROOT, "mypy", str(tmp_path))  # as strict as here; its cache is that of `make check`
    assert typed.returncode == 0, typed.stdout


@settings(max_examples=15)  # each starts the formatter
@given(st.lists(st.text(max_size=60), max_size=4), st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_any_text_can_be_exported(said: list[str], user: str, name: str) -> None:
    steps = [step for text in said for step in (Says(user, text), Sees(user, (text,)))]
    tree = ast.parse(as_pytest(of(*steps), user, name, name))
    constants = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {*said, user} <= constants


@pytest.mark.parametrize("text", [None, "not a program", "#!/bin/sh\nexit 1\n"])
def test_without_a_formatter_the_export_is_the_same_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    formatted = [as_pytest(each, "plugins") for each in (TALK, of(*TWO_USERS))]
    if text is not None:  # a formatter that does not work
        (tmp_path / "ruff").write_text(text)
        (tmp_path / "ruff").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    plain = [as_pytest(each, "plugins") for each in (TALK, of(*TWO_USERS))]
    assert plain != formatted
    assert [ast.dump(ast.parse(each)) for each in plain] == [ast.dump(ast.parse(each)) for each in formatted]


def test_the_export_passes_and_fails_if_a_reply_changes(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "parrot.py"
    plugin.parent.mkdir()
    plugin.write_text(PLUGIN)
    (tmp_path / "test_talk.py").write_text(as_pytest(TALK, "plugins", "parrot", "talk"), encoding="utf-8")
    passed = run(tmp_path, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_talk.py")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    plugin.write_text(PLUGIN.replace("a picture", "A picture"))
    failed = run(tmp_path, "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_talk.py")
    assert failed.returncode == 1
    assert "A picture" in failed.stdout


def test_an_unexpected_reply_fails(tmp_path: Path) -> None:
    plugin = tmp_path / "plugins" / "parrot.py"
    plugin.parent.mkdir()
    plugin.write_text(PLUGIN.replace("str | None", "AsyncIterator[str]").replace("    return ctx.text or None", TWICE))
    talk = of(Says("amy", "a"), Sees("amy", ("a",)), typing=False)
    (tmp_path / "test_talk.py").write_text(as_pytest(talk, "plugins", "", "talk"), encoding="utf-8")
    failed = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_talk.py")
    assert failed.returncode == 1
    assert "replies(amy)" in failed.stdout


def test_the_same_transcript_passes_in_the_player(tmp_path: Path) -> None:
    assert played(TALK, tmp_path / "db") == []


def test_a_switch_to_or_from_plaintext_cannot_be_exported() -> None:
    with pytest.raises(NotExportable, match="plaintext"):
        as_pytest(of(SetMode("plain")), "plugins")
    as_pytest(of(SetMode("compatible")), "plugins")


def test_a_redelivery_without_a_push_cannot_be_exported() -> None:
    with pytest.raises(NotExportable, match="amy has 0 push"):
        as_pytest(of(Redeliver("amy")), "plugins")
    with pytest.raises(NotExportable, match="amy has 1 push"):
        as_pytest(of(Says("amy", "a"), Redeliver("amy", 2)), "plugins")


def test_each_user_has_its_own_variable() -> None:
    names = ["amy", "Amy", "l", "class", "clock", "小王", "小李", "a b", "a-b", "push 1 of amy"]
    source = as_pytest(of(*(Says(name, "hi") for name in names)), "plugins")
    variables = [line.split(".says")[0].strip() for line in source.splitlines() if ".says(" in line]
    expected = ["amy", "amy_2", "user_l", "user_class", "user_clock", "user", "user_2", "a_b", "a_b_2"]
    expected.append("user_push_1_of_amy")
    assert variables == expected


# -- chat with plugin folders


def test_chat_loads_plugins_from_folders(tmp_path: Path) -> None:
    (tmp_path / "parrot.py").write_text(PLUGIN)
    with wechat_for(plugin_folders=str(tmp_path), plugins="parrot", mode="compatible", format="json") as wechat:
        assert (wechat.mode, wechat.format) == ("compatible", "json")
        user = wechat.user("amy")
        user.says("hi")
        user.waits_for("hi")
    with chat(plugin_folders=str(tmp_path), mode="plain") as user:
        user.says("hi")
        user.waits_for("hi")


def test_chat_fails_for_folders_without_plugins(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="there are no plugins in"), chat(plugin_folders=str(tmp_path)):
        pass
