"""Tests of ``python -m wxbot store copy``: copies to another store and back, refusals and interruptions."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.test_commands import ROOT, Shell, assert_no_secret
from tests.servers.fixtures import empty_redis, needs, redis_server
from tests.servers.processes import wait_until
from tests.servers.programs import REDIS
from tests.servers.redis_server import RedisServer
from wxbot.cli import operate
from wxbot.cli.main import main
from wxbot.store.records import ConversationKey, ConversationRecord, IncomingMessage, Outcome
from wxbot.store.sqlite import copying as sqlite_bulk
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat

__all__ = ["empty_redis", "redis_server"]

APPID = "wx0123456789abcdef"
OTHER_APPID = "wxfedcba9876543210"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeWeChat() as wechat:
        yield Shell(wechat, tmp_path / "wxbot.db")


@pytest.fixture
def used(shell: Shell) -> Shell:
    """Return a shell whose store has a dead letter and two pending messages."""
    accept(shell.store, "carol", "never answered")
    make_dead_letter(shell.store, "carol")
    accept(shell.store, "alice", "one", "two")
    return shell


def accept(path: Path, name: str, *texts: str, appid: str = APPID) -> None:
    store = SqliteStore(path, full_sync=False)
    store.open()
    key, now = ConversationKey(appid, f"o{name}"), time.time()
    fields = {"MsgType": "text", "FromUserName": key.openid, "CreateTime": 1}
    try:
        for text in texts:
            message = IncomingMessage(key, f"m:{text}", {**fields, "Content": text}, now, ConversationRecord(now))
            assert store.accept(message).new
    finally:
        store.close()


def make_dead_letter(path: Path, name: str) -> None:
    store = SqliteStore(path)
    store.open()

    async def work() -> None:
        claim = await store.claim(ConversationKey(APPID, f"o{name}"), "a bot", time.time(), 8.0)
        assert claim is not None
        outcome = Outcome(claim.message.seq, "dead", reason="because of a test")
        await store.complete(claim.lease, outcome, time.time(), go_on=False)

    asyncio.run(work())
    store.close()


def pending_texts(path: Path) -> list[str]:
    """Return the texts of the pending messages in the SQLite file, in order."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT json_extract(fields, '$.Content') FROM inbox WHERE status = 0 ORDER BY seq")
        return [text for (text,) in rows]


def test_a_copy_to_redis_and_back(used: Shell, empty_redis: RedisServer, tmp_path: Path) -> None:
    result = used.process("store", "copy", empty_redis.url)
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"{APPID}: pending messages 2, dead letters 1, dedup records 0, conversations 2",
        f"The copy is complete. To use it, set WXBOT_STORE_URL to {empty_redis.url} and start the bot.",
    ]
    there = {"WXBOT_STORE_URL": empty_redis.url, "WXBOT_BROKER_URL": f"{empty_redis.url}?db=1"}
    listed = used.wxbot("deadletters", "list", **there)
    assert listed.stdout == used.wxbot("deadletters", "list").stdout
    assert "because of a test" in listed.stdout
    back = tmp_path / "back.db"
    result = used.wxbot("store", "copy", f"sqlite:///{back}", **there)
    assert result.returncode == 0, result.stderr
    assert pending_texts(back) == ["one", "two"]
    assert pending_texts(used.store) == ["one", "two"]


def test_a_copy_between_two_named_files(used: Shell, tmp_path: Path) -> None:
    """Check that WXBOT_STORE_URL is ignored if both addresses are given."""
    addresses = (f"sqlite:///{used.store}", f"sqlite:///{tmp_path / 'new.db'}")
    result = used.wxbot("store", "copy", *addresses, WXBOT_STORE_URL="sqlite:////nowhere/wxbot.db")
    assert result.returncode == 0, result.stderr
    assert pending_texts(tmp_path / "new.db") == ["one", "two"]


def test_a_copy_of_all_accounts(used: Shell, tmp_path: Path) -> None:
    accept(used.store, "bob", "three", appid=OTHER_APPID)
    ours, all_of_it = tmp_path / "ours.db", tmp_path / "all.db"
    used.wxbot("store", "copy", f"sqlite:///{ours}")
    result = used.wxbot("store", "copy", "--all-accounts", f"sqlite:///{all_of_it}")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()[:2]] == [APPID, OTHER_APPID]
    assert pending_texts(ours) == ["one", "two"]
    assert sorted(pending_texts(all_of_it)) == ["one", "three", "two"]


def test_no_password_is_shown(used: Shell, tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path / "redis", password="p:s/w@rd", appendonly=False) as server:
        quoted = server.user.removeprefix(":").removesuffix("@")
        answers = [used.wxbot("store", "copy", server.url), used.wxbot("store", "copy", server.url)]
        answers.append(used.wxbot("store", "copy", server.url.replace(quoted, "wrong")))
    assert [result.returncode for result in answers] == [0, 2, 2]
    for result in answers:
        assert ":***@" in result.stdout + result.stderr
        for secret in (server.password, quoted, "wrong"):
            assert secret not in result.stdout + result.stderr
        assert_no_secret(used, result)


# Refusals: one sentence says what to do, and nothing is changed


