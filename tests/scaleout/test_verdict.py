"""Tests of ``judge``. The other modules of this folder are run by ``make test-scaleout``."""

from __future__ import annotations

from collections.abc import Sequence

from tests.scaleout.verdict import Fault, Message, Sent, Verdict, judge, sent_by
from wxbot.testing import Record


def says(text: str, at: float, openid: str = "alice") -> Record:
    return Record(at=at, kind="send", what=text, openid=openid, errcode=0)


def reply(number: int, at: float, *, part: int = 1, of: int = 1, who: str = "worker1:7", attempt: int = 1) -> Record:
    return says(f"m{number} {part}/{of} by {who} try {attempt}", at)


def verdict(
    messages: Sequence[Message], *records: Record, faults: Sequence[Fault] = (), dead: int | None = None
) -> Verdict:
    return judge(messages, records, faults, {} if dead is None else {dead: "why"})


ONE = Message(1, "alice", 1, first_try=10.0, acknowledged=10.1)
TWO = Message(2, "alice", 1, first_try=11.0, acknowledged=11.1)


def test_a_reply_is_parsed() -> None:
    assert sent_by(says("m12 2/3 by worker2:45 try 6", 1.5)) == Sent(12, 2, "alice", "worker2", 45, 6, 1.5)
    assert sent_by(says("hello", 1.5)) is None


def test_all_messages_answered() -> None:
    result = verdict([ONE, TWO], reply(1, 12.0), reply(2, 12.1))
    assert (result.acknowledged, result.answered, result.doubles, result.broken()) == (2, 2, [], [])


def test_a_missing_reply_is_lost() -> None:
    assert verdict([ONE, TWO], reply(1, 12.0)).lost == [TWO]
    assert verdict([ONE._replace(parts=2)], reply(1, 12.0, part=2, of=2)).lost == [ONE._replace(parts=2)]


def test_an_unacknowledged_message_is_not_lost() -> None:
    result = verdict([ONE._replace(acknowledged=None), TWO], reply(1, 12.0))
    assert (result.never_acknowledged, result.answered_without_acknowledgment, result.lost) == (1, 1, [TWO])


def test_a_dead_letter_is_not_lost() -> None:
    result = verdict([ONE], dead=1)
    assert (result.dead_letters, result.lost) == ([1], [])


def test_a_reply_before_an_earlier_one_is_out_of_order() -> None:
    assert verdict([ONE, TWO], reply(2, 12.0), reply(1, 12.1)).out_of_order == [(ONE, TWO)]
    three_parts = [reply(1, 12.0, of=2), reply(2, 12.1), reply(1, 12.2, part=2, of=2)]
    assert len(verdict([ONE._replace(parts=2), TWO], *three_parts).out_of_order) == 1


def test_a_redelivered_push_may_change_the_order() -> None:
    redelivered = ONE._replace(acknowledged=15.0)
    assert verdict([redelivered, TWO], reply(2, 12.0), reply(1, 16.0)).out_of_order == []


def test_a_double_is_explained_by_a_fault_of_its_process() -> None:
    for fault, why in (
        (Fault("killed", 12.3, 12.3, "worker1", 7), "killed"),
        (Fault("cut off", 12.3, 32.0, "worker1"), "cut off"),
        (Fault("store outage", 11.0, 14.0), "store outage"),
        (Fault("killed", 12.3, 12.3, "worker1", 8), ""),
        (Fault("killed", 12.3, 12.3, "worker2", 7), ""),
        (Fault("killed", 11.0, 11.0, "worker1", 7), ""),
        (Fault("killed", 20.0, 20.0, "worker1", 7), ""),
        (Fault("store outage", 15.0, 16.0), ""),
    ):
        result = verdict([ONE], reply(1, 12.0), reply(1, 21.0, who="worker2:9"), faults=[fault])
        assert [double.why for double in result.doubles] == [why], fault
        assert bool(result.unexplained) == bool(result.broken()) == (why == "")


def test_a_late_kill_during_a_store_outage_explains_a_double() -> None:
    faults = [Fault("store outage", 11.9, 19.0), Fault("killed", 18.0, 18.0, "worker1", 7)]
    result = verdict([ONE], reply(1, 12.0), reply(1, 21.0, who="worker2:9"), faults=faults)
    assert [double.why for double in result.doubles] == ["killed during a store outage"]


def test_a_delayed_send_of_a_cut_off_host_is_explained() -> None:
    fault = Fault("cut off", 11.0, 31.0, "worker1")
    result = verdict([ONE], reply(1, 20.0, who="worker2:9", attempt=2), reply(1, 32.0), faults=[fault])
    assert [double.why for double in result.doubles] == ["cut off, delayed"]
    result = verdict([ONE], reply(1, 20.0, who="worker2:9", attempt=2), reply(1, 32.0))
    assert len(result.unexplained) == 1


def test_refused_calls_and_unknown_texts_are_counted() -> None:
    refused = Record(at=12.0, kind="typing", what="Typing", openid="alice", errcode=45081)
    needless = Record(at=12.1, kind="typing", what="CancelTyping", openid="alice", errcode=0, needless=True)
    result = verdict([], refused, needless, says("Something went wrong", 12.2))
    assert (result.refused, result.needless, len(result.unknown), len(result.broken())) == ([refused], 1, 1, 2)
