"""Uploads and downloads: one upload per file, checked downloads, and no token in an error."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.wechat.support import (
    OK,
    TOKEN,
    Api,
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
    ApiError,
    InvalidReply,
    MediaNotFound,
    PluginError,
    ReplyQuotaExceeded,
    RequestNotSent,
    SystemBusy,
    TokenRefused,
    WeChatError,
)
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, MiniProgramPageReply, MusicReply, Reply, TextReply, VideoReply, VoiceReply
from wxbot.store.records import SharedValue
from wxbot.testing.multipart import file_in
from wxbot.wechat.api import media_calls
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.api.media_calls import MediaCalls
from wxbot.wechat.http.transport import Transport

PNG = Media(b"\x89PNG\r\n\x1a\n" + b"\r\n--x\r\n" * 9, "image/png", "cat.png")
JPEG = Media(b"\xff\xd8\xff\xe0" + b"\0" * 9, "image/jpeg", "thumb.jpg")
VOICE = Media(b"#!AMR\n\0\0", "audio/amr", "voice.amr")
VIDEO = Media(b"\0\0\0\x18ftypisom" + b"\0" * 3_000_000, "video/mp4", "clip.mp4")
CAT = ImageReply(PNG)
SEND = "/cgi-bin/message/custom/send"
UPLOAD = "/cgi-bin/media/upload"
DAY = 86_400.0


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def upload_answer(media_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "image", "media_id": media_id, "created_at": 1, **more}


def errcode(code: int, errmsg: str = "no rid: 1") -> dict[str, Any]:
    return {"errcode": code, "errmsg": errmsg}


@asynccontextmanager
async def client(base: str, tokens: FixedTokens | None = None, **options: Any) -> AsyncIterator[WeChatClient]:
    options = {"store": Values(), "clock": HandClock(), "address": ApiAddress(base), **options}
    made = WeChatClient(appid="wx1", transport=Transport(), tokens=tokens or FixedTokens(), **options)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def calls(base: str, tokens: FixedTokens | None = None, seconds: float = 5.0) -> AsyncIterator[MediaCalls]:
    made = MediaCalls(tokens or FixedTokens(), ApiAddress(base), seconds=seconds)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def paths(wechat: Api) -> list[str]:
    return [asked.path.rpartition("/")[2] for asked in wechat.asked]


def assert_no_url(error: BaseException) -> None:
    assert_silent(error)
    assert "http://" not in str(error)
    assert "127.0.0.1" not in str(error)
    assert (error.__context__, error.__cause__) == (None, None)


# --- uploads ---


@pytest.mark.parametrize(
    ("kind", "media"), [("image", PNG), ("voice", VOICE), ("video", VIDEO), ("thumb", JPEG)], ids=str
)
def test_an_upload_is_a_form_with_one_file(kind: Any, media: Media) -> None:
    async def scene() -> None:
        async with api(upload_answer("M1")) as wechat, calls(wechat.base) as files:
            assert await files.upload(kind, media) == "M1"
        [asked] = wechat.asked
        assert (asked.method, asked.path) == ("POST", UPLOAD)
        assert asked.query == {"access_token": TOKEN, "type": kind}
        assert asked.headers["Content-Length"] == str(len(asked.body))
        assert file_in(asked.headers["Content-Type"], asked.body, "media") == (media.filename, media.content)
        assert f"Content-Type: {media.content_type}\r\n".encode() in asked.body

    run(scene())


@pytest.mark.parametrize(
    ("name", "sent"),
    [("图 1.png", "__1.png"), ('a"b\r\nX: y.png', "a_b__X__y.png"), ("", "image"), ("x" * 200 + ".png", None)],
)
def test_an_upload_has_an_ascii_file_name(name: str, sent: str | None) -> None:
    async def scene() -> None:
        async with api(upload_answer("M1")) as wechat, calls(wechat.base) as files:
            await files.upload("image", Media(b"x", "image/png", name))
        [asked] = wechat.asked
        assert b"filename*=" not in asked.body
        found = file_in(asked.headers["Content-Type"], asked.body, "media")
        assert found == (sent or "x" * 96 + ".png", b"x")

    run(scene())


def test_thumb_media_id_is_read_as_the_media_id() -> None:
    async def scene() -> None:
        async with api({"type": "thumb", "thumb_media_id": "T1"}) as wechat, calls(wechat.base) as files:
            assert await files.upload("thumb", JPEG) == "T1"

    run(scene())


@pytest.mark.parametrize("what", ["upload", "download"])
@pytest.mark.parametrize("code", [40001, 40014, 42001])
def test_a_refused_token_is_replaced_once(what: str, code: int) -> None:
    async def scene() -> None:
        tokens = FixedTokens(TOKEN, "n3w-t0k3n")
        good = upload_answer("M1") if what == "upload" else page(200, "GIF89a")
        async with api(errcode(code), good, errcode(code)) as wechat, calls(wechat.base, tokens) as files:
            for _ in range(2):
                work = files.upload("image", PNG) if what == "upload" else files.download("M1")
                if len(wechat.asked) < 2:
                    await work
                else:
                    error = await error_of(work)
                    assert isinstance(error, TokenRefused)
                    assert_no_url(error)
        assert [asked.query["access_token"] for asked in wechat.asked] == [TOKEN, "n3w-t0k3n"] * 2
        assert wechat.asked[0].body.count(PNG.content) == wechat.asked[1].body.count(PNG.content)

    run(scene())


@pytest.mark.parametrize(
    ("answer", "kind", "retryable"),
    [
        (errcode(-1), SystemBusy, True),
        (errcode(45011), SystemBusy, True),
        (errcode(40004), ApiError, False),
        (errcode(40009), ApiError, False),
        (page(404), ApiError, False),
        (page(429), SystemBusy, True),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/?access_token=" + TOKEN}), ApiError, False),
        (page(500), RequestNotSent, True),
        (page(502), RequestNotSent, True),
        (page(200), RequestNotSent, True),
        ({}, RequestNotSent, True),
        (upload_answer(""), RequestNotSent, True),
        (upload_answer("a b"), RequestNotSent, True),
        ({"media_id": 7}, RequestNotSent, True),
        (hang_up, RequestNotSent, True),
        (hang_up_midway, RequestNotSent, True),
        (hang, RequestNotSent, True),
        (web.Response(body=b" " * 100_000), RequestNotSent, True),
    ],
    ids=range(18),
)
def test_each_bad_answer_to_an_upload_raises_its_error(answer: Any, kind: type[WeChatError], retryable: bool) -> None:
    async def scene() -> None:
        async with api(answer) as wechat, calls(wechat.base, seconds=1) as files:
            error = await error_of(files.upload("image", PNG))
            assert type(error) is kind
            assert error.retryable is retryable
            assert_no_url(error)

    run(scene())


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "http://wechat.invalid", "https://127.0.0.1:1", "http://[x"])
def test_without_a_connection_the_request_was_not_sent(base: str) -> None:
    async def scene() -> None:
        async with calls(base, seconds=2) as files:
            for work in (files.upload("image", PNG), files.download("M1")):
                error = await error_of(work)
                assert type(error) is RequestNotSent
                assert_no_url(error)

    if base != "http://[x":
        run(scene())


def test_a_closed_client_sends_nothing() -> None:
    async def scene() -> None:
        async with api(upload_answer("M1")) as wechat, client(wechat.base) as bot:
            await bot.close()
            for work in (bot.uploaded(CAT), bot.download("M1"), bot.send("oUSER", CAT)):
                assert type(await error_of(work)) is RequestNotSent
            assert wechat.asked == []

    run(scene())


# --- downloads ---


def file(body: bytes, content_type: str = "application/octet-stream", disposition: str = "", **more: Any) -> Any:
    headers = {"Content-Disposition": disposition} if disposition else {}
    return web.Response(body=body, content_type=content_type, headers=headers, **more)


def test_a_download_sends_the_media_id() -> None:
    async def scene() -> None:
        answer = file(PNG.content, "image/png", 'attachment; filename="M1.png"')
        async with api(answer) as wechat, client(wechat.base) as bot:
            channel: Channel = bot
            assert await channel.download("M-1_x&y") == Media(PNG.content, "image/png", "M1.png")
        [asked] = wechat.asked
        assert (asked.method, asked.path) == ("GET", "/cgi-bin/media/get")
        assert asked.query == {"access_token": TOKEN, "media_id": "M-1_x&y"}

    run(scene())


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", ""),
        ("attachment", ""),
        ("attachment; filename=M1.jpg", "M1.jpg"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="..\\\\..\\\\a.jpg"', "a.jpg"),
        ('attachment; filename=".."', ""),
        ('attachment; filename="a<b>:c|?*.jpg"', "abc.jpg"),
        ("attachment; filename*=UTF-8''%E5%9B%BE%0A.jpg", "图.jpg"),
        ("attachment; filename*=nonsense''%E5.jpg", "5.jpg"),
        ("; ;;=", ""),
        ("attachment; filename=.bashrc", "bashrc"),
        ('attachment; filename="CON"', "_CON"),
        ('attachment; filename="nul.jpg"', "_nul.jpg"),
        ('attachment; filename="com1 .tar.gz"', "_com1 .tar.gz"),
        ('attachment; filename="console.jpg"', "console.jpg"),
        ('attachment; filename="' + "x" * 20 + "." * 3 + "y" * 97 + '"', "y" * 97),
        ('attachment; filename="' + "x" * 300 + '.jpg"', "x" * 96 + ".jpg"),
    ],
)
def test_a_file_name_has_no_dangerous_characters(disposition: str, name: str) -> None:
    async def scene() -> None:
        async with api(file(JPEG.content, "image/jpeg", disposition)) as wechat, calls(wechat.base) as files:
            found = (await files.download("M1")).filename
            assert found == name or "nonsense" in disposition
            assert not set(found) & set('/\\<>:"|?*\n')

    run(scene())


@pytest.mark.parametrize(
    ("answer", "content_type"),
    [
        (file(PNG.content, "text/plain"), "image/png"),
        (file(VOICE.content, "voice/amr"), "audio/amr"),
        (file(b"speex", "audio/speex"), "audio/speex"),
        (file(b"{speex", "audio/speex"), "audio/speex"),
        (file(b"[1]", "audio/speex"), "audio/speex"),
        (file(b"?", "application/x-anything"), "application/x-anything"),
        (web.Response(body=b"?", headers={"Content-Type": "a nonsense"}), "application/octet-stream"),
    ],
    ids=range(7),
)
def test_the_content_type_is_detected_from_the_content(answer: Any, content_type: str) -> None:
    async def scene() -> None:
        async with api(answer) as wechat, calls(wechat.base) as files:
            assert (await files.download("M1")).content_type == content_type

    run(scene())


@pytest.mark.parametrize(
    ("answer", "kind", "retryable"),
    [
        (errcode(40007), MediaNotFound, False),
        (file(b' {"errcode":40007,"errmsg":"x"}', "image/jpeg"), MediaNotFound, False),
        ({"errCode": 40007, "errMsg": "x"}, MediaNotFound, False),
        (errcode(-1), SystemBusy, True),
        (errcode(48001), ApiError, False),
        (OK, RequestNotSent, True),
        ({"video_url": ""}, RequestNotSent, True),
        ({"video_url": 7}, RequestNotSent, True),
        ({"video_url": "file:///etc/passwd"}, WeChatError, False),
        ({"video_url": "http://user:pass@127.0.0.1/"}, WeChatError, False),
        ({"video_url": "http://[x"}, WeChatError, False),
        ({"video_url": "//127.0.0.1/x"}, WeChatError, False),
        ({"video_url": "http://127.0.0.1:1/x"}, RequestNotSent, True),
        (page(200), RequestNotSent, True),
        (file(b"[]", "application/json"), RequestNotSent, True),
        (file(b""), RequestNotSent, True),
        (page(500), RequestNotSent, True),
        (page(404), ApiError, False),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/?access_token=" + TOKEN}), ApiError, False),
        (hang_up, RequestNotSent, True),
        (hang_up_midway, RequestNotSent, True),
        (hang, RequestNotSent, True),
    ],
    ids=range(22),
)
def test_an_answer_that_is_not_a_file_raises_its_error(answer: Any, kind: type[WeChatError], retryable: bool) -> None:
    async def scene() -> None:
        async with api(answer) as wechat, calls(wechat.base, seconds=1) as files:
            error = await error_of(files.download("M1"))
            assert isinstance(error, kind)
            assert error.retryable is retryable
            assert_no_url(error)

    run(scene())


@asynccontextmanager
async def with_video(*answers: Any) -> AsyncIterator[tuple[Api, Api, MediaCalls]]:
    """Yield WeChat, the host of its videos, and the client."""
    async with (
        api(*answers) as videos,
        api({"video_url": videos.base + "/v.mp4?sign=1"}) as wechat,
        calls(wechat.base, seconds=1) as files,
    ):
        yield wechat, videos, files


def test_a_video_is_downloaded_without_the_token() -> None:
    async def scene() -> None:
        async with with_video(file(VIDEO.content, "video/mp4")) as (_, videos, files):
            assert await files.download("M1") == Media(VIDEO.content, "video/mp4", "")
            [asked] = videos.asked
            assert (asked.path, asked.query) == ("/v.mp4", {"sign": "1"})
            assert TOKEN not in str(asked)
            assert "Cookie" not in asked.headers
            assert "Authorization" not in asked.headers

    run(scene())


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), ApiError),
        (page(404), ApiError),
        (page(403), ApiError),
        (page(500), RequestNotSent),
        (page(200), RequestNotSent),
        ({"errcode": 1}, RequestNotSent),
        ({"video_url": "http://127.0.0.1:1/"}, RequestNotSent),
        (hang_up, RequestNotSent),
        (hang, RequestNotSent),
    ],
    ids=range(9),
)
def test_a_failed_download_of_a_video_raises_its_error(answer: Any, kind: type[WeChatError]) -> None:
    async def scene() -> None:
        async with with_video(answer) as (wechat, videos, files):
            error = await error_of(files.download("M1"))
            assert type(error) is kind
            assert_no_url(error)
            assert len(wechat.asked) == 1
            assert {asked.path for asked in videos.asked} == {"/v.mp4"}

    run(scene())


@pytest.mark.parametrize("of_video", [False, True])
def test_a_download_beyond_the_maximum_size_fails(of_video: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_calls, "MAX_DOWNLOAD_BYTES", 200_000)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"\0" * 65_536)

    async def scene() -> None:
        async with with_video(endless) as (_, videos, files), calls(videos.base) as direct:
            error = await error_of((files if of_video else direct).download("M1"))
            assert type(error) is WeChatError
            assert "more than 200,000 bytes" in str(error)
            assert_no_url(error)

    run(scene())


def test_the_maximum_size_is_above_wechats_limits() -> None:
    assert media_calls.MAX_DOWNLOAD_BYTES == 20 * 1024 * 1024


# --- replies with files ---


def test_a_file_is_uploaded_and_its_media_id_is_sent() -> None:
    async def scene() -> None:
        async with api(upload_answer("M1"), OK) as wechat, client(wechat.base) as bot:
            await bot.send("oUSER", ImageReply(PNG, ai=True))
        assert paths(wechat) == ["upload", "send"]
        assert wechat.asked[1].json == {
            "touser": "oUSER",
            "msgtype": "image",
            "image": {"media_id": "M1"},
            "aimsgcontext": {"is_ai_msg": 1},
        }

    run(scene())


@pytest.mark.parametrize(
    ("reply", "uploaded", "kinds"),
    [
        (VoiceReply(VOICE), VoiceReply("M1"), ["voice"]),
        (VideoReply(VIDEO, JPEG, "t"), VideoReply("M1", "M2", "t"), ["video", "thumb"]),
        (VideoReply(VIDEO), VideoReply("M1"), ["video"]),
        (VideoReply("V", JPEG), VideoReply("V", "M1"), ["thumb"]),
        (MusicReply("http://m", JPEG), MusicReply("http://m", "M1"), ["thumb"]),
        (MiniProgramPageReply("t", "p", JPEG), MiniProgramPageReply("t", "p", "M1"), ["image"]),
        (ImageReply("M"), ImageReply("M"), []),
        (TextReply("hi"), TextReply("hi"), []),
    ],
    ids=range(8),
)
def test_every_file_of_a_reply_is_replaced_with_a_media_id(reply: Reply, uploaded: Reply, kinds: list[str]) -> None:
    async def scene() -> None:
        async with api(upload_answer("M1"), upload_answer("M2")) as wechat, client(wechat.base) as bot:
            assert await bot.uploaded(reply) == uploaded
        assert [asked.query["type"] for asked in wechat.asked] == kinds

    run(scene())


def test_the_same_file_is_uploaded_once_by_all_processes() -> None:
    async def scene() -> None:
        store, clock = Values(), HandClock()
        async with api(upload_answer("M1"), OK, OK, upload_answer("M2"), upload_answer("M3")) as wechat:
            async with client(wechat.base, store=store, clock=clock) as bot:
                await bot.send("oALICE", CAT)
            async with client(wechat.base, store=store, clock=clock) as bot:
                await bot.send("oBOB", ImageReply(Media(PNG.content, "image/png", "another-name.png")))
                assert paths(wechat) == ["upload", "send", "send"]
                assert await bot.uploaded(MiniProgramPageReply("t", "p", PNG)) == MiniProgramPageReply("t", "p", "M1")
                assert await bot.uploaded(VideoReply("V", PNG)) == VideoReply("V", "M2"), "a thumb is another thing"
                assert await bot.uploaded(ImageReply(JPEG)) == ImageReply("M3")
        digest = hashlib.sha256(b"image\0" + PNG.content).hexdigest()
        assert store.values["wx1", f"media:{digest}"] == SharedValue("M1", clock.now() + 3 * DAY - 3600)

    run(scene())


def test_a_media_id_expires_one_hour_before_the_file() -> None:
    async def scene() -> None:
        clock = HandClock()
        async with api(upload_answer("M1"), upload_answer("M2")) as wechat, client(wechat.base, clock=clock) as bot:
            assert await bot.uploaded(CAT) == ImageReply("M1")
            clock.time += 3 * DAY - 3601
            assert await bot.uploaded(CAT) == ImageReply("M1")
            clock.time += 1
            assert await bot.uploaded(CAT) == ImageReply("M2")
            assert await bot.uploaded(CAT) == ImageReply("M2")

    run(scene())


class Gate:
    """An answer that is sent when the test opens the gate."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.opened = asyncio.Event()
        self.asked = asyncio.Event()
        self._answer = answer

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.set()
        await self.opened.wait()
        return web.json_response(self._answer)


