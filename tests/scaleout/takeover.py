"""A process dies in the middle of a long handler: how long until somebody else answers."""

from __future__ import annotations

import random
import time

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.deployment import WEBHOOKS, WORKERS, deployment, end, webhook_addresses
from tests.scaleout.report import Result, Stage, load
from tests.scaleout.verdict import Sent, sent_by
from wxbot.testing import User

NAME = "3. Takeover"
ROUNDS = 5
WITHIN = 10.0
BEFORE_DEATH = (0.5, 2.5)
"""Seconds that a handler has worked when its process is killed: anywhere between two renewals of its lease."""
PATIENCE = 30.0


def takeover(stage: Stage) -> Result:
    stage.say(f"{NAME}: {ROUNDS} times; {load()}")
    chance = random.Random(f"takeover {stage.seed}")
    result = Result(NAME)
    times = []
    with (
        BusyWeChat(stage.network.address, webhook_addresses(stage.network), chance) as wechat,
        deployment(stage.network, wechat, stage.folder / "takeover", broker=stage.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if stage.broker else ())], {})
        for number in range(ROUNDS):
            user = wechat.user(f"user{number}")
            user.says(f"m{number} hangs")
            first = _part(wechat, user, 1)
            time.sleep(chance.uniform(*BEFORE_DEATH))  # a moment by chance is what is wanted
            victim = bots.bot_of(first.pid)
            assert victim is not None, f"{first} is none of our processes"
            killed_at = time.time()
            end(first.pid)
            second = _part(wechat, user, 2)
            times.append(second.at - killed_at)
            stage.say(f"    {first.host}:{first.pid} killed, {second.host}:{second.pid} after {times[-1]:.2f} s")
            if [sent_by(record) for record in user.timeline if record.kind == "send"] != [first, second]:
                result.broken.append(f"{user.name} read something else: {user.saw}")
        refused = [record for record in wechat.violations if not record.needless]
    result.figures = [f"seconds until another one answers: {'  '.join(f'{each:.2f}' for each in sorted(times))}"]
    if max(times) > WITHIN:
        result.broken.append(f"it took {max(times):.1f} s, more than {WITHIN:g} s")
    if refused:
        result.broken.append(f"{len(refused)} calls refused by the platform: {refused[0]}")
    return result


def _part(wechat: BusyWeChat, user: User, part: int) -> Sent:
    """Which process has said this part of its answer."""

    def found() -> Sent | None:
        told = (sent_by(record) for record in user.timeline if record.kind == "send")
        return next((sent for sent in told if sent is not None and sent.part == part), None)

    wechat.waits_until(lambda: found() is not None, PATIENCE, f"part {part} of an answer to {user.name}")
    sent = found()
    assert sent is not None
    return sent
