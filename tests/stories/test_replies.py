"""Replies other than text: files, menus, links, the AI mark; and invalid replies of plugins."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stories.support import SORRY, Start, advance_until_seen, asks, replies
from wxbot import (
    Context,
    ImageMessage,
    ImageReply,
    Media,
    MediaNotFound,
    MenuReply,
    Plugin,
    Reply,
    TextMessage,
    TextReply,
    VoiceReply,
    mini_program_link,
)
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE

THREE_DAYS = 3 * 86_400


class Stage:
    """A bot that replies to every text with the result of ``answer()``."""

    def __init__(self, wechat: FakeWeChat) -> None:
        self.wechat = wechat
        self.alice: User = wechat.user("alice")
        self.answer: Callable[[], Any] = lambda: None
        self.plugin = Plugin("stage")
        self.asked = 0

        @self.plugin.menu("101")
        async def happy(ctx: Context) -> str:
            assert isinstance(ctx.message, TextMessage)
            return f"glad that you are {ctx.message.text} ({ctx.message.menu_id})"

        @self.plugin.menu()
        async def any_item(ctx: Context) -> str:
            return "some item"

        @self.plugin.image
        async def length(ctx: Context) -> Reply:
            assert isinstance(ctx.message, ImageMessage)
            got = await ctx.message.download()
            return TextReply(f"{got.content_type} {got.content == SAMPLE_IMAGE}")

        @self.plugin.text()
        async def give(ctx: Context) -> Any:
            return self.answer()

    def asks(self) -> None:
        self.asked += 1
        self.alice.says(f"question {self.asked}").wait()

    def gets(self, answer: Any, seen: str) -> None:
        """Send a text as Alice, and wait until she sees ``seen``."""
        self.answer = lambda: answer
        before = self.alice.saw.count(seen)
        self.asks()
        self.alice.waits_for(seen, times=before + 1)


@pytest.fixture
def stage(start: Start, wechat: FakeWeChat) -> Stage:
    stage = Stage(wechat)
    start(stage.plugin)
    return stage


official = pytest.mark.parametrize("wechat", [{"account_kind": "official"}], indirect=True)


def test_a_file_is_given_as_path_bytes_or_media(tmp_path: Path, stage: Stage) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(SAMPLE_IMAGE)
    stage.gets(ImageReply(path), "[image cat.jpg]")
    with path.open("rb") as file:
        stage.gets(ImageReply(io.BytesIO(file.read() + b"1")), "[image image.jpg]")
    stage.gets(ImageReply(Media(SAMPLE_IMAGE + b"2", filename="dog")), "[image dog.jpg]")
    stage.gets(ImageReply(stage.wechat.add_media("image", SAMPLE_IMAGE, "bird.jpg")), "[image bird.jpg]")


def test_the_same_content_is_uploaded_once_until_its_three_days_end(clock: ManualClock, stage: Stage) -> None:
    for _ in range(3):
        stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    assert len(stage.wechat.uploads) == 1
    clock.advance(THREE_DAYS - 1800)  # WeChat still has it, but not for long
    stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    assert len(stage.wechat.uploads) == 2


def test_all_processes_share_uploaded_files(start: Start, wechat: FakeWeChat, stage: Stage) -> None:
    stage = Stage(wechat)
    for _ in range(2):
        start(stage.plugin)
        stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    assert len(wechat.uploads) == 1


def test_a_file_that_wechat_has_deleted_is_uploaded_again(stage: Stage) -> None:
    stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    stage.wechat.forget_media(stage.wechat.uploads[0].media_id)
    stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    assert len(stage.wechat.uploads) == 2


def test_typing_shows_while_a_file_is_uploaded(stage: Stage) -> None:
    stage.gets(ImageReply(SAMPLE_IMAGE), "[image image.jpg]")
    upload = next(i for i, record in enumerate(stage.wechat.timeline) if record.kind == "upload")
    typing = next(i for i, record in enumerate(stage.wechat.timeline) if record.what == "Typing")
    cancel = next(i for i, record in enumerate(stage.wechat.timeline) if record.what == "CancelTyping")
    assert typing < upload < cancel


def test_a_failed_upload_is_tried_again(clock: ManualClock, stage: Stage) -> None:
    stage.wechat.faults.fail("upload", -1, times=2)
    stage.answer = lambda: ImageReply(SAMPLE_IMAGE)
    stage.asks()
    advance_until_seen(clock, stage.alice, "[image image.jpg]")


@official
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ImageReply(Path("/nowhere/cat.png")), "/nowhere/cat.png cannot be read: No such file"),
        (ImageReply(b"\x89PNG\r\n\x1a\n" + bytes(2 * 1024 * 1024)), "more than 2,097,152 bytes"),
        (ImageReply(b"BM nothing"), "unknown type; WeChat accepts JPG, PNG, GIF as image"),
        (VoiceReply(SAMPLE_IMAGE), "the voice is JPG; WeChat accepts AMR, MP3 as voice"),
        (ImageReply("cat.png"), "'cat.png' is not a WeChat media id; for a file, use pathlib.Path"),
        (ImageReply(b""), "the image is empty"),
        (MenuReply("empty", []), "MenuReply has no items"),
        (TextReply(42), "TextReply: text must be a str, not int"),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_reply_is_an_error_and_the_conversation_continues(
    stage: Stage, answer: Reply, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.gets(answer, SORRY)
    assert words in caplog.text
    stage.gets("fine", "fine")
    assert stage.wechat.uploads == []


@official
def test_a_click_on_a_menu_reaches_its_handler(stage: Stage) -> None:
    stage.gets(MenuReply("happy?", [("101", "happy"), ("102", "not so")], "thanks"), "[msgmenu happy?]")
    stage.alice.clicks_menu_item("happy").wait()
    stage.alice.waits_for("glad that you are happy (101)")
    stage.alice.clicks_menu_item("not so").wait()
    stage.alice.waits_for("some item")


def test_a_users_image_can_be_downloaded_and_sent_back(stage: Stage) -> None:
    stage.alice.sends_image(SAMPLE_IMAGE).wait()
    stage.alice.waits_for("image/jpeg True")


def test_a_plugin_can_catch_the_error_of_a_deleted_file(alice: User, start: Start, wechat: FakeWeChat) -> None:
    plugin = Plugin("late")

    @plugin.image
    async def download(ctx: Context) -> str:
        assert isinstance(ctx.message, ImageMessage)
        try:
            await ctx.message.download()
        except MediaNotFound as error:
            return f"gone: {error.errcode}"
        return "there"

    start(plugin)
    wechat.faults.fail("download", 40007)
    alice.sends_image(SAMPLE_IMAGE).wait()
    alice.waits_for("gone: 40007")


def test_a_link_is_sent_with_all_fields(stage: Stage) -> None:
    link = mini_program_link("open <it>", "wx1234", "pages/a?x=1&y=2")
    text = "字" * 660 + link
    stage.answer = lambda: text
    stage.asks()
    stage.alice.waits_for(lambda seen: link in seen)
    assert replies(stage.alice) == ["字" * 660, link]


# The AI mark


@pytest.mark.parametrize(
    ("marks_all", "plugin_says", "reply_says", "mark"),
    [
        (False, None, None, None),
        (True, None, None, {"is_ai_msg": 1}),
        (False, True, None, {"is_ai_msg": 1}),
        (True, False, None, {"is_ai_msg": 0}),
        (True, True, False, {"is_ai_msg": 0}),
        (False, None, True, {"is_ai_msg": 1}),
    ],
)
def test_the_ai_mark_is_set_by_reply_plugin_or_account(
    alice: User, start: Start, marks_all: bool, plugin_says: bool | None, reply_says: bool | None, mark: object
) -> None:
    """Check the order: the reply decides, else the plugin, else the account."""
    plugin = Plugin("ai", ai=plugin_says)

    @plugin.fallback
    async def answer(ctx: Context) -> Reply:
        return TextReply("thought", ai=reply_says)

    start(plugin, ai_mark=marks_all)
    asks(alice, "hi", "thought")
    assert [body.get("aimsgcontext") for body in alice.received] == [mark]
