"""wechatpy's client with wxbot's token: limited retries, timeouts, and no secrets in errors."""

from __future__ import annotations

import asyncio
import io
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, ModuleType
from typing import Any

import pytest
import requests
from aiohttp import web
from wechatpy.exceptions import WeChatClientException

from tests.wechat.support import OK, TOKEN, FixedTokens, api, assert_silent, error_of, hang, hang_up, page
from wxbot.errors import PluginError, RequestNotSent
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.cloud import NoTokens
from wxbot.wechat.api.token import Tokens
from wxbot.wechat.api.wechatpy_bridge import ThreadTokens, wechatpy_client


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


async def use(
    base: str | ApiAddress, work: Callable[[Any], Any], tokens: Tokens | None = None, timeout: float = 5.0
) -> Any:
    """Run ``work`` with a client in a thread, as a plain handler does."""
    address = base if isinstance(base, ApiAddress) else ApiAddress(base)
    shared = ThreadTokens(tokens or FixedTokens(), asyncio.get_running_loop(), 5.0)
    client = wechatpy_client("wx1", shared, address, timeout)
    try:
        return await asyncio.to_thread(work, client)
    finally:
        client._http.close()


def send_text(client: Any) -> Any:
    return client.message.send_text("oUSER", "你好")


def errcode(code: int) -> dict[str, Any]:
    return {"errcode": code, "errmsg": "no rid: 1"}


def test_calls_use_the_configured_address_and_token() -> None:
    async def scene() -> None:
        async with api(OK, {"kf_list": []}, {"errcode": 0}) as wechat:
            await use(wechat.base, send_text)
            await use(wechat.base, lambda client: client.customservice.get_accounts())
        assert [asked.path for asked in wechat.asked] == ["/cgi-bin/message/custom/send", "/customservice/getkflist"]
        assert {asked.query["access_token"] for asked in wechat.asked} == {TOKEN}
        assert "你好".encode() in wechat.asked[0].body

    run(scene())


@pytest.mark.parametrize("code", [40001, 40014, 42001])
def test_a_refused_token_is_replaced_once(code: int) -> None:
    async def scene() -> None:
        tokens = FixedTokens(TOKEN, "n3w-t0k3n")
        async with api(errcode(code), OK) as wechat:
            await use(wechat.base, send_text, tokens)
        assert [asked.query["access_token"] for asked in wechat.asked] == [TOKEN, "n3w-t0k3n"]
        assert wechat.asked[0].body == wechat.asked[1].body

    run(scene())


def test_a_second_refusal_is_an_error() -> None:
    async def scene() -> None:
        async with api(errcode(40001)) as wechat:
            error = await error_of(use(wechat.base, send_text, FixedTokens(TOKEN, "n3w-t0k3n")))
        assert isinstance(error, WeChatClientException)
        assert error.errcode == 40001
        assert len(wechat.asked) == 2
        assert_silent(error)
        assert TOKEN not in f"{error.request.url} {error.response.url}"

    run(scene())


def test_an_upload_is_not_repeated_after_a_refused_token() -> None:
    async def scene() -> None:
        tokens = FixedTokens(TOKEN, "n3w-t0k3n")
        async with api(errcode(42001), OK) as wechat:
            upload = lambda client: client.media.upload("image", ("a.png", io.BytesIO(b"picture"), "image/png"))  # noqa: E731
            error = await error_of(use(wechat.base, upload, tokens))
        assert isinstance(error, WeChatClientException)
        assert len(wechat.asked) == 1
        assert tokens.refused == [TOKEN]  # so that the plugin's next call works

    run(scene())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (page(500), WeChatClientException),
        (page(404), WeChatClientException),
        (page(200), requests.RequestException),
        (hang_up, requests.ConnectionError),
        (hang, requests.Timeout),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/?access_token=" + TOKEN}), OSError),
    ],
    ids=range(6),
)
def test_errors_keep_their_type_and_contain_no_secret(answer: Any, kind: type[Exception]) -> None:
    async def scene() -> None:
        async with api(answer) as wechat:
            error = await error_of(use(wechat.base, send_text, timeout=0.3))
        assert isinstance(error, kind)
        assert_silent(error)

    run(scene())


def test_a_failed_connection_is_a_connection_error() -> None:
    async def scene() -> None:
        error = await error_of(use("http://127.0.0.1:1", send_text))
        assert isinstance(error, requests.ConnectionError)
        assert_silent(error)

    run(scene())


