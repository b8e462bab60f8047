"""Test the push delivery of FakeWeChat with a real HTTP receiver: timeout, retries, order, redelivery."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.testing.bot import SILENCE, SUCCESS, Caller, Received, Receiver
from wxbot.testing import FakeWeChat, ManualClock, RealClock, User, envelope

ACCOUNT = {"mode": "plain", "format": "json", "pushes": True}

NOTICE = "[该小程序客服暂时无法提供服务，请稍后再试]"


def fields_of(received: Received) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(received.body)
    return fields


def texts_of(bot: Receiver) -> list[str]:
    return [fields_of(received)["Content"] for received in bot.received]


# -- fields and formats


def test_a_text_push_has_all_fields_and_a_valid_signature(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    answer = alice.says("你好 😀").wait()
    assert (answer.outcome, answer.status, answer.body) == ("success", 200, "success")
    received = bot.received[0]
    fields = fields_of(received)
    assert isinstance(fields.pop("MsgId"), int)
    assert fields == {
        "ToUserName": "gh_0123456789ab",
        "FromUserName": alice.openid,
        "CreateTime": 1_700_000_000,
        "MsgType": "text",
        "Content": "你好 😀",
    }
    assert received.headers["Content-Type"] == "application/json"
    token = wechat.settings()["WXBOT_TOKEN"]
    query = received.query
    assert query["signature"] == envelope.sign(token, query["timestamp"], query["nonce"])
    assert query["openid"] == alice.openid


def test_every_kind_of_push_has_its_fields(alice: User, bot: Receiver) -> None:
    alice.sends_image(url="http://x/1.jpg", media_id="M")
    alice.sends_mini_program_page("Shop")
    alice.enters("from-order-page")
    alice.sends("text", Content="again", MsgId=7, CreateTime=5).wait()
    image, page, entered, text = (fields_of(received) for received in bot.received)
    assert (image["PicUrl"], image["MediaId"]) == ("http://x/1.jpg", "M")
    assert (page["Title"], page["AppId"], page["PagePath"]) == ("Shop", "wx0123456789abcdef", "pages/index")
    assert {"ThumbUrl", "ThumbMediaId"} <= set(page)
    assert (entered["Event"], entered["SessionFrom"]) == ("user_enter_tempsession", "from-order-page")
    assert "MsgId" not in entered
    assert (text["MsgId"], text["CreateTime"]) == (7, 5)
    assert image["MsgId"] > 2**53
    assert len({image["MsgId"], page["MsgId"]}) == 2


def test_the_timeline_has_user_actions_and_pushes(alice: User) -> None:
    alice.says("hi").wait()
    alice.sends_image(media_id="M").wait()
    alice.does("CLICK", EventKey="menu-1").wait()
    records = [(record.kind, record.what) for record in alice.timeline]
    assert records == [(kind, what) for what in ("hi", "[image M]", "[CLICK menu-1]") for kind in ("user", "push")]


def test_verify_checks_the_callback_url(wechat: FakeWeChat, bot: Receiver) -> None:
    bot.answer = lambda received: (200, received.query["echostr"].encode())
    assert wechat.verify()
    query = bot.received[0].query
    assert query["signature"] == envelope.sign(wechat.keys.token, query["timestamp"], query["nonce"])
    bot.answer = lambda received: (200, b'"' + received.query["echostr"].encode() + b'"')
    assert not wechat.verify()
    bot.answer = lambda received: (403, received.query["echostr"].encode())
    assert not wechat.verify()


# -- timeout and retries


def test_a_push_without_an_answer_is_tried_three_times_for_five_seconds(
    alice: User, bot: Receiver, clock: ManualClock
) -> None:
    bot.answer = lambda received: SILENCE
    push = alice.says("anybody?")
    for n in (1, 2, 3):
        bot.waits_for(n)
        clock.advance(4.999)
        assert len(push.attempts) == n - 1
        clock.advance(0.001)
    last = push.wait()
    assert [(one.n, one.outcome, one.at - 1_700_000_000) for one in push.attempts] == [
        (1, "timeout", 0),
        (2, "timeout", pytest.approx(5)),
        (3, "timeout", pytest.approx(10)),
    ]
    assert last is push.attempts[-1]
    assert alice.saw == [NOTICE]
    assert len({received.body for received in bot.received}) == 1
    assert len({received.query["nonce"] for received in bot.received}) == 3
    assert clock.timers == 0


def test_a_success_on_the_third_try_is_a_success(alice: User, bot: Receiver, clock: ManualClock) -> None:
    bot.answer = lambda received: SUCCESS if len(bot.received) == 3 else SILENCE
    push = alice.says("hello?")
    for n in (1, 2):
        bot.waits_for(n)
        clock.advance(5)
    assert push.wait().n == 3
    assert alice.saw == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((500, b"success"), "HTTP 500"),
        ((302, b""), "HTTP 302"),
        ((403, b""), "HTTP 403"),
        ((200, b"ok"), "not JSON"),
        ((200, b'"success"'), "not a JSON object"),
        ((200, b"<xml></xml>"), "not JSON"),
    ],
)
def test_a_refused_answer_is_retried_when_five_seconds_are_over(
    alice: User, bot: Receiver, clock: ManualClock, answer: Any, why: str
) -> None:
    bot.answer = lambda received: answer if len(bot.received) == 1 else SUCCESS
    push = alice.says("hi")
    alice.waits_for_pushes(1)
    clock.advance(5)
    push.wait()
    assert [(one.n, one.outcome) for one in push.attempts] == [(1, "refused"), (2, "success")]
    assert why in push.attempts[0].why
    assert bot.received[0].body == bot.received[1].body


def test_a_refused_answer_is_retried_at_once_without_a_pause(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    wechat.retry_pause = 0
    wechat.tries = 4
    bot.answer = lambda received: (500, b"")
    push = alice.says("hi")
    assert push.wait().n == 4
    assert alice.saw == [NOTICE]


def test_without_a_callback_url_no_push_is_sent(wechat: FakeWeChat, alice: User) -> None:
    wechat.callback_url = ""
    push = alice.says("hi")
    with pytest.raises(AssertionError, match="set callback_url"):
        push.wait()


def test_a_timeout_of_wait_raises_an_error_with_the_records(alice: User, bot: Receiver) -> None:
    bot.answer = lambda received: SILENCE
    push = alice.says("hi")
    with pytest.raises(AssertionError, match="alice: user 'hi'"):
        push.wait(timeout=0.05)


# -- redelivery and order


def test_a_redelivery_has_the_same_fields_a_new_signature_and_is_no_interaction(
    alice: User, bot: Receiver, wechat: FakeWeChat, clock: ManualClock
) -> None:
    push = alice.says("hi")
    push.wait()
    clock.advance(31)
    again = push.redeliver()
    again.wait()
    first, second = bot.received
    assert first.body == second.body
    assert first.query["timestamp"] != second.query["timestamp"]
    assert Caller(wechat).typing(alice) == 45080


def test_a_push_may_be_delivered_twice_at_once(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    wechat.deliver_twice_at_once = True
    push = alice.says("hi")
    push.wait()
    assert [one.n for one in push.attempts] == [1, 1]
    assert bot.received[0].body == bot.received[1].body


def test_pushes_of_one_user_are_delivered_in_order(alice: User, bot: Receiver) -> None:
    words = [str(n) for n in range(30)]
    pushes = [alice.says(word) for word in words]
    for push in pushes:
        push.wait()
    assert texts_of(bot) == words


def test_a_push_waits_for_the_first_try_of_the_one_before(alice: User, bot: Receiver, clock: ManualClock) -> None:
    bot.answer = lambda received: SILENCE if fields_of(received)["Content"] == "slow" else SUCCESS
    alice.says("slow")
    quick = alice.says("quick")
    bot.waits_for(1)
    assert not quick.done
    clock.advance(5)
    assert quick.wait().outcome == "success"


def test_pushes_do_not_wait_for_each_other_without_in_order(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    wechat.in_order = False
    bot.answer = lambda received: SILENCE if fields_of(received)["Content"] == "slow" else SUCCESS
    alice.says("slow")
    assert alice.says("quick").wait().outcome == "success"


@pytest.mark.parametrize(
    ("order", "arrive"), [([2, 0], "three one two"), ("reversed", "three two one"), (None, "one two three")], ids=repr
)
def test_held_pushes_are_released_in_a_given_order(
    wechat: FakeWeChat, alice: User, bot: Receiver, order: Any, arrive: str
) -> None:
    wechat.hold()
    pushes = [alice.says(word) for word in ("one", "two", "three")]
    assert bot.received == []
    wechat.release([pushes[n] for n in order] if isinstance(order, list) else order)
    for push in pushes:
        push.wait()
    assert texts_of(bot) == arrive.split()


# -- passive replies


def transfer(user: User, **changes: Any) -> dict[str, Any]:
    swapped = {"ToUserName": user.openid, "FromUserName": "gh_0123456789ab"}
    return {**swapped, "CreateTime": 1_700_000_000, "MsgType": "transfer_customer_service", **changes}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"MsgType": "text", "Content": "hi"}, "not allowed as a passive reply"),
        ({"ToUserName": "somebody"}, "swapped"),
        ({"CreateTime": "now"}, "CreateTime"),
    ],
)
def test_invalid_passive_replies_are_refused(
    wechat: FakeWeChat, alice: User, bot: Receiver, changes: dict[str, Any], why: str
) -> None:
    wechat.retry_pause = 0
    bot.answer = lambda received: (200, json.dumps(transfer(alice, **changes)).encode())
    last = alice.says("hi").wait()
    assert last.outcome == "refused"
    assert why in last.why


def test_an_encrypted_passive_text_of_an_official_account_is_accepted(clock: ManualClock, bot: Receiver) -> None:
    with FakeWeChat(clock, account_kind="official", callback_url=bot.url) as wechat:
        alice, keys = wechat.user("alice"), wechat.keys

        def answer(received: Received) -> tuple[int, bytes]:
            fields = transfer(alice, MsgType="text", Content="你好")
            sealed = envelope.encrypt(envelope.to_text(fields, "xml").encode(), keys.appid, keys.aes_key)
            nonce = received.query["nonce"]
            signature = envelope.sign(keys.token, "17", nonce, sealed)
            outer = {"Encrypt": sealed, "MsgSignature": signature, "TimeStamp": 17, "Nonce": nonce}
            return 200, envelope.to_text(outer, "xml").encode()

        bot.answer = answer
        assert alice.says("hi").wait().outcome == "success"
        assert alice.saw == ["你好"]
        clock.advance(29)
        assert Caller(wechat).typing(alice) == 0


# -- raw requests


def test_push_raw_sends_an_invalid_push_unchanged(wechat: FakeWeChat, alice: User, bot: Receiver) -> None:
    push = alice.says("hi")
    push.wait()
    query, body = wechat.envelope(push.fields, mode="safe", timestamp="1", nonce="2")
    assert (query["timestamp"], query["nonce"], query["encrypt_type"]) == ("1", "2", "aes")
    answer = wechat.push_raw({**query, "msg_signature": "forged"}, body, {"X-Forwarded-For": "1.2.3.4"})
    assert answer == (200, b"success")
    received = bot.received[-1]
    assert received.query["msg_signature"] == "forged"
    assert received.body == body
    assert received.headers["X-Forwarded-For"] == "1.2.3.4"


def test_a_callback_url_may_have_a_query(alice: User, bot: Receiver, wechat: FakeWeChat) -> None:
    wechat.callback_url = bot.url + "?account=1"
    alice.says("hi").wait()
    assert {"account", "signature", "openid"} <= set(bot.received[0].query)


def test_tries_and_timeouts_work_with_the_real_clock(bot: Receiver) -> None:
    with FakeWeChat(RealClock(), callback_url=bot.url) as wechat:
        wechat.push_timeout = 0.05
        wechat.on_record(lambda record: setattr(wechat, "push_timeout", 10.0 if record.attempt else 0.05))
        bot.answer = lambda received: SUCCESS if wechat.push_timeout == 10.0 else SILENCE
        push = wechat.user("alice").says("hi")
        push.wait()
        assert [one.outcome for one in push.attempts] == ["timeout", "success"]
