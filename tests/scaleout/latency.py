"""From the push to Typing on the wire, steadily and without faults, and what each part of the deployment costs."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, Said, steadily
from tests.scaleout.deployment import WEBHOOKS, WORKERS, Deployment, deployment, webhook_addresses
from tests.scaleout.report import Result, Stage, load, percentile, spread
from tests.scaleout.storm import judge_said, through

NAME = "2. From push to Typing"
WARM_UP = (50, 4.0)
SLOWER = ((100, 8.0), (200, 8.0))
"""Messages a second, and for how long. Where the machine does not carry these, the wanted rate is not tried."""
WANTED = (300, 30.0)
TARGET = 0.150
CARRIED = 1.0
"""A p99 above this means that a queue grows somewhere."""
USERS = 3000
"""Enough that nobody writes again within ten seconds: who waits for his own answer is not what is measured."""
HANDLER_MS = 200
MOST_ON_THE_WAY = 1000
IDLE_SECONDS = 3.0


@dataclass
class Run:
    """What came of one rate. Times in seconds; ``cpu`` by part of the deployment."""

    per_second: int
    said: int
    to_typing: list[float] = field(default_factory=list)
    to_success: list[float] = field(default_factory=list)
    to_answer: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    took: float = 0.0
    belated: float = 0.0
    given_up: bool = False

    @property
    def p99(self) -> float:
        """Of Typing. A message without one counts as one that waits for ever."""
        missing = [float("inf")] * (self.said - len(self.to_typing))
        return percentile([*self.to_typing, *missing], 0.99)

    def figures(self) -> list[str]:
        used = ", ".join(f"{part} {seconds / self.said * 1000:.2f}" for part, seconds in self.cpu.items())
        cores = sum(self.cpu.values()) / self.took
        return [
            f"{self.per_second} a second, {self.said} messages" + ", given up" * self.given_up + f"; {load()}",
            f"    push to Typing   {spread(self.to_typing)}, called for {len(self.to_typing)} of {self.said}",
            f"    push to success  {spread(self.to_success)}",
            f"    push to answer   {spread(self.to_answer)}, {HANDLER_MS} ms of it in the handler",
            f"    CPU of a message in ms: {used}; cores used: {cores:.2f} of {os.cpu_count()}",
            f"    said {self.belated * 1000:.0f} ms too late at most",
        ]


def latency(stage: Stage) -> Result:
    stage.say(f"{NAME}; {load()}")
    chance = random.Random(f"latency {stage.seed}")
    result = Result(NAME)
    said: list[Said] = []
    with (
        BusyWeChat(stage.network.address, webhook_addresses(stage.network), chance) as wechat,
        deployment(stage.network, wechat, stage.folder / "latency", broker=stage.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if stage.broker else ())], {}, processes=1)
        result.figures.append(_idle(bots))
        _run(bots, *WARM_UP, said)
        run = None
        for per_second, seconds in (*SLOWER, WANTED):
            if run is None or run.p99 < CARRIED:
                run = _run(bots, per_second, seconds / 3 if stage.short else seconds, said)
                result.figures += run.figures()
                stage.say(f"    {per_second} a second: p99 {run.p99 * 1000:.0f} ms")
        verdict = judge_said(bots, said, [])
    result.broken += verdict.broken()
    result.figures.append(
        f"needless CancelTypings {verdict.needless}; answered twice {len(verdict.doubles)};"
        f" the platform itself stood still for {wechat.slowest * 1000:.0f} ms at most"
    )
    if run is None or run.per_second != WANTED[0] or run.p99 >= TARGET:
        result.missed.append(f"push to Typing: p99 is not below {TARGET * 1000:.0f} ms at {WANTED[0]} a second")
    return result


def _run(bots: Deployment, per_second: int, seconds: float, said: list[Said]) -> Run:
    """One rate; who spoke is added to ``said``."""
    plan = steadily(per_second, USERS, seconds, HANDLER_MS, first=len(said))
    crowd = Crowd(bots.wechat, plan, most=MOST_ON_THE_WAY)
    before, began = _cpu(bots), time.monotonic()
    bots.wechat.play(crowd.speak())
    through(bots, crowd)
    after, took = _cpu(bots), time.monotonic() - began
    used = {part: after[part] - before[part] for part in after}
    run = Run(per_second, len(crowd.said), cpu=used, took=took, belated=crowd.latest, given_up=crowd.given_up)
    _measure(run, bots.wechat, crowd.said)
    said += crowd.said
    return run


def _idle(bots: Deployment) -> str:
    """What the deployment costs while nobody writes."""
    before = _cpu(bots)
    time.sleep(IDLE_SECONDS)
    after = _cpu(bots)
    used = [f"{part} {(after[part] - before[part]) / IDLE_SECONDS * 100:.1f} %" for part in after]
    return f"while nobody writes, of a core: {', '.join(used)}"


def _cpu(bots: Deployment) -> dict[str, float]:
    """Seconds of CPU so far, ours among them: the platform and who writes."""
    used: dict[str, float] = defaultdict(float)
    for name, bot in bots.bots.items():
        used["workers" if name in WORKERS else "webhooks"] += bot.cpu_seconds()
    own = os.times()
    return {**used, "Redis": bots.store.cpu_seconds(), "platform and users": own.user + own.system}


def _measure(run: Run, wechat: BusyWeChat, said: Sequence[Said]) -> None:
    """A message's Typing is the first one between its push and its answer."""
    typed: dict[str, list[float]] = defaultdict(list)
    answered: dict[str, list[float]] = defaultdict(list)
    for record in wechat.timeline:
        if record.kind == "send":
            answered[record.openid].append(record.at)
        elif record.what == "Typing" and record.errcode == 0:
            typed[record.openid].append(record.at)
    for each in said:
        sent_at = each.push.attempts[0].at
        answer = next((at for at in answered[each.push.openid] if at >= sent_at), float("inf"))
        typing = next((at for at in typed[each.push.openid] if sent_at <= at <= answer), None)
        run.to_success.append(each.push.attempts[0].ms / 1000)
        run.to_answer.append(answer - sent_at)
        if typing is not None:
            run.to_typing.append(typing - sent_at)
