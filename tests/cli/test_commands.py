"""Tests of the commands ``python -m wxbot …`` with a real store and FakeWeChat, in separate processes where needed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.in_process import OWN_PROCESS, run_here
from tests.servers.processes import Port, Process, wait_until
from wxbot.model import accounts as capabilities
from wxbot.store.records import ConversationKey, ConversationRecord, Handover, IncomingMessage, Outcome
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat

ROOT = Path(__file__).parents[2]


class Shell:
    """A runner of commands in the project's folder, with a bot's settings in the environment."""

    def __init__(self, wechat: FakeWeChat, store: Path) -> None:
        self.wechat = wechat
        self.store = store
        bare = {name: value for name, value in os.environ.items() if not name.startswith("WXBOT_")}
        self.environment = {**bare, **wechat.settings(), "WXBOT_STORE_URL": f"sqlite:///{store}"}

    def wxbot(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a command in this process, or in a new process if it needs one. ``changed``: environment variables."""
        if arguments[0] in OWN_PROCESS:
            return self.process(*arguments, **changed)
        return run_here(self._with(changed), *arguments)

    def process(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a new process."""
        return run(self._with(changed), *arguments)

    def _with(self, changed: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in {**self.environment, **changed}.items() if value != "UNSET"}


def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wxbot", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True, timeout=60)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeWeChat() as wechat:
        yield Shell(wechat, tmp_path / "wxbot.db")


def test_check_reports_that_everything_works(shell: Shell) -> None:
    result = shell.process("check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "ok  The configuration of account wx0123456789abcdef is complete.",
        "ok  Only encrypted pushes with a valid msg_signature are accepted.",
        "ok  Plugins, in order: echo, faq, slow.",
        f"ok  The store sqlite:///{shell.store} is writable.",
        "ok  The clock of this machine agrees with WeChat's clock.",
        "ok  WeChat issued an access token and accepts it.",
        "ok  The typing call works: as expected, WeChat does not know the openid of the test.",
    ]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"WXBOT_SECRET": "wrong"}, "AppSecret is wrong"),
        ({"WXBOT_APPID": "wx0000000000000000"}, "AppID is wrong"),
        ({"WXBOT_API_BASE": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"WXBOT_TYPING_PATH": "/cgi-bin/message/custom/business/typing"}, "40101"),
        ({"WXBOT_STORE_URL": "sqlite:////nowhere/at/all/wxbot.db"}, "The store does not work"),
        ({"WXBOT_PLUGINS": "echo,missing"}, "there is no plugin 'missing' (found: echo, faq, slow)"),
        ({"WXBOT_PLUGIN_FAQ_FILE": "/nowhere.yaml"}, "cannot read /nowhere.yaml"),
    ],
)
def test_check_reports_each_problem(shell: Shell, changed: dict[str, str], sentence: str) -> None:
    result = shell.wxbot("check", **changed)
    assert result.returncode == 1, result.stdout + result.stderr
    (problem, *_) = [line for line in result.stdout.splitlines() if line.startswith("NO ")]
    assert sentence in result.stdout
    assert problem.endswith(".")
    assert_no_secret(shell, result)


@pytest.mark.parametrize("command", ["check", "run", "plugins"])
def test_all_problems_of_the_settings_are_reported_together(shell: Shell, command: str) -> None:
    result = shell.wxbot(command, WXBOT_TOKEN="", WXBOT_AES_KEY="short", WXBOT_SECRET="UNSET")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for name in ("WXBOT_TOKEN", "WXBOT_AES_KEY", "WXBOT_SECRET is missing"):
        assert name in result.stderr


def test_check_tests_no_call_for_an_unverified_account(tmp_path: Path) -> None:
    with FakeWeChat(account_kind="unverified") as wechat:
        result = Shell(wechat, tmp_path / "wxbot.db").wxbot("check")
    assert result.returncode == 0
    assert "No API call was tested, because this account only sends passive replies." in result.stdout


def test_plugins_lists_the_handlers_in_order(shell: Shell) -> None:
    result = shell.wxbot("plugins", WXBOT_PLUGINS="slow,echo")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["slow", "echo"]
    assert any("slow.slow" in line for line in lines)


def test_dead_letters_are_listed_shown_retried_and_dropped(shell: Shell) -> None:
    first, second = make_dead_letter(shell.store, "one"), make_dead_letter(shell.store, "two")
    listed = shell.process("deadletters", "list")
    assert "2 dead letter(s)." in listed.stdout
    assert "because of a test" in listed.stdout
    assert "what one wrote" not in listed.stdout
    shown = shell.wxbot("deadletters", "show", str(first))
    assert "what one wrote" in shown.stdout
    assert shell.wxbot("deadletters", "retry", str(first)).stdout == f"{first} is in the inbox again\n"
    assert shell.wxbot("deadletters", "retry", str(first)).returncode == 1
    assert shell.wxbot("deadletters", "retry").returncode == 2
    assert shell.wxbot("deadletters", "drop", "--all").stdout == f"{second} deleted\n"
    assert shell.wxbot("deadletters", "list").stdout == "There are no dead letters.\n"
    assert shell.wxbot("deadletters", "show", "99").returncode == 2


def test_handovers_are_listed_and_ended(shell: Shell) -> None:
    make_handover(shell.store, "alice", Handover(4_000_000_000.0, "kf1@shop"))
    make_handover(shell.store, "bob", Handover(4_000_003_600.0))
    listed = shell.process("handovers", "list", TZ="Asia/Shanghai")
    assert listed.stdout.splitlines() == [
        "oalice  kf1@shop  until 2096-10-02 15:06:40+08:00",
        "obob  any agent  until 2096-10-02 16:06:40+08:00",
        "2 handover(s).",
    ]
    assert shell.wxbot("handovers", "end", "oalice").stdout == "the handover of oalice has ended\n"
    again = shell.wxbot("handovers", "end", "oalice")
    assert (again.returncode, again.stdout) == (1, "oalice has no handover\n")
    assert "obob" in shell.wxbot("handovers", "list").stdout
    assert shell.wxbot("handovers", "end", "obob").returncode == 0
    assert shell.wxbot("handovers", "list").stdout == "There are no handovers.\n"
    assert shell.wxbot("handovers", "end").returncode == 2


def test_a_dead_letter_shows_the_names_of_its_files(shell: Shell) -> None:
    picture = {"content": "AAAA" * 10_000, "content_type": "image/png", "filename": "cat.png"}
    number = make_dead_letter(shell.store, "alice", unsent=({"kind": "image", "image": picture}, {"kind": "_again"}))
    result = shell.wxbot("deadletters", "show", str(number)).stdout
    assert "not sent: {'kind': 'image', 'image': 'cat.png'}" in result
    assert "not sent: the replies of the handler, which runs again" in result
    assert "AAAA" not in result


@pytest.mark.parametrize("group", ["handovers", "deadletters"])
def test_a_missing_store_is_an_error_and_is_not_created(shell: Shell, tmp_path: Path, group: str) -> None:
    """Check that the command neither prints an empty list nor creates a store."""
    elsewhere = tmp_path / "elsewhere.db"
    result = shell.wxbot(group, "list", WXBOT_STORE_URL=f"sqlite:///{elsewhere}")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"there is no store {elsewhere}" in result.stderr
    assert not elsewhere.exists()


def test_capabilities_need_no_settings() -> None:
    result = run({"PATH": os.environ["PATH"]}, "capabilities")
    assert result.returncode == 0, result.stderr
    assert result.stdout == capabilities.table()


# Several accounts


class TwoAccountShell(Shell):
    """A ``Shell`` with an accounts file of two accounts, ``orders`` and ``club``, each with its own FakeWeChat."""

    def __init__(self, orders: FakeWeChat, club: FakeWeChat, folder: Path) -> None:
        super().__init__(orders, folder / "wxbot.db")
        self.club = club
        self.secret_variables: set[str] = set()
        self.file = folder / "accounts.toml"
        self.environment = {name: value for name, value in self.environment.items() if not name.startswith("WXBOT_")}
        self.environment |= {"WXBOT_STORE_URL": f"sqlite:///{self.store}", "WXBOT_ACCOUNTS": str(self.file)}
        sections = [self.section("orders", orders, plugins=["echo"]), self.section("club", club, plugins=["slow"])]
        self.file.write_text("\n".join(sections), encoding="utf-8")

    def section(self, name: str, wechat: FakeWeChat, plugins: list[str]) -> str:
        given = wechat.settings()
        lines = [f"[{name}]", f"plugins = {plugins}"]
        for key in ("appid", "api_base", "account_kind", "secret", "token", "aes_key"):
            value = given.get(f"WXBOT_{key.upper()}", "miniprogram")
            if key in ("secret", "token", "aes_key"):
                variable = f"{name}_{key}".upper()
                self.environment[variable] = value
                self.secret_variables.add(variable)
                value = f"${{{variable}}}"
            lines.append(f'{key} = "{value}"')
        return "\n".join(lines)


@pytest.fixture
def two_accounts(tmp_path: Path) -> Iterator[TwoAccountShell]:
    with (
        FakeWeChat(appid="wx0123456789abcdef") as orders,
        FakeWeChat(appid="wxfedcba9876543210", account_kind="official") as club,
    ):
        yield TwoAccountShell(orders, club, tmp_path)


def test_check_checks_all_accounts(two_accounts: TwoAccountShell) -> None:
    result = two_accounts.wxbot("check")
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    orders, blank, club = lines.index("[orders]"), lines.index(""), lines.index("[club]")
    assert (orders, blank) == (0, club - 1)
    assert lines[1] == "ok  The configuration of account wx0123456789abcdef is complete."
    assert lines[club + 1] == "ok  The configuration of account wxfedcba9876543210 is complete."
    assert "ok  Plugins, in order: echo." in lines[:blank]
    assert "ok  Plugins, in order: slow." in lines[blank:]


def test_check_reports_the_account_of_a_wrong_secret(two_accounts: TwoAccountShell) -> None:
    result = two_accounts.wxbot("check", CLUB_SECRET="wrong")
    assert result.returncode == 1
    orders, club = result.stdout.split("[club]")
    assert "NO " not in orders
    assert "AppSecret is wrong" in club


def test_check_reports_a_plugin_setting_that_no_plugin_reads(two_accounts: TwoAccountShell) -> None:
    result = two_accounts.wxbot("check", WXBOT_PLUGIN_FAQ_FIL="x")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == (
        "NO  WXBOT_PLUGIN_FAQ_FIL is a setting of no plugin that was found; did you mean WXBOT_PLUGIN_FAQ_FILE?"
    )


def test_plugins_are_listed_for_each_account(two_accounts: TwoAccountShell) -> None:
    lines = two_accounts.wxbot("plugins").stdout.splitlines()
    heads = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert heads == ["[orders]", "echo", "[club]", "slow"]


@pytest.mark.parametrize("command", ["check", "run", "worker", "plugins", "deadletters list", "handovers list"])
def test_the_problems_of_all_sections_are_reported_together(two_accounts: TwoAccountShell, command: str) -> None:
    two_accounts.file.write_text(
        two_accounts.file.read_text(encoding="utf-8") + '\ncolour = "x"\n[third]\n', encoding="utf-8"
    )
    result = two_accounts.wxbot(*command.split(), ORDERS_AES_KEY="short", CLUB_TOKEN="UNSET")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for problem in (
        "[orders] aes_key: must be 43 characters",
        "[club] token: CLUB_TOKEN is not set",
        "[club] colour is not a setting",
        "[third] appid is missing",
    ):
        assert problem in result.stderr


def test_the_playground_ignores_the_accounts_file(two_accounts: TwoAccountShell) -> None:
    command = [sys.executable, "-m", "wxbot", "playground", "--console"]
    result = subprocess.run(
        command, cwd=ROOT, env=two_accounts.environment, input="hello\n", capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "reply hello" in result.stdout


@pytest.mark.parametrize("command", ["run", "plugins"])
def test_plugin_problems_of_all_accounts_are_reported_together(two_accounts: TwoAccountShell, command: str) -> None:
    text = two_accounts.file.read_text(encoding="utf-8").replace("'echo'", "'eco'").replace("'slow'", "'slo'")
    two_accounts.file.write_text(text, encoding="utf-8")
    result = two_accounts.wxbot(command)
    assert result.returncode == 2
    assert "[orders] plugins: there is no plugin 'eco'" in result.stderr
    assert "[club] plugins: there is no plugin 'slo'" in result.stderr


def test_a_missing_accounts_file_is_an_error(shell: Shell) -> None:
    result = shell.wxbot("check", WXBOT_ACCOUNTS="nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml cannot be read: No such file or directory" in result.stderr


def test_dead_letter_commands_use_the_named_account(two_accounts: TwoAccountShell) -> None:
    number = make_dead_letter(two_accounts.store, "one")
    assert "1 dead letter(s)." in two_accounts.wxbot("deadletters", "list", "--account", "orders").stdout
    assert two_accounts.wxbot("deadletters", "list", "--account", "club").stdout == "There are no dead letters.\n"
    assert two_accounts.wxbot("deadletters", "drop", str(number), "--account", "club").returncode == 1
    assert "what one wrote" in two_accounts.wxbot("deadletters", "show", str(number), "--account", "orders").stdout
    assert "is in the inbox again" in two_accounts.wxbot("deadletters", "retry", "--all", "--account", "orders").stdout


def test_handover_commands_use_the_named_account(two_accounts: TwoAccountShell) -> None:
    make_handover(two_accounts.store, "alice", Handover(4_000_000_000.0))
    assert "1 handover(s)." in two_accounts.wxbot("handovers", "list", "--account", "orders").stdout
    assert "There are no handovers." in two_accounts.wxbot("handovers", "list", "--account", "club").stdout
    assert two_accounts.wxbot("handovers", "end", "oalice", "--account", "club").returncode == 1
    assert two_accounts.wxbot("handovers", "end", "oalice", "--account", "orders").returncode == 0


@pytest.mark.parametrize("command", ["deadletters list", "handovers list", "store copy sqlite:///x.db"])
def test_several_accounts_require_a_name(two_accounts: TwoAccountShell, command: str) -> None:
    result = two_accounts.wxbot(*command.split())
    assert result.returncode == 2
    assert "choose one with --account: orders, club" in result.stderr
    result = two_accounts.wxbot(*command.split(), "--account", "shop")
    assert result.returncode == 2
    assert "there is no account 'shop': choose one of orders, club" in result.stderr


def test_a_single_account_accepts_no_name(shell: Shell) -> None:
    result = shell.wxbot("deadletters", "list", "--account", "orders")
    assert result.returncode == 2
    assert "leave --account out" in result.stderr


def test_a_file_with_one_account_requires_no_name(two_accounts: TwoAccountShell) -> None:
    text = two_accounts.file.read_text(encoding="utf-8")
    two_accounts.file.write_text(text[: text.index("[club]")], encoding="utf-8")
    make_dead_letter(two_accounts.store, "one")
    assert two_accounts.wxbot("deadletters", "list").returncode == 0


def test_store_copy_copies_one_account_or_all_accounts(two_accounts: TwoAccountShell, tmp_path: Path) -> None:
    make_dead_letter(two_accounts.store, "one")
    make_dead_letter(two_accounts.store, "two", "wxfedcba9876543210")
    one, both = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/both.db"
    result = two_accounts.wxbot("store", "copy", one, "--account", "club")
    assert [line.split(":")[0] for line in result.stdout.splitlines()][:-1] == ["wxfedcba9876543210"]
    result = two_accounts.wxbot("store", "copy", both, "--all-accounts")
    assert len(result.stdout.splitlines()) == 3
    assert two_accounts.wxbot("store", "copy", both, "--all-accounts", "--account", "club").returncode == 2


def test_gunicorn_serves_all_accounts(two_accounts: TwoAccountShell, tmp_path: Path) -> None:
    port = Port()
    command = ["env", "-C", str(ROOT), sys.executable, "-m", "wxbot", "run"]
    gunicorn = Process(command, tmp_path / "gunicorn", {**two_accounts.environment, "WXBOT_BIND": f"127.0.0.1:{port}"})
    try:
        wait_until(lambda: is_ready(int(port)), gunicorn.story)
        for name, wechat in (("orders", two_accounts.wechat), ("club", two_accounts.club)):
            wechat.callback_url = f"http://127.0.0.1:{port}/wechat/{name}"
        alice, bob = two_accounts.wechat.user("alice"), two_accounts.club.user("bob")
        alice.says("hello")
        bob.says("slow 0")
        alice.waits_for("hello")
        bob.waits_for("That took 0 s.")
        two_accounts.club.push_raw({}, b"not a push")
    finally:
        gunicorn.stop()
    assert "Traceback" not in gunicorn.story()
    assert "wxbot.web: [club] request refused" in gunicorn.story()
    secrets = [two_accounts.environment[name] for name in two_accounts.secret_variables]
    assert not [value for value in secrets if value in gunicorn.story()]


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_playground_console_plays_its_input(shell: Shell) -> None:
    command = [sys.executable, "-m", "wxbot", "playground", "--console"]
    typed = "hello\n/image\n/user bob\nslow 1\n/nonsense\n/busy\nagain\n/seen\n"
    result = subprocess.run(
        command, cwd=ROOT, env=shell.environment, input=typed, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    for part in (
        "push hello",
        "reply hello",
        "收到图片",
        "reply That took 1 s.",
        "Unknown command /nonsense",
        "errcode -1",
    ):
        assert part in result.stdout, result.stdout


def test_help_and_version_need_no_settings() -> None:
    bare = {"PATH": os.environ["PATH"]}
    assert "deadletters" in run_here(bare, "--help").stdout
    assert run(bare, "--version").stdout.startswith("wxbot, version ")


def make_handover(path: Path, name: str, to: Handover) -> None:
    """Store a handover of the user ``name``."""
    store = SqliteStore(path)
    store.open()
    key = ConversationKey("wx0123456789abcdef", f"o{name}")
    fields = {"MsgType": "text", "Content": "a person, please", "FromUserName": key.openid, "CreateTime": 1}
    try:
        store.accept(IncomingMessage(key, "m:1", fields, 1.0, ConversationRecord(1.0, handover=to), for_agents=True))
    finally:
        store.close()


def make_dead_letter(
    path: Path, name: str, appid: str = "wx0123456789abcdef", *, unsent: tuple[dict[str, Any], ...] = ()
) -> int:
    """Store a dead letter of the user ``name``, and return its number."""
    store = SqliteStore(path)
    store.open()
    key = ConversationKey(appid, f"o{name}")
    fields = {"MsgType": "text", "Content": f"what {name} wrote", "FromUserName": key.openid, "CreateTime": 1}

    async def work() -> int:
        claim = await store.claim(key, "test", now=2.0, lease_seconds=8)
        assert claim is not None
        outcome = Outcome(claim.message.seq, "dead", reason="because of a test", unsent=unsent)
        await store.complete(claim.lease, outcome, 2.0, go_on=False)
        return claim.message.seq

    try:
        assert store.accept(IncomingMessage(key, "m:1", fields, 1.0, ConversationRecord(1.0))).new
        return asyncio.run(work())
    finally:
        store.close()


def assert_no_secret(shell: Shell, result: subprocess.CompletedProcess[str]) -> None:
    keys = shell.wechat.keys
    for secret in (keys.token, keys.aes_key, shell.environment["WXBOT_SECRET"]):
        assert secret not in result.stdout + result.stderr
