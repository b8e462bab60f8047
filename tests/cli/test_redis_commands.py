"""``python -m wxbot …`` on a store that machines share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_commands import Shell, Town, town
from tests.servers.fixtures import empty_redis, needs, redis_server
from tests.servers.programs import REDIS
from tests.servers.redis_server import RedisServer
from wxbot.store.records import ConversationKey, Handover, IncomingMessage
from wxbot.store.redis.store import RedisStore
from wxbot.testing import FakeWeChat

__all__ = ["empty_redis", "redis_server", "town"]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with FakeWeChat() as wechat:
        yield Shell(wechat, tmp_path / "not-used.db")


def said_of(shell: Shell, server: RedisServer) -> list[str]:
    return shell.wxbot("check", WXBOT_STORE_URL=server.url).stdout.splitlines()


def name_of(server: RedisServer) -> str:
    return f"Redis {server.cli('INFO', 'server')['redis_version']}"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"appendfsync": "everysec"},
            "ok  A power loss of {} costs the last one to two seconds of acknowledged messages (appendfsync everysec); "
            "with appendfsync always it costs none.",
        ),
        ({"appendfsync": "always"}, "ok  Acknowledged messages survive a power loss of {} (appendfsync always)."),
        (
            {"appendfsync": "no"},
            "NO  {} leaves writing to its system (appendfsync no): a power loss costs about half a minute of "
            "acknowledged messages. Set appendfsync everysec or always.",
        ),
        (
            {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"},
            "NO  {} may throw messages away when its memory is full (maxmemory-policy allkeys-lru): set "
            "maxmemory-policy noeviction.",
        ),
    ],
)
def test_check_says_what_a_power_loss_costs(
    shell: Shell, empty_redis: RedisServer, settings: dict[str, str], sentence: str
) -> None:
    before = {name: empty_redis.cli("CONFIG", "GET", name)[name] for name in settings}
    try:
        for name, value in settings.items():
            empty_redis.cli("CONFIG", "SET", name, value)
        said = said_of(shell, empty_redis)
    finally:
        for name, value in before.items():
            empty_redis.cli("CONFIG", "SET", name, value)
    assert sentence.format(name_of(empty_redis)) in said
    assert f"ok  The store {empty_redis.url} can be written." in said
    assert "ok  The clock of the store's server agrees with WeChat's." in said


@pytest.mark.parametrize(
    ("snapshots", "costs"), [('""', "costs everything,"), ("60 1", "costs everything since its last snapshot,")]
)
def test_check_says_when_nothing_is_written(shell: Shell, tmp_path: Path, snapshots: str, costs: str) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, appendonly=False, options={"save": snapshots}) as server:
        (problem,) = [line for line in said_of(shell, server) if line.startswith("NO ")]
    assert costs in problem
    assert problem.endswith("Set appendonly yes.")


def test_check_says_that_replicas_come_later(shell: Shell, tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path / "a") as master, RedisServer(tmp_path / "b", replica_of=master):
        assert any("has 1 replica(s)" in line for line in said_of(shell, master))


def test_a_server_that_keeps_its_settings_to_itself(shell: Shell, tmp_path: Path) -> None:
    needs(REDIS)
    with RedisServer(tmp_path, options={"rename-command CONFIG": '""'}) as server:
        said = said_of(shell, server)
    assert any("does not tell us how often" in line for line in said)
    assert not any(line.startswith("NO ") for line in said)


@pytest.mark.parametrize("command", ["check", "run", "worker"])
def test_an_address_that_leads_nowhere(shell: Shell, command: str) -> None:
    nowhere = "redis://:s3cret-word@127.0.0.1:9/0"
    said = shell.wxbot(command, WXBOT_STORE_URL=nowhere, WXBOT_BROKER_URL=nowhere)
    assert said.returncode == (1 if command == "check" else 2)
    assert "Redis cannot be reached" in said.stdout + said.stderr
    assert "s3cret-word" not in said.stdout + said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("command", ["check", "run", "worker"])
def test_a_broker_that_is_not_there(shell: Shell, empty_redis: RedisServer, command: str) -> None:
    nowhere = "redis://:s3cret-word@127.0.0.1:9/0"
    said = shell.wxbot(command, WXBOT_STORE_URL=empty_redis.url, WXBOT_BROKER_URL=nowhere)
    assert said.returncode == (1 if command == "check" else 2)
    assert "broker" in (said.stdout + said.stderr).lower()
    assert "s3cret-word" not in said.stdout + said.stderr
    assert "Traceback" not in said.stderr


def test_a_worker_without_a_broker(shell: Shell) -> None:
    said = shell.wxbot("worker")
    assert said.returncode == 2
    assert "WXBOT_BROKER_URL, which is not set" in said.stderr


def test_users_who_are_with_agents_are_listed_and_given_back(town: Town, empty_redis: RedisServer) -> None:
    user = ConversationKey("wxfedcba9876543210", "oalice")
    store = RedisStore(empty_redis.url)
    store.open()
    try:
        fields = {"MsgType": "text", "Content": "a person, please", "FromUserName": user.openid, "CreateTime": 1}
        with_agent = Handover(4_000_000_000.0, "kf1@shop")
        store.accept(IncomingMessage(user, "m:1", fields, 1.0, 1.0, handover=with_agent, for_agents=True))
    finally:
        store.close()

    def handovers(*words: str) -> str:
        return town.wxbot("handovers", *words, "--account", "club", WXBOT_STORE_URL=empty_redis.url).stdout

    assert handovers("list").startswith("oalice  kf1@shop  until 2096-10-02 ")
    assert handovers("end", "oalice") == "oalice is with the bot again\n"
    assert handovers("list") == "No user is with human agents.\n"


@pytest.mark.parametrize("command", ["run", "worker"])
def test_several_accounts_and_a_broker_that_is_not_there(town: Town, empty_redis: RedisServer, command: str) -> None:
    nowhere = "redis://:s3cret-word@127.0.0.1:9/0"
    said = town.wxbot(command, WXBOT_STORE_URL=empty_redis.url, WXBOT_BROKER_URL=nowhere)
    assert said.returncode == 2
    assert "WXBOT_BROKER_URL" in said.stderr
    assert "s3cret-word" not in said.stderr
