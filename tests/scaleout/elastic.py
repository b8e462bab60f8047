"""A worker machine is added under load and the queue gets shorter; it is taken away, and nothing is lost."""

from __future__ import annotations

import random
import threading
import time

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, steadily
from tests.scaleout.deployment import WEBHOOKS, Backlog, Deployment, deployment, webhook_addresses
from tests.scaleout.report import Result, Stage, load
from tests.scaleout.storm import judge_said, through
from tests.servers.processes import wait_until

NAME = "4. A worker more, a worker less"
CONCURRENCY = 20
HANDLER_MS = 1000
PER_SECOND = 30
"""Half as much again as one machine can answer: twenty users at a time, a second each."""
SECONDS = 36.0
GROWN = 60
"""Users who wait before help comes."""
LOOK_EVERY = 1.0
PATIENCE = 60.0


class Watch:
    """Notes every second how long the queues are."""

    def __init__(self, stage: Stage, bots: Deployment) -> None:
        self.seen: list[tuple[float, Backlog]] = []
        self._stage = stage
        self._bots = bots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        self._thread.join()

    def queue(self) -> int:
        """Users for whom nobody works yet."""
        return self.seen[-1][1].waiting if self.seen else 0

    def _go_on(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            backlog = self._bots.backlog()
            self.seen.append((time.monotonic(), backlog))
            self._stage.say(f"    {backlog}")


def elastic(stage: Stage) -> Result:
    result = Result(NAME)
    if not stage.broker:
        result.figures.append("not played: without a broker there are no worker machines")
        return result
    stage.say(f"{NAME}: {PER_SECOND} messages a second, each machine can do {CONCURRENCY}; {load()}")
    chance = random.Random(f"elastic {stage.seed}")
    plan = steadily(PER_SECOND, PER_SECOND * int(SECONDS), SECONDS, HANDLER_MS)
    with (
        BusyWeChat(stage.network.address, webhook_addresses(stage.network), chance) as wechat,
        deployment(stage.network, wechat, stage.folder / "elastic", broker=True) as bots,
    ):
        limited = {"concurrency": str(CONCURRENCY)}
        bots.start([*WEBHOOKS, "worker1"], limited, processes=1)
        crowd = Crowd(wechat, plan)
        speaker = threading.Thread(target=lambda: wechat.play(crowd.speak()))
        with Watch(stage, bots) as watch:
            speaker.start()
            try:
                result.figures += _story(stage, bots, watch, limited)
            finally:
                speaker.join()
            drained = through(bots, crowd)
        verdict = judge_said(bots, crowd.said, [])
    result.broken += verdict.broken()
    result.figures.append(
        f"{verdict.messages} messages, acknowledged {verdict.acknowledged}, answered {verdict.answered}, answered twice"
        f" {len(verdict.doubles)}; all through {drained:.1f} s after the last word; {load()}"
    )
    return result


def _story(stage: Stage, bots: Deployment, watch: Watch, limited: dict[str, str]) -> list[str]:
    wait_until(lambda: watch.queue() >= GROWN, "the queue does not grow", PATIENCE)
    grown = watch.queue()
    stage.say("    worker2 is started")
    bots.start(["worker2"], limited, processes=1)
    began = time.monotonic()
    wait_until(lambda: watch.queue() <= grown // 4, "the queue does not get shorter", PATIENCE)
    shorter, took = watch.queue(), time.monotonic() - began
    stage.say("    worker2 gets SIGTERM")
    leaving = time.monotonic()
    bots.bots["worker2"].stop()
    return [
        f"one machine: {grown} users wait; with a second one {shorter} after {took:.1f} s",
        f"the second one left {time.monotonic() - leaving:.1f} s after SIGTERM",
    ]
