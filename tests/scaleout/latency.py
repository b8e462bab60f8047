"""Latency from push to Typing at a constant rate without faults, and the CPU time of each part of the deployment."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, SentMessage, at_constant_rate
from tests.scaleout.deployment import WEBHOOKS, WORKERS, Deployment, deployment, webhook_addresses
from tests.scaleout.load_with_faults import judge_sent, wait_until_processed
from tests.scaleout.report import Result, Run, load, percentile, spread

NAME = "2. From push to Typing"
WARM_UP = (50, 4.0)
SLOWER = ((100, 8.0), (200, 8.0))
"""Rates in messages per second with their durations. If the machine is too slow for them, ``WANTED`` is not tried."""
WANTED = (300, 30.0)
TARGET = 0.150
OVERLOAD = 1.0
"""A p99 above this, in seconds, means that a queue is growing."""
USERS = 3000
"""So many that no user writes again within ten seconds, because a user's second message waits for the first reply."""
HANDLER_MS = 200
MAX_IN_PROGRESS = 1000
IDLE_SECONDS = 3.0


@dataclass
class RateResult:
    """The result of one rate. Times are in seconds; ``cpu`` is by part of the deployment."""

    per_second: int
    sent: int
    to_typing: list[float] = field(default_factory=list)
    to_success: list[float] = field(default_factory=list)
    to_reply: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    took: float = 0.0
    longest_delay: float = 0.0
    given_up: bool = False

    @property
    def p99(self) -> float:
        """Return the 99th percentile of the time to Typing. A message without Typing counts as infinite."""
        missing = [float("inf")] * (self.sent - len(self.to_typing))
        return percentile([*self.to_typing, *missing], 0.99)

    def figures(self) -> list[str]:
        used = ", ".join(f"{part} {seconds / self.sent * 1000:.2f}" for part, seconds in self.cpu.items())
        cores = sum(self.cpu.values()) / self.took
        return [
            f"{self.per_second} per second, {self.sent} messages" + ", given up" * self.given_up + f"; {load()}",
            f"    push to Typing   {spread(self.to_typing)}, called for {len(self.to_typing)} of {self.sent}",
            f"    push to success  {spread(self.to_success)}",
            f"    push to reply    {spread(self.to_reply)}, {HANDLER_MS} ms of it in the handler",
            f"    CPU per message in ms: {used}; cores used: {cores:.2f} of {os.cpu_count()}",
            f"    longest delay of a message after its planned time: {self.longest_delay * 1000:.0f} ms",
        ]


def latency(whole_run: Run) -> Result:
    whole_run.say(f"{NAME}; {load()}")
    chance = random.Random(f"latency {whole_run.seed}")
    result = Result(NAME)
    sent: list[SentMessage] = []
    with (
        BusyWeChat(whole_run.network.address, webhook_addresses(whole_run.network), chance) as wechat,
        deployment(whole_run.network, wechat, whole_run.folder / "latency", broker=whole_run.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if whole_run.broker else ())], {}, processes=1)
        result.figures.append(_idle(bots))
        _run(bots, *WARM_UP, sent)
        run = None
        for per_second, seconds in (*SLOWER, WANTED):
            if run is None or run.p99 < OVERLOAD:
                run = _run(bots, per_second, seconds / 3 if whole_run.short else seconds, sent)
                result.figures += run.figures()
                whole_run.say(f"    {per_second} per second: p99 {run.p99 * 1000:.0f} ms")
        verdict = judge_sent(bots, sent, [])
    result.broken += verdict.broken()
    result.figures.append(
        f"needless CancelTypings {verdict.needless}; answered twice {len(verdict.doubles)};"
        f" longest delay of the platform itself: {wechat.slowest * 1000:.0f} ms"
    )
    if run is None or run.per_second != WANTED[0] or run.p99 >= TARGET:
        result.missed.append(f"push to Typing: p99 is not below {TARGET * 1000:.0f} ms at {WANTED[0]} per second")
    return result


def _run(bots: Deployment, per_second: int, seconds: float, sent: list[SentMessage]) -> RateResult:
    """Measure one rate, and add its messages to ``sent``."""
    plan = at_constant_rate(per_second, USERS, seconds, HANDLER_MS, first=len(sent))
    crowd = Crowd(bots.wechat, plan, most=MAX_IN_PROGRESS)
    before, began = _cpu(bots), time.monotonic()
    bots.wechat.play(crowd.send_all())
    wait_until_processed(bots, crowd)
    after, took = _cpu(bots), time.monotonic() - began
    used = {part: after[part] - before[part] for part in after}
    run = RateResult(
        per_second, len(crowd.sent), cpu=used, took=took, longest_delay=crowd.latest, given_up=crowd.given_up
    )
    _measure(run, bots.wechat, crowd.sent)
    sent += crowd.sent
    return run


def _idle(bots: Deployment) -> str:
    """Return the CPU usage of the deployment without messages."""
    before = _cpu(bots)
    time.sleep(IDLE_SECONDS)
    after = _cpu(bots)
    used = [f"{part} {(after[part] - before[part]) / IDLE_SECONDS * 100:.1f} %" for part in after]
    return f"CPU usage without messages, of one core: {', '.join(used)}"


def _cpu(bots: Deployment) -> dict[str, float]:
    """Return the seconds of CPU used so far by each part, the simulated platform and users included."""
    used: dict[str, float] = defaultdict(float)
    for name, bot in bots.bots.items():
        used["workers" if name in WORKERS else "webhooks"] += bot.cpu_seconds()
    own = os.times()
    return {**used, "Redis": bots.store.cpu_seconds(), "platform and users": own.user + own.system}


def _measure(run: RateResult, wechat: BusyWeChat, sent: Sequence[SentMessage]) -> None:
    """Add the times of each message to ``run``. Its Typing is the first one between its push and its reply."""
    typed: dict[str, list[float]] = defaultdict(list)
    answered: dict[str, list[float]] = defaultdict(list)
    for record in wechat.timeline:
        if record.kind == "send":
            answered[record.openid].append(record.at)
        elif record.what == "Typing" and record.errcode == 0:
            typed[record.openid].append(record.at)
    for each in sent:
        sent_at = each.push.attempts[0].at
        answer = next((at for at in answered[each.push.openid] if at >= sent_at), float("inf"))
        typing = next((at for at in typed[each.push.openid] if sent_at <= at <= answer), None)
        run.to_success.append(each.push.attempts[0].ms / 1000)
        run.to_reply.append(answer - sent_at)
        if typing is not None:
            run.to_typing.append(typing - sent_at)
