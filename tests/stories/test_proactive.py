"""Proactive messages of other systems: in order with the bot's replies, and within WeChat's limits."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.stories.support import Log, Start, asks, bot_key, replies, waits_in_loop
from wxbot import Context, ImageReply, InvalidReply, Plugin, SendNotAllowed, VoiceReply
from wxbot.errors import StoreUnavailable
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.media import SAMPLE_IMAGE

KEY = "a-key-that-nobody-guesses"
goes_on = threading.Event()


def plugin() -> Plugin:
    plugin = Plugin("test")

    @plugin.text("three")
    async def three(ctx: Context) -> AsyncIterator[str]:
        yield "one"
        await asyncio.to_thread(goes_on.wait, 10)
        yield "two"
        yield "three"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    return plugin


@pytest.fixture
def bot(start: Start) -> Bot:
    goes_on.clear()
    return start(plugin(), send_key=KEY)


def test_a_program_sends_a_message(alice: User, bot: Bot) -> None:
    asks(alice, "hi", "answer to hi")
    asyncio.run(bot.send(alice.openid, "your parcel is there"))
    alice.waits_for("your parcel is there")
    asyncio.run(bot.send(alice.openid, ImageReply(SAMPLE_IMAGE)))
    alice.waits_for("[image image.jpg]")


def test_a_proactive_message_waits_for_the_running_handler(alice: User, bot: Bot) -> None:
    asks(alice, "three", "one")
    asyncio.run(bot.send(alice.openid, "your parcel is there"))
    goes_on.set()
    alice.waits_for("your parcel is there")
    assert replies(alice) == ["one", "two", "three", "your parcel is there"]


def test_a_message_to_an_unknown_user_or_after_48_hours_is_refused(alice: User, bot: Bot, clock: ManualClock) -> None:
    with pytest.raises(SendNotAllowed, match="must write to the account first"):
        asyncio.run(bot.send(alice.openid, "hello"))
    asks(alice, "hi", "answer to hi")
    clock.advance(48 * 3600)
    with pytest.raises(SendNotAllowed, match="over"):
        asyncio.run(bot.send(alice.openid, "hello"))
    assert replies(alice) == ["answer to hi"]


def test_a_proactive_message_counts_in_the_quota(alice: User, bot: Bot) -> None:
    """Check also that a caller that got no response may post a message again with the same key."""
    asks(alice, "hi", "answer to hi")
    for number in range(4):
        asyncio.run(bot.send(alice.openid, f"message {number}", key=f"k{number}"))
        alice.waits_for(f"message {number}")
        waits_until_settled(bot, alice.openid, 3 - number)
    with pytest.raises(SendNotAllowed, match="used up"):
        asyncio.run(bot.send(alice.openid, "one too many"))
    assert asyncio.run(bot.send(alice.openid, "message 3", key="k3")) == "k3"
    assert replies(alice)[-1] == "message 3"


def waits_until_settled(bot: Bot, openid: str, left: int) -> None:
    runtime, user = bot._started_runtime(), bot_key(bot, openid)

    def is_left() -> bool:
        record = runtime.find(user).conversation
        return record is not None and record.quota is not None and record.quota.remaining == left

    waits_in_loop(bot, is_left, f"not {left}")


@pytest.mark.parametrize(
    ("reply", "key", "words"),
    [
        (5, "", "int is neither a text nor a reply"),
        (None, "", "NoneType"),
        (" ", "", "empty"),
        (VoiceReply("MEDIA"), "", r"Mini Program.* 'voice'"),
        ("hi", 5, "key"),
        ("hi", "k" * 129, "key"),
    ],
)
def test_an_invalid_call_is_refused_at_once(alice: User, bot: Bot, reply: Any, key: Any, words: str) -> None:
    alice.says("hi").wait()
    with pytest.raises(InvalidReply, match=words):
        asyncio.run(bot.send(alice.openid, reply, key=key))


def test_an_invalid_reply_is_refused_by_a_stopped_bot_too(bot: Bot, wechat: FakeWeChat) -> None:
    """The caller must not try an invalid reply again later, as it does with StoreUnavailable."""
    bot.stop(0)
    with pytest.raises(InvalidReply, match="openid"):
        asyncio.run(bot.send("", "hello"))
    with pytest.raises(StoreUnavailable):
        asyncio.run(bot.send(wechat.user("alice").openid, "hello"))


def test_a_second_call_with_the_same_key_sends_nothing(alice: User, bot: Bot) -> None:
    asks(alice, "hi", "answer to hi")
    for _ in range(3):
        asyncio.run(bot.send(alice.openid, "your parcel is there", key="parcel-42"))
    asyncio.run(bot.send(alice.openid, "and gone"))
    alice.waits_for("and gone")
    assert replies(alice) == ["answer to hi", "your parcel is there", "and gone"]


def test_a_proactive_message_is_sent_during_a_handover(alice: User, wechat: FakeWeChat, bot: Bot) -> None:
    asks(alice, "hi", "answer to hi")
    wechat.agent("kf1@shop").takes(alice).wait()
    asyncio.run(bot.send(alice.openid, "your parcel is there"))
    alice.waits_for("your parcel is there")


# Over HTTP


def post(wechat: FakeWeChat, body: Any, *, key: str = KEY, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    address = wechat.callback_url.replace("/wechat", "/send")
    given = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(address, data, given)  # noqa: S310 - our own address
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else text.decode()


def text_for(openid: str, text: str) -> dict[str, Any]:
    return {"touser": openid, "msgtype": "text", "text": {"content": text}}


def test_send_accepts_the_body_of_wechats_own_call(alice: User, wechat: FakeWeChat, bot: Bot) -> None:
    asks(alice, "hi", "answer to hi")
    status, response = post(wechat, text_for(alice.openid, "your parcel is there 📦"), Idempotency_Key="parcel-42")
    assert (status, response) == (202, {"id": "parcel-42"})
    alice.waits_for("your parcel is there 📦")


def test_send_without_the_key_is_refused(alice: User, wechat: FakeWeChat, bot: Bot, log: Log) -> None:
    asks(alice, "hi", "answer to hi")
    for key in ("", "wrong", KEY + "x", KEY[:-1]):
        status, response = post(wechat, text_for(alice.openid, "hello"), key=key)
        assert status == 401
        assert KEY not in str(response)
    assert replies(alice) == ["answer to hi"]
    assert not any(KEY in line for line in log.lines)


def test_an_invalid_body_gets_an_error_of_one_sentence(alice: User, wechat: FakeWeChat, bot: Bot) -> None:
    alice.says("hi").wait()
    cases: list[tuple[Any, int, str]] = [
        (b"no json", 400, "not JSON"),
        (b"[]", 400, "not an object"),
        (b'{"touser": "a", "touser": "b"}', 400, "appears twice"),
        ({"touser": alice.openid, "msgtype": "hologram"}, 422, "hologram"),
        ({"touser": alice.openid, "msgtype": "text", "text": "hi"}, 422, "text"),
        ({"msgtype": "text", "text": {"content": "hi"}}, 422, "touser"),
        ({"touser": alice.openid, "msgtype": "voice", "voice": {"media_id": "M"}}, 422, "voice"),
        (text_for("oNOBODY", "hi"), 409, "must write"),
    ]
    for body, status, words in cases:
        answered, response = post(wechat, body)
        assert (answered, words in response["error"]) == (status, True), (body, answered, response)


def test_without_a_send_key_the_path_does_not_exist(wechat: FakeWeChat, start: Start) -> None:
    start(plugin())
    assert post(wechat, text_for("oX", "hi"))[0] == 404