def test_many_replies_with_the_same_file_share_one_upload() -> None:
    async def scene() -> None:
        gate = Gate(upload_answer("M1"))
        async with api(gate, upload_answer("M2")) as wechat, client(wechat.base) as bot:
            callers = [asyncio.ensure_future(bot.uploaded(CAT)) for _ in range(20)]
            other = asyncio.ensure_future(bot.uploaded(ImageReply(JPEG)))
            await gate.asked.wait()
            await other
            callers[0].cancel()  # the caller that began the upload; the others still wait
            await settle()
            gate.opened.set()
            assert {await each for each in callers[1:]} == {ImageReply("M1")}
            assert paths(wechat) == ["upload", "upload"]

    run(scene())


def test_a_failed_upload_fails_for_all_callers_and_is_tried_again() -> None:
    async def scene() -> None:
        async with api(errcode(-1), upload_answer("M1")) as wechat, client(wechat.base) as bot:
            errors = await asyncio.gather(*(bot.uploaded(CAT) for _ in range(3)), return_exceptions=True)
            assert {type(error) for error in errors} == {SystemBusy}
            assert await bot.uploaded(CAT) == ImageReply("M1")

    run(scene())


def test_close_cancels_an_upload() -> None:
    async def scene() -> None:
        gate = Gate(upload_answer("M1"))
        async with api(gate) as wechat, client(wechat.base) as bot:
            waiting = asyncio.ensure_future(bot.uploaded(CAT))
            await gate.asked.wait()
            await bot.close()
            assert type(await error_of(waiting)) is RequestNotSent

    run(scene())


