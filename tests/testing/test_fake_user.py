"""Test the user actions of FakeWeChat and the pushes that report them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable

import pytest

from tests.testing.bot import Caller, Receiver
from wxbot.testing import FakeWeChat, ManualClock, Push, User, envelope
from wxbot.testing.rules import AccountKind

ACCOUNT = {"mode": "plain", "account_kind": "official", "pushes": True}

MENU = {"head_content": "Happy?", "list": [{"id": 101, "content": "Yes"}, {"id": "102", "content": "No"}]}


def arrived(push: Push, bot: Receiver) -> dict[str, str]:
    """Wait for the push, and return its fields without the default ones."""
    assert push.wait().outcome == "success"
    fields = envelope.from_text(bot.received[-1].body, "xml")
    usual = ("ToUserName", "FromUserName", "CreateTime", "MsgId")
    return {name: value for name, value in fields.items() if name not in usual}


# -- files


def test_an_image_can_be_downloaded_by_url_and_by_media_id(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    picture = arrived(alice.sends_image(b"\x89PNG\r\n\x1a\n..."), bot)
    assert set(picture) == {"MsgType", "PicUrl", "MediaId"}
    assert Caller(wechat).downloads(picture["MediaId"])[2] == b"\x89PNG\r\n\x1a\n..."
    with urllib.request.urlopen(picture["PicUrl"], timeout=10) as response:  # noqa: S310 (our own server)
        assert response.read() == b"\x89PNG\r\n\x1a\n..."
    again = arrived(alice.sends_image(b"GIF89a"), bot)
    assert again["MediaId"] != picture["MediaId"]


def test_voice_and_video_messages_have_files(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    voice = arrived(alice.sends_voice(b"#!AMR\nhello", media_id="V"), bot)
    assert (voice["MsgType"], voice["MediaId"], voice["Format"]) == ("voice", "V", "amr")
    assert wechat.media["V"].content == wechat.media[voice["MediaId16K"]].content == b"#!AMR\nhello"
    for send, kind in [(alice.sends_video, "video"), (alice.sends_short_video, "shortvideo")]:
        video = arrived(send(b"film"), bot)
        assert set(video) == {"MsgType", "MediaId", "ThumbMediaId"}
        assert video["MsgType"] == kind
        assert wechat.media[video["MediaId"]].kind == "video"
        assert wechat.media[video["ThumbMediaId"]].kind == "thumb"


# -- other messages


def test_location_and_link_messages_have_their_fields(alice: User, bot: Receiver) -> None:
    assert arrived(alice.sends_location(23.134521, 113.358803, label="塔"), bot) == {
        "MsgType": "location",
        "Location_X": "23.134521",
        "Location_Y": "113.358803",
        "Scale": "16",
        "Label": "塔",
    }
    assert arrived(alice.sends_link("Title", "About", "http://x"), bot) == {
        "MsgType": "link",
        "Title": "Title",
        "Description": "About",
        "Url": "http://x",
    }


def test_a_clicked_msgmenu_item_arrives_as_a_text_and_counts_as_a_menu_click(alice: User, wechat: FakeWeChat) -> None:
    bot = Caller(wechat)
    alice.says("hi").wait()
    bot.sends_kind(alice, "msgmenu", MENU)
    push = alice.clicks_menu_item("Yes")
    assert (push.fields["MsgType"], push.fields["Content"], push.fields["bizmsgmenuid"]) == ("text", "Yes", "101")
    assert [bot.sends(alice, str(n)) for n in range(4)] == [0, 0, 0, 45047]


@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_a_bizmsgmenu_link_in_a_text_can_be_clicked(alice: User, wechat: FakeWeChat, quote: str) -> None:
    alice.says("hi").wait()
    address = "weixin://bizmsgmenu?msgmenucontent=%E4%BD%A0%E5%A5%BD&amp;msgmenuid=7"
    text = f"Say <a href={quote}{address}{quote}>hello</a> or <a href='https://example.com/?msgmenuid=1'>leave</a>"
    Caller(wechat).sends_kind(alice, "text", {"content": text})
    push = alice.clicks_menu_item("你好")
    assert (push.fields["Content"], push.fields["bizmsgmenuid"]) == ("你好", "7")


def test_a_click_goes_to_the_latest_menu_with_the_item(alice: User, wechat: FakeWeChat) -> None:
    alice.says("hi").wait()
    for number in ("1", "2"):
        Caller(wechat).sends_kind(alice, "msgmenu", {"list": [{"id": number, "content": "Yes"}]})
    Caller(wechat).sends_kind(alice, "msgmenu", {"list": [{"id": "3", "content": "No"}]})
    assert alice.clicks_menu_item("Yes").fields["bizmsgmenuid"] == "2"
    with pytest.raises(AssertionError, match="alice was sent no msgmenu with the item 'Perhaps'"):
        alice.clicks_menu_item("Perhaps")


# -- events


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        (lambda user: user.follows(), {"Event": "subscribe", "EventKey": ""}),
        (lambda user: user.follows("7", "T"), {"Event": "subscribe", "EventKey": "qrscene_7", "Ticket": "T"}),
        (lambda user: user.leaves(), {"Event": "unsubscribe", "EventKey": ""}),
        (lambda user: user.scans("7", "T"), {"Event": "SCAN", "EventKey": "7", "Ticket": "T"}),
        (lambda user: user.clicks("menu-1"), {"Event": "CLICK", "EventKey": "menu-1"}),
        (lambda user: user.views("http://x"), {"Event": "VIEW", "EventKey": "http://x", "MenuId": "1"}),
    ],
)
def test_each_event_has_its_fields(
    alice: User, bot: Receiver, action: Callable[[User], Push], fields: dict[str, str]
) -> None:
    assert arrived(action(alice), bot) == {"MsgType": "event", **fields}


# -- user actions of each kind of account


@pytest.mark.parametrize(
    ("account_kind", "action"),
    [
        ("official", lambda user: user.enters()),
        ("official", lambda user: user.sends_mini_program_page()),
        ("miniprogram", lambda user: user.sends_voice()),
        ("miniprogram", lambda user: user.sends_video()),
        ("miniprogram", lambda user: user.sends_short_video()),
        ("miniprogram", lambda user: user.sends_location(1, 2)),
        ("miniprogram", lambda user: user.sends_link()),
        ("miniprogram", lambda user: user.clicks_menu_item("Yes")),
        ("miniprogram", lambda user: user.follows()),
        ("miniprogram", lambda user: user.leaves()),
        ("miniprogram", lambda user: user.scans("7")),
        ("miniprogram", lambda user: user.clicks("k")),
        ("miniprogram", lambda user: user.views("http://x")),
    ],
)
def test_an_action_of_another_kind_of_account_raises_an_error(
    account_kind: AccountKind, action: Callable[[User], Push]
) -> None:
    name = {"miniprogram": "a Mini Program", "official": "an Official Account"}[account_kind]
    with FakeWeChat(ManualClock(), account_kind=account_kind) as wechat:
        with pytest.raises(ValueError, match=f"does not exist for {name}"):
            action(wechat.user("alice"))
        assert wechat.timeline == []


def test_any_push_can_be_sent_with_sends_and_does(alice: User, bot: Receiver) -> None:
    assert arrived(alice.does("user_enter_tempsession"), bot)["Event"] == "user_enter_tempsession"
    assert arrived(alice.sends("sticker", MediaId="M"), bot) == {"MsgType": "sticker", "MediaId": "M"}
