"""The access token: many callers and processes share one fetch, and no refusal causes a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.wechat.support import (
    SECRET,
    TOKEN,
    HandClock,
    Values,
    api,
    assert_silent,
    error_of,
    hang,
    page,
    settle,
)
from wxbot.errors import RequestNotSent, TokenUnavailable, WeChatError
from wxbot.store.records import SharedValue
from wxbot.wechat.api.token import FetchedToken, TokenProvider
from wxbot.wechat.api.token_call import TokenCall
from wxbot.wechat.http.transport import Transport


@dataclass
class WeChat:
    """A fetch that counts its calls. Each call returns the next of ``answers``, then a new token."""

    answers: list[FetchedToken | WeChatError] = field(default_factory=list)
    fetched: int = 0
    gate: asyncio.Event | None = None

    async def __call__(self) -> FetchedToken:
        self.fetched += 1
        number = self.fetched
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else FetchedToken(f"token-{number}", 7200)
        if isinstance(answer, WeChatError):
            raise answer
        return answer


@dataclass
class Processes:
    """The store, clock and WeChat that several processes of one bot share."""

    clock: HandClock = field(default_factory=HandClock)
    store: Values = field(default_factory=Values)
    wechat: WeChat = field(default_factory=WeChat)

    def process(self) -> TokenProvider:
        """Return the token provider of another process."""
        return TokenProvider("wx1", self.wechat, self.store, self.clock, fetch_seconds=10)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_fifty_callers_make_one_fetch() -> None:
    async def scene() -> None:
        bot = Processes()
        tokens = bot.process()
        assert set(await asyncio.gather(*(tokens.get() for _ in range(50)))) == {"token-1"}
        assert bot.wechat.fetched == 1

    run(scene())


def test_two_processes_make_one_fetch() -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat(gate=asyncio.Event()))
        one, two = asyncio.create_task(bot.process().get()), asyncio.create_task(bot.process().get())
        await settle()
        assert bot.wechat.gate is not None
        bot.wechat.gate.set()
        await settle()
        await bot.clock.advance(0.2)
        assert {await one, await two} == {"token-1"}
        assert bot.wechat.fetched == 1

    run(scene())


def test_fifty_refusals_in_two_processes_make_one_fetch() -> None:
    async def scene() -> None:
        bot = Processes()
        one, two = bot.process(), bot.process()
        assert (await one.get(), await two.get()) == ("token-1", "token-1")
        replaced = asyncio.gather(*(process.replace("token-1") for process in (one, two) for _ in range(25)))
        await settle()
        await bot.clock.advance(0.2)
        assert set(await replaced) == {"token-2"}
        assert bot.wechat.fetched == 2

    run(scene())


def test_a_token_replaced_by_another_process_is_used_without_a_fetch() -> None:
    async def scene() -> None:
        bot = Processes()
        one, two = bot.process(), bot.process()
        await one.get()
        await two.get()
        assert await one.replace("token-1") == "token-2"
        assert await two.replace("token-1") == "token-2"
        assert await two.replace("token-0") == "token-2"
        assert bot.wechat.fetched == 2

    run(scene())


def test_a_refused_token_is_replaced_while_other_callers_get_it() -> None:
    async def scene() -> None:
        bot = Processes(store=Values({("wx1", "token"): SharedValue("revoked", 2_000_000)}))
        tokens = bot.process()
        got, replaced = await asyncio.gather(tokens.get(), tokens.replace("revoked"))
        assert (got, replaced) == ("revoked", "token-1")

    run(scene())


@pytest.mark.parametrize(("expires_in", "lasts"), [(7200, 7140), (700, 640), (300, 270), (10, 9)])
def test_a_token_is_renewed_before_it_expires(expires_in: float, lasts: float) -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat([FetchedToken("first", expires_in)]))
        tokens, late = bot.process(), bot.process()
        assert await tokens.get() == "first"
        await bot.clock.advance(lasts - 0.1)
        assert (await tokens.get(), await late.get()) == ("first", "first")
        await bot.clock.advance(0.2)
        assert await tokens.get() == await late.get() == "token-2"

    run(scene())


def test_the_refused_token_returned_again_is_an_error() -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat([FetchedToken("same", 7200), FetchedToken("same", 7200)]))
        tokens = bot.process()
        await tokens.get()
        for _ in range(10):
            error = await error_of(tokens.replace("same"))
            assert isinstance(error, RequestNotSent)
            assert "same one again" in str(error)
        assert bot.wechat.fetched == 2

    run(scene())


def test_a_burst_of_callers_makes_one_failing_fetch() -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat([RequestNotSent("no connection"), RequestNotSent("no connection")]))
        tokens = bot.process()
        for _ in range(20):
            assert "no connection" in str(await error_of(tokens.get()))
        assert bot.wechat.fetched == 1
        await bot.clock.advance(3.1)
        await error_of(tokens.get())
        await bot.clock.advance(3.1)
        assert await tokens.get() == "token-3"

    run(scene())


def test_token_unavailable_is_retried_after_30_seconds() -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat([TokenUnavailable("the AppSecret is wrong")]))
        tokens = bot.process()
        for wait in (0.0, 29.0):
            await bot.clock.advance(wait)
            error = await error_of(tokens.get())
            assert isinstance(error, TokenUnavailable)
            assert not error.retryable
        await bot.clock.advance(2.0)
        assert await tokens.get() == "token-2"

    run(scene())


def test_a_cancelled_caller_does_not_cancel_the_fetch_of_others() -> None:
    async def scene() -> None:
        gate = asyncio.Event()
        bot = Processes(wechat=WeChat(gate=gate))
        tokens = bot.process()
        first, second = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
        await settle()
        first.cancel()
        await settle()
        gate.set()
        assert await second == "token-1"
        assert first.cancelled()
        assert bot.wechat.fetched == 1

    run(scene())


def test_the_wait_for_a_fetch_of_a_dead_process_is_limited() -> None:
    async def scene() -> None:
        bot = Processes()
        bot.store.claimed_until = bot.clock.now() + 5
        waiting = asyncio.create_task(bot.process().get())
        for _ in range(30):
            await settle()
            await bot.clock.advance(0.2)
        assert await waiting == "token-1"

        bot.store.values.clear()
        bot.store.claimed_until = bot.clock.now() + 1000
        waiting = asyncio.create_task(bot.process().get())
        for _ in range(60):
            await settle()
            await bot.clock.advance(0.2)
        assert "too long" in str(await error_of(waiting))

    run(scene())


def test_close_cancels_the_fetch_and_lets_other_processes_fetch() -> None:
    async def scene() -> None:
        bot = Processes(wechat=WeChat(gate=asyncio.Event()))
        tokens = bot.process()
        waiting = asyncio.create_task(tokens.get())
        await settle()
        await tokens.close()
        assert isinstance(await error_of(waiting), asyncio.CancelledError)
        assert bot.store.claimed_until == 0

    run(scene())


def test_a_store_outage_is_retryable_and_the_current_token_still_works() -> None:
    async def scene() -> None:
        bot = Processes()
        tokens = bot.process()
        await tokens.get()
        bot.store.broken = True
        assert await tokens.get() == "token-1"
        assert isinstance(await error_of(tokens.replace("token-1")), RequestNotSent)

    run(scene())


# --- the token calls ---


async def fetch(base: str, kind: Any = "stable", seconds: float = 5.0) -> FetchedToken:
    transport = Transport()
    await transport.open()
    try:
        return await TokenCall(transport, appid="wx1", secret=SECRET, api_base=base, kind=kind, seconds=seconds)()
    finally:
        await transport.close()


def test_stable_token_is_called_in_normal_mode() -> None:
    async def scene() -> None:
        async with api({"access_token": TOKEN, "expires_in": 300}) as wechat:
            assert await fetch(wechat.base) == (TOKEN, 300)
            [asked] = wechat.asked
            assert (asked.method, asked.path, asked.query) == ("POST", "/cgi-bin/stable_token", {})
            assert asked.json == {"grant_type": "client_credential", "appid": "wx1", "secret": SECRET}

    run(scene())


def test_the_classic_token_call() -> None:
    async def scene() -> None:
        async with api({"access_token": TOKEN, "expires_in": "7200"}) as wechat:
            assert await fetch(wechat.base, "classic") == (TOKEN, 7200)
            [asked] = wechat.asked
            assert (asked.method, asked.path) == ("GET", "/cgi-bin/token")
            assert asked.query == {"grant_type": "client_credential", "appid": "wx1", "secret": SECRET}

    run(scene())


@pytest.mark.parametrize(
    ("answer", "kind", "word"),
    [
        ({"errcode": 40125, "errmsg": f"invalid appsecret {SECRET}"}, TokenUnavailable, "AppSecret is wrong"),
        ({"errcode": 40013, "errmsg": "invalid appid"}, TokenUnavailable, "WXBOT_APPID"),
        (
            {"errcode": 40164, "errmsg": "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 1"},
            TokenUnavailable,
            "203.0.113.7: add it to the IP allowlist",
        ),
        ({"errcode": 40164, "errmsg": "?"}, TokenUnavailable, "allowlist"),
        ({"errcode": 40243, "errmsg": ""}, TokenUnavailable, "frozen"),
        ({"errcode": 41004, "errmsg": ""}, TokenUnavailable, "missing"),
        ({"errcode": 50004, "errmsg": ""}, TokenUnavailable, "does not allow this account"),
        ({"errcode": 50007, "errmsg": ""}, TokenUnavailable, "frozen the account"),
        ({"errcode": 89503, "errmsg": ""}, TokenUnavailable, "administrator"),
        ({"errcode": 89506, "errmsg": ""}, TokenUnavailable, "24 hours"),
        ({"errcode": 89507, "errmsg": ""}, TokenUnavailable, "one hour"),
        ({"errcode": 45009, "errmsg": ""}, TokenUnavailable, "quota"),
        ({"errcode": 99999, "errmsg": "new"}, TokenUnavailable, "99999"),
        ({"errcode": 45011, "errmsg": ""}, RequestNotSent, "busy"),
        ({"errcode": -1, "errmsg": "system error"}, RequestNotSent, "busy"),
        (page(500), RequestNotSent, "HTTP 500"),
        (page(200), RequestNotSent, "readable"),
        ({}, RequestNotSent, "access_token"),
        ({"access_token": TOKEN}, RequestNotSent, "expires_in"),
        ({"access_token": TOKEN, "expires_in": "soon"}, RequestNotSent, "expires_in"),
        ({"access_token": ["x"], "expires_in": 7200}, RequestNotSent, "access_token"),
    ],
    ids=range(21),
)
def test_the_error_of_a_failed_token_call_says_what_to_do(answer: Any, kind: type[WeChatError], word: str) -> None:
    async def scene() -> None:
        async with api(answer) as wechat:
            error = await error_of(fetch(wechat.base))
            assert type(error) is kind
            assert word in str(error)
            assert_silent(error)

    run(scene())


@pytest.mark.parametrize("kind", ["stable", "classic"])
def test_a_network_failure_is_retryable_and_hides_the_secret(kind: str) -> None:
    async def scene() -> None:
        async with api(hang) as wechat:
            for base, seconds in ((wechat.base, 0.05), ("http://127.0.0.1:1", 5.0)):
                error = await error_of(fetch(base, kind, seconds))
                assert isinstance(error, RequestNotSent)
                assert_silent(error)

    run(scene())
