"""Test the passive replies of an Official Account: which are valid, what the user sees, and that they use no quota."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.testing.bot import SILENCE, Answer, Caller, Received, Receiver
from wxbot.testing import FakeWeChat, ManualClock, Push, User, envelope
from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE
from wxbot.testing.passive import articles_of

ACCOUNT = {"mode": "plain", "account_kind": "official", "pushes": True, "retry_pause": 0}
Contents = dict[str, Any]
MUSIC = {"Title": "Song", "MusicUrl": "http://x", "HQMusicUrl": "http://x", "ThumbMediaId": "THUMB"}


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    wechat.add_media("image", SAMPLE_IMAGE, "cat.jpg", media_id="SAMPLE_IMAGE")
    wechat.add_media("image", b"GIF89a", media_id="MOVING")
    wechat.add_media("thumb", SAMPLE_IMAGE, media_id="THUMB")
    wechat.add_media("voice", SAMPLE_VOICE, media_id="VOICE")
    wechat.add_media("video", SAMPLE_VIDEO, "cat.mp4", media_id="VIDEO")
    return wechat.user("alice")


def answering(contents: Contents) -> Callable[[Received], Answer]:
    """Return an answer function that gives every push this passive reply."""

    def answer(received: Received) -> Answer:
        fields = envelope.from_text(received.body, "xml")
        head = {"ToUserName": fields["FromUserName"], "FromUserName": fields["ToUserName"], "CreateTime": 1}
        return 200, envelope.to_text({**head, **contents}, "xml").encode()

    return answer


def text(content: Any) -> Contents:
    return {"MsgType": "text", "Content": content}


def news(*titles: str, count: int | None = None) -> Contents:
    items = [{"Title": title, "Description": "d", "PicUrl": "http://p", "Url": "http://u"} for title in titles]
    count = len(titles) if count is None else count
    return {"MsgType": "news", "ArticleCount": count, "Articles": {"item": items}}


@pytest.mark.parametrize(
    ("contents", "seen"),
    [
        (text("hello"), "hello"),
        (text("你" * 682 + "xx"), "你" * 682 + "xx"),
        ({"MsgType": "image", "Image": {"MediaId": "SAMPLE_IMAGE"}}, "[image cat.jpg]"),
        ({"MsgType": "voice", "Voice": {"MediaId": "VOICE"}}, "[voice VOICE]"),
        ({"MsgType": "video", "Video": {"MediaId": "VIDEO", "Title": "t", "Description": "d"}}, "[video cat.mp4]"),
        ({"MsgType": "music", "Music": MUSIC}, "[music Song]"),
        (news("Cats"), "[news Cats]"),
    ],
)
def test_the_user_sees_a_valid_passive_reply(alice: User, bot: Receiver, contents: Contents, seen: str) -> None:
    bot.answer = answering(contents)
    push = alice.says("hi")
    assert push.wait().outcome == "success"
    assert alice.saw == [seen]
    assert [body["MsgType"] for body in alice.received] == [contents["MsgType"]]
    assert push.answer == alice.received[0]


@pytest.mark.parametrize(
    ("contents", "why"),
    [
        (text(""), "the text has no Content"),
        ({"MsgType": "text"}, "the text has no Content"),
        (text("x" * 2049), "more than 2048 bytes"),
        (text("你" * 683), "more than 2048 bytes"),
        (
            {"MsgType": "image", "Image": {"MediaId": "nothing"}},
            "Image/MediaId is unknown, expired or not of kind image",
        ),
        ({"MsgType": "image", "Image": {"MediaId": "VOICE"}}, "Image/MediaId"),
        ({"MsgType": "image", "Image": {"MediaId": "MOVING"}}, "must not be a GIF"),
        ({"MsgType": "image", "MediaId": "SAMPLE_IMAGE"}, "Image is missing"),
        ({"MsgType": "voice", "Voice": {"MediaId": "SAMPLE_IMAGE"}}, "Voice/MediaId"),
        ({"MsgType": "video", "Video": {"MediaId": "SAMPLE_IMAGE"}}, "Video/MediaId"),
        ({"MsgType": "video", "Video": {"MediaId": "VIDEO", "Title": {"a": "b"}}}, "Title is not text"),
        ({"MsgType": "music", "Music": {"MusicUrl": "http://x"}}, "Music/ThumbMediaId"),
        ({"MsgType": "music", "Music": {**MUSIC, "ThumbMediaId": "VIDEO"}}, "Music/ThumbMediaId"),
        (news("Cats", count=2), "ArticleCount is '2', but there are 1 articles"),
        ({"MsgType": "news", "ArticleCount": 0, "Articles": ""}, "ArticleCount is '0'"),
        (news(""), "an article has no Title"),
        (news("Cats", "Dogs"), "there are 2 articles, but the maximum for this push is 1"),
        ({"MsgType": "link", "Title": "t"}, "MsgType 'link' is not allowed as a passive reply"),
        ({"MsgType": {"a": "b"}}, "is not allowed as a passive reply"),
        ({}, "MsgType None"),
    ],
)
def test_an_invalid_passive_reply_is_refused(alice: User, bot: Receiver, contents: Contents, why: str) -> None:
    bot.answer = answering(contents)
    last = alice.says("hi").wait()
    assert last.outcome == "refused"
    assert why in last.why
    assert alice.received == []
    assert alice.saw == ["[该公众号暂时无法提供服务，请稍后再试]"]


def test_a_passive_reply_to_an_event_may_have_eight_articles(alice: User, bot: Receiver) -> None:
    bot.answer = answering(news(*"12345678"))
    assert alice.clicks("news").wait().outcome == "success"
    bot.answer = answering(news(*"123456789"))
    assert alice.clicks("news").wait().why == "there are 9 articles, but the maximum for this push is 8"
    assert alice.saw[0] == "[news 1]"


@pytest.mark.parametrize(
    "action",
    [
        lambda user: user.sends_image(),
        lambda user: user.sends_voice(),
        lambda user: user.sends_video(),
        lambda user: user.sends_location(1, 2),
    ],
)
def test_a_passive_reply_to_a_message_with_two_articles_is_refused(
    alice: User, bot: Receiver, action: Callable[[User], Push]
) -> None:
    bot.answer = answering(news("1", "2"))
    assert action(alice).wait().outcome == "refused"


def test_articles_are_read_from_xml_and_from_json() -> None:
    one = {"Title": "t"}
    for articles in ({"item": one}, {"item": [one]}, [one]):
        assert articles_of({"Articles": articles}) == [one]
    assert articles_of({}) == articles_of({"Articles": {}}) == []


def test_a_passive_reply_uses_no_quota(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    bot.answer = answering(text("hello"))
    alice.says("hi").wait()
    assert [Caller(wechat).sends(alice, str(n)) for n in range(6)] == [0, 0, 0, 0, 0, 45047]


# -- one passive reply for each push


def test_the_user_sees_the_passive_reply_to_a_redelivered_push_once(
    alice: User, bot: Receiver, wechat: FakeWeChat
) -> None:
    bot.answer = answering(text("hello"))
    wechat.deliver_twice_at_once = True
    push = alice.says("hi")
    push.wait()
    push.redeliver().redeliver().wait()
    assert alice.saw == ["hello"]
    alice.says("hi").wait()
    assert alice.saw == ["hello", "hello"]


def test_a_passive_reply_to_a_redelivery_is_accepted(
    alice: User, bot: Receiver, wechat: FakeWeChat, clock: ManualClock
) -> None:
    hello = answering(text("hello"))
    bot.answer = lambda received: hello(received) if len(bot.received) == 3 else SILENCE
    push = alice.says("hi")
    for n in (1, 2):
        bot.waits_for(n)
        clock.advance(5)
    assert push.wait().n == 3
    assert alice.saw == ["hello"]


def test_a_repeated_transfer_transfers_the_message_once(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    bot.answer = answering({"MsgType": "transfer_customer_service"})
    push = alice.says("a human, please")
    push.wait()
    push.redeliver().wait()
    wechat.agent("kf1@account").takes(alice)
    assert wechat.agent("kf1@account").saw == [("alice", "a human, please")]
