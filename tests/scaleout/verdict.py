"""Check the platform's records: no message lost, replies in order, no call refused, and each double explained."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from wxbot.testing import Record

_REPLY = re.compile(r"m(\d+) (\d+)/(\d+) by (\w+):(\d+) try (\d+)")

BEFORE, AFTER = 0.25, 2.0
"""Seconds before and after a send in which a fault prevents its record. A stopped process may have sent just before the
test notes the stop, and a record may wait for the store."""
RECORDED_LATE = 5.0
"""Seconds after a store outage in which waiting records are still written."""
DELAY = 15.0
"""Seconds after a host is connected again in which TCP may still deliver its delayed packets."""

Kind = Literal["killed", "stopped", "cut off", "store outage"]


@dataclass
class Fault:
    """An injected fault. ``began`` and ``ended`` (None if it has not ended) are in seconds since 1970."""

    kind: Kind
    began: float
    ended: float | None = None
    host: str = ""
    pid: int = 0

    def hits(self, sent: Sent, until: float) -> bool:
        """Return True if the fault hit the process of ``sent`` between the send and ``until``."""
        return self._concerns(sent) and self.began <= until and sent.at <= self._end + BEFORE

    def prevents_record(self, sent: Sent) -> bool:
        """Return True if the store was unavailable at the send or shortly after it."""
        return self.kind == "store outage" and self.began - AFTER <= sent.at <= self._end + BEFORE

    def delayed(self, sent: Sent) -> bool:
        """Return True if the fault may have delayed ``sent`` on the network."""
        away = self.kind in ("stopped", "cut off") and self._concerns(sent)
        return away and self.began <= sent.at <= self._end + DELAY

    def _concerns(self, sent: Sent) -> bool:
        return self.host == sent.host and self.pid in (0, sent.pid)

    @property
    def _end(self) -> float:
        return float("inf") if self.ended is None else self.ended

    def __str__(self) -> str:
        where = "" if self.kind == "store outage" else f" {self.host}" + f":{self.pid}" * bool(self.pid)
        return f"{self.kind}{where}"


class Message(NamedTuple):
    """A user's message. ``first_try``, ``acknowledged``: seconds since 1970; None if it was not acknowledged."""

    number: int
    openid: str
    parts: int
    first_try: float
    acknowledged: float | None


class Sent(NamedTuple):
    """A part of a reply that the platform accepted."""

    number: int
    part: int
    openid: str
    host: str
    pid: int
    attempt: int
    at: float


class Double(NamedTuple):
    """A part that was sent twice, and the fault that explains it ("" if there is none).

    The fault prevented the record of the first send, or it delayed a send on the network ("delayed").
    """

    first: Sent
    again: Sent
    why: str


@dataclass
class Verdict:
    """The result for all messages of a part."""

    messages: int = 0
    acknowledged: int = 0
    answered: int = 0
    never_acknowledged: int = 0
    """Messages without an acknowledgment. They may be lost. If one is answered, its acknowledgment was lost."""
    answered_without_acknowledgment: int = 0
    dead_letters: list[int] = field(default_factory=list)
    lost: list[Message] = field(default_factory=list)
    out_of_order: list[tuple[Message, Message]] = field(default_factory=list)
    doubles: list[Double] = field(default_factory=list)
    refused: list[Record] = field(default_factory=list)
    needless: int = 0
    unknown: list[Record] = field(default_factory=list)
    """Texts that no handler of the test sends, such as the error text."""

    @property
    def unexplained(self) -> list[Double]:
        return [double for double in self.doubles if not double.why]

    def broken(self) -> list[str]:
        """Return the broken promises."""
        found: dict[str, Sized] = {
            "acknowledged messages lost": self.lost,
            "pairs outage of order": self.out_of_order,
            "replies sent twice without a fault that explains it": self.unexplained,
            "calls refused by the platform": self.refused,
            "texts that no handler sends": self.unknown,
        }
        return [f"{len(cases)} {what}" for what, cases in found.items() if cases]


def sent_by(record: Record) -> Sent | None:
    """Return the send that the text of a reply describes; None for a text that no handler of the test sends."""
    found = _REPLY.fullmatch(record.what)
    if found is None:
        return None
    number, part, _, host, pid, attempt = found.groups()
    return Sent(int(number), int(part), record.openid, host, int(pid), int(attempt), record.at)


