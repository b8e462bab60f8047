"""Test messages of every kind sent through FakeWeChat's API: which are rejected, and what the user sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from tests.testing.bot import Caller
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE
from wxbot.testing.rules import AccountKind

SEND = "/cgi-bin/message/custom/send"
MENU = {"head_content": "Happy?", "list": [{"id": "101", "content": "Yes"}, {"id": "102", "content": "No"}]}
LINK = {"title": "News", "description": "", "url": "http://x", "thumb_url": ""}
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

ACCEPTED: list[tuple[AccountKind, str, Any, str]] = [
    ("miniprogram", "image", {"media_id": "SAMPLE_IMAGE"}, "[image cat.jpg]"),
    ("miniprogram", "link", LINK, "[link News]"),
    ("miniprogram", "miniprogrampage", PAGE, "[miniprogrampage Shop]"),
    ("official", "voice", {"media_id": "VOICE"}, "[voice purr.amr]"),
    ("official", "video", {"media_id": "VIDEO", "thumb_media_id": "THUMB", "title": "Cat"}, "[video cat.mp4]"),
    ("official", "music", MUSIC, "[music Song]"),
    ("official", "news", {"articles": [{"title": "Cats", "url": "http://x"}]}, "[news Cats]"),
    ("official", "msgmenu", MENU, "[msgmenu Happy?]"),
    ("official", "miniprogrampage", {**PAGE, "appid": "wx2"}, "[miniprogrampage Shop]"),
    ("official", "mpnewsarticle", {"article_id": "A1"}, "[mpnewsarticle A1]"),
    ("official", "mpnews", {"media_id": "permanent"}, "[mpnews permanent]"),
    ("official", "wxcard", {"card_id": "C1"}, "[wxcard C1]"),
]


@pytest.mark.parametrize(("kind", "msgtype", "content", "seen"), ACCEPTED)
def test_the_user_sees_each_kind_of_message(kind: AccountKind, msgtype: str, content: Any, seen: str) -> None:
    with account(kind) as (bot, alice):
        assert bot.sends_kind(alice, msgtype, content) == 0
        assert alice.saw == [seen]


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


REJECTED: Mapping[AccountKind, list[tuple[str, Any, int]]] = {
    "miniprogram": [
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
    "official": [
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
}


@pytest.mark.parametrize(
    ("kind", "msgtype", "content", "errcode"), [(kind, *row) for kind, rows in REJECTED.items() for row in rows]
)
def test_an_invalid_message_is_rejected(kind: AccountKind, msgtype: str, content: Any, errcode: int) -> None:
    with account(kind) as (bot, alice):
        assert bot.sends_kind(alice, msgtype, content) == errcode
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
    ("kind", "option", "value", "errcode"),
    [
        ("miniprogram", "aimsgcontext", {"is_ai_msg": 1}, 0),
        ("miniprogram", "aimsgcontext", {"is_ai_msg": 0}, 0),
        ("miniprogram", "aimsgcontext", {"is_ai_msg": 2}, 47001),
        ("miniprogram", "aimsgcontext", {"is_ai_msg": True}, 47001),
        ("miniprogram", "aimsgcontext", {"is_ai_msg": "1"}, 47001),
        ("miniprogram", "aimsgcontext", {"is_ai_msg": 1, "msgid": "1"}, 47001),
        ("miniprogram", "aimsgcontext", {}, 47001),
        ("miniprogram", "aimsgcontext", 1, 47001),
        ("miniprogram", "customservice", {"kf_account": "kf1@account"}, 0),
        ("miniprogram", "customservice", "kf1@account", 0),
        ("official", "customservice", {"kf_account": "kf1@account"}, 0),
        ("official", "customservice", {"kf_account": ""}, 47001),
        ("official", "customservice", "kf1@account", 47001),
    ],
)
def test_the_ai_mark_and_the_agent_of_a_message_are_checked(
    kind: AccountKind, option: str, value: Any, errcode: int
) -> None:
    with account(kind) as (bot, alice):
        body = {"touser": alice.openid, "msgtype": "text", "text": {"content": "x"}, option: value}
        assert bot.call(SEND, body) == errcode
        assert alice.received == ([body] if errcode == 0 else [])
