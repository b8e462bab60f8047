"""Tests of every "yes" in the table of docs/wechat.md with the real webhook, and of some that say "no"."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.stories.support import SORRY, Log, Start, asks, replies
from wxbot import (
    AgentSessionEvent,
    AgentSwitchEvent,
    ArticleReply,
    Context,
    EnterSessionEvent,
    ImageMessage,
    ImageReply,
    LinkMessage,
    LinkReply,
    LocationEvent,
    LocationMessage,
    MenuClickEvent,
    MenuLocationEvent,
    MenuPicturesEvent,
    MenuReply,
    MenuScanEvent,
    MenuViewEvent,
    Message,
    MiniProgramPageMessage,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Plugin,
    Reply,
    ScanEvent,
    ShortVideoMessage,
    SubscribeEvent,
    TextMessage,
    TextReply,
    UnsubscribeEvent,
    VideoMessage,
    VideoReply,
    VoiceMessage,
    VoiceReply,
)
from wxbot.model.accounts import ACCOUNTS, AccountKind, capabilities
from wxbot.model.replies import KINDS
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.envelope import Format
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE

FORMATS: Mapping[AccountKind, tuple[str, ...]] = {
    "miniprogram": ("json", "xml"),
    "official": ("xml",),
    "unverified": ("xml",),
}


def cells(direction: str) -> list[Any]:
    """Return each "yes" of the table, with each data format of its account kind."""
    return [
        pytest.param(capability.kind, account, form, id=f"{capability.kind}-{account}-{form}")
        for capability in capabilities()
        if capability.direction == direction
        for account in capability.accounts
        for form in FORMATS[account]
    ]


# User actions, and the messages that a handler gets for them. (tests/model and tests/wechat/push check all fields.)

UserAction = Callable[[User], object]
_SCAN = {"ScanType": "qrcode", "ScanResult": "42"}
_PICTURES = {"Count": "2", "PicList": {"item": [{"PicMd5Sum": "a"}, {"PicMd5Sum": "b"}]}}
_PLACE = {"Location_X": "23", "Location_Y": "113", "Scale": "15", "Label": "l", "Poiname": "p"}


def event(name: str, **fields: Any) -> UserAction:
    return lambda user: user.does(name, **fields)


USER_ACTIONS: Mapping[str, tuple[UserAction, type[Message], Mapping[str, Any]]] = {
    "text": (lambda user: user.says("你好 😀"), TextMessage, {"text": "你好 😀"}),
    "image": (lambda user: user.sends_image(SAMPLE_IMAGE), ImageMessage, {}),
    "miniprogrampage": (lambda user: user.sends_mini_program_page("A"), MiniProgramPageMessage, {"title": "A"}),
    "voice": (lambda user: user.sends_voice(SAMPLE_VOICE), VoiceMessage, {"format": "amr"}),
    "video": (lambda user: user.sends_video(SAMPLE_VIDEO), VideoMessage, {}),
    "shortvideo": (lambda user: user.sends_short_video(SAMPLE_VIDEO), ShortVideoMessage, {}),
    "location": (lambda user: user.sends_location(23.13, 113.35, 20, "l"), LocationMessage, {"latitude": 23.13}),
    "link": (lambda user: user.sends_link("t", "d", "http://x.test/"), LinkMessage, {"url": "http://x.test/"}),
    "event user_enter_tempsession": (lambda user: user.enters("order"), EnterSessionEvent, {"key": "order"}),
    "event subscribe": (lambda user: user.follows("123", "T"), SubscribeEvent, {"scene": "123", "ticket": "T"}),
    "event unsubscribe": (lambda user: user.leaves(), UnsubscribeEvent, {}),
    "event SCAN": (lambda user: user.scans("123", "T"), ScanEvent, {"scene": "123", "ticket": "T"}),
    "event LOCATION": (event("LOCATION", Latitude="23.1", Longitude="113"), LocationEvent, {"latitude": 23.1}),
    "event CLICK": (lambda user: user.clicks("KEY"), MenuClickEvent, {"key": "KEY"}),
    "event VIEW": (lambda user: user.views("http://x.test/"), MenuViewEvent, {"key": "http://x.test/"}),
    "event view_miniprogram": (event("view_miniprogram", EventKey="p", MenuId="2"), MenuViewEvent, {"menu_id": "2"}),
    "event scancode_push": (event("scancode_push", ScanCodeInfo=_SCAN), MenuScanEvent, {"scan_result": "42"}),
    "event scancode_waitmsg": (event("scancode_waitmsg", ScanCodeInfo=_SCAN), MenuScanEvent, {"scan_result": "42"}),
    "event pic_sysphoto": (event("pic_sysphoto", SendPicsInfo=_PICTURES), MenuPicturesEvent, {"count": 2}),
    "event pic_photo_or_album": (event("pic_photo_or_album", SendPicsInfo=_PICTURES), MenuPicturesEvent, {"count": 2}),
    "event pic_weixin": (event("pic_weixin", SendPicsInfo=_PICTURES), MenuPicturesEvent, {"md5_sums": ("a", "b")}),
    "event location_select": (event("location_select", SendLocationInfo=_PLACE), MenuLocationEvent, {"label": "l"}),
    "event kf_create_session": (event("kf_create_session", KfAccount="kf1"), AgentSessionEvent, {"agent": "kf1"}),
    "event kf_close_session": (event("kf_close_session", CloseType="2"), AgentSessionEvent, {"close_type": "2"}),
    "event kf_switch_session": (event("kf_switch_session", ToKfAccount="b"), AgentSwitchEvent, {"to_agent": "b"}),
}

PAGE = {"title": "A page", "page_path": "pages/a?x=1", "thumb": SAMPLE_IMAGE, "appid": "wxffffffffffffffff"}
REPLIES: Mapping[str, Reply] = {
    "text": TextReply("你好 😀"),
    "image": ImageReply(SAMPLE_IMAGE),
    "voice": VoiceReply(SAMPLE_VOICE),
    "video": VideoReply(SAMPLE_VIDEO, title="t", description="d"),
    "music": MusicReply("http://x.test/a.mp3", SAMPLE_IMAGE, title="song"),
    "news": NewsReply("news", "http://x.test/", "d", "http://x.test/p.jpg"),
    "link": LinkReply("link", "http://x.test/", "d", "http://x.test/p.jpg"),
    "miniprogrampage": MiniProgramPageReply(**PAGE),  # type: ignore[arg-type]
    "msgmenu": MenuReply("happy?", [("101", "yes"), ("102", "no")], "thanks"),
    "mpnewsarticle": ArticleReply("ARTICLE"),
}


class Stage:
    """A bot whose handlers store the message that they got, and return ``answer``."""

    def __init__(self, wechat: FakeWeChat) -> None:
        self.wechat = wechat
        self.got: list[Message] = []
        self.got_one = threading.Event()
        self.may_answer = False
        self.answer: Reply | None = TextReply("noted")
        self.plugin = Plugin("stage")

        @self.plugin.on(lambda ctx: True)
        async def note(ctx: Context) -> Reply | None:
            self.got.append(ctx.message)
            self.may_answer = ctx.quota.remaining > 0
            self.got_one.set()
            return self.answer if self.may_answer else None

        @self.plugin.hands_over
        def wants_agent(message: Message) -> bool:
            return isinstance(message, TextMessage) and message.text == "people"


@pytest.fixture
def wechat(account: Any, form: Format, clock: ManualClock) -> Iterator[FakeWeChat]:
    with FakeWeChat(clock, account_kind=account, format=form) as wechat:
        yield wechat
        assert wechat.violations == []


@pytest.fixture
def stage(start: Start, wechat: FakeWeChat) -> Stage:
    stage = Stage(wechat)
    start(stage.plugin)
    return stage


@pytest.mark.parametrize(("kind", "account", "form"), cells("in"))
def test_each_message_is_received(stage: Stage, alice: User, kind: str) -> None:
    action, made, fields = USER_ACTIONS[kind]
    action(alice)
    assert stage.got_one.wait(10), f"no handler got {kind}"
    message = stage.got[0]
    assert type(message) is made
    assert {name: getattr(message, name) for name in fields} == fields
    assert message.openid == alice.openid
    assert message.raw["FromUserName"] == alice.openid
    if stage.may_answer:
        alice.waits_for("noted")


@pytest.mark.parametrize(("kind", "account", "form"), cells("out"))
def test_each_reply_is_sent(stage: Stage, alice: User, kind: str) -> None:
    stage.answer = REPLIES[kind]
    alice.says("hi").wait()
    stage.wechat.waits_until(lambda: bool(alice.received), why=f"{kind} to arrive")
    assert alice.received[0]["msgtype"] == kind


@pytest.mark.parametrize(("kind", "account", "form"), cells("typing"))
def test_the_typing_indicator_is_shown(stage: Stage, alice: User, kind: str) -> None:
    asks(alice, "hi", "noted")
    assert ", ".join(alice.saw[:2]) == kind


@pytest.mark.parametrize(("kind", "account", "form"), cells("passive"))
def test_each_passive_reply_is_answered_to_the_push(stage: Stage, alice: User, kind: str) -> None:
    stage.answer = REPLIES.get(kind)
    push = alice.says("people" if kind == "transfer_customer_service" else "hi")
    assert push.wait().outcome == "success"
    assert push.answer is not None
    assert push.answer["MsgType"] == kind
    assert not [record for record in stage.wechat.timeline if record.kind in ("send", "typing")]


NO = [
    pytest.param(kind, account, FORMATS[account][0], id=f"{kind}-{account}")
    for account in ACCOUNTS
    for kind in KINDS
    if kind not in ACCOUNTS[account].sends
]


@pytest.mark.parametrize(("kind", "account", "form"), NO)
def test_an_unsupported_reply_type_is_refused_before_the_call(
    stage: Stage, alice: User, kind: str, account: AccountKind, log: Log
) -> None:
    stage.answer = REPLIES[kind]
    alice.says("hi").wait()
    log.waits_for("handler failed: handler=stage.note")
    stage.wechat.waits_until(lambda: bool(alice.received), why="an apology")
    assert replies(alice) == [SORRY]
    assert stage.wechat.uploads == []
    stage.answer = TextReply("fine again")
    asks(alice, "hi", "fine again")
