"""Contract tests of settling a message: stored data, expiry and the next message."""

from __future__ import annotations

import pytest

from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, Backend, Status, Stores, Worker, incoming, text_of
from wxbot.store.records import ConversationKey

REPLIES = ({"kind": "text", "text": "one"}, {"kind": "text", "text": "二"})


def test_messages_of_a_user_come_in_the_order_of_their_arrival(one: Worker) -> None:
    texts = [f"message {n}" for n in range(20)]
    one.accept(*(incoming(text, at=NOW - n) for n, text in enumerate(texts)))  # the order does not depend on the clock
    assert one.works_off() == texts


@pytest.mark.parametrize("status", ["done", "dead"])
def test_settling_with_go_on_returns_the_next_message_under_the_same_lease(
    one: Worker, two: Worker, status: Status
) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    following = one.settles(claim.lease, claim.pending, status, reason="so")
    assert following is not None
    assert (text_of(following), following.attempts) == ("second", 1)
    assert two.tries_to_claim() is None
    assert one.settles(claim.lease, following) is None


@pytest.mark.parametrize("status", ["done", "dead"])
def test_settling_without_go_on_releases_the_lease(one: Worker, two: Worker, status: Status) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    assert one.settles(claim.lease, claim.pending, status, reason="so", go_on=False) is None
    taken = two.claims()
    assert (text_of(taken.pending), taken.pending.attempts) == ("second", 1)


@pytest.mark.parametrize("go_on", [True, False])
def test_a_message_to_retry_blocks_later_messages(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    assert one.settles(claim.lease, claim.pending, "retry", retry_at=NOW + 5, go_on=go_on) is None
    one.accept(incoming("third", at=NOW + 1))
    assert two.tries_to_claim(now=NOW + 4) is None
    taken = two.claims(now=NOW + 5)
    assert (text_of(taken.pending), taken.pending.attempts) == ("first", 2)


@pytest.mark.parametrize("go_on", [True, False])
def test_a_released_message_can_be_claimed_at_once_and_counts_no_attempt(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(incoming("first"), incoming("second"))
    for _ in range(5):
        claim = one.claims()
        assert one.settles(claim.lease, claim.pending, "released", go_on=go_on) is None
    taken = two.claims()
    assert (text_of(taken.pending), taken.pending.attempts) == ("first", 1)


def test_the_attempt_of_a_dead_owner_counts(stores: Stores) -> None:
    stores.worker("first").accept(incoming("hi"))
    attempts = [stores.worker(f"{n}").claims(now=NOW + n * LEASE).pending.attempts for n in range(4)]
    assert attempts == [1, 2, 3, 4]


@pytest.mark.parametrize("status", ["retry", "released"])
def test_unsent_replies_survive(one: Worker, two: Worker, status: Status) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, status, retry_at=NOW, sent=1, unsent=REPLIES)
    pending = two.claims().pending
    assert (pending.sent, pending.unsent) == (1, REPLIES)


def test_the_number_of_sent_replies_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.records_sent(claim.lease, claim.pending, 2, NOW + 3)
    taken = two.claims(now=NOW + LEASE)
    assert (taken.pending.sent, taken.interacted_at, taken.typing_until) == (2, NOW + 3, 0.0)


def test_the_typing_end_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    assert one.saves_typing(claim.lease, NOW + 15) == NOW
    assert two.claims(now=NOW + LEASE).typing_until == NOW + 15


def test_a_sent_message_is_an_interaction_and_ends_the_indicator(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.saves_typing(claim.lease, NOW + 15)
    one.records_sent(claim.lease, claim.pending, 1, NOW + 2)
    assert one.saves_typing(claim.lease, NOW + 18) == NOW + 2
    one.records_sent(claim.lease, claim.pending, 2, NOW - 99)  # an earlier time never replaces a later one
    assert one.saves_typing(claim.lease, NOW + 18) == NOW + 2


def test_settling_stores_the_interaction_and_the_typing_end(one: Worker) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False, sent=1, sent_at=NOW + 4, typing_until=NOW + 9)
    taken = one.claims()
    assert (taken.interacted_at, taken.typing_until) == (NOW + 4, NOW + 9)


def test_state_survives_until_it_is_replaced(one: Worker, two: Worker) -> None:
    state = {"orders": {"step": 2, "名": ["x", None, 1.5]}}
    one.accept(incoming("a"), incoming("b"), incoming("c"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False, state=state)
    claim = two.claims()
    assert claim.state == state
    two.settles(claim.lease, claim.pending, go_on=False)  # None leaves it as it is
    claim = one.claims()
    assert claim.state == state
    one.settles(claim.lease, claim.pending, state={})
    one.accept(incoming("d"))
    assert one.claims().state == {}


def test_the_clock_of_the_settling_process_does_not_matter_to_the_next_message(one: Worker, two: Worker) -> None:
    one.accept(incoming("first"))
    claim = one.claims()
    two.accept(incoming("second", at=NOW + 1))
    following = one.settles(claim.lease, claim.pending, now=NOW)
    assert text_of(following) == "second"


# Expiry


def test_dedup_records_are_stored_for_a_while(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 150))
    one.works_off()
    backend.time_passes(150)
    one.accept(incoming("new", at=NOW))
    one.works_off()
    one.purges()
    assert one.accept(incoming("old"), incoming("new")) == [True, False]


def test_an_idle_conversation_expires(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 150))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, typing_until=NOW + 5)
    backend.time_passes(150)
    one.purges()
    one.accept(incoming("new", interacted_at=NOW - 500))
    again = one.claims()
    assert (again.interacted_at, again.typing_until) == (NOW - 500, 0.0)


