"""The scripted conversations of ``make demo``: two encrypted accounts, real HTTP, and a check of WeChat's rules.

The expected messages of each user are listed here. They are compared with the record of the simulated platform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from wxbot.playground.replay.timeline import HEADER, record_printer
from wxbot.playground.replay.visible import visible
from wxbot.playground.session import AccountChoice, Credentials, LocalBot, session_with
from wxbot.testing import FakeWeChat, Push, RealClock, User

MAX_WAIT_SECONDS = 75.0
"""Seconds after which the demo stops waiting for a reply."""

TYPED = ["Typing", "CancelTyping"]
SORRY = "抱歉，出了点问题，请稍后再试。"


@dataclass(frozen=True, slots=True)
class Scenario:
    """The actions of one user, and the messages that the user must see."""

    about: str
    account: str
    user: str
    acts: Callable[[User], Sequence[Push]]
    sees: Sequence[str]
    deliveries: int = 1
    """The number of pushes. Each must be acknowledged at the first attempt."""


SCENARIOS = (
    Scenario("a quick reply", "mini", "amy", lambda user: [user.says("你好")], [*TYPED, "你好"]),
    Scenario("8 s of work", "mini", "bob", lambda user: [user.says("slow 8")], [*TYPED, "That took 8 s."]),
    Scenario(
        "20 s: Typing is renewed after 15 s",
        "mini",
        "cat",
        lambda user: [user.says("slow 20")],
        ["Typing", *TYPED, "That took 20 s."],
    ),
    Scenario(
        "40 s: Typing stops with the window, the reply still arrives",
        "mini",
        "dan",
        lambda user: [user.says("slow 40")],
        ["Typing", "Typing", "That took 40 s."],
    ),
    Scenario(
        "three messages at once, replies in order",
        "mini",
        "eve",
        lambda user: [user.says("slow 3"), user.says("二"), user.says("三")],
        [*TYPED, "That took 3 s.", *TYPED, "二", *TYPED, "三"],
        deliveries=3,
    ),
    Scenario(
        "a reply in three parts",
        "mini",
        "fay",
        lambda user: [user.says("story")],
        ["Typing", "从前有座山。", "Typing", "山里有座庙。", "Typing", "庙里有个老和尚。"],
    ),
    Scenario("a handler that raises", "mini", "gus", lambda user: [user.says("crash")], [*TYPED, SORRY]),
    Scenario(
        "the same push delivered twice",
        "mini",
        "hal",
        lambda user: _redelivered(user.says("only once")),
        [*TYPED, "only once"],
        deliveries=2,
    ),
    Scenario("entering the session", "mini", "ivy", lambda user: [user.enters("demo")], [*TYPED, "欢迎 / welcome"]),
    Scenario("an image", "mini", "jon", lambda user: [user.sends_image()], [*TYPED, "收到图片 / a picture"]),
    Scenario("encrypted XML", "official", "kim", lambda user: [user.says("slow 2")], [*TYPED, "That took 2 s."]),
    Scenario(
        "an FAQ question",
        "official",
        "lee",
        lambda user: [user.says("退货？")],
        [*TYPED, "收货后 7 天内可以退货。 You can return goods within 7 days."],
    ),
)


_ACCOUNTS = (
    ("mini", "wx00000000000000a1", AccountChoice("miniprogram", "safe", "json")),
    ("official", "wx00000000000000b2", AccountChoice("official", "safe", "xml")),
)


def _redelivered(push: Push) -> list[Push]:
    push.wait(MAX_WAIT_SECONDS)
    return [push, push.redeliver()]


def play(say: Callable[[str], None]) -> bool:
    """Run all scenarios concurrently and print the timeline. Return True if the platform saw the expected events."""
    clock = RealClock()
    with ExitStack() as stack:
        accounts = _accounts(stack)
        say("Two bots under gunicorn, each with two workers and SQLite:")
        say(f"  mini      {accounts['mini'].callback_url}  Mini Program, encrypted JSON")
        say(f"  official  {accounts['official'].callback_url}  Official Account, encrypted XML\n")
        began = clock.now()
        say(HEADER)
        for name, wechat in accounts.items():
            wechat.on_record(record_printer(say, began, name))
        verified = {name: wechat.verify() for name, wechat in accounts.items()}
        pushes = {
            scenario.user: scenario.acts(accounts[scenario.account].user(scenario.user)) for scenario in SCENARIOS
        }
        problems = [f"{name}: the callback URL was not verified" for name, good in verified.items() if not good]
        for scenario in SCENARIOS:
            problems += _check(scenario, accounts[scenario.account].user(scenario.user), pushes[scenario.user])
    for name, wechat in accounts.items():
        # A CancelTyping that WeChat read just after the reply is not needed and does no harm.
        problems += [f"{name}: call refused: {record}" for record in wechat.violations if not record.needless]
    _print_result(say, problems, clock.now() - began)
    return not problems


def _accounts(stack: ExitStack) -> dict[str, FakeWeChat]:
    accounts = {}
    for name, appid, choice in _ACCOUNTS:
        bot = LocalBot("plugins,examples/plugins", {"WXBOT_PLUGINS": "demo,faq,slow,echo"})
        session = stack.enter_context(session_with(bot, choice, Credentials(appid)))
        bot.serve(session.wechat, session.clock, session.folder)
        accounts[name] = session.wechat
    return accounts


def _check(scenario: Scenario, user: User, pushes: Sequence[Push]) -> list[str]:
    """Wait for the last message of this user. Return the problems of the scenario."""
    try:
        for push in pushes:
            push.wait(MAX_WAIT_SECONDS)
        user.waits_for(scenario.sees[-1], timeout=MAX_WAIT_SECONDS)
    except AssertionError as error:
        return [f"{scenario.user} ({scenario.about}): {error}"]
    problems = []
    if visible(user.saw) != visible(scenario.sees):
        problems.append(f"{scenario.user} ({scenario.about}) saw {user.saw}, expected {list(scenario.sees)}")
    tries = [record for record in user.timeline if record.kind == "push"]
    if len(tries) != scenario.deliveries or any(record.outcome != "success" for record in tries):
        problems.append(
            f"{scenario.user} ({scenario.about}): {len(tries)} deliveries, expected {scenario.deliveries}: {tries}"
        )
    return problems


def _print_result(say: Callable[[str], None], problems: Sequence[str], seconds: float) -> None:
    if problems:
        say("\nFAIL:")
        for problem in problems:
            say(f"  - {problem}")
        return
    say("")
    for scenario in SCENARIOS:
        say(f"  ok  {scenario.user:<4} {scenario.about}")
    say(f"\nPASS: {len(SCENARIOS)} scenarios in {seconds:.0f} s, all events as required by WeChat.")
