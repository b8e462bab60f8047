"""A deploy: what is being answered is finished, what is not is handed on, nothing is lost and nothing is said twice."""

from __future__ import annotations

from signal import SIGHUP, SIGTERM

from tests.faults.support import Deployment, Stage, wrong_calls
from tests.faults.test_death import words
from wxbot.testing import FakeWeChat


def test_running_handlers_finish_and_the_rest_waits_for_the_next_start(
    bot: Deployment, wechat: FakeWeChat, stage: Stage
) -> None:
    bot.start()
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for user in (alice, bob):
        for n in (1, 2):
            assert user.says(f"ask {n}").wait().outcome == "success"
    visits = {user: stage.waits_for(user, "ask 1") for user in (alice, bob)}
    bot.signals(SIGTERM)
    bot.waits_for_log("finishing", times=len({visit.pid for visit in visits.values()}))
    for user, visit in visits.items():
        visit.answers("answer 1")
        user.waits_for("answer 1")
    assert bot.waits_for_end() == 0
    assert [attempts for _, _, attempts, _ in bot.inbox()] == [0, 0]

    bot.start()
    for user in (alice, bob):
        visit = stage.waits_for(user, "ask 2")
        assert visit.attempt == 1
        visit.answers("answer 2")
        user.waits_for("answer 2")
        assert words(user) == ["answer 1", "answer 2"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_handler_that_takes_too_long_is_handed_back(bot: Deployment, wechat: FakeWeChat, stage: Stage) -> None:
    bot.start(WXBOT_DRAIN_SECONDS="0.5", WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    for n in (1, 2):
        assert alice.says(f"ask {n}").wait().outcome == "success"
    stage.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    before = wechat.clock.now()
    bot.signals(SIGTERM)
    assert bot.waits_for_end() == 0
    assert wechat.clock.now() - before < 5
    assert [attempts for _, _, attempts, _ in bot.inbox()] == [0, 0]

    bot.start()
    for n in (1, 2):
        visit = stage.waits_for(alice, f"ask {n}")
        assert visit.attempt == 1
        visit.answers(f"answer {n}")
    alice.waits_for("answer 2")
    assert words(alice) == ["answer 1", "answer 2"]
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
        assert [text.split()[2] for text in words(user)] == [f"m{n}" for n in range(4)]
    bot.waits_for_log("Worker exiting", times=len(before))
    bot.waits_for_the_end_of(before)
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()
    bot.waits_for_records()


def test_a_stop_while_wechat_hangs(bot: Deployment, wechat: FakeWeChat) -> None:
    """A reply that is on its way is waited for: nobody knows whether it has reached the user."""
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
    assert words(alice) == ["re: warm up", "re: hi", "re: again"]