def test_a_store_outage_only_causes_more_uploads(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        store = Values(broken=True)
        async with (
            api(upload_answer("M1"), OK, upload_answer("M2"), OK) as wechat,
            client(wechat.base, store=store) as bot,
        ):
            await bot.send("oUSER", CAT)
            await bot.send("oUSER", CAT)
            assert paths(wechat) == ["upload", "send"] * 2

    with caplog.at_level(logging.WARNING):
        run(scene())
    assert "will be uploaded again" in caplog.text


def test_a_file_that_wechat_lost_is_uploaded_again_and_sent_once_more() -> None:
    async def scene() -> None:
        store = Values()
        script = [upload_answer("M1"), errcode(40007), upload_answer("M2"), OK, OK]
        async with api(*script) as wechat, client(wechat.base, store=store) as bot:
            await bot.send("oUSER", CAT)
            assert paths(wechat) == ["upload", "send", "upload", "send"]
            assert [asked.json["image"]["media_id"] for asked in wechat.asked[1::2]] == ["M1", "M2"]
            await bot.send("oUSER", CAT)
            assert wechat.asked[-1].json["image"]["media_id"] == "M2"
            assert len(wechat.asked) == 5

    run(scene())


def test_a_file_that_is_lost_twice_is_an_error() -> None:
    async def scene() -> None:
        script = [upload_answer("M1"), errcode(40007), upload_answer("M2"), errcode(40007)]
        async with api(*script) as wechat, client(wechat.base) as bot:
            error = await error_of(bot.send("oUSER", CAT))
            assert type(error) is MediaNotFound
            assert_no_url(error)
            assert len(wechat.asked) == 4

    run(scene())


def test_a_media_id_of_the_plugin_is_not_uploaded() -> None:
    async def scene() -> None:
        async with api(errcode(40007)) as wechat, client(wechat.base) as bot:
            assert type(await error_of(bot.send("oUSER", ImageReply("GONE")))) is MediaNotFound
            assert paths(wechat) == ["send"]

    run(scene())


def test_other_errors_are_raised_without_a_retry() -> None:
    async def scene() -> None:
        async with api(upload_answer("M1"), errcode(45047)) as wechat, client(wechat.base) as bot:
            assert type(await error_of(bot.send("oUSER", CAT))) is ReplyQuotaExceeded
            assert paths(wechat) == ["upload", "send"]

    run(scene())


def test_a_new_media_id_of_another_process_is_used() -> None:
    async def scene() -> None:
        store = Values()
        async with api(upload_answer("M1"), errcode(40007), OK) as wechat, client(wechat.base, store=store) as bot:
            await bot.uploaded(CAT)
            [key] = store.values
            refuse = wechat.script[1]

            async def lose(request: web.Request) -> web.StreamResponse:
                store.values[key] = SharedValue("THEIRS", HandClock().now() + DAY)
                return web.json_response(refuse)

            wechat.script[1] = lose
            await bot.send("oUSER", CAT)
            assert wechat.asked[-1].json["image"]["media_id"] == "THEIRS"
            assert paths(wechat) == ["upload", "send", "send"]

    run(scene())


@pytest.mark.parametrize("permits", [[False], [True, False], [True, True, False], [True, True, True, False]])
def test_without_a_permit_nothing_is_uploaded_and_sent(permits: list[bool]) -> None:
    async def scene() -> None:
        left = list(permits)
        permit: Callable[[], bool] = lambda: left.pop(0)  # noqa: E731
        script = [upload_answer("M1"), errcode(40007), upload_answer("M2"), OK]
        async with api(*script) as wechat, client(wechat.base) as bot:
            error = await error_of(bot.send("oUSER", CAT, permit=permit))
            assert type(error) is RequestNotSent
            assert "lease on this conversation expired" in str(error)
            assert_no_url(error)
            assert len(wechat.asked) == len(permits) - 1
            assert left == []

    run(scene())


def test_a_failed_upload_in_advance_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with api(errcode(40009), upload_answer("M1"), OK) as wechat, client(wechat.base) as bot:
            await bot.prepare(CAT)
            await bot.prepare(CAT)
            await bot.prepare(TextReply("hi"))
            await bot.prepare(ImageReply("M"))
            await bot.send("oUSER", CAT)
            assert paths(wechat) == ["upload", "upload", "send"]

    with caplog.at_level(logging.INFO):
        run(scene())
    assert "not uploaded in advance" in caplog.text
    assert TOKEN not in caplog.text


def test_a_file_that_was_not_read_is_rejected() -> None:
    async def scene() -> None:
        async with api(OK) as wechat, client(wechat.base) as bot:
            assert type(await error_of(bot.send("oUSER", ImageReply(b"raw")))) is InvalidReply
            await bot.prepare(ImageReply(b"raw"))
            assert wechat.asked == []

    run(scene())


@pytest.mark.parametrize("label", ["image/jpeg", "application/octet-stream", "voice/amr"])
@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><p>gateway",
        b"\r\n <HTML>gateway",
        b"\xef\xbb\xbf<html>",
        b"<?xml version='1.0'?>",
        b'{"errcode":40',
        b' {"errcode" : 40007, "errmsg": "inv',
        b'\xef\xbb\xbf{"errcode":4',
    ],
)
def test_a_page_or_an_incomplete_answer_is_never_a_file(body: bytes, label: str) -> None:
    async def scene() -> None:
        async with api(file(body, label)) as wechat, calls(wechat.base) as files:
            assert isinstance(await error_of(files.download("M1")), RequestNotSent)

    run(scene())


