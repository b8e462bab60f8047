"""Handover: the response to the push transfers the user to human agents, and then the bot does not reply."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.stories.support import Log, Start, asks, replies, waits_in_loop
from wxbot import AgentSessionEvent, Context, EventMessage, Message, Plugin, TextMessage
from wxbot.server.bot import Bot
from wxbot.testing import FakeWeChat, ManualClock, User
from wxbot.testing.agents import Agent

HALF_AN_HOUR = 1800


def helpdesk(agent: bool | str = True) -> Plugin:
    plugin = Plugin("helpdesk")

    @plugin.hands_over
    def wants_agent(message: Message) -> bool | str:
        return agent if isinstance(message, TextMessage) and "人工" in message.text else False

    @plugin.text("sorry, wait")
    async def leave(ctx: Context) -> str:
        ctx.hand_over()
        return "an agent will answer you"

    @plugin.text("for a minute")
    async def leave_for_a_minute(ctx: Context) -> None:
        ctx.hand_over(seconds=60)

    @plugin.event("kf_close_session")
    async def closed(ctx: Context) -> str:
        assert isinstance(ctx.message, AgentSessionEvent)
        return f"{ctx.message.agent} has left"

    @plugin.event("click", "user_enter_tempsession")
    async def event(ctx: Context) -> str:
        assert isinstance(ctx.message, EventMessage)
        return f"event {ctx.message.event}"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    return plugin


ACCOUNTS = [
    {"account_kind": "miniprogram", "format": "json"},
    {"account_kind": "miniprogram"},
    {"account_kind": "official"},
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that does not choose an account with every one."""
    chosen = [mark for mark in metafunc.definition.iter_markers("parametrize") if mark.args[0] == "wechat"]
    if not chosen:
        metafunc.parametrize("wechat", ACCOUNTS, indirect=True, ids=["json", "xml", "official"])


@pytest.fixture
def agent(wechat: FakeWeChat) -> Agent:
    return wechat.agent("kf1@shop")


@pytest.fixture
def bot(start: Start) -> Bot:
    return start(helpdesk())


def test_the_message_and_its_redelivery_are_transferred_to_the_agents(alice: User, agent: Agent, bot: Bot) -> None:
    """Check the encryption and the format of the response too, which FakeWeChat verifies."""
    push = alice.says("人工")
    assert push.wait().outcome == "success"
    again = push.redeliver()
    again.wait()
    for delivered in (push, again):
        assert delivered.answer is not None
        assert delivered.answer["MsgType"] == "transfer_customer_service"
    assert alice.is_queued
    agent.takes(alice).wait()
    assert agent.saw == [("alice", "人工")]
    assert replies(alice) == []


def test_during_a_handover_the_agents_get_all_messages(alice: User, agent: Agent, bot: Bot, wechat: FakeWeChat) -> None:
    bob = wechat.user("bob")
    for text in ("人工", "my order is late", "hello?"):
        alice.says(text).wait()
    alice.does("CLICK", EventKey="menu").wait()
    asks(bob, "hi", "answer to hi")
    agent.takes(alice).wait()
    assert agent.saw == [("alice", "人工"), ("alice", "my order is late"), ("alice", "hello?")]
    assert replies(alice) == []


def test_the_bot_replies_again_when_the_agent_closes_the_session(alice: User, agent: Agent, bot: Bot) -> None:
    alice.says("人工").wait()
    agent.takes(alice).wait()
    agent.says(alice, "how can I help?")
    agent.closes(alice).wait()
    alice.waits_for("kf1@shop has left")
    asks(alice, "hi", "answer to hi")
    assert replies(alice) == ["how can I help?", "kf1@shop has left", "answer to hi"]


def test_a_handover_without_an_agent_ends_after_half_an_hour(alice: User, bot: Bot, clock: ManualClock) -> None:
    alice.says("人工").wait()
    clock.advance(HALF_AN_HOUR - 1)
    alice.says("anybody?").wait()
    clock.advance(1)
    asks(alice, "hi", "answer to hi")
    assert replies(alice) == ["answer to hi"]


