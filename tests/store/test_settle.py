"""What every store promises about closing a message: what is kept, what is forgotten, and what comes next."""

from __future__ import annotations

import pytest

from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, Place, Stores, Verdict, Worker, arrival, text_of
from wxbot.store.records import ConversationKey

REPLIES = ({"kind": "text", "text": "one"}, {"kind": "text", "text": "二"})


def test_messages_of_a_user_come_in_the_order_of_their_arrival(one: Worker) -> None:
    texts = [f"message {n}" for n in range(20)]
    one.accept(*(arrival(text, at=NOW - n) for n, text in enumerate(texts)))  # whatever the clock said
    assert one.works_off() == texts


@pytest.mark.parametrize("status", ["done", "dead"])
def test_going_on_gives_the_next_message_under_the_same_lease(one: Worker, two: Worker, status: Verdict) -> None:
    one.accept(arrival("first"), arrival("second"))
    claim = one.claims()
    following = one.settles(claim.lease, claim.pending, status, reason="so")
    assert following is not None
    assert (text_of(following), following.attempts) == ("second", 1)
    assert two.tries_to_claim() is None
    assert one.settles(claim.lease, following) is None


@pytest.mark.parametrize("status", ["done", "dead"])
def test_not_going_on_releases(one: Worker, two: Worker, status: Verdict) -> None:
    one.accept(arrival("first"), arrival("second"))
    claim = one.claims()
    assert one.settles(claim.lease, claim.pending, status, reason="so", go_on=False) is None
    taken = two.claims()
    assert (text_of(taken.pending), taken.pending.attempts) == ("second", 1)


@pytest.mark.parametrize("go_on", [True, False])
def test_what_is_to_be_tried_later_holds_up_the_rest(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(arrival("first"), arrival("second"))
    claim = one.claims()
    assert one.settles(claim.lease, claim.pending, "retry", retry_at=NOW + 5, go_on=go_on) is None
    one.accept(arrival("third", at=NOW + 1))
    assert two.tries_to_claim(now=NOW + 4) is None
    taken = two.claims(now=NOW + 5)
    assert (text_of(taken.pending), taken.pending.attempts) == ("first", 2)


@pytest.mark.parametrize("go_on", [True, False])
def test_what_is_handed_back_is_free_at_once_and_not_counted(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(arrival("first"), arrival("second"))
    for _ in range(5):
        claim = one.claims()
        assert one.settles(claim.lease, claim.pending, "released", go_on=go_on) is None
    taken = two.claims()
    assert (text_of(taken.pending), taken.pending.attempts) == ("first", 1)


def test_every_owner_that_dies_counts(stores: Stores) -> None:
    stores.worker("first").accept(arrival("hi"))
    attempts = [stores.worker(f"{n}").claims(now=NOW + n * LEASE).pending.attempts for n in range(4)]
    assert attempts == [1, 2, 3, 4]


@pytest.mark.parametrize("status", ["retry", "released"])
def test_replies_that_are_not_out_survive(one: Worker, two: Worker, status: Verdict) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, status, retry_at=NOW, sent=1, unsent=REPLIES)
    pending = two.claims().pending
    assert (pending.sent, pending.unsent) == (1, REPLIES)


def test_how_many_replies_are_out_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.records_sent(claim.lease, claim.pending, 2, NOW + 3)
    taken = two.claims(now=NOW + LEASE)
    assert (taken.pending.sent, taken.interacted_at, taken.typing_until) == (2, NOW + 3, 0.0)


def test_the_typing_note_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    assert one.saves_typing(claim.lease, NOW + 15) == NOW
    assert two.claims(now=NOW + LEASE).typing_until == NOW + 15


def test_a_sent_message_is_an_interaction_and_ends_the_indicator(one: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.saves_typing(claim.lease, NOW + 15)
    one.records_sent(claim.lease, claim.pending, 1, NOW + 2)
    assert one.saves_typing(claim.lease, NOW + 18) == NOW + 2
    one.records_sent(claim.lease, claim.pending, 2, NOW - 99)  # whatever the clock said: never back
    assert one.saves_typing(claim.lease, NOW + 18) == NOW + 2


def test_settling_keeps_the_interaction_and_the_typing_note(one: Worker) -> None:
    one.accept(arrival("first"), arrival("second"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False, sent=1, sent_at=NOW + 4, typing_until=NOW + 9)
    taken = one.claims()
    assert (taken.interacted_at, taken.typing_until) == (NOW + 4, NOW + 9)


def test_state_survives_until_it_is_replaced(one: Worker, two: Worker) -> None:
    state = {"orders": {"step": 2, "名": ["x", None, 1.5]}}
    one.accept(arrival("a"), arrival("b"), arrival("c"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False, state=state)
    claim = two.claims()
    assert claim.state == state
    two.settles(claim.lease, claim.pending, go_on=False)  # None leaves it as it is
    claim = one.claims()
    assert claim.state == state
    one.settles(claim.lease, claim.pending, state={})
    one.accept(arrival("d"))
    assert one.claims().state == {}


def test_the_clock_of_the_settling_process_does_not_matter_to_the_next_message(one: Worker, two: Worker) -> None:
    one.accept(arrival("first"))
    claim = one.claims()
    two.accept(arrival("second", at=NOW + 1))
    following = one.settles(claim.lease, claim.pending, now=NOW)
    assert text_of(following) == "second"


# Forgetting


def test_answered_messages_are_remembered_as_seen_for_a_while(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 150))
    one.works_off()
    place.time_passes(150)
    one.accept(arrival("new", at=NOW))
    one.works_off()
    one.purges()
    assert one.accept(arrival("old"), arrival("new")) == [True, False]


def test_a_user_who_was_silent_for_long_is_forgotten(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 150))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, typing_until=NOW + 5)
    place.time_passes(150)
    one.purges()
    one.accept(arrival("new", interacted_at=NOW - 500))
    again = one.claims()
    assert (again.interacted_at, again.typing_until) == (NOW - 500, 0.0)


def test_what_is_not_answered_is_never_forgotten(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 20_000))
    place.time_passes(20_000)
    assert one.purges() == 0
    assert one.works_off() == ["old"]


