"""Contract tests of dead letters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.support import ALICE, APPID, BOB, NOW, Backend, Worker, incoming, text_of
from wxbot.store.records import ConversationKey, DeadLetter

UNSENT = ({"kind": "text", "text": "never out"},)


def kill(worker: Worker, key: ConversationKey = ALICE, **more: Any) -> DeadLetter:
    """Turn the first message of a user into a dead letter. Later messages stay."""
    claim = worker.claims(key)
    worker.completes(claim, "dead", go_on=False, reason="so it is", **more)
    (letter,) = [letter for letter in letters(worker) if letter.seq == claim.message.seq]
    return letter


def letters(worker: Worker, limit: int = 100) -> list[DeadLetter]:
    return list(worker.wait(worker.store.dead_letters(APPID, limit)))


def retry(worker: Worker, seq: int) -> bool:
    return worker.wait(worker.store.remove_dead_letter(APPID, seq, NOW))


def test_a_dead_letter_contains_the_message_and_the_reason(one: Worker) -> None:
    message = incoming("hi", at=NOW - 5)
    one.accept(message)
    letter = kill(one, sent=2, unsent=UNSENT)
    assert letter.key == ALICE
    assert letter.fields == message.fields
    assert (letter.received_at, letter.died_at, letter.attempts, letter.sent) == (NOW - 5, NOW, 1, 2)
    assert (letter.reason, letter.unsent) == ("so it is", UNSENT)


def test_the_users_text_is_not_in_the_repr(one: Worker) -> None:
    one.accept(incoming("my secret"))
    assert "my secret" not in repr(kill(one))


def test_dead_letters_are_listed_oldest_first(one: Worker, two: Worker) -> None:
    one.accept(incoming("a", ALICE), incoming("b", BOB), incoming("c", ALICE))
    for key in (BOB, ALICE, ALICE):
        kill(one, key)
    assert [letter.fields["Content"] for letter in letters(two)] == ["a", "b", "c"]
    assert [letter.fields["Content"] for letter in letters(two, limit=2)] == ["a", "b"]


def test_a_dead_letter_does_not_block_later_messages(one: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    kill(one)
    assert one.works_off() == ["b"]
    assert one.waiting() == []


def test_a_redelivery_of_a_dead_letter_is_recognized(one: Worker) -> None:
    one.accept(incoming("a"))
    kill(one)
    assert one.accept(incoming("a")) == [False]


def test_retrying_resets_the_attempts(one: Worker) -> None:
    one.accept(incoming("a"))
    claim = one.claims()
    one.completes(claim, "retry", retry_at=NOW)
    letter = kill(one, sent=1, unsent=UNSENT)
    assert letter.attempts == 2
    assert retry(one, letter.seq)
    assert letters(one) == []
    claim = one.claims()
    pending = claim.message
    assert (text_of(claim), pending.attempts, pending.sent, pending.unsent) == ("a", 1, 1, UNSENT)


def test_retrying_keeps_the_old_position(one: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    letter = kill(one)
    assert retry(one, letter.seq)
    assert one.works_off() == ["a", "b"]


def test_retrying_works_after_the_conversation_has_expired(one: Worker, backend: Backend) -> None:
    one.accept(incoming("a", at=NOW - 200))
    letter = kill(one)
    backend.time_passes(200)
    one.purges()
    assert retry(one, letter.seq)
    assert one.waiting() == [ALICE]
    assert one.works_off() == ["a"]


def test_a_dead_letter_retried_during_processing_waits(one: Worker, two: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    letter = kill(one)
    claim = one.claims()
    assert retry(two, letter.seq)
    assert two.tries_to_claim() is None
    following = one.completes(claim)
    assert text_of(following) == "a"


def test_dropping_deletes_the_dedup_record_too(one: Worker) -> None:
    one.accept(incoming("a"))
    letter = kill(one)
    assert one.wait(one.store.remove_dead_letter(APPID, letter.seq))
    assert letters(one) == []
    assert not one.wait(one.store.remove_dead_letter(APPID, letter.seq))
    assert not retry(one, letter.seq)


@pytest.mark.parametrize("state", ["waiting", "done", "unknown"])
def test_only_dead_letters_are_retried_or_dropped(one: Worker, state: str) -> None:
    one.accept(incoming("a"))
    claim = one.claims()
    one.completes(claim, "done" if state == "done" else "released")
    seq = claim.message.seq + (1 if state == "unknown" else 0)
    assert not retry(one, seq)
    assert not one.wait(one.store.remove_dead_letter(APPID, seq))
    assert one.works_off() == ([] if state == "done" else ["a"])
