"""A process is killed in the middle of a long handler: measure the time until another process replies."""

from __future__ import annotations

import random
import time

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.deployment import WEBHOOKS, WORKERS, deployment, kill_process, webhook_addresses
from tests.scaleout.report import Result, Run, load
from tests.scaleout.verdict import Sent, sent_by
from wxbot.testing import User

NAME = "3. Takeover"
ROUNDS = 5
WITHIN = 10.0
BEFORE_DEATH = (0.5, 2.5)
"""The range of seconds that a handler has run when its process is killed, between two renewals of its lease."""
MAX_WAIT = 30.0


def takeover(run: Run) -> Result:
    run.say(f"{NAME}: {ROUNDS} times; {load()}")
    chance = random.Random(f"takeover {run.seed}")
    result = Result(NAME)
    times = []
    with (
        BusyWeChat(run.network.address, webhook_addresses(run.network), chance) as wechat,
        deployment(run.network, wechat, run.folder / "takeover", broker=run.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if run.broker else ())], {})
        for number in range(ROUNDS):
            user = wechat.user(f"user{number}")
            user.says(f"m{number} hangs")
            first = _part(wechat, user, 1)
            time.sleep(chance.uniform(*BEFORE_DEATH))  # a random moment on purpose
            victim = bots.bot_of(first.pid)
            assert victim is not None, f"{first} is not a process of the deployment"
            killed_at = time.time()
            kill_process(first.pid)
            second = _part(wechat, user, 2)
            times.append(second.at - killed_at)
            run.say(f"    {first.host}:{first.pid} killed, {second.host}:{second.pid} after {times[-1]:.2f} s")
            if [sent_by(record) for record in user.timeline if record.kind == "send"] != [first, second]:
                result.broken.append(f"{user.name} saw unexpected replies: {user.saw}")
        refused = [record for record in wechat.violations if not record.needless]
    result.figures = [f"seconds until another process replies: {'  '.join(f'{each:.2f}' for each in sorted(times))}"]
    if max(times) > WITHIN:
        result.broken.append(f"it took {max(times):.1f} s, more than {WITHIN:g} s")
    if refused:
        result.broken.append(f"{len(refused)} calls refused by the platform: {refused[0]}")
    return result


def _part(wechat: BusyWeChat, user: User, part: int) -> Sent:
    """Wait for this part of the reply, and return it with the process that sent it."""

    def found() -> Sent | None:
        parts = (sent_by(record) for record in user.timeline if record.kind == "send")
        return next((sent for sent in parts if sent is not None and sent.part == part), None)

    wechat.waits_until(lambda: found() is not None, MAX_WAIT, f"part {part} of a reply to {user.name}")
    sent = found()
    assert sent is not None
    return sent