def test_pending_messages_never_expire(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 20_000))
    backend.time_passes(20_000)
    assert one.purges() == 0
    assert one.works_off() == ["old"]


def test_a_message_in_processing_never_expires(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 20_000))
    claim = one.claims()
    backend.time_passes(20_000)
    assert one.purges() == 0
    assert one.settles(claim.lease, claim.pending) is None


def test_dead_letters_expire_by_the_time_they_died(one: Worker) -> None:
    one.accept(incoming("old", at=NOW - 2000), incoming("new", at=NOW - 2000))
    claim = one.claims()
    following = one.settles(claim.lease, claim.pending, "dead", now=NOW - 1060, reason="so")
    assert following is not None
    one.settles(claim.lease, following, "dead", now=NOW - 910, reason="so")
    assert one.purges() == 1
    assert [letter.fields["Content"] for letter in one.wait(one.store.dead_letters(APPID, 10))] == ["new"]


def test_a_conversation_with_state_expires_later(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 5000))
    claim = one.claims(now=NOW - 5000)
    one.settles(claim.lease, claim.pending, now=NOW - 5000, state={"name": "Alice"})
    backend.time_passes(5000)
    one.purges()
    one.accept(incoming("new"))
    claim = one.claims()
    assert claim.state == {"name": "Alice"}
    one.settles(claim.lease, claim.pending)
    backend.time_passes(11_000)
    one.purges(NOW + 11_000)
    one.accept(incoming("newer", at=NOW + 11_000))
    assert one.claims(now=NOW + 11_000).state == {}


def test_the_purge_affects_one_account_only(one: Worker) -> None:
    other = ConversationKey("wx-another", "alice")
    one.accept(incoming("a", at=NOW - 2000), incoming("a", other, at=NOW - 2000))
    claim, theirs = one.claims(now=NOW - 2000), one.claims(other, now=NOW - 2000)
    one.settles(claim.lease, claim.pending, "dead", now=NOW - 2000, reason="so")
    one.settles(theirs.lease, theirs.pending, "dead", now=NOW - 2000, reason="so")
    assert one.purges() == 1
    (letter,) = one.wait(one.store.dead_letters(other.appid, 10))
    assert not one.wait(one.store.retry_dead_letter(APPID, letter.seq, NOW))
    assert not one.wait(one.store.drop_dead_letter(APPID, letter.seq))
    assert one.wait(one.store.drop_dead_letter(other.appid, letter.seq))


def test_unsent_replies_are_stored_with_each_sent_message(one: Worker, two: Worker) -> None:
    """The next owner sends them and runs no handler."""
    left = ({"kind": "text", "text": "two"}, {"kind": "text", "text": "three"})
    one.accept(incoming("a"))
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


def test_a_message_is_seen_until_its_dedup_record_expires(one: Worker, two: Worker) -> None:
    def seen(worker: Worker, key: ConversationKey = ALICE) -> bool:
        return worker.wait(worker.store.seen(key, "msg:a"))

    assert not seen(one)
    one.accept(incoming("a"))
    assert (seen(two), seen(two, BOB)) == (True, False)
    one.works_off()
    assert seen(two)
