"""Test the files of FakeWeChat: uploads, downloads and expiry."""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request

import aiohttp
import pytest

from tests.testing.bot import DOWNLOAD, UPLOAD, Caller
from wxbot.testing import FakeWeChat, ManualClock
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE, content_type_of
from wxbot.testing.multipart import file_in

ACCOUNT = {"account_kind": "official"}

PNG = b"\x89PNG\r\n\x1a\n" + b"a picture\r\n--of its own\r\n\r\n"
GIF = b"GIF89a..."
DAY = 24 * 3600.0


@pytest.fixture
def bot(wechat: FakeWeChat) -> Caller:
    return Caller(wechat)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (our own server)
        body: bytes = response.read()
        return body


# -- upload and download


def test_an_uploaded_file_can_be_downloaded(bot: Caller, wechat: FakeWeChat, clock: ManualClock) -> None:
    answer = bot.uploads("image", PNG, "小猫.png")
    assert set(answer) == {"type", "media_id", "created_at"}
    assert (answer["type"], answer["created_at"]) == ("image", int(clock.now()))
    content_type, disposition, content = bot.downloads(answer["media_id"])
    assert (content_type, content) == ("image/png", PNG)
    assert disposition.startswith('attachment; filename="')
    stored = wechat.media[answer["media_id"]]
    assert (stored.kind, stored.content, stored.filename) == ("image", PNG, "小猫.png")
    assert stored.content_type == "image/png"
    assert stored.expires_at == clock.now() + 3 * DAY
    assert wechat.uploads == [stored]
    assert repr(PNG)[2:-1] not in repr(stored)


def test_a_video_is_downloaded_from_its_own_url(bot: Caller, wechat: FakeWeChat) -> None:
    media_id = bot.uploads("video", SAMPLE_VIDEO, "clip.mp4")["media_id"]
    content_type, _, body = bot.downloads(media_id)
    assert content_type.startswith("application/json")
    url = json.loads(body)["video_url"]
    assert fetched(url) == SAMPLE_VIDEO
    wechat.forget_media(media_id)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetched(url)


def test_the_timeline_has_uploads_and_downloads(bot: Caller, wechat: FakeWeChat) -> None:
    media_id = bot.uploads("image", PNG)["media_id"]
    bot.downloads(media_id)
    bot.downloads("nothing")
    records = [(record.kind, record.what, record.errcode) for record in wechat.timeline if record.kind != "token"]
    assert records == [("upload", "[image cat.png]", 0), ("download", "[image cat.png]", 0), ("download", "get", 40007)]


def test_a_test_may_add_files(bot: Caller, wechat: FakeWeChat) -> None:
    media_id = wechat.add_media("image", b"anything", "x.bin", "image/webp")
    assert bot.downloads(media_id) == ("image/webp", 'attachment; filename="x.bin"', b"anything")
    nameless = wechat.add_media("thumb", SAMPLE_IMAGE, media_id="T")
    assert bot.downloads(nameless) == ("image/jpeg", 'attachment; filename="T.jpg"', SAMPLE_IMAGE)
    quoted = wechat.add_media("image", PNG, 'a"b\r\nX-Forged: 1')
    assert bot.downloads(quoted)[1] == 'attachment; filename="abX-Forged: 1"'
    assert wechat.uploads == []
    assert set(wechat.media) == {media_id, nameless, quoted}


# -- the checks of an upload


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("image", PNG, 0),
        ("image", GIF, 0),
        ("image", SAMPLE_IMAGE, 0),
        ("image", SAMPLE_VOICE, 40005),
        ("image", b"RIFF....WEBPVP8 ", 40005),
        ("image", b"", 41005),
        ("voice", SAMPLE_VOICE, 0),
        ("voice", b"ID3\x03...", 0),
        ("voice", b"\xff\xfb\x90...", 0),
        ("voice", SAMPLE_IMAGE, 40005),
        ("video", SAMPLE_VIDEO, 0),
        ("video", SAMPLE_IMAGE, 40005),
        ("thumb", SAMPLE_IMAGE, 0),
        ("thumb", PNG, 40005),
        ("sticker", PNG, 40004),
        ("", PNG, 40004),
    ],
)
def test_the_type_of_a_file_is_detected_from_its_content(bot: Caller, kind: str, content: bytes, errcode: int) -> None:
    answer = bot.uploads(kind, content)
    assert answer.get("errcode", 0) == errcode
    assert ("media_id" in answer) is (errcode == 0)


