"""Fault injection during the load: planned from a seed, printed beforehand, and recorded when it happens."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.scaleout.deployment import WORKERS, Bot, Deployment, kill_process
from tests.scaleout.verdict import Fault

Say = Callable[[str], None]

KILL_EVERY = (3.0, 6.0)
WEBHOOK_SHARE = 0.2
"""The share of webhook processes among the killed processes."""
STORE_OUTAGE = 2.0
"""Seconds between the end of Redis and its next start."""


@dataclass(frozen=True)
class Plan:
    """A planned fault. ``at``: seconds from the beginning. ``draw``: a number that chooses a running process."""

    at: float
    what: str
    draw: float
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.what}" + f" for {self.seconds:g} s" * (self.seconds > 0)


@dataclass(frozen=True)
class Times:
    """The duration of the load, of a stopped process and of a cut-off host, in seconds."""

    load: float
    pause: float
    cut: float


def plan(chance: random.Random, times: Times) -> list[Plan]:
    """Return the planned faults: processes are killed all the time, and four other faults happen once each.

    A worker process is stopped, Redis is killed, a worker host is cut off, and Redis is restarted, in this order.
    """
    second = times.load / 100
    once = [
        Plan(chance.uniform(2, 6) * second, "a worker process is stopped", chance.random(), times.pause),
        Plan(chance.uniform(20, 30) * second, "Redis gets SIGKILL", 0, STORE_OUTAGE),
        Plan(chance.uniform(52, 62) * second, "a worker host is cut off", chance.random(), times.cut),
        Plan(chance.uniform(82, 90) * second, "Redis gets SIGTERM", 0, STORE_OUTAGE),
    ]
    at, kills = 0.0, []
    while (at := at + chance.uniform(*KILL_EVERY)) < times.load:
        who = "webhook" if chance.random() < WEBHOOK_SHARE else "worker"
        kills.append(Plan(at, f"a {who} process is killed", chance.random()))
    return sorted([*once, *kills], key=lambda each: each.at)


@dataclass
class FaultInjector:
    """An injector of the planned faults. A fault that lasts is ended by a thread of its own."""

    deployment: Deployment
    plans: Sequence[Plan]
    say: Say
    done: list[Fault] = field(default_factory=list)
    _finishing: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _paused: set[int] = field(default_factory=set)
    _problem: BaseException | None = None

    def begin(self) -> None:
        self._in_thread(self._inject_all)

    def finish(self) -> None:
        """Stop the injection, and end all faults. Raises the error of a thread, if any."""
        self._finishing.set()
        for thread in self._threads:
            thread.join()
        if self._problem is not None:
            raise self._problem

    def _inject_all(self) -> None:
        began = time.monotonic()
        for each in self.plans:
            if self._finishing.wait(max(0.0, began + each.at - time.monotonic())):
                return
            self._inject(each)

    def _inject(self, each: Plan) -> None:
        acts: dict[str, Callable[[Plan], None]] = {
            "a worker process is killed": lambda each: self._kill(each, self.deployment.processing),
            "a webhook process is killed": lambda each: self._kill(each, self._webhooks()),
            "a worker process is stopped": self._pause,
            "a worker host is cut off": self._cut_off,
            "Redis gets SIGKILL": lambda each: self._end_store(each, self.deployment.store.kill),
            "Redis gets SIGTERM": lambda each: self._end_store(each, self.deployment.store.stop),
        }
        if each.seconds:
            self._in_thread(lambda: acts[each.what](each))
        else:
            acts[each.what](each)

    def _kill(self, each: Plan, bots: Sequence[Bot]) -> None:
        victim = self._choose(each.draw, bots)
        if victim is None:
            return
        bot, pid = victim
        kill_process(pid)
        now = time.time()
        self._note(Fault("killed", now, now, bot.host.name, pid))

    def _pause(self, each: Plan) -> None:
        victim = self._choose(each.draw, self.deployment.processing)
        if victim is None:
            return
        bot, pid = victim
        self._paused.add(pid)
        fault = Fault("stopped", time.time(), None, bot.host.name, pid)
        os.kill(pid, signal.SIGSTOP)
        self._note(fault)
        self._finishing.wait(each.seconds)
        survived = pid in bot.children
        if survived:
            os.kill(pid, signal.SIGCONT)
        self._paused.discard(pid)
        fault.ended = time.time()
        self.say(f"{fault} continues" if survived else f"{fault} was ended by its gunicorn meanwhile")

    def _cut_off(self, each: Plan) -> None:
        bots = self.deployment.processing
        bot = bots[int(each.draw * len(bots))]
        fault = Fault("cut off", time.time(), None, bot.host.name)
        bot.host.cut_off()
        self._note(fault)
        self._finishing.wait(each.seconds)
        bot.host.reconnect()
        fault.ended = time.time()
        self.say(f"{bot.host.name} is connected again")

    def _end_store(self, each: Plan, how: Callable[[], None]) -> None:
        fault = Fault("store outage", time.time())
        how()
        self._note(fault)
        self._finishing.wait(each.seconds)
        self.deployment.store.start()
        fault.ended = time.time()
        self.say("Redis is available again")

    def _webhooks(self) -> list[Bot]:
        return [bot for name, bot in self.deployment.bots.items() if name not in WORKERS]

    def _choose(self, draw: float, bots: Sequence[Bot]) -> tuple[Bot, int] | None:
        candidates = [(bot, pid) for bot in bots for pid in sorted(bot.children) if pid not in self._paused]
        return candidates[int(draw * len(candidates))] if candidates else None

    def _note(self, fault: Fault) -> None:
        self.done.append(fault)
        self.say(str(fault))

    def _in_thread(self, work: Callable[[], None]) -> None:
        def watched() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised by finish()
                self._problem = error
                self._finishing.set()

        thread = threading.Thread(target=watched)
        self._threads.append(thread)
        thread.start()
