"""FakeWeChat checks every call to WeChat. It shares no code with the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.wechat.support import HandClock, Values, error_of
from wxbot.errors import AccountNotAllowed, MediaNotFound, RequestNotSent
from wxbot.model.accounts import ACCOUNTS
from wxbot.model.media import Media, read_media
from wxbot.model.replies import (
    ArticleReply,
    ImageReply,
    LinkReply,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
)
from wxbot.server.assembly import make_client
from wxbot.settings.environment import load_settings
from wxbot.testing import FakeCloud, FakeWeChat
from wxbot.testing.envelope import Format, from_text
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE
from wxbot.testing.passive import check_answer
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.push.response import passive_fields, to_text


def file(content: bytes, kind: Any) -> Media:
    media = read_media(content, kind)
    assert isinstance(media, Media)
    return media


PNG = file(b"\x89PNG\r\n\x1a\n" + b"\r\n--" * 9, "image")
THUMB = file(SAMPLE_IMAGE, "thumb")
REPLIES: list[Reply] = [
    TextReply("你好 😀", ai=True),
    ImageReply(PNG),
    VoiceReply(file(SAMPLE_VOICE, "voice")),
    VideoReply(file(SAMPLE_VIDEO, "video"), THUMB, "t"),
    VideoReply(file(SAMPLE_VIDEO, "video")),
    MusicReply("http://m", THUMB),
    NewsReply("t", "http://u"),
    LinkReply("t", "http://u"),
    MiniProgramPageReply("t", "pages/a?x=1", PNG, "wx2"),
    MenuReply("ok?", [("1", "yes"), ("2", "no")]),
    ArticleReply("A"),
]


@asynccontextmanager
async def client(wechat: FakeWeChat, cloud: FakeCloud | None = None, **more: Any) -> AsyncIterator[WeChatClient]:
    given = wechat.settings() if cloud is None else cloud.settings(wechat)
    overrides = {**{name.removeprefix("WXBOT_").lower(): value for name, value in given.items()}, **more}
    settings = load_settings(env_file=None, **overrides)
    made = make_client(settings.process, settings.accounts[""], Values(), HandClock())
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize("account", ["miniprogram", "official"])
def test_wechat_accepts_every_reply_type_of_the_account(account: Any) -> None:
    async def scene(wechat: FakeWeChat) -> None:
        async with client(wechat) as bot:
            for number, reply in enumerate(each for each in REPLIES if each.msg_type in ACCOUNTS[account].sends):
                user = wechat.user(f"user-{number}")
                wechat.act(user, "text", {"Content": "hi"})
                await bot.send(user.openid, reply, permit=lambda: True)
            contents = [media.content for media in wechat.uploads]
            assert PNG.content in contents
            assert len(set(contents)) <= len(contents) <= 4, "a file of one kind is uploaded once"

    with FakeWeChat(account_kind=account) as wechat:
        wechat.hold()
        asyncio.run(scene(wechat))
        assert {record.errcode for record in wechat.timeline if record.kind in ("send", "upload")} == {0}


def test_downloaded_files_are_unchanged() -> None:
    async def scene(wechat: FakeWeChat) -> None:
        picture = wechat.add_media("image", PNG.content, "a.png")
        clip = wechat.add_media("video", SAMPLE_VIDEO, "clip.mp4")
        async with client(wechat) as bot:
            assert await bot.download(picture) == Media(PNG.content, "image/png", "a.png")
            assert (await bot.download(clip)).content == SAMPLE_VIDEO
            wechat.forget_media(picture)
            assert type(await error_of(bot.download(picture))) is MediaNotFound

    with FakeWeChat(account_kind="official") as wechat:
        asyncio.run(scene(wechat))


def test_a_file_that_wechat_lost_is_uploaded_again() -> None:
    async def scene(wechat: FakeWeChat) -> None:
        alice = wechat.user("alice")
        wechat.act(alice, "text", {"Content": "hi"})
        async with client(wechat) as bot:
            await bot.prepare(ImageReply(PNG))
            wechat.forget_media(wechat.uploads[0].media_id)
            await bot.send(alice.openid, ImageReply(PNG))
        assert len(wechat.uploads) == 2
        assert len(alice.saw) == 1

    with FakeWeChat() as wechat:
        wechat.hold()
        asyncio.run(scene(wechat))


@pytest.mark.parametrize("form", ["xml", "json"])
def test_wechat_accepts_every_passive_reply_type(form: Format) -> None:
    push = {"ToUserName": "gh_a", "FromUserName": "oUSER", "CreateTime": 5, "MsgType": "text", "Content": "hi"}

    async def scene(wechat: FakeWeChat) -> None:
        async with client(wechat) as bot:
            for reply in (each for each in REPLIES if each.msg_type in ACCOUNTS["unverified"].sends):
                fields = passive_fields(push, await bot.uploaded(reply), 1_700_000_000.5)
                read = from_text(to_text(fields, form).encode(), form)
                check_answer(read, push, "unverified", wechat.platform.media)

    with FakeWeChat(account_kind="unverified") as wechat:
        asyncio.run(scene(wechat))


# --- in a container of Cloud Hosting ---


@pytest.mark.parametrize("spelling", ["errcode", "errCode"])
@pytest.mark.parametrize("token_mode", [False, True])
def test_all_calls_go_through_cloud_hosting(token_mode: bool, spelling: Any) -> None:
    async def scene(wechat: FakeWeChat, cloud: FakeCloud) -> None:
        cloud.spelling = spelling
        alice = wechat.user("alice")
        wechat.act(alice, "text", {"Content": "hi"})
        picture = wechat.add_media("image", PNG.content, "a.png")
        async with client(wechat, cloud) as bot:
            await bot.typing(alice.openid, "Typing")
            await bot.send(alice.openid, ImageReply(PNG))
            assert (await bot.download(picture)).content == PNG.content
            if token_mode:
                cloud.rotate_token(revoke=True)
            await bot.send(alice.openid, TextReply("hi"))
            await asyncio.to_thread(lambda: bot.wechatpy().message.send_text(alice.openid, "from a thread"))
            assert type(await error_of(bot.download("GONE"))) is MediaNotFound
            cloud.paths.remove("/cgi-bin/message/custom/send")
            assert type(await error_of(bot.send(alice.openid, TextReply("hi")))) is AccountNotAllowed

    with FakeWeChat() as wechat, FakeCloud(wechat, token_mode=token_mode) as cloud:
        wechat.hold()
        asyncio.run(scene(wechat, cloud))
        assert wechat.token_fetches == 0
        assert wechat.user("alice").saw[-2:] == ["hi", "from a thread"]


def test_a_call_before_the_interface_service_starts_is_not_sent() -> None:
    async def scene(wechat: FakeWeChat, cloud: FakeCloud) -> None:
        alice = wechat.user("alice")
        wechat.act(alice, "text", {"Content": "hi"})
        async with client(wechat, cloud) as bot:
            cloud.ready = False
            assert type(await error_of(bot.send(alice.openid, ImageReply(PNG)))) is RequestNotSent
            assert type(await error_of(bot.send(alice.openid, TextReply("hi")))) is RequestNotSent
            cloud.ready = True
            await bot.send(alice.openid, TextReply("hi"))

    with FakeWeChat() as wechat, FakeCloud(wechat) as cloud:
        wechat.hold()
        asyncio.run(scene(wechat, cloud))
        assert wechat.user("alice").saw[-1] == "hi"


@pytest.mark.parametrize("named", [False, True])
def test_an_environment_that_belongs_to_another_account(named: bool) -> None:
    async def scene(guest: FakeWeChat, cloud: FakeCloud) -> None:
        bob = guest.user("bob")
        guest.act(bob, "text", {"Content": "hi"})
        async with client(guest, cloud, cloud_from_appid=named) as bot:
            if named:
                await bot.send(bob.openid, TextReply("hi"))
            else:
                await error_of(bot.send(bob.openid, TextReply("hi")))

    with (
        FakeWeChat(appid="wx0000000000000001") as owner,
        FakeWeChat(appid="wx0000000000000002") as guest,
        FakeCloud(owner, guest) as cloud,
    ):
        guest.hold()
        asyncio.run(scene(guest, cloud))
        assert ("hi" in guest.user("bob").saw) is named