@pytest.mark.parametrize(
    ("kind", "head", "most"),
    [
        ("image", PNG, 2 << 20),
        ("voice", SAMPLE_VOICE, 2 << 20),
        ("video", SAMPLE_VIDEO, 10 << 20),
        ("thumb", SAMPLE_IMAGE, 64 << 10),
    ],
)
def test_the_size_of_a_file_is_limited_by_kind(bot: Caller, kind: str, head: bytes, most: int) -> None:
    assert bot.uploads(kind, head.ljust(most, b"."))["type"] == kind
    assert bot.uploads(kind, head.ljust(most + 1, b"."))["errcode"] == 40009


@pytest.mark.parametrize(
    "disposition", ['name="file"; filename="x.png"', 'name="media"', "name=\"media\"; filename*=utf-8''x.png"]
)
def test_an_upload_without_a_plain_filename_is_rejected(bot: Caller, disposition: str) -> None:
    assert bot.posts_form("image", f"form-data; {disposition}", PNG)["errcode"] == 41005


@pytest.mark.parametrize("content_type", ["", "image/png", "multipart/form-data", "multipart/mixed; boundary=B"])
def test_a_body_that_is_not_a_form_has_no_file(content_type: str) -> None:
    body = b'--B\r\nContent-Disposition: form-data; name="media"; filename="x"\r\n\r\nx\r\n--B--\r\n'
    assert file_in("multipart/form-data; boundary=B", body, "media") == ("x", b"x")
    assert file_in(content_type, body, "media") is None


def test_the_form_of_aiohttp_is_read(bot: Caller, wechat: FakeWeChat) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("media", PNG, filename="小猫.png", content_type="image/png")
    query = {"access_token": bot.fetch(), "type": "image"}

    async def upload() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(wechat.api_base + UPLOAD, params=query, data=form)

    asyncio.run(upload())
    assert [(one.filename, one.content) for one in wechat.uploads] == [("小猫.png", PNG)]


def test_an_upload_needs_a_token_and_post(bot: Caller) -> None:
    assert bot.post(UPLOAD, b"x", type="image")["errcode"] == 41001
    assert bot.get(UPLOAD, type="image")["errcode"] == 43002
    assert bot.get(DOWNLOAD, media_id="x")["errcode"] == 41001


def test_mini_programs_may_upload_images_only() -> None:
    with FakeWeChat(ManualClock()) as wechat:
        bot = Caller(wechat)
        assert bot.uploads("image", PNG)["type"] == "image"
        assert bot.uploads("voice", SAMPLE_VOICE)["errcode"] == 40004
        wechat.mini_program_uploads = {"image", "voice"}
        assert bot.uploads("voice", SAMPLE_VOICE)["type"] == "voice"


def test_the_content_type_of_bytes_is_detected() -> None:
    assert content_type_of(b"\xff\xf9\x00") == "application/octet-stream"
    assert content_type_of(b"\xff") == content_type_of(b"") == "application/octet-stream"


# -- expiry


def test_a_file_expires_after_three_days(bot: Caller, wechat: FakeWeChat, clock: ManualClock) -> None:
    media_id = bot.uploads("image", PNG)["media_id"]
    clock.advance(3 * DAY - 1)
    bot.fetch()
    assert bot.downloads(media_id)[2] == PNG
    clock.advance(1)
    content_type, _, body = bot.downloads(media_id)
    assert content_type.startswith("application/json")
    assert json.loads(body)["errcode"] == 40007
    assert wechat.media == {}
    assert [one.media_id for one in wechat.uploads] == [media_id]


def test_a_deleted_file_is_unknown(bot: Caller, wechat: FakeWeChat) -> None:
    media_id = bot.uploads("image", PNG)["media_id"]
    wechat.forget_media(media_id)
    assert json.loads(bot.downloads(media_id)[2])["errcode"] == 40007
    with pytest.raises(KeyError):
        wechat.forget_media(media_id)


# -- faults


def test_faults_are_injected_into_uploads_and_downloads(bot: Caller, wechat: FakeWeChat) -> None:
    wechat.faults.fail("upload", -1)
    assert bot.uploads("image", PNG)["errcode"] == -1
    media_id = bot.uploads("image", PNG)["media_id"]
    wechat.faults.http_error("download", 502)
    with pytest.raises(AssertionError):
        bot.downloads(media_id)
    wechat.faults.drop("download")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        bot.downloads(media_id)
    wechat.faults.slow("download", 0.0, times=1)
    assert bot.downloads(media_id)[2] == PNG
    wechat.faults.drop("upload", acted=True)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        bot.uploads("image", GIF)
    assert [one.content for one in wechat.uploads] == [PNG, GIF]
    faults = [record.fault for record in wechat.timeline if record.fault]
    assert [fault for fault in faults if not fault.startswith("slow")] == [
        *("errcode -1", "http 502", "drop", "drop after processing")
    ]