def test_an_error_after_a_byte_order_mark_is_read() -> None:
    async def scene() -> None:
        answer = file(b'\xef\xbb\xbf{"errcode":40007,"errmsg":"invalid media_id"}', "image/jpeg")
        async with api(answer) as wechat, calls(wechat.base) as files:
            assert isinstance(await error_of(files.download("M1")), MediaNotFound)

    run(scene())


@pytest.mark.parametrize("odd", [None, 7, b"M1"])
def test_a_media_id_must_be_a_str(odd: Any) -> None:
    async def scene() -> None:
        async with api(OK) as wechat, calls(wechat.base) as files:
            error = await error_of(files.download(odd))
        assert isinstance(error, PluginError)
        assert type(odd).__name__ in str(error)
        assert wechat.asked == []

    run(scene())


@pytest.mark.parametrize("odd", ["image/png\r\nX-Evil: 1", "image", "image/png\n"])
def test_a_content_type_cannot_add_a_header(odd: str) -> None:
    async def scene() -> None:
        async with api(upload_answer("M1")) as wechat, calls(wechat.base) as files:
            error = await error_of(files.upload("image", Media(b"x", odd, "a.png")))
        assert isinstance(error, InvalidReply)
        assert "is not a content type" in str(error)
        assert wechat.asked == []

    run(scene())
