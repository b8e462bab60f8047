"""A worker host is added under load, and the queue gets shorter. Then it is stopped, and no message is lost."""

from __future__ import annotations

import random
import threading
import time

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, at_constant_rate
from tests.scaleout.deployment import WEBHOOKS, Backlog, Deployment, deployment, webhook_addresses
from tests.scaleout.load_with_faults import judge_sent, wait_until_processed
from tests.scaleout.report import Result, Run, load
from tests.servers.processes import wait_until

NAME = "4. Adding and stopping a worker"
CONCURRENCY = 20
HANDLER_MS = 1000
PER_SECOND = 30
"""1.5 times the messages that one host can process: 20 users at the same time, one second each."""
SECONDS = 36.0
GROWN = 60
"""Number of waiting users at which the second worker is started."""
CHECK_EVERY = 1.0
MAX_WAIT = 60.0


class QueueRecorder:
    """A recorder of the queue's length, once per second."""

    def __init__(self, run: Run, bots: Deployment) -> None:
        self.seen: list[tuple[float, Backlog]] = []
        self._run = run
        self._bots = bots
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record)

    def __enter__(self) -> QueueRecorder:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stopped.set()
        self._thread.join()

    def queue(self) -> int:
        """Return the number of users whose messages no worker processes yet."""
        return self.seen[-1][1].waiting if self.seen else 0

    def _record(self) -> None:
        while not self._stopped.wait(CHECK_EVERY):
            backlog = self._bots.backlog()
            self.seen.append((time.monotonic(), backlog))
            self._run.say(f"    {backlog}")


def elastic(run: Run) -> Result:
    result = Result(NAME)
    if not run.broker:
        result.figures.append("skipped: without a broker there are no workers")
        return result
    run.say(f"{NAME}: {PER_SECOND} messages per second, each worker can process {CONCURRENCY}; {load()}")
    chance = random.Random(f"elastic {run.seed}")
    plan = at_constant_rate(PER_SECOND, PER_SECOND * int(SECONDS), SECONDS, HANDLER_MS)
    with (
        BusyWeChat(run.network.address, webhook_addresses(run.network), chance) as wechat,
        deployment(run.network, wechat, run.folder / "elastic", broker=True) as bots,
    ):
        limited = {"concurrency": str(CONCURRENCY)}
        bots.start([*WEBHOOKS, "worker1"], limited, processes=1)
        crowd = Crowd(wechat, plan)
        sender = threading.Thread(target=lambda: wechat.play(crowd.send_all()))
        with QueueRecorder(run, bots) as queue_recorder:
            sender.start()
            try:
                result.figures += _add_and_stop_worker(run, bots, queue_recorder, limited)
            finally:
                sender.join()
            drained = wait_until_processed(bots, crowd)
        verdict = judge_sent(bots, crowd.sent, [])
    result.broken += verdict.broken()
    result.figures.append(
        f"{verdict.messages} messages, acknowledged {verdict.acknowledged}, answered {verdict.answered}, answered twice"
        f" {len(verdict.doubles)}; all processed {drained:.1f} s after the last message; {load()}"
    )
    return result


def _add_and_stop_worker(
    run: Run, bots: Deployment, queue_recorder: QueueRecorder, limited: dict[str, str]
) -> list[str]:
    wait_until(lambda: queue_recorder.queue() >= GROWN, "the queue does not grow", MAX_WAIT)
    grown = queue_recorder.queue()
    run.say("    worker2 is started")
    bots.start(["worker2"], limited, processes=1)
    began = time.monotonic()
    wait_until(lambda: queue_recorder.queue() <= grown // 4, "the queue does not get shorter", MAX_WAIT)
    shorter, took = queue_recorder.queue(), time.monotonic() - began
    run.say("    worker2 gets SIGTERM")
    leaving = time.monotonic()
    bots.bots["worker2"].stop()
    return [
        f"one worker: {grown} users wait; with a second worker {shorter} after {took:.1f} s",
        f"the second worker ended {time.monotonic() - leaving:.1f} s after SIGTERM",
    ]
