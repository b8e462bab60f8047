"""The calls to WeChat against a local HTTP server, and the error that each failure raises."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from aiohttp import web

from tests.wechat.support import (
    OK,
    SECRET,
    TOKEN,
    FixedTokens,
    HandClock,
    Values,
    api,
    assert_silent,
    error_of,
    hang,
    hang_up,
    hang_up_midway,
    page,
    settle,
)
from wxbot.delivery.channel import Channel
from wxbot.errors import (
    AccountNotAllowed,
    AlreadyTyping,
    ApiError,
    DeliveryUnknown,
    ReplyQuotaExceeded,
    ReplyWindowClosed,
    RequestNotSent,
    SystemBusy,
    TokenRefused,
    TypingWindowClosed,
    WeChatError,
)
from wxbot.model.replies import TextReply
from wxbot.server.assembly import make_client
from wxbot.settings.environment import load_settings
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.http.transport import Transport, one_line

HELLO = TextReply('你好 😀 "]]>\n')


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@asynccontextmanager
async def client(base: str, tokens: FixedTokens | None = None, **options: Any) -> AsyncIterator[WeChatClient]:
    options = {"store": Values(), "clock": HandClock(), "address": ApiAddress(base), **options}
    made = WeChatClient(appid="wx1", transport=Transport(), tokens=tokens or FixedTokens(), **options)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def test_the_requests_of_send_and_typing() -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base) as bot:
            await bot.send("oUSER", HELLO)
            await bot.typing("oUSER", "Typing")
            await bot.typing("oUSER", "CancelTyping")
        sent, typing, cancel = wechat.asked
        assert (sent.method, sent.path) == ("POST", "/cgi-bin/message/custom/send")
        assert sent.query == {"access_token": TOKEN}
        assert sent.headers["Content-Type"].startswith("application/json")
        assert sent.json == {"touser": "oUSER", "msgtype": "text", "text": {"content": HELLO.text}}
        assert "你好 😀".encode() in sent.body
        assert (typing.path, typing.json) == (
            "/cgi-bin/message/custom/typing",
            {"touser": "oUSER", "command": "Typing"},
        )
        assert cancel.json == {"touser": "oUSER", "command": "CancelTyping"}

    run(scene())


@pytest.mark.parametrize(
    ("options", "path", "business"),
    [
        ({}, "/cgi-bin/message/custom/typing", None),
        ({"business_id": "7"}, "/cgi-bin/message/custom/business/typing", "7"),
        ({"typing_path": "/my/typing"}, "/my/typing", None),
        ({"typing_path": "/my/typing", "business_id": "7"}, "/my/typing", "7"),
    ],
)
def test_the_typing_path_is_configurable(options: dict[str, Any], path: str, business: str | None) -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base, **options) as bot:
            await bot.typing("oUSER", "Typing")
        [asked] = wechat.asked
        assert (asked.path, asked.json.get("businessid")) == (path, business)

    run(scene())


def test_a_lone_surrogate_is_sent_as_a_question_mark() -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base) as bot:
            await bot.send("oUSER", TextReply("a\ud83d"))
        assert wechat.asked[0].json["text"]["content"] == "a?"

    run(scene())


def test_one_connection_serves_many_calls() -> None:
    peers = set()

    async def note(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.json_response(OK)

    async def scene() -> None:
        async with api(note) as wechat, client(wechat.base) as bot:
            for _ in range(5):
                await bot.send("oUSER", HELLO)
        assert len(peers) == 1

    run(scene())


def test_a_connection_that_the_server_closed_while_idle_is_not_used_again() -> None:
    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}}")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errcode":0}')
        writer.close()
        await writer.wait_closed()

    async def scene() -> None:
        server = await asyncio.start_server(answer_and_close, "127.0.0.1", 0)
        async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as bot:
            for _ in range(5):
                await bot.send("oUSER", HELLO)
                await settle()

    run(scene())


def errcode(code: Any, errmsg: str = "no rid: 1") -> dict[str, Any]:
    return {"errcode": code, "errmsg": errmsg}


@pytest.mark.parametrize(
    ("answer", "kind", "retryable"),
    [
        (errcode(-1), SystemBusy, True),
        (errcode(45011), SystemBusy, True),
        (errcode("-1"), SystemBusy, True),
        ({"errCode": 45080, "errMsg": "shut"}, TypingWindowClosed, False),
        (errcode(45081), AlreadyTyping, False),
        (errcode(45015), ReplyWindowClosed, False),
        (errcode(45047), ReplyQuotaExceeded, False),
        (errcode(48001), AccountNotAllowed, False),
        (errcode(40003), ApiError, False),
        (errcode(None), DeliveryUnknown, False),
        (errcode("x"), DeliveryUnknown, False),
        (errcode(True), DeliveryUnknown, False),
        ({}, DeliveryUnknown, False),
        (page(200), DeliveryUnknown, False),
        (web.Response(body=b""), DeliveryUnknown, False),
        (web.Response(body=b"[0]"), DeliveryUnknown, False),
        (web.Response(body=b"\xff{"), DeliveryUnknown, False),
        (web.Response(body=b"[" * 100_000), DeliveryUnknown, False),
        (page(500), DeliveryUnknown, False),
        (page(502), DeliveryUnknown, False),
        (page(503), DeliveryUnknown, False),
        (web.json_response(errcode(-1), status=500), DeliveryUnknown, False),
        (page(404), ApiError, False),
        (page(403), ApiError, False),
        (page(408), SystemBusy, True),
        (page(429), SystemBusy, True),
        (web.json_response(errcode(45015), status=400), ReplyWindowClosed, False),
        (web.json_response(OK, status=404), ApiError, False),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), ApiError, False),
        (hang_up, DeliveryUnknown, False),
        (hang_up_midway, DeliveryUnknown, False),
        (hang, DeliveryUnknown, False),
    ],
    ids=range(32),
)
def test_each_bad_answer_raises_its_error(answer: Any, kind: type[WeChatError], retryable: bool) -> None:
    async def scene() -> None:
        async with api(answer) as wechat, client(wechat.base, timeout=0.3) as bot:
            error = await error_of(bot.send("oUSER", HELLO))
            assert (type(error), isinstance(error, WeChatError) and error.retryable) == (kind, retryable)
            assert_silent(error)
            assert error.__context__ is None
            assert len(wechat.asked) == 1

    run(scene())


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "http://wechat.invalid", "https://127.0.0.1:1"])
def test_without_a_connection_the_call_was_not_sent(base: str) -> None:
    async def scene() -> None:
        async with client(base) as bot:
            error = await error_of(bot.send("oUSER", HELLO))
            assert isinstance(error, RequestNotSent)
            assert_silent(error)

    run(scene())


def test_a_call_to_a_server_that_does_not_accept_was_not_sent() -> None:
    async def scene() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.create_connection(full.getsockname())]
            async with client(f"http://127.0.0.1:{full.getsockname()[1]}", timeout=0.2) as bot:
                errors = [await error_of(bot.send("oUSER", HELLO)) for _ in range(3)]
            for connection in waiting:
                connection.close()
        assert isinstance(errors[-1], RequestNotSent)

    run(scene())


def test_a_call_to_a_server_without_tls_was_not_sent() -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base.replace("http:", "https:")) as bot:
            error = await error_of(bot.send("oUSER", HELLO))
            assert isinstance(error, RequestNotSent)
            assert "TLS" in str(error)
            assert_silent(error)

    run(scene())


def test_typing_has_a_shorter_timeout_than_send() -> None:
    async def scene() -> None:
        async with api(hang) as wechat, client(wechat.base, timeout=60, typing_timeout=0.5) as bot:
            assert isinstance(await error_of(bot.typing("oUSER", "Typing")), DeliveryUnknown)

    run(scene())


def test_a_closed_client_sends_nothing() -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base) as bot:
            await bot.close()
            assert isinstance(await error_of(bot.send("oUSER", HELLO)), RequestNotSent)
            assert isinstance(await error_of(asyncio.to_thread(bot.wechatpy)), RequestNotSent)
            assert wechat.asked == []

    run(scene())


@pytest.mark.parametrize("code", [40001, 40014, 41001, 42001])
def test_a_refused_token_is_replaced_once(code: int) -> None:
    async def scene() -> None:
        tokens = FixedTokens(TOKEN, "n3w-t0k3n")
        async with api(errcode(code), OK) as wechat, client(wechat.base, tokens) as bot:
            await bot.send("oUSER", HELLO)
        first, second = wechat.asked
        assert [asked.query["access_token"] for asked in wechat.asked] == [TOKEN, "n3w-t0k3n"]
        assert first.body == second.body
        assert tokens.refused == [TOKEN]

    run(scene())


def test_a_second_refusal_is_an_error() -> None:
    async def scene() -> None:
        tokens = FixedTokens(TOKEN, "n3w-t0k3n")
        async with api(errcode(40001, f"bad n3w-t0k3n\nrid: 1 {'x' * 500}")) as wechat:
            async with client(wechat.base, tokens) as bot:
                error = await error_of(bot.send("oUSER", HELLO))
            assert isinstance(error, TokenRefused)
            assert len(wechat.asked) == 2
            assert error.errmsg.startswith("bad *** rid: 1 xxx")
            assert len(error.errmsg) == 200
            assert_silent(error)

    run(scene())


class GatedTokens(FixedTokens):
    """Tokens that are returned when the test opens the gate. With ``replacing`` only ``replace`` waits."""

    def __init__(self, *, replacing: bool) -> None:
        super().__init__(TOKEN, "n3w-t0k3n")
        self.gate = asyncio.Event()
        self.wanted = asyncio.Event()
        self._replacing = replacing

    async def get(self) -> str:
        if not self._replacing:
            await self._wait()
        return await super().get()

    async def replace(self, refused: str) -> str:
        await self._wait()
        return await super().replace(refused)

    async def _wait(self) -> None:
        self.wanted.set()
        await self.gate.wait()


@pytest.mark.parametrize("method", ["send", "typing"])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_permit_that_ends_while_a_token_is_fetched(replacing: bool, method: str) -> None:
    async def scene() -> None:
        tokens = GatedTokens(replacing=replacing)
        permitted = [True]
        async with api(errcode(40001) if replacing else OK, OK) as wechat, client(wechat.base, tokens) as bot:
            call = asyncio.ensure_future(
                bot.send("oUSER", HELLO, permit=lambda: permitted[0])
                if method == "send"
                else bot.typing("oUSER", "Typing", permit=lambda: permitted[0])
            )
            await tokens.wanted.wait()
            written = len(wechat.asked)
            assert written == (1 if replacing else 0)
            permitted[0] = False
            tokens.gate.set()
            error = await error_of(call)
            assert (type(error), error.retryable, error.__context__) == (RequestNotSent, True, None)
            assert "was not sent: the lease on this conversation expired" in str(error)
            assert_silent(error)
            assert len(wechat.asked) == written
            permitted[0] = True
            await bot.send("oUSER", HELLO, permit=lambda: permitted[0])
            assert len(wechat.asked) == written + 1

    run(scene())


def test_call_returns_the_answer() -> None:
    async def scene() -> None:
        async with api({"ip_list": ["127.0.0.1"]}) as wechat, client(wechat.base) as bot:
            assert await bot.call("/cgi-bin/any", {"名": 1}) == {"ip_list": ["127.0.0.1"]}
            assert wechat.asked[0].body == '{"名":1}'.encode()

    run(scene())


@pytest.mark.parametrize(
    ("code", "word"), [(40101, "WXBOT_BUSINESS_ID"), (40200, "WXBOT_TYPING_PATH"), (48001, "WXBOT_TYPING")]
)
def test_an_account_without_typing_is_logged_once(code: int, word: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with api(errcode(code)) as wechat, client(wechat.base) as bot:
            for _ in range(3):
                assert isinstance(await error_of(bot.typing("oUSER", "Typing")), AccountNotAllowed)

    with caplog.at_level(logging.WARNING):
        run(scene())
    [record] = caplog.records
    assert word in record.getMessage()
    assert str(code) in record.getMessage()
    assert TOKEN not in record.getMessage()


def test_a_client_made_from_settings_fetches_its_token() -> None:
    async def scene() -> None:
        async with api({"access_token": TOKEN, "expires_in": 7200}, OK, OK) as wechat:
            settings = load_settings(appid="wx1", secret=SECRET, token="tok", api_base=wechat.base)
            bot = make_client(settings.process, settings.accounts[""], Values(), HandClock())
            channel: Channel = bot
            await bot.open()
            await channel.send("oUSER", HELLO, send_id="1", permit=lambda: True)
            await channel.typing("oUSER", "Typing", permit=lambda: True)
            await bot.close()
        assert [asked.path.rsplit("/")[-1] for asked in wechat.asked] == ["stable_token", "send", "typing"]
        assert json.loads(wechat.asked[0].body)["secret"] == SECRET

    run(scene())


@pytest.mark.parametrize(
    "form", [str, quote, quote_plus, lambda text: quote(text, safe=""), lambda text: quote(text, safe="").lower()]
)
def test_a_secret_is_redacted_in_every_url_encoding(form: Callable[[str], str]) -> None:
    secret = "s+c/r e=t"
    line = one_line(f"no such {form(secret)} here", [secret, ""])
    assert line == "no such *** here"
