"""Test messages of every kind sent through FakeWeChat's API: which are rejected, and what the user sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.testing.bot import Caller
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE
from wxbot.testing.rules import AccountKind

SEND = "/cgi-bin/message/custom/send"
MENU = {"head_content": "Happy?", "list": [{"id": "101", "content": "Yes"}, {"id": "102", "content": "No"}]}
LINK = {"title": "LeaseUpdate", "description": "", "url": "http://x", "thumb_url": ""}
PAGE = {"title": "Shop", "pagepath": "pages/a", "thumb_media_id": "SAMPLE_IMAGE"}
MUSIC = {"title": "Song", "musicurl": "http://x", "hqmusicurl": "http://x", "thumb_media_id": "THUMB"}


@contextmanager
def account(kind: AccountKind) -> Iterator[tuple[Caller, User]]:
    """Yield a bot that may send to Alice, with a file of each kind in WeChat."""
    with FakeWeChat(ManualClock(), account_kind=kind) as wechat:
        wechat.add_media("image", SAMPLE_IMAGE, "cat.jpg", media_id="SAMPLE_IMAGE")
        wechat.add_media("thumb", SAMPLE_IMAGE, media_id="THUMB")
        wechat.add_media("voice", SAMPLE_VOICE, "purr.amr", media_id="VOICE")
        wechat.add_media("video", SAMPLE_VIDEO, "cat.mp4", media_id="VIDEO")
        alice = wechat.user("alice")
        alice.says("hi")
        yield Caller(wechat), alice


def without(content: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key != name}


# -- what a user sees of accepted messages


def test_users_of_a_mini_program_see_each_kind_of_message() -> None:
    with account("miniprogram") as (bot, alice):
        assert bot.sends_kind(alice, "image", {"media_id": "SAMPLE_IMAGE"}) == 0
        assert bot.sends_kind(alice, "link", LINK) == 0
        assert bot.sends_kind(alice, "miniprogrampage", PAGE) == 0
        assert alice.saw == ["[image cat.jpg]", "[link LeaseUpdate]", "[miniprogrampage Shop]"]


def test_users_of_an_official_account_see_each_kind_of_message() -> None:
    with account("official") as (bot, alice):
        assert bot.sends_kind(alice, "voice", {"media_id": "VOICE"}) == 0
        assert bot.sends_kind(alice, "video", {"media_id": "VIDEO", "thumb_media_id": "THUMB", "title": "Cat"}) == 0
        assert bot.sends_kind(alice, "music", MUSIC) == 0
        assert bot.sends_kind(alice, "news", {"articles": [{"title": "Cats", "url": "http://x"}]}) == 0
        assert bot.sends_kind(alice, "msgmenu", MENU) == 0
        alice.says("more")
        assert bot.sends_kind(alice, "miniprogrampage", {**PAGE, "appid": "wx2"}) == 0
        assert bot.sends_kind(alice, "mpnewsarticle", {"article_id": "A1"}) == 0
        assert bot.sends_kind(alice, "mpnews", {"media_id": "permanent"}) == 0
        assert bot.sends_kind(alice, "wxcard", {"card_id": "C1"}) == 0
        assert alice.saw == [
            "[voice purr.amr]",
            "[video cat.mp4]",
            "[music Song]",
            "[news Cats]",
            "[msgmenu Happy?]",
            "[miniprogrampage Shop]",
            "[mpnewsarticle A1]",
            "[mpnews permanent]",
            "[wxcard C1]",
        ]


def test_received_has_the_bodies_of_accepted_messages() -> None:
    with account("official") as (bot, alice):
        bot.sends(alice, "hello")
        bot.sends_kind(alice, "msgmenu", {"list": []})
        bot.typing(alice)
        bot.sends_kind(alice, "msgmenu", MENU)
        assert alice.received == [
            {"touser": alice.openid, "msgtype": "text", "text": {"content": "hello"}},
            {"touser": alice.openid, "msgtype": "msgmenu", "msgmenu": MENU},
        ]


def test_a_bot_may_send_back_the_image_of_a_user() -> None:
    with account("miniprogram") as (bot, alice):
        alice.sends_image()
        alice.sends_image(media_id="M")
        assert bot.sends_kind(alice, "image", {"media_id": "MEDIA"}) == 0
        assert bot.sends_kind(alice, "image", {"media_id": "M"}) == 0
        assert alice.saw == ["[image MEDIA]", "[image M]"]


# -- rejected messages


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("image", {"media_id": "nothing"}, 40007),
        ("image", {"media_id": "VOICE"}, 40007),
        ("image", {"media_id": ["SAMPLE_IMAGE"]}, 40007),
        ("link", without(LINK, "title"), 47001),
        ("link", without(LINK, "description"), 47001),
        ("link", without(LINK, "url"), 47001),
        ("link", without(LINK, "thumb_url"), 47001),
        ("link", {**LINK, "url": ""}, 47001),
        ("miniprogrampage", without(PAGE, "title"), 47001),
        ("miniprogrampage", without(PAGE, "pagepath"), 47001),
        ("miniprogrampage", without(PAGE, "thumb_media_id"), 40007),
        ("miniprogrampage", {**PAGE, "thumb_media_id": "VIDEO"}, 40007),
        ("voice", {"media_id": "VOICE"}, 45162),
        ("video", {"media_id": "VIDEO"}, 45162),
        ("music", MUSIC, 45162),
        ("msgmenu", MENU, 45162),
        ("mpnewsarticle", {"article_id": "A"}, 45162),
    ],
)
def test_invalid_messages_of_a_mini_program_are_rejected(kind: str, content: Any, errcode: int) -> None:
    with account("miniprogram") as (bot, alice):
        assert bot.sends_kind(alice, kind, content) == errcode
        assert (alice.saw, alice.received) == ([], [])


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("link", LINK, 45162),
        ("voice", {"media_id": "SAMPLE_IMAGE"}, 40007),
        ("voice", {}, 40007),
        ("video", {"media_id": "SAMPLE_IMAGE"}, 40007),
        ("video", {"media_id": "VIDEO", "thumb_media_id": "nothing"}, 40007),
        ("video", {"media_id": "VIDEO", "title": 1}, 47001),
        ("music", without(MUSIC, "musicurl"), 47001),
        ("music", without(MUSIC, "thumb_media_id"), 40007),
        ("music", {**MUSIC, "thumb_media_id": "VOICE"}, 40007),
        ("music", {**MUSIC, "title": None}, 47001),
        ("news", {}, 47001),
        ("news", {"articles": []}, 47001),
        ("news", {"articles": ["title"]}, 47001),
        ("news", {"articles": [{"url": "http://x"}]}, 47001),
        ("news", {"articles": [{"title": "t", "url": 1}]}, 47001),
        ("news", {"articles": [{"title": "1"}, {"title": "2"}]}, 45008),
        ("msgmenu", {**MENU, "list": []}, 47001),
        ("msgmenu", {**MENU, "list": {}}, 47001),
        ("msgmenu", {**MENU, "list": ["Yes"]}, 47001),
        ("msgmenu", {**MENU, "list": [{"content": "Yes"}]}, 47001),
        ("msgmenu", {**MENU, "list": [{"id": "", "content": "Yes"}]}, 47001),
        ("msgmenu", {**MENU, "list": [{"id": "1", "content": ""}]}, 47001),
        ("msgmenu", {**MENU, "head_content": 1}, 47001),
        ("miniprogrampage", PAGE, 47001),
        ("mpnewsarticle", {}, 47001),
        ("mpnews", {}, 40007),
        ("wxcard", {}, 47001),
    ],
)
def test_invalid_messages_of_an_official_account_are_rejected(kind: str, content: Any, errcode: int) -> None:
    with account("official") as (bot, alice):
        assert bot.sends_kind(alice, kind, content) == errcode
        assert (alice.saw, alice.received) == ([], [])


def test_an_expired_file_cannot_be_sent() -> None:
    clock = ManualClock()
    with FakeWeChat(clock) as wechat:
        bot, alice = Caller(wechat), wechat.user("alice")
        media_id = bot.uploads("image", SAMPLE_IMAGE)["media_id"]
        clock.advance(3 * 24 * 3600)
        alice.says("hi")
        bot.fetch()
        assert bot.sends_kind(alice, "image", {"media_id": media_id}) == 40007
        fresh = bot.uploads("image", SAMPLE_IMAGE)["media_id"]
        assert bot.sends_kind(alice, "image", {"media_id": fresh}) == 0
        wechat.forget_media(fresh)
        assert bot.sends_kind(alice, "image", {"media_id": fresh}) == 40007


# -- options of a message


@pytest.mark.parametrize(
    ("note", "errcode"),
    [
        ({"is_ai_msg": 1}, 0),
        ({"is_ai_msg": 0}, 0),
        ({"is_ai_msg": 2}, 47001),
        ({"is_ai_msg": True}, 47001),
        ({"is_ai_msg": "1"}, 47001),
        ({"is_ai_msg": 1, "msgid": "1"}, 47001),
        ({}, 47001),
        (1, 47001),
    ],
)
def test_the_ai_mark_is_checked(note: Any, errcode: int) -> None:
    with account("miniprogram") as (bot, alice):
        body = {"touser": alice.openid, "msgtype": "text", "text": {"content": "x"}, "aimsgcontext": note}
        assert bot.call(SEND, body) == errcode
        assert alice.received == ([body] if errcode == 0 else [])


@pytest.mark.parametrize(
    ("kind", "agent", "errcode"),
    [
        ("official", {"kf_account": "kf1@account"}, 0),
        ("official", {"kf_account": ""}, 47001),
        ("official", "kf1@account", 47001),
        ("miniprogram", {"kf_account": "kf1@account"}, 0),
        ("miniprogram", "kf1@account", 0),
    ],
)
def test_the_agent_of_a_message_is_checked(kind: AccountKind, agent: Any, errcode: int) -> None:
    with account(kind) as (bot, alice):
        body = {"touser": alice.openid, "msgtype": "text", "text": {"content": "x"}, "customservice": agent}
        assert bot.call(SEND, body) == errcode
