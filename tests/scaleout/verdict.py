"""Whether what the platform saw is what was promised: nothing lost, in order, nothing refused, doubles explained."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from wxbot.testing import Record

_REPLY = re.compile(r"m(\d+) (\d+)/(\d+) by (\w+):(\d+) try (\d+)")

BEFORE, AFTER = 0.25, 2.0
"""Seconds around a send in which a fault keeps it from being recorded: a stopped process may have sent just before we
note that it is stopped, and what waits for a store is recorded late."""
RECORDED_LATE = 5.0
"""Seconds after the store is back until the last record that waited for it is made."""
DELAY = 15.0
"""Seconds after a host is back in which its network tries again to deliver what was on its way."""

Kind = Literal["killed", "stopped", "cut off", "store out"]


@dataclass
class Harm:
    """A fault, from its beginning to its end (None: not over yet), in seconds since 1970."""

    kind: Kind
    began: float
    ended: float | None = None
    host: str = ""
    pid: int = 0

    def hits(self, sent: Sent, until: float) -> bool:
        """Whether it struck the process that sent ``sent``, then or until ``until``."""
        return self._concerns(sent) and self.began <= until and sent.at <= self._over + BEFORE

    def keeps_from_recording(self, sent: Sent) -> bool:
        """Whether the store was out, or about to be."""
        return self.kind == "store out" and self.began - AFTER <= sent.at <= self._over + BEFORE

    def delayed(self, sent: Sent) -> bool:
        """Whether ``sent`` may have been on its way since before this began."""
        away = self.kind in ("stopped", "cut off") and self._concerns(sent)
        return away and self.began <= sent.at <= self._over + DELAY

    def _concerns(self, sent: Sent) -> bool:
        return self.host == sent.host and self.pid in (0, sent.pid)

    @property
    def _over(self) -> float:
        return float("inf") if self.ended is None else self.ended

    def __str__(self) -> str:
        where = "" if self.kind == "store out" else f" {self.host}" + f":{self.pid}" * bool(self.pid)
        return f"{self.kind}{where}"


class Message(NamedTuple):
    """What a user said. ``first_try``, ``acknowledged``: seconds since 1970, None if it never was."""

    number: int
    openid: str
    parts: int
    first_try: float
    acknowledged: float | None


class Sent(NamedTuple):
    """A part of an answer, as the platform accepted it."""

    number: int
    part: int
    openid: str
    host: str
    pid: int
    attempt: int
    at: float


class Double(NamedTuple):
    """A part that was said again, and the fault that explains it ("" for none): what kept the first one from being
    recorded or, "late on the wire", what kept on its way something that a host had sent before it lost its lease.
    """

    first: Sent
    again: Sent
    why: str


@dataclass
class Verdict:
    """What came of a crowd's messages."""

    messages: int = 0
    acknowledged: int = 0
    answered: int = 0
    never_acknowledged: int = 0
    """Not promised to anybody; ``answered_all_the_same`` are those whose acknowledgment was lost on its way."""
    answered_all_the_same: int = 0
    dead_letters: list[int] = field(default_factory=list)
    lost: list[Message] = field(default_factory=list)
    out_of_order: list[tuple[Message, Message]] = field(default_factory=list)
    doubles: list[Double] = field(default_factory=list)
    refused: list[Record] = field(default_factory=list)
    needless: int = 0
    strange: list[Record] = field(default_factory=list)
    """What no handler of ours says, such as an apology."""

    @property
    def unexplained(self) -> list[Double]:
        return [double for double in self.doubles if not double.why]

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        found: dict[str, Sized] = {
            "acknowledged messages lost": self.lost,
            "pairs out of order": self.out_of_order,
            "answers said twice without a fault that explains it": self.unexplained,
            "calls refused by the platform": self.refused,
            "messages that no handler said": self.strange,
        }
        return [f"{len(cases)} {what}" for what, cases in found.items() if cases]


def sent_by(record: Record) -> Sent | None:
    """What a reply says of itself; None for one that none of our handlers has written."""
    told = _REPLY.fullmatch(record.what)
    if told is None:
        return None
    number, part, _, host, pid, attempt = told.groups()
    return Sent(int(number), int(part), record.openid, host, int(pid), int(attempt), record.at)


