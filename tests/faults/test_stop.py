"""A deploy: running handlers finish, other messages are released, no message is lost and no reply is sent twice."""

from __future__ import annotations

from signal import SIGHUP, SIGTERM

from tests.faults.support import Deployment, HandlerControl, wrong_calls
from tests.faults.test_death import replies
from wxbot.testing import FakeWeChat


def test_running_handlers_finish_and_other_messages_wait_for_the_next_start(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    bot.start()
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for user in (alice, bob):
        for n in (1, 2):
            assert user.says(f"ask {n}").wait().outcome == "success"
    runs = {user: handlers.waits_for(user, "ask 1") for user in (alice, bob)}
    bot.signals(SIGTERM)
    bot.waits_for_log("finishing", times=len({handler.pid for handler in runs.values()}))
    for user, handler in runs.items():
        handler.answers("answer 1")
        user.waits_for("answer 1")
    assert bot.waits_for_end() == 0
    assert [attempts for _, _, attempts, _ in bot.inbox()] == [0, 0]

    bot.start()
    for user in (alice, bob):
        handler = handlers.waits_for(user, "ask 2")
        assert handler.attempt == 1
        handler.answers("answer 2")
        user.waits_for("answer 2")
        assert replies(user) == ["answer 1", "answer 2"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_handler_longer_than_the_drain_is_released(
    bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl
) -> None:
    bot.start(WXBOT_DRAIN_SECONDS="0.5", WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    for n in (1, 2):
        assert alice.says(f"ask {n}").wait().outcome == "success"
    handlers.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    before = wechat.clock.now()
    bot.signals(SIGTERM)
    assert bot.waits_for_end() == 0
    assert wechat.clock.now() - before < 5
    assert [attempts for _, _, attempts, _ in bot.inbox()] == [0, 0]

    bot.start()
    for n in (1, 2):
        handler = handlers.waits_for(alice, f"ask {n}")
        assert handler.attempt == 1
        handler.answers(f"answer {n}")
    alice.waits_for("answer 2")
    assert replies(alice) == ["answer 1", "answer 2"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_reload_under_load(bot: Deployment, wechat: FakeWeChat) -> None:
    bot.start()
    before = set(bot.workers)
    users = [wechat.user(f"user{n}") for n in range(20)]
    for n in range(4):
        pushes = [user.says(f"work {100 + 20 * n} m{n}") for user in users]
        if n == 1:
            bot.signals(SIGHUP)
        for push in pushes:
            assert push.wait(15).outcome == "success"
    for user in users:
        user.waits_for(lambda saw: " m3 | " in saw, 15)
        assert [text.split()[2] for text in replies(user)] == [f"m{n}" for n in range(4)]
    bot.waits_for_log("Worker exiting", times=len(before))
    bot.waits_for_the_end_of(before)
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()
    bot.waits_for_records()


def test_a_stop_during_a_hanging_send(bot: Deployment, wechat: FakeWeChat) -> None:
    """Check that the stop waits for a send in progress, because it is unknown whether the user gets the reply."""
    bot.start(WXBOT_DRAIN_SECONDS="0", WXBOT_API_TIMEOUT="4", WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    alice.says("warm up").wait()
    alice.waits_for("re: warm up")
    wechat.faults.hang("send", times=1, acted=True)
    alice.says("hi").wait()
    alice.waits_for("re: hi")
    bot.signals(SIGTERM)
    bot.waits_for_log("releasing conversations: count=1")
    assert bot.waits_for_end() == 0
    ((_, status, _, reason),) = bot.inbox()
    assert (status, "answer to a reply was lost" in str(reason)) == (2, True)
    bot.start()
    alice.says("again").wait()
    alice.waits_for("re: again")
    assert replies(alice) == ["re: warm up", "re: hi", "re: again"]
