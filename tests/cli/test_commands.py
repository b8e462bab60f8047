"""``python -m wxbot …`` as an operator types it: real processes, a real store, FakeWeChat behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from wxbot.backends.sqlite import SqliteStore
from wxbot.ports import Arrival, ConversationKey, Outcome
from wxbot.testing import FakeWeChat

ROOT = Path(__file__).parents[2]


class Shell:
    """A terminal in the project's folder with a bot's settings in its environment."""

    def __init__(self, wechat: FakeWeChat, store: Path) -> None:
        self.wechat = wechat
        self.store = store
        bare = {name: value for name, value in os.environ.items() if not name.startswith("WXBOT_")}
        self.environment = {**bare, **wechat.settings(), "WXBOT_STORE_URL": f"sqlite:///{store}"}

    def wxbot(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in {**self.environment, **changed}.items() if value != "UNSET"}
        return run(environment, *arguments)


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wxbot", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=60)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeWeChat() as wechat:
        yield Shell(wechat, tmp_path / "wxbot.db")


def test_check_says_that_everything_works(shell: Shell) -> None:
    said = shell.wxbot("check")
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.splitlines() == [
        "ok  The configuration is complete, for the account wx0123456789abcdef.",
        "ok  Only encrypted pushes with a valid msg_signature are accepted.",
        "ok  Plugins, in order: echo, faq, slow.",
        f"ok  The store sqlite:///{shell.store} can be written.",
        "ok  Our clock agrees with WeChat's.",
        "ok  WeChat gave an access token and takes it.",
        "ok  The typing address is right: it says that nobody has the openid tried.",
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"WXBOT_SECRET": "wrong"}, "AppSecret is wrong"),
        ({"WXBOT_APPID": "wx0000000000000000"}, "AppID is wrong"),
        ({"WXBOT_API_BASE": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"WXBOT_TYPING_PATH": "/cgi-bin/message/custom/business/typing"}, "40101"),
        ({"WXBOT_STORE_URL": "sqlite:////nowhere/at/all/wxbot.db"}, "The store cannot be used"),
        ({"WXBOT_PLUGINS": "echo,missing"}, "'missing', which is not there (found: echo, faq, slow)"),
        ({"WXBOT_PLUGIN_FAQ_FILE": "/nowhere.yaml"}, "cannot read /nowhere.yaml"),
    ],
)
def test_check_says_what_would_not_work(shell: Shell, changed: dict[str, str], sentence: str) -> None:
    said = shell.wxbot("check", **changed)
    assert said.returncode == 1, said.stdout + said.stderr
    (problem, *_) = [line for line in said.stdout.splitlines() if line.startswith("NO ")]
    assert sentence in said.stdout
    assert problem.endswith(".")
    assert_no_secret(shell, said)


@pytest.mark.parametrize("command", ["check", "run", "plugins"])
def test_every_problem_of_the_settings_comes_in_one_report(shell: Shell, command: str) -> None:
    said = shell.wxbot(command, WXBOT_TOKEN="", WXBOT_AES_KEY="short", WXBOT_SECRET="UNSET")
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    for name in ("WXBOT_TOKEN", "WXBOT_AES_KEY", "WXBOT_SECRET is missing"):
        assert name in said.stderr


def test_an_unverified_account_is_told_that_it_has_no_typing(tmp_path: Path) -> None:
    with FakeWeChat(account_kind="unverified") as wechat:
        said = Shell(wechat, tmp_path / "wxbot.db").wxbot("check")
    assert said.returncode == 1
    assert "40200" in said.stdout


def test_plugins_lists_the_handlers_in_order(shell: Shell) -> None:
    said = shell.wxbot("plugins", WXBOT_PLUGINS="slow,echo")
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["slow", "echo"]
    assert any("slow.slow" in line for line in lines)


def test_dead_letters_are_listed_shown_retried_and_dropped(shell: Shell) -> None:
    first, second = bury(shell.store, "one"), bury(shell.store, "two")
    listed = shell.wxbot("deadletters", "list")
    assert "2 dead letter(s)." in listed.stdout
    assert "because of a test" in listed.stdout
    assert "what one wrote" not in listed.stdout
    shown = shell.wxbot("deadletters", "show", str(first))
    assert "what one wrote" in shown.stdout
    assert shell.wxbot("deadletters", "retry", str(first)).stdout == f"{first} will be tried again\n"
    assert shell.wxbot("deadletters", "retry", str(first)).returncode == 1
    assert shell.wxbot("deadletters", "retry").returncode == 2
    assert shell.wxbot("deadletters", "drop", "--all").stdout == f"{second} dropped\n"
    assert shell.wxbot("deadletters", "list").stdout == "There are no dead letters.\n"
    assert shell.wxbot("deadletters", "show", "99").returncode == 2


def test_the_simulator_plays_what_is_written(shell: Shell) -> None:
    command = [sys.executable, "-m", "wxbot", "simulate"]
    written = "hello\n/image\n/user bob\nslow 1\n/nonsense\n/busy\nagain\n/seen\n"
    said = subprocess.run(
        command, cwd=ROOT, env=shell.environment, input=written, capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    for part in ("push hello", "reply hello", "收到图片", "reply That took 1 s.", "no command /nonsense", "errcode -1"):
        assert part in said.stdout, said.stdout


def test_help_and_version_need_no_settings() -> None:
    bare = {"PATH": os.environ["PATH"]}
    assert "deadletters" in run(bare, "--help").stdout
    assert run(bare, "--version").stdout.startswith("wxbot, version ")


def bury(path: Path, name: str) -> int:
    """A dead letter of the user ``name``; its number."""
    store = SqliteStore(path)
    store.open()
    key = ConversationKey("wx0123456789abcdef", f"o{name}")
    fields = {"MsgType": "text", "Content": f"what {name} wrote", "FromUserName": key.openid, "CreateTime": 1}

    async def work() -> int:
        claim = await store.claim(key, "test", now=2.0, lease_seconds=8)
        assert claim is not None
        outcome = Outcome(claim.pending.seq, "dead", reason="because of a test")
        await store.settle(claim.lease, outcome, 2.0, go_on=False)
        return claim.pending.seq

    try:
        assert store.accept(Arrival(key, "m:1", fields, 1.0, 1.0)).new
        return asyncio.run(work())
    finally:
        store.close()


def assert_no_secret(shell: Shell, said: subprocess.CompletedProcess[str]) -> None:
    keys = shell.wechat.keys
    for secret in (keys.token, keys.aes_key, shell.environment["WXBOT_SECRET"]):
        assert secret not in said.stdout + said.stderr
