"""The display of each record: its row, its bubble on the phone, and the lanes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.testing.bot import Caller, Receiver
from wxbot.playground.page.bubbles import bubble_of, media_path
from wxbot.playground.page.lanes import lanes_of
from wxbot.playground.page.rows import RowLog, user_state
from wxbot.testing import SAMPLE_IMAGE, SAMPLE_VIDEO, FakeWeChat, ManualClock, Record, User
from wxbot.testing.exchange import MAX_STORED_BYTES
from wxbot.testing.rules import AccountKind

UserAction = Callable[[User], object]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def bot() -> Iterator[Receiver]:
    with Receiver() as bot:
        yield bot


@pytest.fixture
def wechat(clock: ManualClock, bot: Receiver) -> Iterator[FakeWeChat]:
    with FakeWeChat(clock, mode="plain", format="json", callback_url=bot.url, tries=1) as wechat:
        yield wechat


@pytest.fixture
def phone(wechat: FakeWeChat) -> Phone:
    """Return the phone of Alice, who has said hi."""
    return greeted(wechat)


@pytest.fixture
def follower(clock: ManualClock, bot: Receiver) -> Iterator[Phone]:
    """Yield the phone of Alice, who has said hi to an Official Account."""
    own = {"account_kind": "official", "format": "xml"}
    with FakeWeChat(clock, mode="plain", callback_url=bot.url, tries=1, **own) as wechat:  # type: ignore[arg-type]
        yield greeted(wechat)


def greeted(wechat: FakeWeChat) -> Phone:
    phone = Phone(wechat)
    phone.says("hi")
    return phone


class Phone:
    """The phone of Alice, with the timeline."""

    def __init__(self, wechat: FakeWeChat) -> None:
        self.wechat = wechat
        self.began = wechat.clock.now()
        self.log = RowLog(wechat, self.began)
        wechat.on_record(self.log.add)
        self.alice = wechat.user("alice")
        self.caller = Caller(wechat)

    def does(self, action: UserAction) -> dict[str, Any]:
        """Perform an action of Alice. Return its bubble."""
        before = len(self.log.entries)
        push: Any = action(self.alice)
        push.wait()
        bubble: dict[str, Any] = self.log.entries[before].row["bubble"]
        return bubble

    def says(self, text: str) -> dict[str, Any]:
        return self.does(lambda user: user.says(text))

    def gets(self, kind: str, content: Any, **options: Any) -> dict[str, Any]:
        """Let the bot send a message. Return its bubble."""
        body = {"touser": self.alice.openid, "msgtype": kind, kind: content, **options}
        assert self.caller.call("/cgi-bin/message/custom/send", body) == 0
        bubble: dict[str, Any] = self.log.entries[-1].row["bubble"]
        return bubble

    def details(self, number: int = -1) -> Any:
        """Return the details of a row; of the last one by default."""
        return self.log.details(number % len(self.log.entries))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [entry.row for entry in self.log.entries if entry.record.openid]

    def lanes(self) -> dict[str, list[tuple[float, float | None, str]]]:
        """Return start, end and label of each bar."""
        now = self.wechat.clock.now() - self.began
        data = lanes_of(self.alice.openid, self.log.entries, now)
        return {lane["lane"]: [(bar["from"], bar["to"], bar["label"]) for bar in lane["bars"]] for lane in data}


# -- user actions

MINI_PROGRAM: list[tuple[UserAction, dict[str, Any]]] = [
    (lambda user: user.says("你好"), {"kind": "text", "text": "你好"}),
    (lambda user: user.sends_image(media_id="a/b"), {"kind": "image", "picture": "/media/a%2Fb"}),
    (
        lambda user: user.sends_mini_program_page("Shoes", "wx1", page_path="pages/shoes", thumb_media_id="T1"),
        {"kind": "page", "title": "Shoes", "path": "pages/shoes", "appid": "wx1", "picture": "/media/T1"},
    ),
    (lambda user: user.enters(), {"kind": "event", "title": "user_enter_tempsession"}),
    (lambda user: user.enters("shop"), {"kind": "event", "title": "user_enter_tempsession", "description": "shop"}),
    (lambda user: user.does("odd", EventKey=7), {"kind": "event", "title": "odd", "description": "7"}),
    (lambda user: user.sends("odd", Content="x"), {"kind": "other", "title": "odd", "description": "[odd]"}),
]
OFFICIAL: list[tuple[UserAction, dict[str, Any]]] = [
    (lambda user: user.sends_voice(media_id="V1"), {"kind": "voice", "media": "/media/V1"}),
    (lambda user: user.sends("video", MediaId="C1"), {"kind": "video", "media": "/media/C1"}),
    (
        lambda user: user.sends("shortvideo", MediaId="C1", ThumbMediaId="T1"),
        {"kind": "video", "media": "/media/C1", "picture": "/media/T1"},
    ),
    (
        lambda user: user.sends_location(39.9, 116.4, label="北京"),
        {"kind": "other", "title": "location", "description": "北京 39.9, 116.4"},
    ),
    (lambda user: user.sends_location(-1.5, 0), {"kind": "other", "title": "location", "description": "-1.5, 0"}),
    (
        lambda user: user.sends_link("News", "today", "http://127.0.0.1/n"),
        {"kind": "link", "title": "News", "description": "today", "url": "http://127.0.0.1/n"},
    ),
    (lambda user: user.follows(), {"kind": "event", "title": "subscribe"}),
    (lambda user: user.follows("7"), {"kind": "event", "title": "subscribe", "description": "qrscene_7"}),
    (lambda user: user.clicks("menu-1"), {"kind": "event", "title": "CLICK", "description": "menu-1"}),
]


@pytest.mark.parametrize(("action", "drawn"), MINI_PROGRAM)
def test_bubbles_of_mini_program_users(phone: Phone, action: UserAction, drawn: dict[str, Any]) -> None:
    assert phone.does(action) == {"side": "user", **drawn}


@pytest.mark.parametrize(("action", "drawn"), OFFICIAL)
def test_bubbles_of_official_account_users(follower: Phone, action: UserAction, drawn: dict[str, Any]) -> None:
    assert follower.does(action) == {"side": "user", **drawn}


# -- messages of the bot

NOTED = {"title": "T", "description": "D"}
CHOICES = [{"id": 1, "content": "Yes"}, {"id": "b", "content": "No"}]
ITEMS = [{"id": "1", "label": "Yes"}, {"id": "b", "label": "No"}]
FOR_ALL: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("text", {"content": "<a href='x'>你好</a>"}, {"kind": "text", "text": "<a href='x'>你好</a>"}),
    ("image", {"media_id": "P 1"}, {"kind": "image", "picture": "/media/P%201"}),
    (
        "miniprogrampage",
        {"title": "T", "pagepath": "pages/x", "thumb_media_id": "P 1", "appid": "wx9"},
        {"kind": "page", "title": "T", "path": "pages/x", "picture": "/media/P%201", "appid": "wx9"},
    ),
]
FOR_MINI_PROGRAMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *FOR_ALL,
    ("link", {**NOTED, "url": "u", "thumb_url": "p"}, {"kind": "link", **NOTED, "url": "u", "picture": "p"}),
]
FOR_OFFICIAL_ACCOUNTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    *FOR_ALL,
    ("voice", {"media_id": "V1"}, {"kind": "voice", "media": "/media/V1"}),
    ("video", {"media_id": "C1"}, {"kind": "video", "media": "/media/C1"}),
    (
        "video",
        {"media_id": "C1", "thumb_media_id": "P 1", **NOTED},
        {"kind": "video", "media": "/media/C1", "picture": "/media/P%201", **NOTED},
    ),
    (
        "music",
        {"musicurl": "http://x/m", "thumb_media_id": "P 1", "title": "T"},
        {"kind": "music", "url": "http://x/m", "picture": "/media/P%201", "title": "T"},
    ),
    (
        "news",
        {"articles": [{**NOTED, "url": "u", "picurl": "p"}]},
        {"kind": "news", **NOTED, "url": "u", "picture": "p"},
    ),
    ("msgmenu", {"head_content": "H", "list": CHOICES}, {"kind": "menu", "text": "H", "items": ITEMS}),
    ("msgmenu", {"list": CHOICES, "tail_content": "Z"}, {"kind": "menu", "items": ITEMS, "tail": "Z"}),
    ("mpnewsarticle", {"article_id": "A1"}, {"kind": "other", "title": "mpnewsarticle", "description": "A1"}),
    ("wxcard", {"card_id": "K1"}, {"kind": "other", "title": "wxcard", "description": "K1"}),
    ("mpnews", {"media_id": "M1"}, {"kind": "other", "title": "mpnews", "description": "M1"}),
]


@pytest.mark.parametrize(
    ("owner", "kind", "content", "drawn"),
    [
        *(("phone", *message) for message in FOR_MINI_PROGRAMS),
        *(("follower", *message) for message in FOR_OFFICIAL_ACCOUNTS),
    ],
)
def test_bubbles_of_messages(
    request: pytest.FixtureRequest, owner: str, kind: str, content: dict[str, Any], drawn: dict[str, Any]
) -> None:
    phone: Phone = request.getfixturevalue(owner)
    phone.wechat.add_media("image", SAMPLE_IMAGE, media_id="P 1")
    phone.wechat.add_media("voice", b"#!AMR\n", media_id="V1")
    phone.wechat.add_media("video", SAMPLE_VIDEO, media_id="C1")
    assert phone.gets(kind, content) == {"side": "bot", **drawn}


def test_messages_of_an_ai_are_marked(phone: Phone) -> None:
    assert phone.gets("text", {"content": "hi"}, aimsgcontext={"is_ai_msg": 1})["ai"] is True
    assert "ai" not in phone.gets("text", {"content": "hi"}, aimsgcontext={"is_ai_msg": 0})


def test_a_refused_or_lost_message_has_no_bubble(wechat: FakeWeChat) -> None:
    phone = Phone(wechat)
    assert phone.caller.sends(phone.alice, "too early") == 45015
    wechat.faults.fail("send", 45009)
    phone.says("hi")
    assert phone.caller.sends(phone.alice, "failed") == 45009
    assert phone.caller.typing(phone.alice) == 0
    assert [row["kind"] for row in phone.rows if "bubble" in row] == ["user"]


def test_malformed_messages_cause_no_error(phone: Phone) -> None:
    nonsense: list[Any] = [
        {"touser": phone.alice.openid},
        {"touser": phone.alice.openid, "msgtype": 5},
        {"touser": phone.alice.openid, "msgtype": ["text"], "text": {}},
        {"touser": phone.alice.openid, "msgtype": "news", "news": {"articles": [7]}},
        {"touser": phone.alice.openid, "msgtype": "msgmenu", "msgmenu": {"list": [{}]}},
        {"touser": phone.alice.openid, "msgtype": "text", "text": "hi"},
        {"touser": ["alice"]},
        [],
    ]
    for body in nonsense:
        assert phone.caller.call("/cgi-bin/message/custom/send", body) != 0
    assert all("bubble" not in row for row in phone.rows if row["kind"] == "send")


# -- passive replies


def record(kind: Any, body: Mapping[str, Any], what: str = "?", errcode: int | None = 0) -> Record:
    return Record(at=0.0, kind=kind, what=what, openid="o1", errcode=errcode, body=body)


PASSIVE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"MsgType": "text", "Content": "你好"}, {"kind": "text", "text": "你好"}),
    ({"MsgType": "image", "Image": {"MediaId": "P1"}}, {"kind": "image", "picture": "/media/P1"}),
    ({"MsgType": "voice", "Voice": {"MediaId": "V1"}}, {"kind": "voice", "media": "/media/V1"}),
    (
        {"MsgType": "video", "Video": {"MediaId": "C1", "Title": "T", "Description": "D"}},
        {"kind": "video", "media": "/media/C1", "title": "T", "description": "D"},
    ),
    (
        {"MsgType": "music", "Music": {"ThumbMediaId": "P1", "Title": "T", "MusicUrl": "http://x/m"}},
        {"kind": "music", "picture": "/media/P1", "title": "T", "url": "http://x/m"},
    ),
    (
        {"MsgType": "news", "ArticleCount": 1, "Articles": {"item": {"Title": "T", "PicUrl": "p", "Url": "u"}}},
        {"kind": "news", "title": "T", "picture": "p", "url": "u"},
    ),
    (
        {"MsgType": "news", "Articles": [{"Title": "T"}, {"Title": "second"}, {"Title": "third"}]},
        {"kind": "news", "title": "T", "tail": "second\nthird"},
    ),
    ({"MsgType": "news", "Articles": ["odd"]}, {"kind": "news"}),
]


@pytest.mark.parametrize(("fields", "drawn"), PASSIVE)
def test_bubbles_of_passive_replies(fields: dict[str, Any], drawn: dict[str, Any]) -> None:
    assert bubble_of(record("passive", fields)) == {"side": "bot", **drawn}


def test_a_transfer_to_an_agent_has_no_bubble() -> None:
    fields = {"MsgType": "transfer_customer_service"}
    assert bubble_of(record("passive", fields, "[transfer_customer_service]", errcode=None)) is None


def test_an_encrypted_passive_reply_has_a_bubble(clock: ManualClock, bot: Receiver) -> None:
    with FakeWeChat(clock, mode="plain", format="xml", account_kind="unverified", callback_url=bot.url) as wechat:
        phone = Phone(wechat)
        bot.answer = lambda received: (
            200,
            f"<xml><ToUserName>{phone.alice.openid}</ToUserName><FromUserName>gh_0123456789ab</FromUserName>"
            "<CreateTime>1</CreateTime><MsgType>text</MsgType><Content>&lt;好&gt;</Content></xml>".encode(),
        )
        phone.says("hi")
        (row,) = [row for row in phone.rows if row["kind"] == "passive"]
        assert row["bubble"] == {"side": "bot", "kind": "text", "text": "<好>"}
        assert phone.lanes()["reply"] == [(0.0, 0.0, "<好>")]


# -- agents and notices


def test_bubbles_of_agents_and_notices(wechat: FakeWeChat, bot: Receiver) -> None:
    phone = Phone(wechat)
    agent = wechat.agent("kf1@gh")
    taken = phone.does(agent.takes)
    assert taken == {"side": "agent", "kind": "event", "title": "kf_create_session", "description": "kf1@gh"}
    agent.says(phone.alice, "I am here")
    assert phone.rows[-1]["bubble"] == {"side": "agent", "kind": "text", "text": "I am here"}
    phone.does(agent.closes)
    bot.answer = lambda received: (500, b"")
    phone.says("hi")
    wechat.waits_until(lambda: any(row["kind"] == "notice" for row in phone.rows))
    (notice,) = [row for row in phone.rows if row["kind"] == "notice"]
    assert notice["bubble"] == {"side": "notice", "kind": "text", "text": "该小程序客服暂时无法提供服务，请稍后再试"}


@pytest.mark.parametrize("kind", ["push", "typing", "token", "upload", "download", "other"])
def test_other_records_have_no_bubble(kind: Any) -> None:
    assert bubble_of(record(kind, {"MsgType": "text", "Content": "x", "msgtype": "text"})) is None


def test_media_have_paths() -> None:
    assert media_path("a/b?c#d 你") == "/media/a%2Fb%3Fc%23d%20%E4%BD%A0"
    for nothing in ("", None, 7, ["x"]):
        assert media_path(nothing) is None


# -- rows


def test_rows_of_failed_pushes(wechat: FakeWeChat, bot: Receiver) -> None:
    phone = Phone(wechat)
    wechat.tries, wechat.retry_pause = 3, 0.0
    bot.answer = lambda received: (502, b"bad gateway")
    phone.says("hi")
    wechat.waits_until(lambda: phone.rows[-1]["kind"] == "notice")
    pushes = [row for row in phone.rows if row["kind"] == "push"]
    assert [(row["attempt"], row["outcome"], row["status"]) for row in pushes] == [
        (number, "refused (HTTP 502)", 502) for number in (1, 2, 3)
    ]
    assert phone.details(pushes[0]["n"])["response"]["body"] == "bad gateway"


def test_rows_of_rule_violations(phone: Phone, clock: ManualClock) -> None:
    assert phone.caller.typing(phone.alice, "CancelTyping") == 0
    clock.advance(31)
    assert phone.caller.typing(phone.alice) == 45080
    needless, late = phone.rows[-2:]
    assert (needless["needless"], needless["violation"], needless["errcode"]) == (True, True, 0)
    assert (late["needless"], late["violation"], late["errcode"]) == (False, True, 45080)
    assert late["errmsg"]
    assert late["at"] == 31.0


def test_details_of_binary_and_long_bodies(wechat: FakeWeChat) -> None:
    phone = Phone(wechat)
    phone.caller.uploads("image", SAMPLE_IMAGE)
    upload = phone.details()["request"]
    assert (upload["binary"], upload["cut"]) == (True, True)
    assert bytes.fromhex(upload["body"]).startswith(b"--BOUNDARY")
    phone.caller.post("/cgi-bin/message/custom/send", "好".encode() * MAX_STORED_BYTES, access_token=phone.caller.token)
    long = phone.details()["request"]
    assert (long["binary"], long["cut"], long["bytes"]) == (False, True, 3 * MAX_STORED_BYTES)
    assert set(long["body"]) == {"好"}
    assert len(long["body"]) == MAX_STORED_BYTES // 3


def test_numbers_that_json_cannot_hold_are_texts(phone: Phone) -> None:
    numbers = "[NaN, Infinity, -1e999, 9007199254740993]"
    body = f'{{"touser": "{phone.alice.openid}", "msgtype": "text", "text": {{"content": "x", "a": {numbers}}}}}'
    phone.caller.call("/cgi-bin/message/custom/send", body.encode())
    details = phone.details()
    assert details["fields"]["text"]["a"] == ["nan", "inf", "-inf", "9007199254740993"]
    json.dumps(details, allow_nan=False)


def test_the_form_is_that_of_the_content_type(phone: Phone) -> None:
    assert phone.rows[1]["form"] == "JSON"
    phone.wechat.format = "xml"
    phone.says("hi")
    assert phone.rows[3]["form"] == "XML"
    port = urlsplit(phone.wechat.api_base).port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for body, headers in ((b"{}", {}), (b"", {}), (b"{}", {"content-type": "Application/JSON"})):
            connection.request("POST", "/cgi-bin/message/custom/send", body, headers)
            connection.getresponse().read()
    assert [entry.row["form"] for entry in phone.log.entries[-3:]] == ["JSON", "", "JSON"]


def test_row_numbers_out_of_range_are_errors(phone: Phone) -> None:
    for number in (-1, len(phone.log.entries)):
        with pytest.raises(IndexError):
            phone.log.details(number)


# -- the state of a user


def test_the_state_of_a_user(wechat: FakeWeChat, clock: ManualClock) -> None:
    phone = Phone(wechat)
    clock.advance(2)
    phone.says("hi")
    assert phone.caller.typing(phone.alice) == 0
    state = user_state(phone.wechat, phone.alice, phone.began, follows=True)
    assert (state["window_until"], state["typing_until"]) == (32.0, 17.0)
    assert (state["replies_left"], state["replies_until"]) == (5, 172802.0)
    clock.advance(1)
    assert phone.caller.sends(phone.alice, "hi") == 0
    state = user_state(phone.wechat, phone.alice, phone.began, follows=False)
    assert (state["window_until"], state["typing_until"], state["replies_left"]) == (33.0, None, 4)
    assert (state["follows"], state["agent"], state["queued"]) == (False, "", False)


# -- lanes


def test_lanes_of_a_reply_within_the_window(wechat: FakeWeChat, clock: ManualClock) -> None:
    phone = Phone(wechat)
    clock.advance(1)
    phone.says("hi")
    assert phone.lanes() == {
        "user": [(1.0, 1.0, "hi")],
        "window": [(1.0, None, "hi")],
        "work": [(1.0, None, "hi")],
        "typing": [],
        "reply": [],
        "refused": [],
    }
    clock.advance(0.5)
    phone.caller.typing(phone.alice)
    clock.advance(2)
    assert phone.lanes()["typing"] == [(1.5, None, "Typing")]
    assert phone.lanes()["work"] == [(1.0, None, "hi")]
    phone.caller.sends(phone.alice, "hello")
    clock.advance(1)
    lanes = phone.lanes()
    assert lanes["typing"] == [(1.5, 3.5, "Typing")]
    assert lanes["work"] == [(1.0, 3.5, "hi")]
    assert lanes["reply"] == [(3.5, 3.5, "hello")]
    assert lanes["window"] == [(1.0, 3.5, "hi"), (3.5, None, "hello")]
    clock.advance(30)
    assert phone.lanes()["window"][-1] == (3.5, 33.5, "hello")


def test_lanes_of_an_indicator_that_expires_and_is_renewed(phone: Phone, clock: ManualClock) -> None:
    phone.caller.typing(phone.alice)
    clock.advance(15)
    assert phone.lanes()["typing"] == [(0.0, 15.0, "Typing")]
    clock.advance(1)
    phone.caller.typing(phone.alice)
    clock.advance(2)
    phone.caller.typing(phone.alice, "CancelTyping")
    clock.advance(1)
    assert phone.lanes()["typing"] == [(0.0, 15.0, "Typing"), (16.0, 18.0, "Typing")]
    clock.advance(60)
    assert phone.lanes()["window"] == [(0.0, 30.0, "hi")]
    assert phone.lanes()["work"] == [(0.0, 18.0, "hi")]


def test_lanes_of_two_messages(wechat: FakeWeChat, clock: ManualClock) -> None:
    phone = Phone(wechat)
    phone.says("one")
    clock.advance(2)
    phone.caller.sends(phone.alice, "1")
    clock.advance(2)
    phone.says("two")
    clock.advance(3)
    phone.caller.sends(phone.alice, "2")
    assert phone.lanes()["work"] == [(0.0, 2.0, "one"), (4.0, 7.0, "two")]


def test_work_without_calls_ends_after_the_window(phone: Phone, clock: ManualClock) -> None:
    clock.advance(29)
    assert phone.lanes()["work"] == [(0.0, None, "hi")]
    clock.advance(1)
    assert phone.lanes()["work"] == [(0.0, 0.0, "hi")]


def test_lanes_of_refused_calls(phone: Phone, clock: ManualClock) -> None:
    clock.advance(30)
    assert phone.caller.typing(phone.alice) == 45080
    ((at, to, label),) = phone.lanes()["refused"]
    assert (at, to) == (30.0, 30.0)
    assert label.startswith("Typing (45080 ")


def test_an_unacknowledged_push_has_no_work(wechat: FakeWeChat, bot: Receiver) -> None:
    bot.answer = lambda received: (500, b"")
    phone = Phone(wechat)
    phone.says("hi")
    wechat.waits_until(lambda: phone.rows[-1]["kind"] == "notice")
    lanes = phone.lanes()
    assert lanes["work"] == []
    assert lanes["reply"] == [(0.0, 0.0, "[该小程序客服暂时无法提供服务，请稍后再试]")]


def test_unfollowing_closes_the_window(follower: Phone, clock: ManualClock) -> None:
    clock.advance(4)
    follower.does(lambda user: user.leaves())
    clock.advance(50)
    assert follower.lanes()["window"] == [(0.0, 4.0, "hi")]


def test_lanes_contain_only_their_user(wechat: FakeWeChat) -> None:
    phone = Phone(wechat)
    wechat.user("bob").says("hi").wait()
    assert all(bars == [] for bars in phone.lanes().values())


@pytest.mark.parametrize("kind", ["miniprogram", "official", "unverified"])
def test_the_state_of_a_new_user(clock: ManualClock, kind: AccountKind) -> None:
    with FakeWeChat(clock, account_kind=kind) as wechat:
        phone = Phone(wechat)
        state = user_state(phone.wechat, phone.alice, phone.began, follows=True)
        assert (state["window_until"], state["typing_until"], state["replies_until"]) == (None, None, None)
        assert state["replies_left"] == 0
        assert all(bars == [] for bars in phone.lanes().values())
