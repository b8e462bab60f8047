"""Test FakeWeChat as a whole: users, records, waiting, and that close ends everything."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.testing.bot import SILENCE, Caller, Receiver
from wxbot.testing import FakeWeChat, ManualClock, RealClock, Record
from wxbot.testing.background import Background

# -- the account and its users


def test_settings_has_the_environment_variables_of_a_bot(wechat: FakeWeChat) -> None:
    settings = wechat.settings()
    assert set(settings) == {"WXBOT_APPID", "WXBOT_SECRET", "WXBOT_TOKEN", "WXBOT_AES_KEY", "WXBOT_API_BASE"}
    assert settings["WXBOT_API_BASE"] == wechat.api_base
    assert len(settings["WXBOT_AES_KEY"]) == 43


@pytest.mark.parametrize("kind", ["official", "unverified"])
def test_settings_has_the_account_kind_unless_it_is_the_default_and_no_aes_key_in_plain_mode(
    clock: ManualClock, kind: Any
) -> None:
    with FakeWeChat(clock, mode="plain", appid="wx1", secret="s", token="t", account_kind=kind) as wechat:
        settings = {name: value for name, value in wechat.settings().items() if name != "WXBOT_API_BASE"}
    given = {"WXBOT_APPID": "wx1", "WXBOT_SECRET": "s", "WXBOT_TOKEN": "t"}
    assert settings == {**given, "WXBOT_ACCOUNT_KIND": kind}


def test_json_pushes_of_an_official_account_raise_an_error(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="format must be xml"):
        FakeWeChat(clock, account_kind="official", format="json")


def test_an_openid_is_derived_from_the_name(wechat: FakeWeChat) -> None:
    alice = wechat.user("alice")
    assert alice.openid.startswith("oalice")
    assert wechat.user("alice") is alice
    assert wechat.user("bob", openid="oBOB").openid == "oBOB"
    assert [len(wechat.user(name).openid) for name in ("alice", "小明", "x" * 60, "a b")] == [28] * 4
    assert len({user.openid for user in wechat.users}) == 5
    assert wechat.user("eve").openid != wechat.user("eve_").openid


def test_two_platforms_do_not_share_tokens(clock: ManualClock) -> None:
    with FakeWeChat(clock, appid="wx1") as one, FakeWeChat(clock, appid="wx2") as two:
        token = Caller(one).fetch()
        assert Caller(two).get("/cgi-bin/getcallbackip", access_token=token)["errcode"] == 40001
        assert Caller(two).classic(appid="wx1")["errcode"] == 40013


# -- records


def test_records_contain_no_secret(wechat: FakeWeChat) -> None:
    bot, alice = Caller(wechat), wechat.user("alice")
    alice.says("hi")
    bot.stable()
    bot.typing(alice)
    bot.classic(secret="guess-of-a-secret")
    text = repr([(record, record.body, str(record)) for record in wechat.timeline]) + repr(wechat.keys)
    settings = wechat.settings()
    secrets = [settings["WXBOT_SECRET"], settings["WXBOT_TOKEN"], settings["WXBOT_AES_KEY"], bot.token]
    assert not [secret for secret in [*secrets, "guess-of-a-secret"] if secret in text]


def test_the_timeline_has_all_records_in_order(wechat: FakeWeChat, clock: ManualClock) -> None:
    bot, alice, bob = Caller(wechat), wechat.user("alice"), wechat.user("bob")
    alice.says("hi")
    bot.typing(alice)
    clock.advance(2)
    bot.sends(bob, "you there?")
    records = [(record.kind, record.name, record.what, record.errcode) for record in wechat.timeline]
    assert records == [
        ("user", "alice", "hi", None),
        ("token", "", "token", 0),
        ("typing", "alice", "Typing", 0),
        ("send", "bob", "you there?", 45015),
    ]
    assert [record.at - clock.now() for record in wechat.timeline] == [-2, -2, -2, 0]
    assert all(record.took > 0 for record in wechat.timeline if record.kind != "user")
    assert [record.what for record in bob.timeline] == ["you there?"]
    assert bob.saw == []


def test_on_record_calls_back_with_each_record_until_it_is_stopped(wechat: FakeWeChat) -> None:
    lines: list[str] = []

    def listen(record: Record) -> None:
        lines.append(str(record))

    stop = wechat.on_record(listen)
    bot, alice = Caller(wechat), wechat.user("alice")
    alice.says("hi")
    wechat.faults.fail("typing", -1)
    bot.typing(alice)
    bot.typing(alice, "CancelTyping")
    stop()
    bot.sends(alice, "after stop")
    assert lines[0] == "alice: user 'hi'"
    assert lines[1] == "-: token 'token' -> 0"
    assert lines[2].startswith("alice: typing 'Typing' -> -1 system error rid: ")
    assert lines[2].endswith("(errcode -1)")
    assert lines[3] == "alice: typing 'CancelTyping' -> 0 ok (needless)"
    assert len(lines) == 4


# -- waiting


def test_waiting_returns_when_the_record_is_there(wechat: FakeWeChat) -> None:
    bot, alice = Caller(wechat), wechat.user("alice")
    alice.says("hi")
    bot.fetch()

    def work() -> None:
        bot.typing(alice)
        bot.sends(alice, "part 1")
        bot.sends(alice, "part 2")

    thread = threading.Thread(target=work)
    thread.start()
    alice.waits_for("part 2")
    thread.join()
    alice.waits_for(lambda saw: saw.startswith("part"), times=2)
    alice.waits_for_calls(3)
    alice.waits_until_typing(shown=False)
    wechat.waits_until(lambda: len(alice.saw) == 3, why="three things seen")


def test_a_timeout_while_waiting_raises_an_error_with_the_records(wechat: FakeWeChat) -> None:
    bot, alice = Caller(wechat), wechat.user("alice")
    alice.says("hi")
    bot.typing(alice, "Sleep")
    with pytest.raises(AssertionError) as failed:
        alice.waits_for("Hello", timeout=0.01)
    text = str(failed.value)
    assert "alice saw 'Hello' 1 time(s)" in text
    assert "0.000 s  alice: user 'hi'" in text
    assert "alice: typing 'Sleep' -> 45072" in text
    with pytest.raises(AssertionError, match="the moon"):
        wechat.waits_until(lambda: False, timeout=0.01, why="the moon is blue")
    with pytest.raises(AssertionError, match="2 calls for alice"):
        alice.waits_for_calls(2, timeout=0.01)


def test_waits_until_typing_returns_when_the_indicator_ends_by_itself(wechat: FakeWeChat, clock: ManualClock) -> None:
    bot, alice = Caller(wechat), wechat.user("alice")
    alice.says("hi")
    bot.typing(alice)
    alice.waits_until_typing()
    waiting = threading.Thread(target=alice.waits_until_typing, args=(False,))
    waiting.start()
    wechat.waits_until(lambda: clock.timers == 1)
    clock.advance(15)
    waiting.join(5)
    assert not waiting.is_alive()
    wechat.waits_until(lambda: clock.timers == 0)


# -- close


def test_close_ends_all_threads() -> None:
    before = set(threading.enumerate())
    with Receiver(lambda received: SILENCE) as bot, FakeWeChat(ManualClock(), callback_url=bot.url) as wechat:
        alice = wechat.user("alice")
        push = alice.says("hi")
        alice.says("and")
        bot.waits_for(1)
        wechat.close()
        wechat.close()
        assert push.done
        with pytest.raises(RuntimeError, match="closed"):
            alice.says("still there?")
    gc.collect()
    assert set(threading.enumerate()) == before


def test_a_port_in_use_raises_an_error_and_ends_all_threads(wechat: FakeWeChat) -> None:
    before = set(threading.enumerate())
    port = int(wechat.api_base.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        FakeWeChat(port=port)
    gc.collect()
    assert set(threading.enumerate()) == before


# -- load


async def answer_all(wechat: FakeWeChat, openids: list[str], token: str) -> None:
    base = f"{wechat.api_base}/cgi-bin/message/custom"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def answer(openid: str) -> None:
            text = {"touser": openid, "msgtype": "text", "text": {"content": "hello"}}
            typing = {"touser": openid, "command": "Typing"}
            for path, body in (("typing", typing), ("send", text)):
                async with session.post(f"{base}/{path}?access_token={token}", json=body) as response:
                    assert (await response.json(content_type=None))["errcode"] == 0

        await asyncio.gather(*(answer(openid) for openid in openids))


@contextmanager
def quick_bot() -> Iterator[str]:
    """Yield the URL of a receiver that can answer success to thousands of pushes."""

    async def answer(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(text="success")

    async def start() -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        return runner

    background = Background("quick-bot")
    runner = background.run(start())
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/wechat?own=query"
    finally:
        background.run(runner.cleanup())
        background.close()


def test_two_thousand_users_are_served_at_once() -> None:
    with quick_bot() as url, FakeWeChat(RealClock(), callback_url=url) as wechat:
        users = [wechat.user(f"user{n}") for n in range(2000)]
        pushes = [user.says("hi") for user in users]
        for push in pushes:
            assert push.wait(60).outcome == "success"
        asyncio.run(answer_all(wechat, [user.openid for user in users], Caller(wechat).fetch()))
        assert all(user.saw == ["Typing", "hello"] for user in users)
        assert wechat.violations == []
