"""Cloud calls: the credentials in the query, and the explanations of Cloud Hosting's errors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.wechat.support import (
    OK,
    SECRET,
    TOKEN,
    HandClock,
    Values,
    api,
    assert_silent,
    error_of,
    hang_up,
    page,
)
from wxbot.errors import (
    AccountNotAllowed,
    ApiError,
    DeliveryUnknown,
    ReplyWindowClosed,
    RequestNotSent,
    SystemBusy,
    TokenRefused,
    WeChatError,
)
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, TextReply
from wxbot.server.assembly import make_client
from wxbot.settings.environment import load_settings
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.api.cloud import CloudFileTokens, NoTokens

HELLO = TextReply("hi")
UPLOADED = {"type": "image", "media_id": "M1", "created_at": 1}


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@asynccontextmanager
async def client(mode: str, base: str, **changed: Any) -> AsyncIterator[WeChatClient]:
    settings = load_settings(
        env_file=None, **{"appid": "wx1", "cloud_call": mode, "api_base": base, "api_timeout": 2, **changed}
    )
    made = make_client(settings.process, settings.accounts[""], Values(broken=True), HandClock())
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def every_call(bot: WeChatClient) -> None:
    await bot.send("oUSER", HELLO)
    await bot.typing("oUSER", "Typing")
    await bot.send("oUSER", ImageReply(Media(b"x", "image/png", "a.png")))
    await bot.download("M1")
    await asyncio.to_thread(lambda: bot.wechatpy().message.send_text("oUSER", "hi"))


CALLS = [OK, OK, UPLOADED, OK, page(200, "GIF89a"), OK]


@pytest.mark.parametrize(("own", "more"), [({}, {}), ({"cloud_from_appid": True}, {"from_appid": "wx1"})])
def test_in_open_mode_calls_carry_no_token(own: dict[str, Any], more: dict[str, str]) -> None:
    async def scene() -> None:
        async with api(*CALLS) as wechat, client("open", wechat.base, secret=SECRET, **own) as bot:
            await every_call(bot)
        queries = [{k: v for k, v in asked.query.items() if k not in ("type", "media_id")} for asked in wechat.asked]
        assert queries == [more] * len(CALLS)
        assert SECRET not in str(wechat.asked)

    run(scene())


@pytest.mark.parametrize(("own", "more"), [({}, {}), ({"cloud_from_appid": True}, {"from_appid": "wx1"})])
def test_in_token_mode_calls_carry_the_token_of_the_file(
    own: dict[str, Any], more: dict[str, str], tmp_path: Path
) -> None:
    async def scene() -> None:
        async with (
            api(*CALLS) as wechat,
            client("token", wechat.base, cloud_token_file=token_file(tmp_path), **own) as bot,
        ):
            await every_call(bot)
        queries = [{k: v for k, v in asked.query.items() if k not in ("type", "media_id")} for asked in wechat.asked]
        assert queries == [{"cloudbase_access_token": TOKEN, **more}] * len(CALLS)

    run(scene())


@pytest.mark.parametrize("mode", ["open", "token"])
def test_the_default_address_has_no_tls(mode: str) -> None:
    settings = load_settings(env_file=None, appid="wx1", cloud_call=mode)
    assert (
        make_client(settings.process, settings.accounts[""], Values(), HandClock())._address.base
        == "http://api.weixin.qq.com"
    )


def token_file(folder: Path, content: str = TOKEN + "\n") -> Path:
    path = folder / "token"
    path.write_text(content)
    return path


# --- the token in a file ---


def test_the_file_is_read_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        path = token_file(tmp_path)
        tokens = CloudFileTokens(path)
        read = tokens._read
        reads: list[str] = []

        def counting() -> str:
            reads.append("read")
            return read()

        monkeypatch.setattr(tokens, "_read", counting)
        assert [await tokens.get() for _ in range(3)] == [TOKEN] * 3
        assert reads == ["read"]
        path.write_text("n3w-t0k3n")
        os.utime(path, ns=(1, 1))
        assert await tokens.get() == "n3w-t0k3n"
        assert len(reads) == 2

    run(scene())


def test_a_replaced_file_is_read_even_if_its_time_is_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        path = token_file(tmp_path, "a" * 9)
        tokens = CloudFileTokens(path)
        await tokens.get()
        new = tmp_path / "new"
        new.write_text("b" * 9)
        os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        new.replace(path)
        assert await tokens.get() == "b" * 9

    run(scene())


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.unlink(), r"cannot be read \(No such file or directory\).*WXBOT_CLOUD_TOKEN_FILE"),
        (lambda path: path.write_text(""), "has no token yet; the platform writes one every ten minutes"),
        (lambda path: path.write_text(" \n"), "has no token yet"),
        (lambda path: path.write_text("a\nb"), "has no token yet"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "has no token yet"),
        (lambda path: (path.unlink(), path.mkdir()), r"cannot be read \(Is a directory\)"),
    ],
)
def test_without_a_token_nothing_is_sent_and_a_retry_is_safe(
    spoil: Callable[[Path], Any], text: str, tmp_path: Path
) -> None:
    async def scene() -> None:
        path = token_file(tmp_path)
        async with api(OK) as wechat, client("token", wechat.base, cloud_token_file=path) as bot:
            await bot.send("oUSER", HELLO)
            spoil(path)
            error = await error_of(bot.send("oUSER", HELLO))
            assert isinstance(error, RequestNotSent)
            assert len(wechat.asked) == 1
            with pytest.raises(RequestNotSent, match=text):
                raise error
            assert_silent(error)
            if path.is_dir():
                path.rmdir()
            token_file(tmp_path, "n3w-t0k3n")
            await bot.send("oUSER", HELLO)
            assert wechat.asked[1].query == {"cloudbase_access_token": "n3w-t0k3n"}

    run(scene())


@pytest.mark.parametrize("code", [40001, 40014, 41001, 42001])
def test_the_file_is_read_again_once_after_a_refusal(code: int, tmp_path: Path) -> None:
    async def scene() -> None:
        path = token_file(tmp_path)

        async def refuse(_: Any) -> Any:
            path.write_text("n3w-t0k3n")
            return page(200, f'{{"errcode":{code},"errmsg":"{TOKEN}"}}')

        async with api(refuse, OK, refuse) as wechat, client("token", wechat.base, cloud_token_file=path) as bot:
            await bot.send("oUSER", HELLO)
            assert [asked.query["cloudbase_access_token"] for asked in wechat.asked] == [TOKEN, "n3w-t0k3n"]
            error = await error_of(bot.send("oUSER", HELLO))
            assert isinstance(error, RequestNotSent)
            assert "renews every ten minutes" in str(error)
            assert len(wechat.asked) == 3
            assert_silent(error)
            assert error.__context__ is None

    run(scene())


def test_in_open_mode_there_is_no_token() -> None:
    assert asyncio.run(NoTokens().get()) == asyncio.run(NoTokens().replace("")) == ""


# --- errors ---


def errcode(code: int, errmsg: str = "no rid: 1") -> dict[str, Any]:
    return {"errcode": code, "errmsg": errmsg}


BOTH = ("open", "token")


@pytest.mark.parametrize(
    ("modes", "answer", "kind", "text"),
    [
        (BOTH, errcode(85107), AccountNotAllowed, "the path is not on the list"),
        (BOTH, {"errCode": 85107, "errMsg": "no"}, AccountNotAllowed, "errcode 85107, no (the path is not on the list"),
        (BOTH, errcode(85105), AccountNotAllowed, "WXBOT_CLOUD_FROM_APPID"),
        (BOTH, errcode(48001), AccountNotAllowed, "WXBOT_CLOUD_FROM_APPID"),
        (BOTH, errcode(85112), ApiError, "connection inside Cloud Hosting failed"),
        (BOTH, errcode(85113), SystemBusy, "some minutes"),
        (BOTH, errcode(45015), ReplyWindowClosed, "errcode 45015, no rid: 1"),
        (("open",), errcode(41001, "access_token missing"), RequestNotSent, "build a new version of the service"),
        (("open",), errcode(40097, "access_token missing"), RequestNotSent, "wait until the new version has started"),
        (
            ("open",),
            errcode(42001, "access_token expired"),
            TokenRefused,
            "a proxy between the bot and WeChat adds one",
        ),
        (("open",), errcode(40001), TokenRefused, "WXBOT_CLOUD_CALL=open sends no token"),
        (BOTH, page(502), DeliveryUnknown, "check that /cgi-bin/message/custom/send is on the list"),
        (BOTH, page(500), DeliveryUnknown, "without readable JSON of WeChat"),
        (BOTH, hang_up, DeliveryUnknown, "broke"),
    ],
)
def test_errors_of_cloud_hosting_are_explained(
    modes: tuple[str, ...], answer: Any, kind: type[WeChatError], text: str, tmp_path: Path
) -> None:
    async def scene(mode: str) -> None:
        async with api(answer) as wechat, client(mode, wechat.base, cloud_token_file=token_file(tmp_path)) as bot:
            for call in (bot.send("oUSER", HELLO), bot.call("/cgi-bin/message/custom/send", {})):
                error = await error_of(call)
                assert type(error) is kind
                assert text in str(error)
                assert error.retryable is (kind in (RequestNotSent, SystemBusy))
                assert_silent(error)
                assert error.__context__ is None

    for mode in modes:
        run(scene(mode))


def test_outside_cloud_hosting_errors_have_no_explanation() -> None:
    async def scene() -> None:
        token = {"access_token": TOKEN, "expires_in": 7200}
        async with api(token, errcode(85107), page(502)) as wechat:
            settings = load_settings(env_file=None, appid="wx1", secret=SECRET, token="tok", api_base=wechat.base)
            bot = make_client(settings.process, settings.accounts[""], Values(), HandClock())
            await bot.open()
            refused, lost = await error_of(bot.send("oUSER", HELLO)), await error_of(bot.send("oUSER", HELLO))
            await bot.close()
        assert str(refused).endswith("errcode 85107, no rid: 1")
        assert "list" not in str(lost)

    run(scene())


def test_an_account_without_typing_gets_advice_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with api(errcode(85107)) as wechat, client("open", wechat.base) as bot:
            for _ in range(2):
                assert isinstance(await error_of(bot.typing("oUSER", "Typing")), AccountNotAllowed)

    run(scene())
    [record] = [each for each in caplog.records if each.name.startswith("wxbot")]
    assert "the path is not on the list" in record.getMessage()
    assert "WXBOT_TYPING=false" in record.getMessage()
