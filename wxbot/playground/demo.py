"""The scripted conversation of ``make demo``: two encrypted accounts, real HTTP, and a verdict by the platform's rules.

What each user must have seen is written out here by hand; the platform's own record decides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wxbot.playground.bot_process import BotProcess, check_bot
from wxbot.playground.replay.timeline import HEADER, line
from wxbot.testing import FakeWeChat, Push, RealClock, Record, User

LONGEST = 75.0
"""Seconds after which the demo gives up waiting for an answer."""

TYPED = ["Typing", "CancelTyping"]
SORRY = "抱歉，出了点问题，请稍后再试。"


@dataclass(frozen=True, slots=True)
class Scene:
    """What one user does, and what they must have seen in the end."""

    about: str
    account: str
    user: str
    acts: Callable[[User], Sequence[Push]]
    sees: Sequence[str]
    deliveries: int = 1
    """Pushes that WeChat makes; each must be acknowledged at the first try."""


SCENES = (
    Scene("a quick answer", "mini", "amy", lambda user: [user.says("你好")], [*TYPED, "你好"]),
    Scene("8 s of work", "mini", "bob", lambda user: [user.says("slow 8")], [*TYPED, "That took 8 s."]),
    Scene(
        "20 s: Typing is renewed after 15 s",
        "mini",
        "cat",
        lambda user: [user.says("slow 20")],
        ["Typing", *TYPED, "That took 20 s."],
    ),
    Scene(
        "40 s: Typing stops with the window, the answer still arrives",
        "mini",
        "dan",
        lambda user: [user.says("slow 40")],
        ["Typing", "Typing", "That took 40 s."],
    ),
    Scene(
        "three messages at once, answered in order",
        "mini",
        "eve",
        lambda user: [user.says("slow 3"), user.says("二"), user.says("三")],
        [*TYPED, "That took 3 s.", *TYPED, "二", *TYPED, "三"],
        deliveries=3,
    ),
    Scene(
        "an answer in three parts",
        "mini",
        "fay",
        lambda user: [user.says("story")],
        ["Typing", "从前有座山。", "Typing", "山里有座庙。", "Typing", "庙里有个老和尚。"],
    ),
    Scene("a handler that raises", "mini", "gus", lambda user: [user.says("crash")], [*TYPED, SORRY]),
    Scene(
        "the same push delivered twice",
        "mini",
        "hal",
        lambda user: _redelivered(user.says("only once")),
        [*TYPED, "only once"],
        deliveries=2,
    ),
    Scene("entering the session", "mini", "ivy", lambda user: [user.enters("demo")], [*TYPED, "欢迎 / welcome"]),
    Scene("a picture", "mini", "jon", lambda user: [user.sends_image()], [*TYPED, "收到图片 / a picture"]),
    Scene("encrypted XML", "official", "kim", lambda user: [user.says("slow 2")], [*TYPED, "That took 2 s."]),
    Scene(
        "a question of the FAQ",
        "official",
        "lee",
        lambda user: [user.says("退货？")],
        [*TYPED, "收货后 7 天内可以退货。 You can return goods within 7 days."],
    ),
)


def _redelivered(push: Push) -> list[Push]:
    push.wait(LONGEST)
    return [push, push.redeliver()]


def play(say: Callable[[str], None]) -> bool:
    """Play every scene side by side, telling the timeline by ``say``; whether the platform saw what it must."""
    clock = RealClock()
    began = clock.now()
    with ExitStack() as stack:
        accounts = _accounts(stack, clock)
        say("Two bots under gunicorn, each with two workers and SQLite:")
        say(f"  mini      {accounts['mini'].callback_url}  Mini Program, encrypted JSON")
        say(f"  official  {accounts['official'].callback_url}  Official Account, encrypted XML\n")
        began = clock.now()
        say(HEADER)
        for name, wechat in accounts.items():
            wechat.on_record(_teller(say, began, name))
        verified = {name: wechat.verify() for name, wechat in accounts.items()}
        pushes = {scene.user: scene.acts(accounts[scene.account].user(scene.user)) for scene in SCENES}
        problems = [f"{name}: the callback URL was not verified" for name, good in verified.items() if not good]
        for scene in SCENES:
            problems += _watch(scene, accounts[scene.account].user(scene.user), pushes[scene.user])
    for name, wechat in accounts.items():
        problems += [f"{name}: the platform refused or did not need: {record}" for record in wechat.violations]
    _tell_verdict(say, problems, clock.now() - began)
    return not problems


def _accounts(stack: ExitStack, clock: RealClock) -> dict[str, FakeWeChat]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxbot-demo-")))
    accounts = {
        "mini": stack.enter_context(FakeWeChat(clock, appid="wx00000000000000a1", format="json", mode="safe")),
        "official": stack.enter_context(
            FakeWeChat(clock, appid="wx00000000000000b2", format="xml", mode="safe", account_kind="official")
        ),
    }
    for name, wechat in accounts.items():
        settings = {
            **wechat.settings(),
            "WXBOT_STORE_URL": f"sqlite:///{folder / name}.db",
            "WXBOT_PLUGIN_FOLDERS": "plugins,examples/plugins",
            "WXBOT_PLUGINS": "demo,faq,slow,echo",
            "WXBOT_CALLBACK_PATH": "/wechat",
        }
        check_bot(settings)
        bot = stack.enter_context(BotProcess(settings, folder / f"{name}.log"))
        wechat.callback_url = f"{bot.address}/wechat"
    return accounts


def _teller(say: Callable[[str], None], began: float, account: str) -> Callable[[Record], None]:
    def tell(record: Record) -> None:
        told = line(record, began, account)
        if told is not None:
            say(told)

    return tell


def _watch(scene: Scene, user: User, pushes: Sequence[Push]) -> list[str]:
    """Wait for the last thing this user must see; what is wrong with the scene then."""
    try:
        for push in pushes:
            push.wait(LONGEST)
        user.waits_for(scene.sees[-1], timeout=LONGEST)
    except AssertionError as error:
        return [f"{scene.user} ({scene.about}): {error}"]
    problems = []
    if user.saw != list(scene.sees):
        problems.append(f"{scene.user} ({scene.about}) saw {user.saw}, and not {list(scene.sees)}")
    tries = [record for record in user.timeline if record.kind == "push"]
    if len(tries) != scene.deliveries or any(record.outcome != "success" for record in tries):
        problems.append(f"{scene.user} ({scene.about}): {len(tries)} deliveries, not {scene.deliveries}: {tries}")
    return problems


def _tell_verdict(say: Callable[[str], None], problems: Sequence[str], seconds: float) -> None:
    if problems:
        say("\nNOT as the platform demands:")
        for problem in problems:
            say(f"  - {problem}")
        return
    say("")
    for scene in SCENES:
        say(f"  ok  {scene.user:<4} {scene.about}")
    say(f"\nThe platform saw exactly what its rules demand: {len(SCENES)} scenes in {seconds:.0f} s.")
