"""Tests of the commands ``python -m wxbot …`` with a Redis store and a broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import Shell, TwoAccountShell, two_accounts
from tests.servers.fixtures import empty_redis, needs, redis_server
from tests.servers.programs import REDIS
from tests.servers.redis_server import RedisServer
from wxbot.store.records import ConversationKey, ConversationRecord, Handover, IncomingMessage
from wxbot.store.redis.store import RedisStore
from wxbot.testing import FakeWeChat

__all__ = ["empty_redis", "redis_server", "two_accounts"]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeWeChat() as wechat:
        yield Shell(wechat, tmp_path / "not-used.db")


def check_of(shell: Shell, server: RedisServer) -> list[str]:
    return shell.wxbot("check", WXBOT_STORE_URL=server.url).stdout.splitlines()


def name_of(server: RedisServer) -> str:
    return f"Redis {server.cli('INFO', 'server')['redis_version']}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"appendfsync": "everysec"},
            "ok  A power loss of {} may lose the last one to two seconds of acknowledged messages (appendfsync "
            "everysec). With appendfsync always it loses none.",
        ),
        ({"appendfsync": "always"}, "ok  Acknowledged messages survive a power loss of {} (appendfsync always)."),
        (
            {"appendfsync": "no"},
            "NO  {} does not sync its AOF (appendfsync no): a power loss may lose about 30 seconds of acknowledged "
            "messages. Set appendfsync everysec or always.",
        ),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            "NO  {} may delete messages when its memory is full (maxmemory-policy allkeys-lru): set "
            "maxmemory-policy noeviction.",
        ),
    ],
)
def test_check_reports_what_a_power_loss_loses(
    shell: Shell, empty_redis: RedisServer, settings: dict[str, str], sentence: str
) -> None:
    before = {name: empty_redis.cli("CONFIG", "GET", name)[name] for name in settings}
    try:
        for name, value in settings.items():
            empty_redis.cli("CONFIG", "SET", name, value)
        result = check_of(shell, empty_redis)
    finally:
        for name, value in before.items():
            empty_redis.cli("CONFIG", "SET", name, value)
    assert sentence.format(name_of(empty_redis)) in result
    assert f"ok  The store {empty_redis.url} is writable." in result
    assert "ok  The clock of the store's server agrees with WeChat's clock." in result


@pytest.mark.parametrize(
    ("snapshots", "loses"),
    [
        ('""', "may lose all acknowledged messages. "),
        ("60 1", "may lose all acknowledged messages since the last snapshot. "),
    ],
)
def test_check_reports_that_aof_is_off(shell: Shell, tmp_path: Path, snapshots: str, loses: str) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, appendonly=False, options={"save": snapshots}) as server:
        (problem,) = [line for line in check_of(shell, server) if line.startswith("NO ")]
    assert loses in problem
    assert problem.endswith("Set appendonly yes.")


def test_check_reports_asynchronous_replicas(shell: Shell, tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path / "a") as master, RedisServer(tmp_path / "b", replica_of=master):
        assert any("has 1 replica(s)" in line for line in check_of(shell, master))


def test_check_without_permission_to_read_the_settings_of_redis(shell: Shell, tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, options={"rename-command CONFIG": '""'}) as server:
        result = check_of(shell, server)
    assert any("appendfsync cannot be read" in line for line in result)
    assert not any(line.startswith("NO ") for line in result)


@pytest.mark.parametrize("command", ["check", "run", "worker"])
def test_an_unreachable_store_is_reported_without_its_password(shell: Shell, command: str) -> None:
    unreachable = "redis://:s3cret-word@127.0.0.1:9/0"
    result = shell.wxbot(command, WXBOT_STORE_URL=unreachable, WXBOT_BROKER_URL=unreachable)
    assert result.returncode == (1 if command == "check" else os.EX_TEMPFAIL)
    assert "Redis cannot be reached" in result.stdout + result.stderr
    assert "s3cret-word" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["check", "run", "worker"])
def test_an_unreachable_broker_is_reported_without_its_password(
    shell: Shell, empty_redis: RedisServer, command: str
) -> None:
    unreachable = "redis://:s3cret-word@127.0.0.1:9/0"
    result = shell.wxbot(command, WXBOT_STORE_URL=empty_redis.url, WXBOT_BROKER_URL=unreachable)
    assert result.returncode == (1 if command == "check" else os.EX_TEMPFAIL)
    assert "broker" in (result.stdout + result.stderr).lower()
    assert "s3cret-word" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_worker_without_a_broker_is_refused(shell: Shell) -> None:
    result = shell.wxbot("worker")
    assert result.returncode == 2
    assert "a worker needs a broker: set WXBOT_BROKER_URL" in result.stderr


def test_handovers_are_listed_and_ended(two_accounts: TwoAccountShell, empty_redis: RedisServer) -> None:
    user = ConversationKey("wxfedcba9876543210", "oalice")
    store = RedisStore(empty_redis.url)
    store.open()
    try:
        fields = {"MsgType": "text", "Content": "a person, please", "FromUserName": user.openid, "CreateTime": 1}
        with_agent = Handover(4_000_000_000.0, "kf1@shop")
        change = ConversationRecord(1.0, handover=with_agent)
        store.accept(IncomingMessage(user, "m:1", fields, 1.0, change, for_agents=True))
    finally:
        store.close()

    def handovers(*words: str) -> str:
        return two_accounts.wxbot("handovers", *words, "--account", "club", WXBOT_STORE_URL=empty_redis.url).stdout

    assert handovers("list").startswith("oalice  kf1@shop  until 2096-10-02 ")
    assert handovers("end", "oalice") == "the handover of oalice has ended\n"
    assert handovers("list") == "There are no handovers.\n"


@pytest.mark.parametrize("command", ["run", "worker"])
def test_several_accounts_with_an_unreachable_broker(
    two_accounts: TwoAccountShell, empty_redis: RedisServer, command: str
) -> None:
    unreachable = "redis://:s3cret-word@127.0.0.1:9/0"
    result = two_accounts.wxbot(command, WXBOT_STORE_URL=empty_redis.url, WXBOT_BROKER_URL=unreachable)
    assert result.returncode == os.EX_TEMPFAIL
    assert "WXBOT_BROKER_URL" in result.stderr
    assert "s3cret-word" not in result.stderr
