"""Contract tests of accepting: a message is stored durably and once, and a redelivery changes nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.store.processes import Processes
from tests.store.support import ALICE, BOB, NOW, Backend, Stores, Worker, incoming, some
from wxbot.store.records import ClaimRequest

ROUNDS = 20


def test_a_new_message_is_accepted_and_its_redelivery_is_not(one: Worker) -> None:
    assert one.accept(incoming("hi"), incoming("hi")) == [True, False]
    assert one.works_off() == ["hi"]


def test_a_redelivery_is_recognized_after_the_message_is_done(one: Worker) -> None:
    one.accept(incoming("hi"))
    one.works_off()
    assert one.accept(incoming("hi")) == [False]
    assert one.works_off() == []


def test_a_redelivery_is_recognized_by_another_process(one: Worker, two: Worker) -> None:
    assert one.accept(incoming("hi")) == [True]
    assert two.accept(incoming("hi")) == [False]


def test_a_redelivery_is_recognized_after_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(incoming("hi"))
    first.store.close()
    assert stores.worker("second").accept(incoming("hi")) == [False]


def test_a_message_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(incoming("hi"))
    first.store.close()
    assert stores.worker("second").works_off() == ["hi"]


def test_the_same_msg_id_of_two_users_is_two_messages(one: Worker) -> None:
    assert one.accept(incoming("hi", ALICE), incoming("hi", BOB)) == [True, True]


def test_a_redelivery_changes_nothing(one: Worker) -> None:
    one.accept(incoming("hi", at=NOW, interacted_at=NOW))
    one.accept(incoming("other words", at=NOW + 5, interacted_at=NOW + 5, dedup_key="msg:hi"))
    claim = one.claims(now=NOW + 6)
    assert claim.message.fields["Content"] == "hi"
    assert claim.message.received_at == NOW
    assert claim.conversation.interacted_at == NOW


def test_a_redelivery_returns_the_time_of_the_first_delivery(one: Worker, two: Worker) -> None:
    """The time is returned while the message is pending. A dedup record need not contain it."""
    assert one.delivers("hi", at=NOW).first_at == NOW
    assert two.delivers("hi", at=NOW + 5).first_at == NOW
    one.claims(now=NOW + 6)
    assert two.delivers("hi", at=NOW + 10).first_at == NOW
    one.accept(incoming("bye", at=NOW + 11))
    assert two.delivers("hi", at=NOW + 11).first_at == NOW


def test_a_message_can_be_accepted_with_its_replies(one: Worker, two: Worker) -> None:
    replies = ({"kind": "text", "text": "retry"}, {"kind": "text", "text": "二"})
    one.accept(incoming("a"), incoming("b", unsent=replies))
    claim = two.claims()
    assert claim.message.unsent == ()
    following = two.completes(claim)
    assert following is not None
    assert following.message.unsent == replies
    two.completes(following)
    claim = some(one.store.accept(incoming("c", unsent=replies), ClaimRequest("one", 8.0)).claim)
    assert claim.message.unsent == replies
    one.completes(claim, "released", unsent=claim.message.unsent[1:])
    assert two.claims().message.unsent == replies[1:]


def test_the_last_interaction_moves_forward(one: Worker) -> None:
    one.accept(incoming("a", interacted_at=NOW), incoming("b", at=NOW + 3, interacted_at=NOW + 3))
    assert one.claims(now=NOW + 3).conversation.interacted_at == NOW + 3


def test_the_last_interaction_never_moves_back(one: Worker) -> None:
    one.accept(incoming("a", interacted_at=NOW), incoming("late", at=NOW + 1, interacted_at=NOW - 60))
    assert one.claims(now=NOW + 1).conversation.interacted_at == NOW


def test_fields_are_returned_unchanged(one: Worker) -> None:
    fields = {"Content": "  \n你好 \U0001f600 \"'</xml>\x00", "nested": {"list": [1, None, 2.5, True]}}
    message = incoming("hi")
    message.fields.update(fields)  # type: ignore[attr-defined]
    one.accept(message)
    assert one.claims().message.fields == message.fields


def test_a_message_is_new_for_exactly_one_of_many_threads(one: Worker) -> None:
    threads = 16
    ready = threading.Barrier(threads)

    def deliver(n: int) -> bool:
        ready.wait(10)
        return one.store.accept(incoming("hi")).new

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(deliver, range(threads))) == 1
    assert one.works_off() == ["hi"]


def test_a_message_is_new_for_exactly_one_of_many_processes(backend: Backend, processes: Processes) -> None:
    """The processes also open a new store at the same moment."""
    answers = processes.run(_deliver_all, backend)
    for n in range(ROUNDS):
        assert sorted(answer[n] for answer in answers) == [False] * (processes.count - 1) + [True], f"round {n}"


def _deliver_all(backend: Backend, ready: threading.Barrier) -> list[bool]:
    """Accept all messages. Runs in its own process."""
    store = backend.store()
    ready.wait(20)
    store.open()
    try:
        answers = []
        for n in range(ROUNDS):
            ready.wait(20)
            answers.append(store.accept(incoming(f"message {n}")).new)
        return answers
    finally:
        store.close()