def judge(
    messages: Sequence[Message], timeline: Iterable[Record], faults: Sequence[Fault], dead: Mapping[int, str]
) -> Verdict:
    """Return the verdict. ``dead``: the reasons of the dead letters, by the number of the message."""
    verdict = Verdict(messages=len(messages))
    sends: list[Sent] = []
    for record in timeline:
        if record.kind == "send" and record.errcode == 0:
            sent = sent_by(record)
            if sent is None:
                verdict.unknown.append(record)
            else:
                sends.append(sent)
        _note_refusal(verdict, record)
    first = _first_of(sends)
    _count(verdict, messages, first, dead)
    verdict.out_of_order = _out_of_order(messages, first)
    verdict.doubles = _doubles(sends, faults)
    return verdict


def _note_refusal(verdict: Verdict, record: Record) -> None:
    if record.kind in ("send", "typing") and record.errcode:
        verdict.refused.append(record)
    verdict.needless += record.needless


def _first_of(sends: Iterable[Sent]) -> dict[int, dict[int, Sent]]:
    """Return the first send of each part, by message number and part number."""
    first: dict[int, dict[int, Sent]] = defaultdict(dict)
    for sent in sends:
        first[sent.number].setdefault(sent.part, sent)
    return first


def _count(
    verdict: Verdict, messages: Sequence[Message], first: Mapping[int, Mapping[int, Sent]], dead: Mapping[int, str]
) -> None:
    for message in messages:
        is_complete = len(first.get(message.number, ())) == message.parts
        if message.acknowledged is None:
            verdict.never_acknowledged += 1
            verdict.answered_without_acknowledgment += is_complete
            continue
        verdict.acknowledged += 1
        verdict.answered += is_complete
        if message.number in dead:
            verdict.dead_letters.append(message.number)
        elif not is_complete:
            verdict.lost.append(message)


def _out_of_order(
    messages: Sequence[Message], first: Mapping[int, Mapping[int, Sent]]
) -> list[tuple[Message, Message]]:
    """Return pairs of messages whose replies are in the wrong order.

    The first message was acknowledged before the first push of the second one. Otherwise the platform itself may have
    changed their order by a redelivery.
    """
    of_user: dict[str, list[Message]] = defaultdict(list)
    for message in messages:
        if message.number in first:
            of_user[message.openid].append(message)
    wrong = []
    for messages_of_user in of_user.values():
        messages_of_user.sort(key=lambda message: message.first_try)
        for n, earlier in enumerate(messages_of_user):
            if earlier.acknowledged is None:
                continue
            last_sent_at = max(sent.at for sent in first[earlier.number].values())
            wrong += [
                (earlier, later)
                for later in messages_of_user[n + 1 :]
                if _overtook(earlier, later, last_sent_at, first)
            ]
    return wrong


def _overtook(earlier: Message, later: Message, last_sent_at: float, first: Mapping[int, Mapping[int, Sent]]) -> bool:
    assert earlier.acknowledged is not None
    if later.first_try < earlier.acknowledged:
        return False
    return min(sent.at for sent in first[later.number].values()) < last_sent_at


def _doubles(sends: Iterable[Sent], faults: Sequence[Fault]) -> list[Double]:
    """Return the parts that were sent twice, each with the fault that explains it."""
    before: dict[tuple[int, int], Sent] = {}
    doubles = []
    for sent in sends:
        part = (sent.number, sent.part)
        if part in before:
            doubles.append(_explained(before[part], sent, faults))
        before[part] = sent
    return doubles


def _explained(first: Sent, again: Sent, faults: Sequence[Fault]) -> Double:
    """Return the double with its explanation. If it is the earlier attempt, its send was delayed on the network."""
    outage = next((fault for fault in faults if fault.prevents_record(first)), None)
    until = first.at + AFTER if outage is None else (outage.ended or float("inf")) + RECORDED_LATE
    hit = next((fault for fault in faults if fault.hits(first, until)), None)
    delayed = next((fault for fault in faults if fault.delayed(again)), None)
    if again.attempt < first.attempt:
        why = "" if delayed is None else f"{delayed.kind}, delayed"
    elif hit is not None:
        why = hit.kind + " during a store outage" * (outage is not None)
    else:
        why = "" if outage is None else "store outage"
    return Double(first, again, why)
