"""The store is unavailable, or a process is stopped: no message is lost, and no reply is sent twice."""

from __future__ import annotations

import pytest

from tests.faults.support import Deployment, HandlerControl, wrong_calls
from tests.faults.test_death import replies
from wxbot.testing import FakeWeChat


def test_a_push_that_cannot_be_stored_gets_a_500_and_is_redelivered(bot: Deployment, wechat: FakeWeChat) -> None:
    bot.start(WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    with bot.locked_store():
        push = alice.says("hi")
        alice.waits_for_pushes(1)
        assert (push.attempts[0].outcome, push.attempts[0].status) == ("refused", 500)
    assert push.wait().outcome == "success"
    alice.waits_for("re: hi")
    alice.says("still there?").wait()
    alice.waits_for("re: still there?")
    assert replies(alice) == ["re: hi", "re: still there?"]
    bot.waits_for_records()


def test_a_reply_that_cannot_be_recorded_is_not_sent_again(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    bot.start(WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    handler = handlers.waits_for(alice, "ask 1")
    alice.waits_until_typing()  # so that the process has an access token
    with bot.locked_store():
        handler.answers("one")
        alice.waits_for("one")
        bot.waits_for_log("store unavailable, retrying")
    alice.says("two").wait()
    alice.waits_for("re: two")
    assert replies(alice) == ["one", "re: two"]


def test_a_conversation_left_in_an_outage_is_claimed_again(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    """Check it for a process that processes another conversation and continues to renew its leases."""
    bot.start(WXBOT_LEASE_SECONDS="1", WEB_CONCURRENCY="1")
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for user in (alice, bob):
        user.says("ask 1").wait()
    runs = {user: handlers.waits_for(user, "ask 1") for user in (alice, bob)}
    for user in runs:
        user.waits_until_typing()
    with bot.locked_store():
        bot.waits_for_log("store unavailable", timeout=15)  # so that the leases have expired
        runs[alice].answers("one")
        bot.waits_for_log("conversation left", timeout=15)
    alice.waits_for("one")  # while Bob's conversation continues; the handler does not run again
    runs[bob].answers("one")
    bob.waits_for("one")
    assert replies(alice) == replies(bob) == ["one"]
    assert len(handlers.runs) == 2


def test_a_worker_started_in_an_outage_does_not_end_the_others(bot: Deployment, wechat: FakeWeChat) -> None:
    bot.start(WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    with bot.locked_store():
        bot.kill(bot.workers[0])
        bot.waits_for_log("worker not ready, retrying")
        push = alice.says("hi")
        alice.waits_for_pushes(1)
        assert push.attempts[0].outcome != "success"
    assert push.wait().outcome == "success"
    alice.waits_for("re: hi")


def test_a_start_without_a_store_reports_the_reason(bot: Deployment) -> None:
    with pytest.raises(AssertionError, match="check that its folder exists"):
        bot.start(WXBOT_STORE_URL="sqlite:////nowhere/wxbot.db")
    assert bot.waits_for_end() != 0


def test_a_stopped_worker_does_not_repeat_the_reply_of_another(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    bot.start(WXBOT_LEASE_SECONDS="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    old = handlers.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    with bot.stopped(old.pid):
        new = handlers.waits_for(alice, "ask 1")
        assert new.pid != old.pid
        new.answers("new")
        alice.waits_for("new")
        old.answers("old")  # the worker reads it when it continues
    old.waits_until_ended()
    alice.says("two").wait()
    alice.waits_for("re: two")
    assert replies(alice) == ["new", "re: two"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_stopped_worker_does_not_reply_while_another_owns_the_conversation(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    bot.start(WXBOT_LEASE_SECONDS="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    old = handlers.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    with bot.stopped(old.pid):
        new = handlers.waits_for(alice, "ask 1")
        old.answers("old")
    old.waits_until_ended()
    new.answers("new")
    alice.waits_for("new")
    assert replies(alice) == ["new"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()