def refusal(shell: Shell, *arguments: str, **changed: str) -> str:
    result = shell.wxbot("store", "copy", *arguments, **changed)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_copy_to_the_same_store_is_refused(used: Shell, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(used.store)
    for address in (used.store, tmp_path / "link.db"):
        assert "are the same store: choose another target" in refusal(used, f"sqlite:///{address}")


def test_a_target_with_data_is_refused(used: Shell, tmp_path: Path) -> None:
    accept(tmp_path / "new.db", "bob", "hi")
    sentence = f"sqlite:///{tmp_path}/new.db already has data of the account {APPID}: choose a target that has none"
    assert sentence in refusal(used, f"sqlite:///{tmp_path}/new.db")
    assert pending_texts(tmp_path / "new.db") == ["hi"]


def test_a_copy_while_a_bot_runs_is_refused(used: Shell, tmp_path: Path) -> None:
    store = SqliteStore(used.store)
    store.open()
    asyncio.run(store.claim(ConversationKey(APPID, "oalice"), "a bot", time.time(), 60.0))
    store.close()
    assert f"a bot is processing the account {APPID}" in refusal(used, f"sqlite:///{tmp_path}/new.db")
    assert "stop the bot first" in refusal(used, f"sqlite:///{tmp_path}/new.db")


def test_a_missing_store_is_refused(used: Shell, tmp_path: Path) -> None:
    typo = tmp_path / "typo.db"
    assert f"the file {typo} does not exist" in refusal(used, f"sqlite:///{typo}", f"sqlite:///{tmp_path}/new.db")
    assert not typo.exists()
    assert not (tmp_path / "new.db").exists()
    assert "check that its folder exists" in refusal(used, "sqlite:////nowhere/at/all/wxbot.db")
    assert "redis://127.0.0.1:9/0 cannot be opened: Redis cannot be reached" in refusal(used, "redis://127.0.0.1:9/0")


def test_an_unknown_account_is_refused(used: Shell, tmp_path: Path) -> None:
    result = refusal(used, f"sqlite:///{tmp_path}/new.db", WXBOT_APPID=OTHER_APPID)
    assert f"has no data of the account {OTHER_APPID}: set WXBOT_APPID to one of {APPID}" in result


def test_an_invalid_address_is_refused_without_its_password(used: Shell) -> None:
    result = refusal(used, "mysql://root:hunter2@db/wxbot")
    assert "mysql://root:***@db/wxbot: is not an address of a store" in result
    assert "WXBOT_STORE_URL" not in result
    assert "hunter2" not in result
    assert "give the address" in refusal(used)
    assert "give the address" in refusal(used, "sqlite:///a", "sqlite:///b", "sqlite:///c")


# Interruption

HANG = """
CREATE TRIGGER hang BEFORE INSERT ON inbox WHEN new.openid = 'olast' BEGIN
    SELECT count(*) FROM inbox a, inbox b, inbox c, inbox d, inbox e;
END
"""


def test_a_killed_copy_is_incomplete_and_can_be_run_again(used: Shell, tmp_path: Path) -> None:
    """Kill the command in the middle: the target stores the first slice and hangs in the second one."""
    accept(used.store, "bob", *(f"{n}" for n in range(sqlite_bulk.SLICE)))
    accept(used.store, "last", "the last one")
    new = tmp_path / "new.db"
    accept(new, "carol", "of another account", appid=OTHER_APPID)
    execute(new, HANG)
    arguments = ("store", "copy", f"sqlite:///{new}")
    process = subprocess.Popen([sys.executable, "-m", "wxbot", *arguments], cwd=ROOT, env=used.environment)
    try:
        wait_until(lambda: len(pending_texts(new)) > 1, "nothing was copied")
    finally:
        process.kill()
        process.wait()
    assert 1 < len(pending_texts(new)) < len(pending_texts(used.store))
    result = used.wxbot("deadletters", "list", WXBOT_STORE_URL=f"sqlite:///{new}")
    assert (result.returncode, result.stdout) == (2, "")
    assert f"an incomplete copy of the account {APPID}" in result.stderr
    assert "run `python -m wxbot store copy` again" in result.stderr
    execute(new, "DROP TRIGGER hang")
    assert used.wxbot(*arguments).returncode == 0
    assert pending_texts(new) == ["of another account", *pending_texts(used.store)]
    assert used.wxbot("deadletters", "list", WXBOT_STORE_URL=f"sqlite:///{new}").returncode == 0


def execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


def test_a_target_that_fails_in_the_middle(used: Shell, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    accept(new, "carol", "of another account", appid=OTHER_APPID)
    execute(new, "CREATE TRIGGER full BEFORE INSERT ON conversations BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
    result = refusal(used, f"sqlite:///{new}")
    assert "disk is full" in result
    assert "now holds an incomplete copy, which bots refuse: run the same command again, and it starts over" in result


def test_ctrl_c_interrupts_the_copy(used: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operate, "copy", interrupted)
    for name, value in used.environment.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["store", "copy", f"sqlite:///{tmp_path}/new.db"])
    assert result.exit_code == 130
    assert "bots refuse the incomplete copy. Run the same command again." in result.output