def test_what_is_being_answered_is_never_forgotten(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 20_000))
    claim = one.claims()
    place.time_passes(20_000)
    assert one.purges() == 0
    assert one.settles(claim.lease, claim.pending) is None


def test_dead_letters_are_forgotten_by_the_time_they_died(one: Worker) -> None:
    one.accept(arrival("old", at=NOW - 2000), arrival("new", at=NOW - 2000))
    claim = one.claims()
    following = one.settles(claim.lease, claim.pending, "dead", now=NOW - 1060, reason="so")
    assert following is not None
    one.settles(claim.lease, following, "dead", now=NOW - 910, reason="so")
    assert one.purges() == 1
    assert [letter.fields["Content"] for letter in one.wait(one.store.dead_letters(APPID, 10))] == ["new"]


def test_the_state_of_a_user_is_kept_for_longer(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 5000))
    claim = one.claims(now=NOW - 5000)
    one.settles(claim.lease, claim.pending, now=NOW - 5000, state={"name": "Alice"})
    place.time_passes(5000)
    one.purges()
    one.accept(arrival("new"))
    claim = one.claims()
    assert claim.state == {"name": "Alice"}
    one.settles(claim.lease, claim.pending)
    place.time_passes(11_000)
    one.purges(NOW + 11_000)
    one.accept(arrival("newer", at=NOW + 11_000))
    assert one.claims(now=NOW + 11_000).state == {}


def test_one_account_is_not_touched_by_another(one: Worker) -> None:
    other = ConversationKey("wx-another", "alice")
    one.accept(arrival("a", at=NOW - 2000), arrival("a", other, at=NOW - 2000))
    claim, theirs = one.claims(now=NOW - 2000), one.claims(other, now=NOW - 2000)
    one.settles(claim.lease, claim.pending, "dead", now=NOW - 2000, reason="so")
    one.settles(theirs.lease, theirs.pending, "dead", now=NOW - 2000, reason="so")
    assert one.purges() == 1
    (letter,) = one.wait(one.store.dead_letters(other.appid, 10))
    assert not one.wait(one.store.retry_dead_letter(APPID, letter.seq, NOW))
    assert not one.wait(one.store.drop_dead_letter(APPID, letter.seq))
    assert one.wait(one.store.drop_dead_letter(other.appid, letter.seq))


def test_what_is_left_to_send_can_be_noted_with_each_message_that_is_out(one: Worker, two: Worker) -> None:
    """Whoever takes over sends that, and runs no handler."""
    left = ({"kind": "text", "text": "two"}, {"kind": "text", "text": "three"})
    one.accept(arrival("a"))
    claim = one.claims()
    one.records_sent(claim.lease, claim.pending, 1, unsent=left, state={"plugin": {"a": 1}})
    taken = two.claims(now=NOW + LEASE)
    assert (taken.pending.sent, taken.pending.unsent, taken.state) == (1, left, {"plugin": {"a": 1}})
    two.records_sent(taken.lease, taken.pending, 2)
    again = one.claims(now=NOW + 2 * LEASE)
    assert (again.pending.sent, again.pending.unsent, again.state) == (2, left, {"plugin": {"a": 1}})
    one.records_sent(again.lease, again.pending, 3, unsent=(), state={})
    last = two.claims(now=NOW + 3 * LEASE)
    assert (last.pending.unsent, last.state) == ((), {})


def test_a_message_is_known_for_as_long_as_it_is_remembered(one: Worker, two: Worker) -> None:
    def seen(worker: Worker, key: ConversationKey = ALICE) -> bool:
        return worker.wait(worker.store.seen(key, "msg:a"))

    assert not seen(one)
    one.accept(arrival("a"))
    assert (seen(two), seen(two, BOB)) == (True, False)
    one.works_off()
    assert seen(two)
