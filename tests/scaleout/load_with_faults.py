"""Ten thousand messages while processes are killed, one is stopped, a host is cut off and Redis is restarted."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, SentMessage, acknowledged_at, at_random_times, tries
from tests.scaleout.deployment import WEBHOOKS, WORKERS, Deployment, deployment, webhook_addresses
from tests.scaleout.fault_injection import FaultInjector, Times, plan
from tests.scaleout.report import Result, Run, load, spread
from tests.scaleout.verdict import Double, Fault, Message, Verdict, judge, sent_by
from tests.servers.processes import wait_until
from wxbot.store.redis.store import RedisStore
from wxbot.testing import Record

NAME = "1. Load with faults"
DRAIN_SECONDS = 90.0
PROGRESS_SECONDS = 10.0
MAX_CASES = 5
"""Maximum number of cases of one kind that are printed."""
RECORDS_BEFORE = 6
"""Number of earlier records of the same user that are printed with a refused call."""
SETTINGS = {
    "WXBOT_MAX_ATTEMPTS": "20",  # because a handler of 17 seconds is killed several times
    "WXBOT_DRAIN_SECONDS": "50",  # otherwise gunicorn would end a process that is stopped for a minute
}


@dataclass(frozen=True)
class Scale:
    messages: int
    users: int
    times: Times


LONG = Scale(10_000, 500, Times(load=130, pause=60, cut=20))
SHORT = Scale(2_000, 200, Times(load=40, pause=12, cut=10))


def load_with_faults(run: Run) -> Result:
    scale = SHORT if run.short else LONG
    chance = random.Random(f"faults {run.seed}")
    planned = at_random_times(chance, scale.messages, scale.users, scale.times.load)
    plans = plan(chance, scale.times)
    run.say(f"{NAME}: {scale.messages} messages of {scale.users} users in {scale.times.load:g} s; {load()}")
    for each in plans:
        run.say(f"    planned: {each}")
    with (
        BusyWeChat(run.network.address, webhook_addresses(run.network), chance) as wechat,
        deployment(run.network, wechat, run.folder / "faults", broker=run.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if run.broker else ())], SETTINGS)
        crowd, injector = Crowd(wechat, planned), FaultInjector(bots, plans, run.say)
        injector.begin()
        try:
            with _ProgressPrinter(run, bots, crowd):
                wechat.play(crowd.send_all())
                injector.finish()
                drained = wait_until_processed(bots, crowd)
        finally:
            injector.finish()
        verdict = judge_sent(bots, crowd.sent, injector.done)
        (run.folder / "faults" / "report.txt").write_text(_report(bots, verdict, injector))
        return _result(verdict, crowd, injector, drained, bots)


class _ProgressPrinter:
    """A thread that prints the progress every few seconds."""

    def __init__(self, run: Run, bots: Deployment, crowd: Crowd) -> None:
        self._run = run
        self._bots = bots
        self._crowd = crowd
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._print_progress)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *problem: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _print_progress(self) -> None:
        while not self._stopped.wait(PROGRESS_SECONDS):
            try:
                backlog = str(self._bots.backlog())
            except Exception as error:  # noqa: BLE001 - Redis is unavailable, because the test has stopped it
                backlog = f"no Redis ({type(error).__name__})"
            sent, undelivered = len(self._crowd.sent), self._crowd.undelivered()
            self._run.say(f"sent {sent:5d}  in progress {undelivered:4d}  {backlog}  {load()}")


def wait_until_processed(bots: Deployment, crowd: Crowd) -> float:
    """Wait until no push is in progress and the store has no pending messages. Return the seconds that it took."""
    began = time.monotonic()
    wait_until(lambda: crowd.undelivered() == 0, lambda: f"{crowd.undelivered()} pushes in progress", DRAIN_SECONDS)
    wait_until(bots.is_idle, lambda: f"{bots.backlog()} after {DRAIN_SECONDS:g} s", DRAIN_SECONDS)
    return time.monotonic() - began


def judge_sent(bots: Deployment, all_sent: Sequence[SentMessage], faults: Sequence[Fault]) -> Verdict:
    """Return the verdict on all messages that were sent."""
    messages = [
        Message(
            message.planned.number,
            message.push.openid,
            message.planned.parts,
            message.push.attempts[0].at,
            acknowledged_at(message.push),
        )
        for message in all_sent
    ]
    return judge(messages, bots.wechat.timeline, faults, _dead_letters(bots))


def _dead_letters(bots: Deployment) -> dict[int, str]:
    store = RedisStore(f"{bots.store.url}/0")
    store.open()
    try:
        letters = asyncio.run(_all_letters(store, bots.wechat.appid))
    finally:
        store.close()
    return letters


async def _all_letters(store: RedisStore, appid: str) -> dict[int, str]:
    letters = await store.dead_letters(appid, 1_000_000)
    return {int(str(letter.fields["Content"]).split()[0][1:]): letter.reason for letter in letters}


def _result(verdict: Verdict, crowd: Crowd, injector: FaultInjector, drained: float, bots: Deployment) -> Result:
    faults = Counter(fault.kind for fault in injector.done)
    result = Result(NAME, broken=verdict.broken())
    result.figures = [
        f"{verdict.messages} messages, {tries(crowd.sent)} pushes; faults: {dict(faults)}",
        f"acknowledged {verdict.acknowledged}, of these answered {verdict.answered},"
        f" dead letters {len(verdict.dead_letters)}, lost {len(verdict.lost)}",
        f"never acknowledged {verdict.never_acknowledged}, of these answered {verdict.answered_without_acknowledgment}",
        f"out of order {len(verdict.out_of_order)}; refused calls {len(verdict.refused)};"
        f" needless CancelTypings {verdict.needless}",
        f"answered twice {len(verdict.doubles)}, unexplained {len(verdict.unexplained)}",
        *_table(verdict.doubles),
        f"message to reply: {spread(_waits(bots, crowd))}",
        f"all processed {drained:.1f} s after the last message; longest delay of the platform itself:"
        f" {bots.wechat.slowest * 1000:.0f} ms; {load()}",
    ]
    result.figures += _exceptions_in_logs(bots)
    result.figures += _cases(bots, verdict, _dead_letters(bots))
    return result


def _exceptions_in_logs(bots: Deployment) -> list[str]:
    """Return the exceptions in the logs of the bots, counted by kind."""
    found: Counter[str] = Counter()
    for bot in bots.bots.values():
        for trace in bot.story().split("Traceback (most recent call last):")[1:]:
            found[next((line for line in trace.splitlines()[1:] if line and not line.startswith(" ")), "?")] += 1
    return [f"in the logs {count} x {error[:150]}" for error, count in found.most_common(MAX_CASES)]


def _report(bots: Deployment, verdict: Verdict, injector: FaultInjector) -> str:
    """Return all faults, doubles and records, for the analysis of a failure."""
    faults = [f"{fault.began:.3f} to {fault.ended or 0:.3f}  {fault}" for fault in injector.done]
    doubles = [f"{double}" for double in verdict.doubles]
    records = [f"{record.at:.3f}  {record}" for record in bots.wechat.timeline]
    return "\n".join(("faults:", *faults, "\ndoubles:", *doubles, "\nrecords:", *records, ""))


def _table(doubles: Sequence[Double]) -> list[str]:
    counted = Counter((double.why or "UNEXPLAINED", double.first.host, double.again.host) for double in doubles)
    return [
        f"    {count:4d} x  {why:<32} first from {first}, again from {again}"
        for (why, first, again), count in counted.most_common()
    ]


def _waits(bots: Deployment, crowd: Crowd) -> list[float]:
    due = {message.planned.number: message.due_at for message in crowd.sent}
    answered: dict[int, float] = {}
    for record in bots.wechat.timeline:
        if record.kind == "send" and (sent := sent_by(record)) is not None:
            answered.setdefault(sent.number, sent.at)
    return [at - due[number] for number, at in answered.items()]


def _records_before(bots: Deployment, record: Record) -> list[Record]:
    """Return the records of the same user before ``record``."""
    records = [each for each in bots.wechat.timeline if each.openid == record.openid and each.at < record.at]
    return records[-RECORDS_BEFORE:]


def _cases(bots: Deployment, verdict: Verdict, dead: dict[int, str]) -> list[str]:
    cases = [f"lost: {message}" for message in verdict.lost[:MAX_CASES]]
    cases += [f"out of order: {pair}" for pair in verdict.out_of_order[:MAX_CASES]]
    cases += [f"unexplained: {double}" for double in verdict.unexplained[:MAX_CASES]]
    for record in verdict.refused[:MAX_CASES]:
        cases += [
            f"refused: {record}",
            *(f"    {each.at - record.at:8.3f} s  {each}" for each in _records_before(bots, record)),
        ]
    cases += [f"unknown text: {record}" for record in verdict.unknown[:MAX_CASES]]
    cases += [f"dead letter m{number}: {dead[number]}" for number in verdict.dead_letters[:MAX_CASES]]
    return cases
