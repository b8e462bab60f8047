"""Processes are killed at any moment: every acknowledged message is still answered, in order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from tests.faults.support import Deployment, HandlerControl, wrong_calls
from wxbot.testing import FakeWeChat, Record, User

USERS = 40
ROUNDS = 5
KILLS = 6
SEED = 5


def replies(user: User) -> list[str]:
    """Return the texts that the user got."""
    return [record.what for record in user.timeline if record.kind == "send" and record.errcode == 0]


def test_a_worker_killed_in_a_handler(bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl) -> None:
    bot.start()
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for user in (alice, bob):
        for text in ("ask 1", "ask 2", "ask 3"):
            assert user.says(text).wait().outcome == "success"
    first = handlers.waits_for(alice, "ask 1")
    for user in (alice, bob):
        user.waits_until_typing()
    bot.kill(first.pid)
    for n in (1, 2, 3):
        for user in (bob, alice):
            handler = handlers.waits_for(user, f"ask {n}")
            if n == 1 and handler.pid == first.pid:  # the killed worker processed Bob's message too
                handler = handlers.waits_for(user, f"ask {n}")
            handler.answers(f"answer {n} of {handler.pid}")
            user.waits_for(f"answer {n} of {handler.pid}")
    assert [text.rpartition(" of ")[0] for text in replies(alice)] == ["answer 1", "answer 2", "answer 3"]
    assert [text.rpartition(" of ")[0] for text in replies(bob)] == ["answer 1", "answer 2", "answer 3"]
    attempts = [
        handler.attempt for handler in handlers.runs if (handler.openid, handler.text) == (alice.openid, "ask 1")
    ]
    assert attempts == [1, 2]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_power_loss(bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl) -> None:
    bot.start()
    alice, bob = wechat.user("alice"), wechat.user("bob")
    for text in ("ask 1", "two", "three"):
        assert alice.says(text).wait().outcome == "success"
    assert bob.says("hello").wait().outcome == "success"
    bob.waits_for("re: hello")
    handlers.waits_for(alice, "ask 1")
    alice.waits_until_typing()
    bot.waits_for_records(left=3)
    bot.kill_all()
    assert replies(alice) == []
    bot.start()
    handlers.waits_for(alice, "ask 1").answers("one")
    alice.waits_for("re: three")
    assert replies(alice) == ["one", "re: two", "re: three"]
    assert replies(bob) == ["re: hello"]
    assert wrong_calls(wechat) == [], wechat.record_log.as_text()


def test_a_killed_master(bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl) -> None:
    """Check that the workers finish their handlers and end."""
    bot.start(WEB_CONCURRENCY="1")
    alice = wechat.user("alice")
    alice.says("ask 1").wait()
    handler = handlers.waits_for(alice, "ask 1")
    bot.kill(bot.pid)
    bot.waits_for_log("finishing conversations: count=1")
    handler.answers("one")
    alice.waits_for("one")
    bot.waits_for_end()
    bot.start()
    alice.says("two").wait()
    alice.waits_for("re: two")
    assert replies(alice) == ["one", "re: two"]


def refused(wechat: FakeWeChat) -> list[Record]:
    """Return the calls that WeChat refused.

    A needless CancelTyping is accepted. It cannot be avoided if a process dies between a call and its record.
    """
    return [record for record in wechat.violations if not record.needless]


class Killer:
    """A killer of random workers. ``killed``: when each worker was killed, by process id."""

    def __init__(self, bot: Deployment, wechat: FakeWeChat, chance: random.Random) -> None:
        self.killed: dict[int, float] = {}
        self._bot = bot
        self._wechat = wechat
        self._chance = chance
        self._sent = Counter[str]()
        wechat.on_record(lambda record: self._sent.update([record.kind]))

    def kill_one(self) -> None:
        pid = self._chance.choice(self._bot.workers)
        self._bot.kill(pid)
        self.killed[pid] = self._wechat.clock.now()

    def kill_one_after(self, replies: int, all_of_them: int) -> None:
        """Kill a worker when ``replies`` more replies were sent. ``all_of_them``: the number of all replies."""
        goal = min(self._sent["send"] + replies, all_of_them)
        self._wechat.waits_until(lambda: self._sent["send"] >= goal, 15)
        self.kill_one()


@pytest.mark.parametrize("wechat", [50], indirect=True)
def test_workers_killed_under_load(bot: Deployment, wechat: FakeWeChat) -> None:
    """Kill random workers at random moments, while users write faster than the bot replies.

    The quota is larger than five messages, because replies that are sent repeated count too.
    """
    chance = random.Random(SEED)
    bot.start(WXBOT_LEASE_SECONDS="1.5")
    users = [wechat.user(f"user{n}") for n in range(USERS)]
    killer = Killer(bot, wechat, chance)
    for n in range(ROUNDS):
        pushes = [user.says(f"work {chance.randrange(5, 300)} m{n}") for user in users]
        killer.kill_one()
        for push in pushes:
            assert push.wait(15).outcome == "success"
    for _ in range(KILLS - ROUNDS):
        killer.kill_one_after(chance.randrange(5, 20), USERS * ROUNDS)
    for user in users:
        user.waits_for(lambda saw: f" m{ROUNDS - 1} | " in saw, 20)
    bot.waits_for_records()

    repeated = 0
    for user in users:
        sends = [record for record in user.timeline if record.kind == "send" and record.errcode == 0]
        order = list(dict.fromkeys(record.what.split()[2] for record in sends))
        assert order == [f"m{n}" for n in range(ROUNDS)], replies(user)
        repeated += count_doubles(sends, killer.killed)
    assert repeated <= 5 * KILLS
    assert refused(wechat) == []


def count_doubles(sends: list[Record], killed: dict[int, float]) -> int:
    """Return how many replies were repeated. Check that each earlier one was sent in the last second of its process."""
    copies: dict[str, list[Record]] = defaultdict(list)
    for record in sends:
        copies[record.what.split()[2]].append(record)
    earlier = [record for records in copies.values() for record in records[:-1]]
    for record in earlier:
        pid = int(record.what.rpartition(" | ")[2])
        assert pid in killed, f"sent again although process {pid} was not killed: {record}"
        assert killed[pid] - 1.0 < record.at < killed[pid] + 0.5, (
            f"sent again although it was recorded long before: {record}"
        )
    return len(earlier)


def test_a_message_that_kills_its_process(bot: Deployment, wechat: FakeWeChat, handlers: HandlerControl) -> None:
    """Check that the message becomes a dead letter, and that other users get replies."""
    bot.start(WXBOT_LEASE_SECONDS="1", WXBOT_MAX_ATTEMPTS="2")
    alice, bob, carol = wechat.user("alice"), wechat.user("bob"), wechat.user("carol")
    for given_up, (user, text) in enumerate(((alice, "crash"), (carol, "exit"))):
        for pushed in (text, "are you there?"):
            assert user.says(pushed).wait().outcome == "success"
        for attempt in (1, 2):
            handler = handlers.waits_for(user, text)
            assert handler.attempt == attempt
            assert bob.says(f"{text} {attempt}").wait().outcome == "success"
            bob.waits_for(f"re: {text} {attempt}")
            bot.waits_for_records(left=given_up + 2)  # so that no other message is processed when the process ends
            handler.answers("now")
            handler.waits_until_ended()
        assert bob.says(f"after {text}").wait().outcome == "success"
        bob.waits_for(f"re: after {text}")
        user.waits_for("re: are you there?", 15)
        assert replies(user) == ["re: are you there?"]
    bot.waits_for_records(left=2)
    left = bot.inbox()
    assert [(status, attempts) for _, status, attempts, _ in left] == [(2, 3), (2, 3)]
    assert all("given up after 2 attempts" in str(reason) for *_, reason in left)
