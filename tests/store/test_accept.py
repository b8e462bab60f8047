"""What every store promises about taking messages in: for good, once, and without touching what it knows already."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.store.processes import Processes
from tests.store.support import ALICE, BOB, NOW, Place, Stores, Worker, arrival, some
from wxbot.store.records import ClaimRequest

ROUNDS = 20


def test_a_new_message_is_taken_and_its_redelivery_is_not(one: Worker) -> None:
    assert one.accept(arrival("hi"), arrival("hi")) == [True, False]
    assert one.works_off() == ["hi"]


def test_a_redelivery_is_known_after_the_message_was_answered(one: Worker) -> None:
    one.accept(arrival("hi"))
    one.works_off()
    assert one.accept(arrival("hi")) == [False]
    assert one.works_off() == []


def test_a_redelivery_is_known_to_another_process(one: Worker, two: Worker) -> None:
    assert one.accept(arrival("hi")) == [True]
    assert two.accept(arrival("hi")) == [False]


def test_a_redelivery_is_known_after_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(arrival("hi"))
    first.store.close()
    assert stores.worker("second").accept(arrival("hi")) == [False]


def test_a_message_is_there_after_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(arrival("hi"))
    first.store.close()
    assert stores.worker("second").works_off() == ["hi"]


def test_the_same_msg_id_of_two_users_is_two_messages(one: Worker) -> None:
    assert one.accept(arrival("hi", ALICE), arrival("hi", BOB)) == [True, True]


def test_a_redelivery_changes_nothing(one: Worker) -> None:
    one.accept(arrival("hi", at=NOW, interacted_at=NOW))
    one.accept(arrival("other words", at=NOW + 5, interacted_at=NOW + 5, dedup_key="msg:hi"))
    claim = one.claims(now=NOW + 6)
    assert claim.pending.fields["Content"] == "hi"
    assert claim.pending.received_at == NOW
    assert claim.interacted_at == NOW


def test_when_it_was_here_first_is_told(one: Worker, two: Worker) -> None:
    """As long as it is not answered; what is left of it then need not know."""
    assert one.delivers("hi", at=NOW).first_at == NOW
    assert two.delivers("hi", at=NOW + 5).first_at == NOW
    one.claims(now=NOW + 6)
    assert two.delivers("hi", at=NOW + 10).first_at == NOW
    one.accept(arrival("bye", at=NOW + 11))
    assert two.delivers("hi", at=NOW + 11).first_at == NOW


def test_replies_can_come_in_with_their_message(one: Worker, two: Worker) -> None:
    replies = ({"kind": "text", "text": "retry"}, {"kind": "text", "text": "二"})
    one.accept(arrival("a"), arrival("b", unsent=replies))
    claim = two.claims()
    assert claim.pending.unsent == ()
    following = two.settles(claim.lease, claim.pending)
    assert following is not None
    assert following.unsent == replies
    two.settles(claim.lease, following)
    claim = some(one.store.accept(arrival("c", unsent=replies), ClaimRequest("one", 8.0)).claim)
    assert claim.pending.unsent == replies
    one.settles(claim.lease, claim.pending, "released", unsent=claim.pending.unsent[1:])
    assert two.claims().pending.unsent == replies[1:]


def test_the_last_interaction_moves_forward(one: Worker) -> None:
    one.accept(arrival("a", interacted_at=NOW), arrival("b", at=NOW + 3, interacted_at=NOW + 3))
    assert one.claims(now=NOW + 3).interacted_at == NOW + 3


def test_the_last_interaction_never_moves_back(one: Worker) -> None:
    one.accept(arrival("a", interacted_at=NOW), arrival("late", at=NOW + 1, interacted_at=NOW - 60))
    assert one.claims(now=NOW + 1).interacted_at == NOW


def test_what_came_is_given_as_it_came(one: Worker) -> None:
    fields = {"Content": "  \n你好 \U0001f600 \"'</xml>\x00", "nested": {"list": [1, None, 2.5, True]}}
    message = arrival("hi")
    message.fields.update(fields)  # type: ignore[attr-defined]
    one.accept(message)
    assert one.claims().pending.fields == message.fields


def test_of_many_threads_exactly_one_is_told_that_a_message_is_new(one: Worker) -> None:
    threads = 16
    ready = threading.Barrier(threads)

    def deliver(n: int) -> bool:
        ready.wait(10)
        return one.store.accept(arrival("hi")).new

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(deliver, range(threads))) == 1
    assert one.works_off() == ["hi"]


def test_of_many_processes_exactly_one_is_told_that_a_message_is_new(place: Place, processes: Processes) -> None:
    """They open a new store at the same moment, too."""
    answers = processes.run(_deliver_all, place)
    for n in range(ROUNDS):
        assert sorted(answer[n] for answer in answers) == [False] * (processes.count - 1) + [True], f"round {n}"


def _deliver_all(place: Place, ready: threading.Barrier) -> list[bool]:
    """Runs in a process of its own."""
    store = place.store()
    ready.wait(20)
    store.open()
    try:
        answers = []
        for n in range(ROUNDS):
            ready.wait(20)
            answers.append(store.accept(arrival(f"message {n}")).new)
        return answers
    finally:
        store.close()