def test_wechatpy_never_fetches_a_token() -> None:
    async def scene() -> None:
        async with api(OK) as wechat:
            assert isinstance(await error_of(use(wechat.base, lambda client: client.fetch_access_token())), PluginError)
            assert await use(wechat.base, lambda client: client.access_token) == TOKEN
            assert wechat.asked == []

    run(scene())


def test_a_call_on_the_event_loop_raises_plugin_error() -> None:
    async def scene() -> None:
        tokens = ThreadTokens(FixedTokens(), asyncio.get_running_loop(), 5.0)
        client = wechatpy_client("wx1", tokens, ApiAddress("http://127.0.0.1:1"), 5.0)
        with pytest.raises(PluginError, match=r"asyncio\.to_thread"):
            send_text(client)
        client._http.close()

    run(scene())


def test_no_token_after_the_loop_has_closed() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RequestNotSent, match="stopping"):
        ThreadTokens(FixedTokens(), loop, 5.0).get()


def test_the_log_of_urllib3_has_no_token(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with api(OK) as wechat:
            await use(wechat.base, send_text)

    with caplog.at_level(logging.DEBUG):
        run(scene())
    assert "/cgi-bin/message/custom/send" in caplog.text
    assert TOKEN not in caplog.text


def test_many_threads_share_one_client() -> None:
    def work(client: Any) -> None:
        with ThreadPoolExecutor(8) as pool:
            assert all(answer == OK for answer in pool.map(lambda _: send_text(client), range(40)))

    async def scene() -> None:
        async with api(OK) as wechat:
            await use(wechat.base, work)
        assert len(wechat.asked) == 40

    run(scene())


def test_tickets_are_stored_until_they_expire() -> None:
    async def scene() -> None:
        async with api({"errcode": 0, "ticket": "T", "expires_in": 7200}) as wechat:
            twice = lambda client: [client.jsapi.get_jsapi_ticket() for _ in range(2)]  # noqa: E731
            assert await use(wechat.base, twice) == ["T", "T"]
        assert len(wechat.asked) == 1

    run(scene())


@pytest.mark.parametrize(
    ("address", "tokens", "query"),
    [
        (ApiAddress(token_parameter=""), NoTokens(), {}),
        (ApiAddress(token_parameter="", from_appid="wx1"), NoTokens(), {"from_appid": "wx1"}),
        (
            ApiAddress(token_parameter="cloudbase_access_token", from_appid="wx1"),
            FixedTokens(),
            {"cloudbase_access_token": TOKEN, "from_appid": "wx1"},
        ),
    ],
)
def test_cloud_calls_have_no_parameter_access_token(address: ApiAddress, tokens: Tokens, query: dict[str, str]) -> None:
    async def scene() -> None:
        async with api(OK, errcode(42001), OK) as wechat:
            here = ApiAddress(wechat.base, address.token_parameter, address.from_appid)
            await use(here, send_text, tokens)
            await use(here, send_text, tokens)
        assert [asked.query for asked in wechat.asked] == [query] * 3

    run(scene())


def texts_in(start: Any) -> list[str]:
    """Return every str and bytes reachable from ``start`` through attributes, items and ``geturl``."""
    seen: dict[int, Any] = {}
    found, left = [], [start]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | ModuleType | FunctionType):
            continue
        seen[id(each)] = each
        if isinstance(each, str | bytes):
            found.append(each if isinstance(each, str) else each.decode("latin-1"))
        elif isinstance(each, dict):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset | deque):
            left += each
        left += getattr(each, "__dict__", {}).values()
        left += [getattr(each, name, None) for name in getattr(type(each), "__slots__", ())]
        if callable(getattr(each, "geturl", None)) and hasattr(each, "url"):
            left.append(each.geturl())
    return found


@pytest.mark.parametrize(
    "answer",
    [
        page(500),
        web.Response(status=302, headers={"Location": "http://127.0.0.1:1/?access_token=" + TOKEN}),
        web.Response(status=401),
    ],
    ids=range(3),
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_contains_no_token(answer: Any, stream: bool) -> None:
    async def scene() -> None:
        async with api(answer) as wechat:
            ask = lambda client: client._http.get(  # noqa: E731
                wechat.base + "/x", params={"access_token": TOKEN}, allow_redirects=False, stream=stream
            )
            response = await use(wechat.base, ask)
            assert response.raw.geturl().endswith("/x")
            assert not [text for text in texts_in(response) if TOKEN in text]
            response.close()

    run(scene())


def test_an_error_contains_no_token() -> None:
    async def scene() -> None:
        async with api(page(500)) as wechat:
            error = await error_of(use(wechat.base, send_text))
        assert not [text for text in texts_in([error.response, error.request]) if TOKEN in text]

    run(scene())
