"""Ten thousand messages while processes die, a host is cut off, a process stands still and Redis is restarted."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.crowd import Crowd, Said, acknowledged_at, any_time, tries
from tests.scaleout.deployment import WEBHOOKS, WORKERS, Deployment, deployment, webhook_addresses
from tests.scaleout.harm import Mischief, Times, plan
from tests.scaleout.report import Result, Stage, load, spread
from tests.scaleout.verdict import Double, Harm, Message, Verdict, judge, sent_by
from tests.servers.processes import wait_until
from wxbot.store.redis.store import RedisStore
from wxbot.testing import Record

NAME = "1. A storm"
DRAIN_SECONDS = 90.0
PROGRESS_SECONDS = 10.0
CHATTER = 5
"""Cases of a kind that are shown one by one."""
BEFORE = 6
"""Records of the same user that are shown with a refused call."""
PATIENT = {
    "WXBOT_MAX_ATTEMPTS": "20",  # a handler of 17 s is killed again and again, which is no reason to give it up here
    "WXBOT_DRAIN_SECONDS": "50",  # or gunicorn itself ends a process that stands still for a minute
}


@dataclass(frozen=True)
class Scale:
    messages: int
    users: int
    times: Times


LONG = Scale(10_000, 500, Times(speech=130, pause=60, cut=20))
SHORT = Scale(2_000, 200, Times(speech=40, pause=12, cut=10))


def storm(stage: Stage) -> Result:
    scale = SHORT if stage.short else LONG
    chance = random.Random(f"storm {stage.seed}")
    said = any_time(chance, scale.messages, scale.users, scale.times.speech)
    plans = plan(chance, scale.times)
    stage.say(f"{NAME}: {scale.messages} messages of {scale.users} users in {scale.times.speech:g} s; {load()}")
    for each in plans:
        stage.say(f"    planned: {each}")
    with (
        BusyWeChat(stage.network.address, webhook_addresses(stage.network), chance) as wechat,
        deployment(stage.network, wechat, stage.folder / "storm", broker=stage.broker) as bots,
    ):
        bots.start([*WEBHOOKS, *(WORKERS if stage.broker else ())], PATIENT)
        crowd, mischief = Crowd(wechat, said), Mischief(bots, plans, stage.say)
        mischief.begin()
        try:
            with _progress(stage, bots, crowd):
                wechat.play(crowd.speak())
                mischief.finish()
                drained = through(bots, crowd)
        finally:
            mischief.finish()
        verdict = judge_said(bots, crowd.said, mischief.done)
        (stage.folder / "storm" / "story.txt").write_text(_story(bots, verdict, mischief))
        return _result(verdict, crowd, mischief, drained, bots)


class _progress:  # noqa: N801 - it is read as a word: with _progress(…)
    """Says every few seconds how things stand."""

    def __init__(self, stage: Stage, bots: Deployment, crowd: Crowd) -> None:
        self._stage = stage
        self._bots = bots
        self._crowd = crowd
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *problem: object) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._over.wait(PROGRESS_SECONDS):
            try:
                backlog = str(self._bots.backlog())
            except Exception as error:  # noqa: BLE001 - Redis is out, by our own doing
                backlog = f"no Redis ({type(error).__name__})"
            said, undelivered = len(self._crowd.said), self._crowd.undelivered()
            self._stage.say(f"said {said:5d}  on the way {undelivered:4d}  {backlog}  {load()}")


def through(bots: Deployment, crowd: Crowd) -> float:
    """Until the platform is through with every push and the store holds no work; how long that took."""
    began = time.monotonic()
    wait_until(lambda: crowd.undelivered() == 0, lambda: f"{crowd.undelivered()} pushes on the way", DRAIN_SECONDS)
    wait_until(bots.is_idle, lambda: f"{bots.backlog()} after {DRAIN_SECONDS:g} s", DRAIN_SECONDS)
    return time.monotonic() - began


def judge_said(bots: Deployment, all_said: Sequence[Said], harms: Sequence[Harm]) -> Verdict:
    """What came of everything that was said."""
    messages = [
        Message(
            said.saying.number,
            said.push.openid,
            said.saying.parts,
            said.push.attempts[0].at,
            acknowledged_at(said.push),
        )
        for said in all_said
    ]
    return judge(messages, bots.wechat.timeline, harms, _dead_letters(bots))


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


def _result(verdict: Verdict, crowd: Crowd, mischief: Mischief, drained: float, bots: Deployment) -> Result:
    harms = Counter(harm.kind for harm in mischief.done)
    result = Result(NAME, broken=verdict.broken())
    result.figures = [
        f"{verdict.messages} messages, {tries(crowd.said)} pushes; harm: {dict(harms)}",
        f"acknowledged {verdict.acknowledged}, of these answered {verdict.answered},"
        f" dead letters {len(verdict.dead_letters)}, lost {len(verdict.lost)}",
        f"never acknowledged {verdict.never_acknowledged}, answered all the same {verdict.answered_all_the_same}",
        f"out of order {len(verdict.out_of_order)}; refused calls {len(verdict.refused)};"
        f" needless CancelTypings {verdict.needless}",
        f"answered twice {len(verdict.doubles)}, unexplained {len(verdict.unexplained)}",
        *_table(verdict.doubles),
        f"message to answer: {spread(_waits(bots, crowd))}",
        f"all through {drained:.1f} s after the last word; the platform itself stood still for"
        f" {bots.wechat.slowest * 1000:.0f} ms at most; {load()}",
    ]
    result.figures += _in_the_logs(bots)
    result.figures += _cases(bots, verdict, _dead_letters(bots))
    return result


def _in_the_logs(bots: Deployment) -> list[str]:
    """Whatever wxbot did not expect, once for each kind."""
    found: Counter[str] = Counter()
    for bot in bots.bots.values():
        for trace in bot.story().split("Traceback (most recent call last):")[1:]:
            found[next((line for line in trace.splitlines()[1:] if line and not line.startswith(" ")), "?")] += 1
    return [f"in the logs {count} x {error[:150]}" for error, count in found.most_common(CHATTER)]


def _story(bots: Deployment, verdict: Verdict, mischief: Mischief) -> str:
    """All that can be known afterwards, for whoever has to find out why."""
    harms = [f"{harm.began:.3f} to {harm.ended or 0:.3f}  {harm}" for harm in mischief.done]
    doubles = [f"{double}" for double in verdict.doubles]
    records = [f"{record.at:.3f}  {record}" for record in bots.wechat.timeline]
    return "\n".join(("harm:", *harms, "\ndoubles:", *doubles, "\nrecords:", *records, ""))


def _table(doubles: Sequence[Double]) -> list[str]:
    counted = Counter((double.why or "UNEXPLAINED", double.first.host, double.again.host) for double in doubles)
    return [
        f"    {count:4d} x  {why:<32} first from {first}, again from {again}"
        for (why, first, again), count in counted.most_common()
    ]


def _waits(bots: Deployment, crowd: Crowd) -> list[float]:
    due = {said.saying.number: said.due_at for said in crowd.said}
    answered: dict[int, float] = {}
    for record in bots.wechat.timeline:
        if record.kind == "send" and (sent := sent_by(record)) is not None:
            answered.setdefault(sent.number, sent.at)
    return [at - due[number] for number, at in answered.items()]


def _before(bots: Deployment, record: Record) -> list[Record]:
    """What led to it."""
    records = [each for each in bots.wechat.timeline if each.openid == record.openid and each.at < record.at]
    return records[-BEFORE:]


def _cases(bots: Deployment, verdict: Verdict, dead: dict[int, str]) -> list[str]:
    cases = [f"lost: {message}" for message in verdict.lost[:CHATTER]]
    cases += [f"out of order: {pair}" for pair in verdict.out_of_order[:CHATTER]]
    cases += [f"unexplained: {double}" for double in verdict.unexplained[:CHATTER]]
    for record in verdict.refused[:CHATTER]:
        cases += [
            f"refused: {record}",
            *(f"    {each.at - record.at:8.3f} s  {each}" for each in _before(bots, record)),
        ]
    cases += [f"strange: {record}" for record in verdict.strange[:CHATTER]]
    cases += [f"dead letter m{number}: {dead[number]}" for number in verdict.dead_letters[:CHATTER]]
    return cases
