"""Test the human agents of FakeWeChat: the queue, sessions, and where the user's messages go during a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.testing.bot import SUCCESS, Answer, Caller, Received, Receiver
from wxbot.testing import FakeWeChat, ManualClock, User, envelope

ACCOUNT = {"mode": "plain", "account_kind": "official", "pushes": True, "retry_pause": 0}


def fields_of(received: Received) -> dict[str, Any]:
    return envelope.from_text(received.body, "xml")


def transfer(received: Received, **more: Any) -> Answer:
    fields = fields_of(received)
    swapped = {"ToUserName": fields["FromUserName"], "FromUserName": fields["ToUserName"]}
    answer = {**swapped, "CreateTime": 1, "MsgType": "transfer_customer_service", **more}
    return 200, envelope.to_text(answer, "xml").encode()


def transfers_messages(received: Received) -> Answer:
    return SUCCESS if fields_of(received)["MsgType"] == "event" else transfer(received)


@pytest.fixture
def bot() -> Iterator[Receiver]:
    with Receiver(transfers_messages) as bot:
        yield bot


def events_of(bot: Receiver) -> list[dict[str, Any]]:
    """The events that came, without the usual fields."""
    usual = ("ToUserName", "FromUserName", "CreateTime", "MsgType")
    events = [fields_of(received) for received in bot.received]
    return [
        {name: value for name, value in event.items() if name not in usual}
        for event in events
        if event["MsgType"] == "event"
    ]


# -- sessions


def test_an_agent_gets_the_messages_of_a_session_from_start_to_close(
    alice: User, wechat: FakeWeChat, bot: Receiver, clock: ManualClock
) -> None:
    agent = wechat.agent("kf1@account")
    alice.says("a human, please").wait()
    assert (alice.is_queued, alice.agent, alice.saw) == (True, "", [])
    agent.takes(alice).wait()
    assert (alice.is_queued, alice.agent) == (False, "kf1@account")
    push = alice.says("my parcel is lost")
    assert push.wait().n == 0
    assert (push.done, push.attempts, push.agent) == (True, [], "kf1@account")
    alice.sends_image(media_id="PHOTO").wait()
    agent.says(alice, "I am looking for it")
    agent.closes(alice).wait()
    assert (alice.is_queued, alice.agent) == (False, "")
    alice.says("thank you").wait()
    assert agent.saw == [("alice", "a human, please"), ("alice", "my parcel is lost"), ("alice", "[image PHOTO]")]
    assert alice.saw == ["I am looking for it"]
    assert events_of(bot) == [
        {"Event": "kf_create_session", "KfAccount": "kf1@account"},
        {"Event": "kf_close_session", "KfAccount": "kf1@account"},
    ]
    assert wechat.agent("kf1@account") is agent


def test_messages_of_a_queued_user_still_go_to_the_bot(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    alice.says("a human, please").wait()
    bot.answer = lambda received: SUCCESS
    alice.says("hello?").wait()
    bot.answer = transfers_messages
    alice.says("still there").wait()
    agent = wechat.agent("kf1@account")
    agent.takes(alice).wait()
    assert [fields_of(received).get("Content") for received in bot.received[:3]] == [
        "a human, please",
        "hello?",
        "still there",
    ]
    assert agent.saw == [("alice", "a human, please"), ("alice", "still there")]


def test_events_of_a_user_with_an_agent_still_go_to_the_bot(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    wechat.agent("kf1@account").takes(alice).wait()
    alice.clicks("menu-1").wait()
    assert events_of(bot)[-1] == {"Event": "CLICK", "EventKey": "menu-1"}


def test_messages_go_to_the_bot_again_30_minutes_after_the_session_started(
    alice: User, wechat: FakeWeChat, bot: Receiver, clock: ManualClock
) -> None:
    agent = wechat.agent("kf1@account")
    agent.takes(alice).wait()
    clock.advance(1799)
    assert alice.says("to the agent").wait().n == 0
    clock.advance(1)
    assert alice.agent == ""
    assert alice.says("to the bot").wait().n == 1
    assert alice.is_queued
    agent.closes(alice, "2").wait()
    assert events_of(bot)[-1] == {"Event": "kf_close_session", "KfAccount": "kf1@account", "CloseType": "2"}


def test_an_agent_switches_the_session_to_another_agent(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    one, two = wechat.agent("kf1@account"), wechat.agent("kf2@account")
    one.takes(alice).wait()
    one.hands_to(alice, two).wait()
    alice.says("and who are you?").wait()
    two.says(alice, "Two")
    assert (one.saw, two.saw) == ([], [("alice", "and who are you?")])
    assert events_of(bot)[-1] == {
        "Event": "kf_switch_session",
        "FromKfAccount": "kf1@account",
        "ToKfAccount": "kf2@account",
    }


def test_a_message_transferred_during_a_session_goes_to_its_agent(
    alice: User, wechat: FakeWeChat, bot: Receiver
) -> None:
    wechat.hold()
    alice.says("written before")
    agent = wechat.agent("kf1@account")
    taken = agent.takes(alice)
    wechat.release()
    taken.wait()
    assert agent.saw == [("alice", "written before")]
    assert not alice.is_queued


# -- the rules of window and quota


def test_an_agents_message_uses_no_quota_and_opens_the_window(
    alice: User, wechat: FakeWeChat, clock: ManualClock
) -> None:
    caller, agent = Caller(wechat), wechat.agent("kf1@account")
    alice.says("hi").wait()
    agent.takes(alice)
    clock.advance(40)
    assert caller.typing(alice) == 45080
    for n in range(3):
        agent.says(alice, str(n))
    assert caller.typing(alice) == 0
    agent.says(alice, "ends the indicator")
    assert not alice.is_shown_typing
    assert [caller.sends(alice, str(n)) for n in range(6)] == [0, 0, 0, 0, 0, 45047]
    assert [record.kind for record in alice.timeline].count("agent") == 5


def test_the_start_of_a_session_is_not_an_interaction(alice: User, wechat: FakeWeChat, clock: ManualClock) -> None:
    alice.says("hi").wait()
    clock.advance(30)
    wechat.agent("kf1@account").takes(alice)
    assert Caller(wechat).typing(alice) == 45080


# -- assignment of users to agents


def test_a_user_transferred_to_one_agent_cannot_be_taken_by_another(
    alice: User, wechat: FakeWeChat, bot: Receiver
) -> None:
    bot.answer = lambda received: transfer(received, TransInfo={"KfAccount": "kf2@account"})
    alice.says("Two, please").wait()
    with pytest.raises(ValueError, match="assigned to kf2@account"):
        wechat.agent("kf1@account").takes(alice)
    bot.answer = lambda received: SUCCESS
    wechat.agent("kf2@account").takes(alice).wait()
    assert wechat.agent("kf2@account").saw == [("alice", "Two, please")]


def test_an_agent_cannot_act_on_a_user_of_another_agent(alice: User, wechat: FakeWeChat) -> None:
    one, two = wechat.agent("kf1@account"), wechat.agent("kf2@account")
    with pytest.raises(ValueError, match="no session"):
        one.says(alice, "hello")
    one.takes(alice)
    with pytest.raises(ValueError, match="the user is assigned to kf1@account"):
        two.takes(alice)
    with pytest.raises(ValueError, match="the user is assigned to kf1@account"):
        one.takes(alice)
    for action in (lambda: two.closes(alice), lambda: two.hands_to(alice, one), lambda: two.says(alice, "x")):
        with pytest.raises(ValueError, match="kf2@account has no session"):
            action()
    assert repr(one) == "<Agent kf1@account>"


# -- rejected transfers


def test_the_transfer_of_an_event_is_rejected(alice: User, wechat: FakeWeChat, bot: Receiver) -> None:
    bot.answer = transfer
    last = alice.clicks("menu-1").wait()
    assert (last.outcome, last.n) == ("refused", 3)
    assert "only a message can be transferred" in last.why
    assert not alice.is_queued
    assert [(record.kind, record.what) for record in wechat.violations] == [
        ("passive", "[transfer_customer_service]")
    ] * 3
    assert "refused (only a message can" in str(wechat.violations[0])
    assert alice.saw == ["[该公众号暂时无法提供服务，请稍后再试]"]


@pytest.mark.parametrize("info", ["kf1@account", {}, {"KfAccount": ""}])
def test_a_transfer_to_an_agent_without_an_account_is_rejected(alice: User, bot: Receiver, info: Any) -> None:
    bot.answer = lambda received: transfer(received, TransInfo=info)
    last = alice.says("a human, please").wait()
    assert last.outcome == "refused"
    assert "TransInfo" in last.why
    assert not alice.is_queued


def test_a_mini_program_that_chooses_the_agent_is_rejected(bot: Receiver) -> None:
    with FakeWeChat(ManualClock(), mode="plain", callback_url=bot.url, retry_pause=0) as wechat:
        alice = wechat.user("alice")
        assert alice.says("a human, please").wait().outcome == "success"
        assert alice.is_queued
        bot.answer = lambda received: transfer(received, TransInfo={"KfAccount": "kf1@account"})
        last = alice.says("Agent One, please").wait()
        assert (last.outcome, last.why) == (
            "refused",
            "TransInfo is not allowed: a Mini Program cannot choose the agent",
        )


def test_an_agent_cannot_act_after_the_platform_is_closed(wechat: FakeWeChat, alice: User) -> None:
    wechat.close()
    with pytest.raises(RuntimeError, match="closed"):
        wechat.agent("kf1@account").takes(alice)
