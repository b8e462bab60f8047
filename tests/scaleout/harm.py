"""What goes wrong while the crowd speaks: drawn from a seed, printed beforehand, noted when it happens."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.scaleout.deployment import WORKERS, Bot, Deployment, end
from tests.scaleout.verdict import Harm

Say = Callable[[str], None]

KILL_EVERY = (3.0, 6.0)
WEBHOOK_SHARE = 0.2
"""Of the processes that are killed, those of webhook machines."""
STORE_OUT = 2.0
"""Seconds between the end of Redis and its next start."""


@dataclass(frozen=True)
class Plan:
    """What happens when, in seconds from the beginning. ``draw`` chooses among what is there then."""

    at: float
    what: str
    draw: float
    lasts: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.what}" + f" for {self.lasts:g} s" * (self.lasts > 0)


@dataclass(frozen=True)
class Times:
    """How long a crowd speaks, and how long what is not over at once takes."""

    speech: float
    pause: float
    cut: float


def plan(chance: random.Random, times: Times) -> list[Plan]:
    """A pause first, then a host is cut off; Redis dies in between and again at the end; processes all the time."""
    second = times.speech / 100
    once = [
        Plan(chance.uniform(2, 6) * second, "a worker process stands still", chance.random(), times.pause),
        Plan(chance.uniform(20, 30) * second, "Redis gets SIGKILL", 0, STORE_OUT),
        Plan(chance.uniform(52, 62) * second, "a worker host is cut off", chance.random(), times.cut),
        Plan(chance.uniform(82, 90) * second, "Redis gets SIGTERM", 0, STORE_OUT),
    ]
    at, kills = 0.0, []
    while (at := at + chance.uniform(*KILL_EVERY)) < times.speech:
        who = "webhook" if chance.random() < WEBHOOK_SHARE else "worker"
        kills.append(Plan(at, f"a {who} process is killed", chance.random()))
    return sorted([*once, *kills], key=lambda each: each.at)


@dataclass
class Mischief:
    """Does what was planned. What lasts is undone by a thread of its own."""

    deployment: Deployment
    plans: Sequence[Plan]
    say: Say
    done: list[Harm] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _paused: set[int] = field(default_factory=set)
    _problem: BaseException | None = None

    def begin(self) -> None:
        self._in_thread(self._go_on)

    def finish(self) -> None:
        """Nothing more happens, and everything is well again. Raises what has gone wrong here."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._problem is not None:
            raise self._problem

    def _go_on(self) -> None:
        began = time.monotonic()
        for each in self.plans:
            if self._over.wait(max(0.0, began + each.at - time.monotonic())):
                return
            self._do(each)

    def _do(self, each: Plan) -> None:
        acts: dict[str, Callable[[Plan], None]] = {
            "a worker process is killed": lambda each: self._kill(each, self.deployment.answering),
            "a webhook process is killed": lambda each: self._kill(each, self._webhooks()),
            "a worker process stands still": self._pause,
            "a worker host is cut off": self._cut_off,
            "Redis gets SIGKILL": lambda each: self._end_store(each, self.deployment.store.kill),
            "Redis gets SIGTERM": lambda each: self._end_store(each, self.deployment.store.stop),
        }
        if each.lasts:
            self._in_thread(lambda: acts[each.what](each))
        else:
            acts[each.what](each)

    def _kill(self, each: Plan, bots: Sequence[Bot]) -> None:
        victim = self._choose(each.draw, bots)
        if victim is None:
            return
        bot, pid = victim
        end(pid)
        now = time.time()
        self._note(Harm("killed", now, now, bot.host.name, pid))

    def _pause(self, each: Plan) -> None:
        victim = self._choose(each.draw, self.deployment.answering)
        if victim is None:
            return
        bot, pid = victim
        self._paused.add(pid)
        harm = Harm("stopped", time.time(), None, bot.host.name, pid)
        os.kill(pid, signal.SIGSTOP)
        self._note(harm)
        self._over.wait(each.lasts)
        survived = pid in bot.children
        if survived:
            os.kill(pid, signal.SIGCONT)
        self._paused.discard(pid)
        harm.ended = time.time()
        self.say(f"{harm} goes on" if survived else f"{harm} was ended meanwhile by its gunicorn")

    def _cut_off(self, each: Plan) -> None:
        bots = self.deployment.answering
        bot = bots[int(each.draw * len(bots))]
        harm = Harm("cut off", time.time(), None, bot.host.name)
        bot.host.cut_off()
        self._note(harm)
        self._over.wait(each.lasts)
        bot.host.reconnect()
        harm.ended = time.time()
        self.say(f"{bot.host.name} is back")

    def _end_store(self, each: Plan, how: Callable[[], None]) -> None:
        harm = Harm("store out", time.time())
        how()
        self._note(harm)
        self._over.wait(each.lasts)
        self.deployment.store.start()
        harm.ended = time.time()
        self.say("Redis is back")

    def _webhooks(self) -> list[Bot]:
        return [bot for name, bot in self.deployment.bots.items() if name not in WORKERS]

    def _choose(self, draw: float, bots: Sequence[Bot]) -> tuple[Bot, int] | None:
        there = [(bot, pid) for bot in bots for pid in sorted(bot.children) if pid not in self._paused]
        return there[int(draw * len(there))] if there else None

    def _note(self, harm: Harm) -> None:
        self.done.append(harm)
        self.say(str(harm))

    def _in_thread(self, work: Callable[[], None]) -> None:
        def watched() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised by finish()
                self._problem = error
                self._over.set()

        thread = threading.Thread(target=watched)
        self._threads.append(thread)
        thread.start()
