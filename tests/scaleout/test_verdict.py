"""The verdict sees what it is there to see. (All else in this folder is run by ``make test-scaleout``.)"""

from __future__ import annotations

from collections.abc import Sequence

from tests.scaleout.verdict import Harm, Message, Sent, Verdict, judge, sent_by
from wxbot.testing import Record


def says(text: str, at: float, openid: str = "alice") -> Record:
    return Record(at=at, kind="send", what=text, openid=openid, errcode=0)


def reply(number: int, at: float, *, part: int = 1, of: int = 1, who: str = "worker1:7", attempt: int = 1) -> Record:
    return says(f"m{number} {part}/{of} by {who} try {attempt}", at)


def verdict(
    messages: Sequence[Message], *records: Record, harms: Sequence[Harm] = (), dead: int | None = None
) -> Verdict:
    return judge(messages, records, harms, {} if dead is None else {dead: "why"})


ONE = Message(1, "alice", 1, first_try=10.0, acknowledged=10.1)
TWO = Message(2, "alice", 1, first_try=11.0, acknowledged=11.1)


def test_a_reply_says_where_it_is_from() -> None:
    assert sent_by(says("m12 2/3 by worker2:45 try 6", 1.5)) == Sent(12, 2, "alice", "worker2", 45, 6, 1.5)
    assert sent_by(says("hello", 1.5)) is None


def test_all_is_well() -> None:
    came = verdict([ONE, TWO], reply(1, 12.0), reply(2, 12.1))
    assert (came.acknowledged, came.answered, came.doubles, came.broken()) == (2, 2, [], [])


def test_what_is_missing_is_lost() -> None:
    assert verdict([ONE, TWO], reply(1, 12.0)).lost == [TWO]
    assert verdict([ONE._replace(parts=2)], reply(1, 12.0, part=2, of=2)).lost == [ONE._replace(parts=2)]


def test_what_nobody_promised_is_not_lost() -> None:
    came = verdict([ONE._replace(acknowledged=None), TWO], reply(1, 12.0))
    assert (came.never_acknowledged, came.answered_all_the_same, came.lost) == (1, 1, [TWO])


def test_a_dead_letter_is_kept_and_not_lost() -> None:
    came = verdict([ONE], dead=1)
    assert (came.dead_letters, came.lost) == ([1], [])


def test_an_answer_that_overtakes_another_one() -> None:
    assert verdict([ONE, TWO], reply(2, 12.0), reply(1, 12.1)).out_of_order == [(ONE, TWO)]
    three_parts = [reply(1, 12.0, of=2), reply(2, 12.1), reply(1, 12.2, part=2, of=2)]
    assert len(verdict([ONE._replace(parts=2), TWO], *three_parts).out_of_order) == 1


def test_an_order_that_the_platform_has_changed() -> None:
    redelivered = ONE._replace(acknowledged=15.0)
    assert verdict([redelivered, TWO], reply(2, 12.0), reply(1, 16.0)).out_of_order == []


def test_a_double_is_explained_by_what_struck_its_process() -> None:
    for harm, why in (
        (Harm("killed", 12.3, 12.3, "worker1", 7), "killed"),
        (Harm("cut off", 12.3, 32.0, "worker1"), "cut off"),
        (Harm("store out", 11.0, 14.0), "the store was out"),
        (Harm("killed", 12.3, 12.3, "worker1", 8), ""),
        (Harm("killed", 12.3, 12.3, "worker2", 7), ""),
        (Harm("killed", 11.0, 11.0, "worker1", 7), ""),
        (Harm("killed", 20.0, 20.0, "worker1", 7), ""),
        (Harm("store out", 15.0, 16.0), ""),
    ):
        came = verdict([ONE], reply(1, 12.0), reply(1, 21.0, who="worker2:9"), harms=[harm])
        assert [double.why for double in came.doubles] == [why], harm
        assert bool(came.unexplained) == bool(came.broken()) == (why == "")


def test_a_death_long_after_the_send_that_a_dead_store_explains() -> None:
    harms = [Harm("store out", 11.9, 19.0), Harm("killed", 18.0, 18.0, "worker1", 7)]
    came = verdict([ONE], reply(1, 12.0), reply(1, 21.0, who="worker2:9"), harms=harms)
    assert [double.why for double in came.doubles] == ["killed while the store was out"]


def test_what_a_host_had_sent_before_it_was_cut_off() -> None:
    harm = Harm("cut off", 11.0, 31.0, "worker1")
    came = verdict([ONE], reply(1, 20.0, who="worker2:9", attempt=2), reply(1, 32.0), harms=[harm])
    assert [double.why for double in came.doubles] == ["cut off, late on the wire"]
    came = verdict([ONE], reply(1, 20.0, who="worker2:9", attempt=2), reply(1, 32.0))
    assert len(came.unexplained) == 1


def test_a_refused_call_and_words_of_nobody() -> None:
    refused = Record(at=12.0, kind="typing", what="Typing", openid="alice", errcode=45081)
    needless = Record(at=12.1, kind="typing", what="CancelTyping", openid="alice", errcode=0, needless=True)
    came = verdict([], refused, needless, says("Something went wrong", 12.2))
    assert (came.refused, came.needless, len(came.strange), len(came.broken())) == ([refused], 1, 1, 2)
