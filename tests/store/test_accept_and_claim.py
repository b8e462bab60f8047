"""The bid: a process that accepts a message may get its conversation in the same transaction."""

from __future__ import annotations

from tests.store.support import ALICE, LEASE, NOW, Stores, Worker, arrival, some
from wxbot.store.records import Claim, ClaimRequest

BID = ClaimRequest("one", LEASE, typing_seconds=20.0)


def granted(worker: Worker, text: str = "hi", bid: ClaimRequest = BID) -> Claim | None:
    return worker.store.accept(arrival(text), bid).claim


def test_an_idle_conversation_is_granted_with_its_message(one: Worker) -> None:
    claim = some(granted(one))
    assert claim.pending.fields == arrival("hi").fields
    assert (claim.pending.attempts, claim.pending.sent) == (1, 0)
    assert (claim.lease.owner, claim.lease.expires_at) == ("one", NOW + LEASE)
    assert one.settles(claim.lease, claim.pending) is None
    assert one.waiting() == []


def test_what_was_granted_is_nobody_elses(one: Worker, stores: Stores) -> None:
    some(granted(one))
    two = stores.worker("two")
    assert two.waiting() == []
    assert two.tries_to_claim() is None
    assert granted(two, "more", ClaimRequest("two", LEASE)) is None


def test_a_grant_that_is_not_worked_runs_out(one: Worker, stores: Stores) -> None:
    claim = some(granted(one))
    two = stores.worker("two")
    taken = two.claims(now=NOW + LEASE + 1)
    assert taken.lease.fence > claim.lease.fence
    assert taken.pending.attempts == 2
    assert taken.typing_until == NOW + 20.0


def test_a_message_behind_another_is_accepted_without_the_conversation(one: Worker) -> None:
    one.accept(arrival("first"))
    assert granted(one, "second") is None
    assert one.works_off() == ["first", "second"]
    claim = some(granted(one, "third"))
    assert claim.pending.attempts == 1


def test_what_was_not_granted_counts_no_attempt(one: Worker) -> None:
    one.accept(arrival("first"))
    granted(one, "second")
    first = one.claims()
    second = one.settles(first.lease, first.pending)
    assert second is not None
    assert second.attempts == 1


def test_a_redelivery_is_granted_nothing(one: Worker) -> None:
    claim = some(granted(one))
    one.settles(claim.lease, claim.pending)
    receipt = one.store.accept(arrival("hi"), BID)
    assert (receipt.new, receipt.claim) == (False, None)
    assert one.waiting() == []


def test_the_note_of_typing_comes_with_the_grant_and_what_was_known_before_too(one: Worker) -> None:
    first = some(granted(one))
    assert (first.typing_until, first.noted_until) == (0.0, NOW + 20.0)
    one.settles(first.lease, first.pending, typing_until=NOW + 7)
    second = some(granted(one, "again"))
    assert second.typing_until == NOW + 7
    assert second.noted_until == NOW + 20.0


def test_a_bid_without_typing_notes_nothing(one: Worker) -> None:
    claim = some(granted(one, bid=ClaimRequest("one", LEASE)))
    assert claim.noted_until == 0.0
    assert one.renews() == {}
    assert one.store.accept(arrival("more")).new


def test_state_and_fence_come_with_the_grant(one: Worker) -> None:
    first = some(granted(one))
    one.settles(first.lease, first.pending, state={"plugin": {"n": 1}})
    second = some(granted(one, "again"))
    assert second.state == {"plugin": {"n": 1}}
    assert second.lease.fence == first.lease.fence + 1
    assert second.interacted_at == NOW
    assert second.lease.key == ALICE
