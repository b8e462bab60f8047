"""``python -m wxbot …`` as an operator types it: a real store, FakeWeChat behind, and processes where they matter."""

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

from tests.cli.in_process import OF_THEIR_OWN, run_here
from tests.servers.processes import Port, Process, wait_until
from wxbot.model import accounts as capabilities
from wxbot.store.records import ConversationKey, Handover, IncomingMessage, Outcome
from wxbot.store.sqlite.store import SqliteStore
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
        """Run a command: in this process, unless it needs one of its own."""
        if arguments[0] in OF_THEIR_OWN:
            return self.process(*arguments, **changed)
        return run_here(self._with(changed), *arguments)

    def process(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own."""
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


def test_check_says_that_everything_works(shell: Shell) -> None:
    said = shell.process("check")
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
        ({"WXBOT_PLUGINS": "echo,missing"}, "there is no plugin 'missing' (found: echo, faq, slow)"),
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


def test_an_unverified_account_is_told_that_no_call_was_tried(tmp_path: Path) -> None:
    with FakeWeChat(account_kind="unverified") as wechat:
        said = Shell(wechat, tmp_path / "wxbot.db").wxbot("check")
    assert said.returncode == 0
    assert "only answers pushes, so no call was tried." in said.stdout


def test_plugins_lists_the_handlers_in_order(shell: Shell) -> None:
    said = shell.wxbot("plugins", WXBOT_PLUGINS="slow,echo")
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["slow", "echo"]
    assert any("slow.slow" in line for line in lines)


def test_dead_letters_are_listed_shown_retried_and_dropped(shell: Shell) -> None:
    first, second = bury(shell.store, "one"), bury(shell.store, "two")
    listed = shell.process("deadletters", "list")
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


def test_users_who_are_with_agents_are_listed_and_given_back(shell: Shell) -> None:
    hand_over(shell.store, "alice", Handover(4_000_000_000.0, "kf1@shop"))
    hand_over(shell.store, "bob", Handover(4_000_003_600.0))
    listed = shell.process("handovers", "list", TZ="Asia/Shanghai")
    assert listed.stdout.splitlines() == [
        "oalice  kf1@shop  until 2096-10-02 15:06:40+08:00",
        "obob  any agent  until 2096-10-02 16:06:40+08:00",
        "2 user(s).",
    ]
    assert shell.wxbot("handovers", "end", "oalice").stdout == "oalice is with the bot again\n"
    again = shell.wxbot("handovers", "end", "oalice")
    assert (again.returncode, again.stdout) == (1, "oalice is with no human agent\n")
    assert "obob" in shell.wxbot("handovers", "list").stdout
    assert shell.wxbot("handovers", "end", "obob").returncode == 0
    assert shell.wxbot("handovers", "list").stdout == "No user is with human agents.\n"
    assert shell.wxbot("handovers", "end").returncode == 2


def test_a_file_that_was_not_sent_is_shown_by_its_name(shell: Shell) -> None:
    picture = {"content": "AAAA" * 10_000, "content_type": "image/png", "filename": "cat.png"}
    number = bury(shell.store, "alice", unsent=({"kind": "image", "image": picture}, {"kind": "_again"}))
    said = shell.wxbot("deadletters", "show", str(number)).stdout
    assert "not sent: {'kind': 'image', 'image': 'cat.png'}" in said
    assert "not sent: what the handler says when it runs again" in said
    assert "AAAA" not in said


@pytest.mark.parametrize("group", ["handovers", "deadletters"])
def test_whoever_looks_in_the_wrong_folder_is_told_so(shell: Shell, tmp_path: Path, group: str) -> None:
    """And not that there is nothing; no store is left there either."""
    elsewhere = tmp_path / "elsewhere.db"
    said = shell.wxbot(group, "list", WXBOT_STORE_URL=f"sqlite:///{elsewhere}")
    assert (said.returncode, said.stdout) == (2, "")
    assert f"there is no store {elsewhere}" in said.stderr
    assert not elsewhere.exists()


def test_capabilities_need_no_settings() -> None:
    said = run({"PATH": os.environ["PATH"]}, "capabilities")
    assert said.returncode == 0, said.stderr
    assert said.stdout == capabilities.table()


# -- several accounts


class Town(Shell):
    """A terminal with a file of two accounts, ``orders`` and ``club``, at two platforms."""

    def __init__(self, orders: FakeWeChat, club: FakeWeChat, folder: Path) -> None:
        super().__init__(orders, folder / "wxbot.db")
        self.club = club
        self.secret: set[str] = set()
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
                self.secret.add(variable)
                value = f"${{{variable}}}"
            lines.append(f'{key} = "{value}"')
        return "\n".join(lines)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with (
        FakeWeChat(appid="wx0123456789abcdef") as orders,
        FakeWeChat(appid="wxfedcba9876543210", account_kind="official") as club,
    ):
        yield Town(orders, club, tmp_path)


def test_check_goes_through_all_accounts(town: Town) -> None:
    said = town.wxbot("check")
    assert said.returncode == 0, said.stdout + said.stderr
    lines = said.stdout.splitlines()
    there = lines.index("[orders]"), lines.index(""), lines.index("[club]")
    assert there == (0, there[2] - 1, there[2])
    assert lines[1] == "ok  The configuration is complete, for the account wx0123456789abcdef."
    assert lines[there[2] + 1] == "ok  The configuration is complete, for the account wxfedcba9876543210."
    assert "ok  Plugins, in order: echo." in lines[: there[1]]
    assert "ok  Plugins, in order: slow." in lines[there[1] :]


def test_check_says_whose_secret_is_wrong(town: Town) -> None:
    said = town.wxbot("check", CLUB_SECRET="wrong")
    assert said.returncode == 1
    orders, club = said.stdout.split("[club]")
    assert "NO " not in orders
    assert "AppSecret is wrong" in club


def test_check_finds_a_plugin_setting_that_nobody_reads(town: Town) -> None:
    said = town.wxbot("check", WXBOT_PLUGIN_FAQ_FIL="x")
    assert said.returncode == 1
    assert said.stdout.splitlines()[-1] == (
        "NO  WXBOT_PLUGIN_FAQ_FIL is a setting of no plugin that was found; did you mean WXBOT_PLUGIN_FAQ_FILE?"
    )


def test_plugins_are_listed_account_by_account(town: Town) -> None:
    lines = town.wxbot("plugins").stdout.splitlines()
    heads = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert heads == ["[orders]", "echo", "[club]", "slow"]


@pytest.mark.parametrize("command", ["check", "run", "worker", "plugins", "deadletters list", "handovers list"])
def test_every_problem_of_every_section_comes_in_one_report(town: Town, command: str) -> None:
    town.file.write_text(town.file.read_text(encoding="utf-8") + '\ncolour = "x"\n[third]\n', encoding="utf-8")
    said = town.wxbot(*command.split(), ORDERS_AES_KEY="short", CLUB_TOKEN="UNSET")
    assert said.returncode == 2
    assert "Traceback" not in said.stderr
    for problem in (
        "[orders] aes_key: must be 43 characters",
        "[club] token: CLUB_TOKEN is not set",
        "[club] colour is not a setting",
        "[third] appid is missing",
    ):
        assert problem in said.stderr


def test_the_simulator_has_an_account_of_its_own(town: Town) -> None:
    command = [sys.executable, "-m", "wxbot", "playground", "--console"]
    said = subprocess.run(
        command, cwd=ROOT, env=town.environment, input="hello\n", capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    assert "reply hello" in said.stdout


@pytest.mark.parametrize("command", ["run", "plugins"])
def test_what_is_wrong_with_plugins_is_said_for_all_accounts(town: Town, command: str) -> None:
    text = town.file.read_text(encoding="utf-8").replace("'echo'", "'eco'").replace("'slow'", "'slo'")
    town.file.write_text(text, encoding="utf-8")
    said = town.wxbot(command)
    assert said.returncode == 2
    assert "[orders] plugins names 'eco'" in said.stderr
    assert "[club] plugins names 'slo'" in said.stderr


def test_a_file_of_accounts_that_is_not_there(shell: Shell) -> None:
    said = shell.wxbot("check", WXBOT_ACCOUNTS="nowhere.toml")
    assert said.returncode == 2
    assert "nowhere.toml cannot be read: No such file or directory" in said.stderr


def test_dead_letters_are_those_of_the_account_that_is_named(town: Town) -> None:
    number = bury(town.store, "one")
    assert "1 dead letter(s)." in town.wxbot("deadletters", "list", "--account", "orders").stdout
    assert town.wxbot("deadletters", "list", "--account", "club").stdout == "There are no dead letters.\n"
    assert town.wxbot("deadletters", "drop", str(number), "--account", "club").returncode == 1
    assert "what one wrote" in town.wxbot("deadletters", "show", str(number), "--account", "orders").stdout
    assert "will be tried again" in town.wxbot("deadletters", "retry", "--all", "--account", "orders").stdout


def test_hand_overs_are_those_of_the_account_that_is_named(town: Town) -> None:
    hand_over(town.store, "alice", Handover(4_000_000_000.0))
    assert "1 user(s)." in town.wxbot("handovers", "list", "--account", "orders").stdout
    assert "No user" in town.wxbot("handovers", "list", "--account", "club").stdout
    assert town.wxbot("handovers", "end", "oalice", "--account", "club").returncode == 1
    assert town.wxbot("handovers", "end", "oalice", "--account", "orders").returncode == 0


@pytest.mark.parametrize("command", ["deadletters list", "handovers list", "store copy sqlite:///x.db"])
def test_where_there_are_several_accounts_one_is_named(town: Town, command: str) -> None:
    said = town.wxbot(*command.split())
    assert said.returncode == 2
    assert "say which one with --account: orders, club" in said.stderr
    said = town.wxbot(*command.split(), "--account", "shop")
    assert said.returncode == 2
    assert "there is no account 'shop'; there are orders, club" in said.stderr


def test_where_there_is_one_account_none_is_named(shell: Shell) -> None:
    said = shell.wxbot("deadletters", "list", "--account", "orders")
    assert said.returncode == 2
    assert "leave --account out" in said.stderr


def test_a_file_with_one_account_needs_no_name(town: Town) -> None:
    text = town.file.read_text(encoding="utf-8")
    town.file.write_text(text[: text.index("[club]")], encoding="utf-8")
    bury(town.store, "one")
    assert town.wxbot("deadletters", "list").returncode == 0


def test_one_account_or_all_of_them_are_copied(town: Town, tmp_path: Path) -> None:
    bury(town.store, "one")
    bury(town.store, "two", "wxfedcba9876543210")
    one, both = f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/both.db"
    said = town.wxbot("store", "copy", one, "--account", "club")
    assert [line.split(":")[0] for line in said.stdout.splitlines()][:-1] == ["wxfedcba9876543210"]
    said = town.wxbot("store", "copy", both, "--all-accounts")
    assert len(said.stdout.splitlines()) == 3
    assert town.wxbot("store", "copy", both, "--all-accounts", "--account", "club").returncode == 2


def test_gunicorn_serves_all_accounts(town: Town, tmp_path: Path) -> None:
    port = Port()
    command = ["env", "-C", str(ROOT), sys.executable, "-m", "wxbot", "run"]
    gunicorn = Process(command, tmp_path / "gunicorn", {**town.environment, "WXBOT_BIND": f"127.0.0.1:{port}"})
    try:
        wait_until(lambda: is_ready(int(port)), gunicorn.story)
        for name, wechat in (("orders", town.wechat), ("club", town.club)):
            wechat.callback_url = f"http://127.0.0.1:{port}/wechat/{name}"
        alice, bob = town.wechat.user("alice"), town.club.user("bob")
        alice.says("hello")
        bob.says("slow 0")
        alice.waits_for("hello")
        bob.waits_for("That took 0 s.")
        town.club.push_raw({}, b"from somebody else")
    finally:
        gunicorn.stop()
    assert "Traceback" not in gunicorn.story()
    assert "wxbot.web: [club] request refused" in gunicorn.story()
    assert not [value for name, value in town.environment.items() if name in town.secret and value in gunicorn.story()]


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_simulator_plays_what_is_written(shell: Shell) -> None:
    command = [sys.executable, "-m", "wxbot", "playground", "--console"]
    written = "hello\n/image\n/user bob\nslow 1\n/nonsense\n/busy\nagain\n/seen\n"
    said = subprocess.run(
        command, cwd=ROOT, env=shell.environment, input=written, capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    for part in ("push hello", "reply hello", "收到图片", "reply That took 1 s.", "no command /nonsense", "errcode -1"):
        assert part in said.stdout, said.stdout


def test_help_and_version_need_no_settings() -> None:
    bare = {"PATH": os.environ["PATH"]}
    assert "deadletters" in run_here(bare, "--help").stdout
    assert run(bare, "--version").stdout.startswith("wxbot, version ")


def hand_over(path: Path, name: str, to: Handover) -> None:
    """The user ``name`` is with human agents."""
    store = SqliteStore(path)
    store.open()
    key = ConversationKey("wx0123456789abcdef", f"o{name}")
    fields = {"MsgType": "text", "Content": "a person, please", "FromUserName": key.openid, "CreateTime": 1}
    try:
        store.accept(IncomingMessage(key, "m:1", fields, 1.0, 1.0, handover=to, for_agents=True))
    finally:
        store.close()


def bury(path: Path, name: str, appid: str = "wx0123456789abcdef", *, unsent: tuple[dict[str, Any], ...] = ()) -> int:
    """A dead letter of the user ``name``; its number."""
    store = SqliteStore(path)
    store.open()
    key = ConversationKey(appid, f"o{name}")
    fields = {"MsgType": "text", "Content": f"what {name} wrote", "FromUserName": key.openid, "CreateTime": 1}

    async def work() -> int:
        claim = await store.claim(key, "test", now=2.0, lease_seconds=8)
        assert claim is not None
        outcome = Outcome(claim.pending.seq, "dead", reason="because of a test", unsent=unsent)
        await store.settle(claim.lease, outcome, 2.0, go_on=False)
        return claim.pending.seq

    try:
        assert store.accept(IncomingMessage(key, "m:1", fields, 1.0, 1.0)).new
        return asyncio.run(work())
    finally:
        store.close()


def assert_no_secret(shell: Shell, said: subprocess.CompletedProcess[str]) -> None:
    keys = shell.wechat.keys
    for secret in (keys.token, keys.aes_key, shell.environment["WXBOT_SECRET"]):
        assert secret not in said.stdout + said.stderr