def judge(
    messages: Sequence[Message], timeline: Iterable[Record], harms: Sequence[Harm], dead: Mapping[int, str]
) -> Verdict:
    """``dead``: the dead letters' reasons, by the number of the message."""
    verdict = Verdict(messages=len(messages))
    sends: list[Sent] = []
    for record in timeline:
        if record.kind == "send" and record.errcode == 0:
            sent = sent_by(record)
            if sent is None:
                verdict.strange.append(record)
            else:
                sends.append(sent)
        _note_refusal(verdict, record)
    first = _first_of(sends)
    _count(verdict, messages, first, dead)
    verdict.out_of_order = _out_of_order(messages, first)
    verdict.doubles = _doubles(sends, harms)
    return verdict


def _note_refusal(verdict: Verdict, record: Record) -> None:
    if record.kind in ("send", "typing") and record.errcode:
        verdict.refused.append(record)
    verdict.needless += record.needless


def _first_of(sends: Iterable[Sent]) -> dict[int, dict[int, Sent]]:
    """By message and part, the first one that reached the user."""
    first: dict[int, dict[int, Sent]] = defaultdict(dict)
    for sent in sends:
        first[sent.number].setdefault(sent.part, sent)
    return first


def _count(
    verdict: Verdict, messages: Sequence[Message], first: Mapping[int, Mapping[int, Sent]], dead: Mapping[int, str]
) -> None:
    for message in messages:
        whole = len(first.get(message.number, ())) == message.parts
        if message.acknowledged is None:
            verdict.never_acknowledged += 1
            verdict.answered_all_the_same += whole
            continue
        verdict.acknowledged += 1
        verdict.answered += whole
        if message.number in dead:
            verdict.dead_letters.append(message.number)
        elif not whole:
            verdict.lost.append(message)


def _out_of_order(
    messages: Sequence[Message], first: Mapping[int, Mapping[int, Sent]]
) -> list[tuple[Message, Message]]:
    """Pairs of which the first was acknowledged before the second was ever pushed, and yet answered after it.

    Where a push failed and the next one was faster, the platform itself has changed their order.
    """
    of_user: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        if message.number in first:
            of_user[message.openid].append(message)
    wrong = []
    for said in of_user.values():
        said.sort(key=lambda message: message.first_try)
        for n, earlier in enumerate(said):
            if earlier.acknowledged is None:
                continue
            through = max(sent.at for sent in first[earlier.number].values())
            wrong += [(earlier, later) for later in said[n + 1 :] if _overtook(earlier, later, through, first)]
    return wrong


def _overtook(earlier: Message, later: Message, through: float, first: Mapping[int, Mapping[int, Sent]]) -> bool:
    assert earlier.acknowledged is not None
    if later.first_try < earlier.acknowledged:
        return False
    return min(sent.at for sent in first[later.number].values()) < through


def _doubles(sends: Iterable[Sent], harms: Sequence[Harm]) -> list[Double]:
    """Each one that was said again has been said before by somebody who could not record it."""
    before: dict[tuple[int, int], Sent] = {}
    doubles = []
    for sent in sends:
        place = (sent.number, sent.part)
        if place in before:
            doubles.append(_explained(before[place], sent, harms))
        before[place] = sent
    return doubles


def _explained(first: Sent, again: Sent, harms: Sequence[Harm]) -> Double:
    """An earlier attempt than the one that was heard first must have been on its way for long."""
    out = next((harm for harm in harms if harm.keeps_from_recording(first)), None)
    until = first.at + AFTER if out is None else (out.ended or float("inf")) + RECORDED_LATE
    struck = next((harm for harm in harms if harm.hits(first, until)), None)
    delayed = next((harm for harm in harms if harm.delayed(again)), None)
    if again.attempt < first.attempt:
        why = "" if delayed is None else f"{delayed.kind}, late on the wire"
    elif struck is not None:
        why = struck.kind + " while the store was out" * (out is not None)
    else:
        why = "" if out is None else "the store was out"
    return Double(first, again, why)
