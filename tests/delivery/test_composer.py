"""Test that replies become messages for WeChat, or are refused with one sentence."""

from __future__ import annotations

import pytest

from wxbot.delivery.composer import Composer
from wxbot.errors import InvalidReply
from wxbot.model.accounts import ACCOUNTS, AccountKind
from wxbot.model.media import Media
from wxbot.model.replies import ImageReply, LinkReply, MiniProgramPageReply, NewsReply, Reply, TextReply, VideoReply
from wxbot.settings.schema import ReplySettings

GIF = b"GIF89a" + bytes(10)
MP4 = b"\x00\x00\x00\x18ftypmp42"
JPEG = b"\xff\xd8\xff" + bytes(10)


def composer_for(kind: AccountKind, **more: object) -> Composer:
    given = {"reply_types": frozenset(ACCOUNTS[kind].sends), **more}
    return Composer(ACCOUNTS[kind], ReplySettings(**given))  # type: ignore[arg-type]


def test_long_text_is_split_and_blank_text_is_dropped() -> None:
    composer = composer_for("miniprogram", text_bytes=100)
    assert len(composer.messages(TextReply("一二三四。" * 20))) == 4
    assert composer.messages(TextReply(" \n")) == []


def test_every_media_field_is_read() -> None:
    (ready,) = composer_for("official").messages(VideoReply(MP4, thumb=Media(JPEG, filename="t.jpg")))
    assert ready == VideoReply(Media(MP4, "video/mp4", "video.mp4"), Media(JPEG, "image/jpeg", "t.jpg"))


@pytest.mark.parametrize(
    ("kind", "reply", "words"),
    [
        (
            "miniprogram",
            NewsReply("t", "http://x.test"),
            "Mini Program) cannot send the type 'news' (NewsReply)",
        ),
        ("official", LinkReply("t", "http://x.test"), "Official Account (verified)) cannot send the type 'link'"),
        ("unverified", MiniProgramPageReply("t", "p", "M"), "it can send image, music, news, text, video, voice"),
        ("official", MiniProgramPageReply("t", "p", "M"), "must set the mini program's appid (appid=…)"),
        ("miniprogram", TextReply("t", agent="kf1@shop"), "only an Official Account can send in an agent's name"),
        ("unverified", ImageReply(GIF), "is GIF, which WeChat does not accept as a passive reply"),
        ("miniprogram", LinkReply("", "http://x.test"), "LinkReply: title is empty"),
        ("miniprogram", LinkReply(7, "http://x.test"), "title must be a str, not int"),  # type: ignore[arg-type]
    ],
)
def test_a_reply_that_cannot_be_sent_raises_an_error(kind: AccountKind, reply: Reply, words: str) -> None:
    with pytest.raises(InvalidReply) as caught:
        composer_for(kind).messages(reply)
    assert words in str(caught.value)


def test_the_reply_types_can_be_configured() -> None:
    composer = composer_for("miniprogram", reply_types={"text", "news"})
    assert composer.messages(NewsReply("t", "http://x.test"))


def test_every_account_can_send_text() -> None:
    assert all("text" in account.sends for account in ACCOUNTS.values())
