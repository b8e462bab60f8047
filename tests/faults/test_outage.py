"""The store is out, or a process is: nothing is promised that cannot be kept, and nothing is said twice."""

from __future__ import annotations

import pytest

from tests.faults.support import Deployment, Stage, wrong_calls
from tests.faults.test_death import words
from wxbot.testing import FakeWeChat


def test_a_push_that_cannot_be_kept_is_refused_and_delivered_again(bot: Deployment, wechat: FakeWeChat) -> None:
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
    assert words(alice) == ["re: hi", "re: still there?"]
    bot.waits_for_records()


def test_a_reply_that_cannot_be_recorded_is_not_sent_again(bot: Deployment, wechat: FakeWeChat, stage: Stage) -> None:
    bot.start(WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    visit = stage.waits_for(alice, "ask 1")
    alice.waits_until_typing()  # so it has an access token
    with bot.locked_store():
        visit.answers("one")
        alice.waits_for("one")
        bot.waits_for_log("store unavailable, retrying")
    alice.says("two").wait()
    alice.waits_for("re: two")
    assert words(alice) == ["one", "re: two"]


def test_a_conversation_that_was_left_in_an_outage_is_taken_up_again(
    bot: Deployment, wechat: FakeWeChat, stage: Stage
) -> None:
    """Also by a process that is busy with others and goes on renewing its leases."""
    bot.start(WXBOT_LEASE_SECONDS="1", WEB_CONCURRENCY="1")
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for user in (alice, bob):
        user.says("ask 1").wait()
    visits = {user: stage.waits_for(user, "ask 1") for user in (alice, bob)}
    for user in visits:
        user.waits_until_typing()
    with bot.locked_store():
        bot.waits_for_log("store unavailable", timeout=15)  # so the leases have run out
        visits[alice].answers("one")
        bot.waits_for_log("conversation left", timeout=15)
    alice.waits_for("one")  # although bob's conversation goes on all the while; and the handler is not run again
    visits[bob].answers("one")
    bob.waits_for("one")
    assert words(alice) == words(bob) == ["one"]
    assert len(stage.visits) == 2


def test_a_worker_that_starts_in_an_outage_does_not_end_the_others(bot: Deployment, wechat: FakeWeChat) -> None:
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


def test_a_start_without_a_store_says_why(bot: Deployment) -> None:
    with pytest.raises(AssertionError, match="check that its folder exists"):
        bot.start(WXBOT_STORE_URL="sqlite:////nowhere/wxbot.db")
    assert bot.waits_for_end() != 0


def test_a_worker_that_was_stopped_does_not_answer_what_another_one_has_answered(
    bot: Deployment, wechat: FakeWeChat, stage: Stage
) -> None:
    bot.start(WXBOT_LEASE_SECONDS="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    old = stage.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    with bot.stopped(old.pid):
        new = stage.waits_for(alice, "ask 1")
        assert new.pid != old.pid
        new.answers("new")
        alice.waits_for("new")
        old.answers("old")  # it is there the moment the worker goes on
    old.waits_until_over()
    alice.says("two").wait()
    alice.waits_for("re: two")
    assert words(alice) == ["new", "re: two"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_worker_that_was_stopped_while_another_one_still_works(
    bot: Deployment, wechat: FakeWeChat, stage: Stage
) -> None:
    bot.start(WXBOT_LEASE_SECONDS="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    old = stage.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    with bot.stopped(old.pid):
        new = stage.waits_for(alice, "ask 1")
        old.answers("old")
    old.waits_until_over()
    new.answers("new")
    alice.waits_for("new")
    assert words(alice) == ["new"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()
