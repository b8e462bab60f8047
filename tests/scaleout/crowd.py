"""The users' messages: planned from a seed, and sent at their planned times, independent of the bot's speed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.scaleout.busy_wechat import BusyWeChat
from wxbot.testing.push import Push

EARLY = 0.001
"""Seconds that a message may be sent too early, which saves one more wait of the event loop."""

VERY_LONG = 0.997
"""The share of messages whose handlers need no second Typing. The handlers of the others take 17 seconds."""
CHECK_EVERY = 50
"""Number of messages between two checks of the pushes in progress."""


@dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A planned message. ``at``: seconds from the beginning. ``parts``: the number of its replies."""

    at: float
    number: int
    user: str
    text: str
    parts: int = 1


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that was sent, with its push. ``due_at``: its planned time, in seconds since 1970."""

    planned: PlannedMessage
    push: Push
    due_at: float


def handler_text(kind: float, chance: random.Random, number: int) -> tuple[str, int]:
    """Return a text for a handler of the plugin, and the number of its replies. Most handlers are fast, a few slow."""
    if kind < 0.5:
        return f"m{number} takes 0", 1
    if kind < 0.94:
        return f"m{number} takes {chance.randint(200, 2000)}", 1
    if kind < VERY_LONG:
        parts = chance.randint(2, 3)
        return f"m{number} takes {chance.randint(100, 1500)} in {parts} parts", parts
    return f"m{number} takes 17000", 1


def at_random_times(chance: random.Random, messages: int, users: int, seconds: float) -> list[PlannedMessage]:
    """Return ``messages`` planned messages of random users at random times."""
    plan = []
    for number, at in enumerate(sorted(chance.uniform(0, seconds) for _ in range(messages))):
        # A very slow handler is killed several times, so it comes in the first half: later it would delay the end.
        text, parts = handler_text(chance.random() * (1.0 if at < seconds / 2 else VERY_LONG), chance, number)
        plan.append(PlannedMessage(at, number, f"user{chance.randrange(users)}", text, parts))
    return plan


def at_constant_rate(
    per_second: float, users: int, seconds: float, milliseconds: int, first: int = 0
) -> list[PlannedMessage]:
    """Return planned messages at a constant rate, from one user after the other."""
    return [
        PlannedMessage(n / per_second, first + n, f"user{n % users}", f"m{first + n} takes {milliseconds}")
        for n in range(round(per_second * seconds))
    ]


class Crowd:
    """The users, who send the planned messages on the event loop of the platform."""

    def __init__(self, wechat: BusyWeChat, plan: Sequence[PlannedMessage], most: float = float("inf")) -> None:
        self.sent: list[SentMessage] = []
        self.given_up = False
        """True if more than ``most`` pushes were in progress: then the other messages are not sent."""
        self.latest = 0.0
        """The longest delay of a message after its planned time, in seconds."""
        self._wechat = wechat
        self._plan = plan
        self._most = most

    async def send_all(self) -> None:
        """Send all planned messages. Their pushes may still be in progress when this returns."""
        began = time.time()
        for planned in self._plan:
            late = time.time() - began - planned.at
            if late < -EARLY:
                await asyncio.sleep(-late)
            if len(self.sent) % CHECK_EVERY == 0 and self.undelivered() > self._most:
                self.given_up = True
                return
            self.latest = max(self.latest, late)
            push = self._wechat.user(planned.user).says(planned.text)
            self.sent.append(SentMessage(planned, push, began + planned.at))

    def undelivered(self) -> int:
        """Return the number of pushes that are still in progress."""
        return sum(not sent.push.done for sent in tuple(self.sent))


def acknowledged_at(push: Push) -> float | None:
    """Return when the platform got the response "success", in seconds since 1970; None if it did not."""
    times = [attempt.at + attempt.ms / 1000 for attempt in push.attempts if attempt.outcome == "success"]
    return min(times, default=None)


def tries(sent: Iterable[SentMessage]) -> int:
    return sum(len(each.push.attempts) for each in sent)