def test_a_resume_word_ends_the_handover(alice: User, start: Start) -> None:
    start(helpdesk(), resume_words="robot, 返回")
    alice.says("人工").wait()
    asks(alice, " Robot ", "answer to  Robot ")
    asks(alice, "hi", "answer to hi")


def test_a_handover_survives_a_restart(alice: User, agent: Agent, start: Start) -> None:
    start(helpdesk())
    alice.says("人工").wait()
    start(helpdesk())
    alice.says("still there?").wait()
    agent.takes(alice).wait()
    assert agent.saw == [("alice", "人工"), ("alice", "still there?")]
    assert replies(alice) == []


def test_a_handover_by_a_handler_begins_after_its_reply(alice: User, agent: Agent, bot: Bot) -> None:
    asks(alice, "sorry, wait", "an agent will answer you")
    waits_until_handed_over(bot, alice)
    alice.says("it is about my order").wait()
    agent.takes(alice).wait()
    assert agent.saw == [("alice", "it is about my order")]
    assert replies(alice) == ["an agent will answer you"]


def test_a_handler_sets_the_duration_of_the_handover(alice: User, bot: Bot, clock: ManualClock) -> None:
    alice.says("for a minute").wait()
    waits_until_handed_over(bot, alice)
    clock.advance(60)
    asks(alice, "hi", "answer to hi")


def test_pending_replies_are_suppressed_after_a_handover(alice: User, start: Start, log: Log) -> None:
    goes_on = threading.Event()
    plugin = Plugin("slow")

    @plugin.hands_over
    def wants_agent(message: Message) -> bool:
        return isinstance(message, TextMessage) and message.text == "人工"

    @plugin.fallback
    async def slow(ctx: Context) -> str:
        await asyncio.to_thread(goes_on.wait, 10)
        return "too late"

    start(plugin)
    alice.says("think").wait()
    alice.waits_until_typing()
    alice.says("never mind").wait()
    alice.says("人工").wait()
    goes_on.set()
    log.waits_for("replies suppressed, the user is with human agents")
    log.waits_for("message not processed, the user is with human agents: type=TextMessage")
    assert replies(alice) == []


def test_a_session_that_an_agent_starts_is_a_handover(alice: User, agent: Agent, bot: Bot) -> None:
    asks(alice, "hi", "answer to hi")
    agent.takes(alice).wait()
    alice.says("only for the agent").wait()
    alice.does("CLICK", EventKey="menu").wait()
    agent.closes(alice).wait()
    alice.waits_for("kf1@shop has left")
    assert replies(alice) == ["answer to hi", "kf1@shop has left"]


@pytest.mark.parametrize("wechat", [{"account_kind": "official"}], indirect=True)
def test_a_rule_can_name_an_agent(alice: User, start: Start) -> None:
    start(helpdesk("kf2@shop"))
    push = alice.says("人工")
    push.wait()
    assert push.answer is not None
    assert push.answer["TransInfo"] == {"KfAccount": "kf2@shop"}


@pytest.mark.parametrize("wechat", [{}], indirect=True)
def test_a_mini_program_ignores_the_name_of_an_agent(alice: User, start: Start) -> None:
    """Check that any agent gets the message instead."""
    start(helpdesk("kf2@shop"))
    push = alice.says("人工")
    assert push.wait().outcome == "success"
    assert alice.is_queued


@pytest.mark.parametrize("wechat", [{}], indirect=True)
def test_a_rule_that_fails_counts_as_false(alice: User, start: Start, log: Log) -> None:
    plugin = Plugin("broken")

    @plugin.hands_over
    def broken(message: Message) -> bool:
        raise RuntimeError("no such thing")

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    start(plugin)
    asks(alice, "hi", "answer to hi")
    log.waits_for("hands_over rule failed and counts as False: plugin=broken")


def waits_until_handed_over(bot: Bot, user: User) -> None:
    """Wait until the handover that a handler requested is stored."""
    runtime = bot._started_runtime()

    def handed_over() -> bool:
        handovers = runtime._loop.run(runtime.store.handovers(bot.appid, bot.clock.now(), 10), 5)
        return user.openid in {key.openid for key, _ in handovers}

    waits_in_loop(bot, handed_over, f"{user} was not handed over")
