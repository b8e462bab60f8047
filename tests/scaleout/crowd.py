"""Who says what, and when: made beforehand from a seed, said at its time whatever the bot does."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.scaleout.busy_wechat import BusyWeChat
from wxbot.testing.push import Push

EARLY = 0.001
"""Seconds that a message may be said too early, rather than have the event loop wait once more."""

VERY_LONG = 0.997
"""The share of messages whose handlers do not take so long that a second Typing is needed."""
LOOK_EVERY = 50
"""Messages between two looks at how many pushes are on their way."""


@dataclass(frozen=True, slots=True)
class Saying:
    """One message that is planned. ``at``: seconds from the beginning."""

    at: float
    number: int
    user: str
    text: str
    parts: int = 1


@dataclass(frozen=True, slots=True)
class Said:
    """One that was said, and the push that reports it. ``due_at``: seconds since 1970."""

    saying: Saying
    push: Push
    due_at: float


def handler_text(kind: float, chance: random.Random, number: int) -> tuple[str, int]:
    """What a handler of the plugin gets, and how many messages it answers with: most of them quick, a few slow."""
    if kind < 0.5:
        return f"m{number} takes 0", 1
    if kind < 0.94:
        return f"m{number} takes {chance.randint(200, 2000)}", 1
    if kind < VERY_LONG:
        parts = chance.randint(2, 3)
        return f"m{number} takes {chance.randint(100, 1500)} in {parts} parts", parts
    return f"m{number} takes 17000", 1


def any_time(chance: random.Random, messages: int, users: int, seconds: float) -> list[Saying]:
    """``messages`` at random moments, by random users."""
    plan = []
    for number, at in enumerate(sorted(chance.uniform(0, seconds) for _ in range(messages))):
        # Who takes very long is killed again and again: not at the end, where everybody would wait for it.
        text, parts = handler_text(chance.random() * (1.0 if at < seconds / 2 else VERY_LONG), chance, number)
        plan.append(Saying(at, number, f"user{chance.randrange(users)}", text, parts))
    return plan


def steadily(per_second: float, users: int, seconds: float, milliseconds: int, first: int = 0) -> list[Saying]:
    """Evenly spaced, the users in turn."""
    return [
        Saying(n / per_second, first + n, f"user{n % users}", f"m{first + n} takes {milliseconds}")
        for n in range(round(per_second * seconds))
    ]


class Crowd:
    """Says what is planned, on the event loop of the platform."""

    def __init__(self, wechat: BusyWeChat, plan: Sequence[Saying], most: float = float("inf")) -> None:
        self.said: list[Said] = []
        self.given_up = False
        """Set once more than ``most`` pushes were on their way: it would only get worse."""
        self.latest = 0.0
        """By how much the most belated message was said too late: we are on the same machine as all else."""
        self._wechat = wechat
        self._plan = plan
        self._most = most

    async def speak(self) -> None:
        """Returns when all is said; the pushes may still be on their way."""
        began = time.time()
        for saying in self._plan:
            late = time.time() - began - saying.at
            if late < -EARLY:
                await asyncio.sleep(-late)
            if len(self.said) % LOOK_EVERY == 0 and self.undelivered() > self._most:
                self.given_up = True
                return
            self.latest = max(self.latest, late)
            push = self._wechat.user(saying.user).says(saying.text)
            self.said.append(Said(saying, push, began + saying.at))

    def undelivered(self) -> int:
        """How many pushes the platform is not through with."""
        return sum(not said.push.done for said in tuple(self.said))


def acknowledged_at(push: Push) -> float | None:
    """When the platform had a webhook's "success", in seconds since 1970; None if there was none."""
    times = [attempt.at + attempt.ms / 1000 for attempt in push.attempts if attempt.outcome == "success"]
    return min(times, default=None)


def tries(said: Iterable[Said]) -> int:
    return sum(len(each.push.attempts) for each in said)
