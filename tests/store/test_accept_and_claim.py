"""Contract tests of the claim request: a process that accepts a message may claim its conversation as well."""

from __future__ import annotations

from tests.store.support import ALICE, LEASE, NOW, Stores, Worker, incoming, some
from wxbot.store.records import Claim, ClaimRequest

REQUEST = ClaimRequest("one", LEASE, typing_seconds=20.0)


def granted(worker: Worker, text: str = "hi", request: ClaimRequest = REQUEST) -> Claim | None:
    return worker.store.accept(incoming(text), request).claim


def test_an_idle_conversation_is_claimed_with_its_message(one: Worker) -> None:
    claim = some(granted(one))
    assert claim.message.fields == incoming("hi").fields
    assert (claim.message.attempts, claim.message.sent) == (1, 0)
    assert (claim.lease.owner, claim.lease.expires_at) == ("one", NOW + LEASE)
    assert one.completes(claim) is None
    assert one.waiting() == []


def test_a_granted_claim_excludes_other_owners(one: Worker, stores: Stores) -> None:
    some(granted(one))
    two = stores.worker("two")
    assert two.waiting() == []
    assert two.tries_to_claim() is None
    assert granted(two, "more", ClaimRequest("two", LEASE)) is None


def test_a_granted_claim_that_is_not_processed_expires(one: Worker, stores: Stores) -> None:
    claim = some(granted(one))
    two = stores.worker("two")
    taken = two.claims(now=NOW + LEASE + 1)
    assert taken.lease.fence > claim.lease.fence
    assert taken.message.attempts == 2
    assert taken.conversation.typing_until == NOW + 20.0


def test_a_message_behind_another_is_accepted_without_a_claim(one: Worker) -> None:
    one.accept(incoming("first"))
    assert granted(one, "second") is None
    assert one.works_off() == ["first", "second"]
    claim = some(granted(one, "third"))
    assert claim.message.attempts == 1


def test_a_message_without_a_claim_counts_no_attempt(one: Worker) -> None:
    one.accept(incoming("first"))
    granted(one, "second")
    first = one.claims()
    second = one.completes(first)
    assert second is not None
    assert second.message.attempts == 1


def test_a_redelivery_is_not_granted_a_claim(one: Worker) -> None:
    claim = some(granted(one))
    one.completes(claim)
    receipt = one.store.accept(incoming("hi"), REQUEST)
    assert (receipt.new, receipt.claim) == (False, None)
    assert one.waiting() == []


def test_a_granted_claim_contains_the_recorded_and_the_earlier_typing_end(one: Worker) -> None:
    first = some(granted(one))
    assert (first.conversation.typing_until, first.noted_until) == (0.0, NOW + 20.0)
    one.completes(first, typing_until=NOW + 7)
    second = some(granted(one, "again"))
    assert second.conversation.typing_until == NOW + 7
    assert second.noted_until == NOW + 20.0


def test_a_claim_request_without_typing_records_no_typing(one: Worker) -> None:
    claim = some(granted(one, request=ClaimRequest("one", LEASE)))
    assert claim.noted_until == 0.0
    assert one.renews() == {}
    assert one.store.accept(incoming("more")).new


def test_a_granted_claim_contains_state_and_fence(one: Worker) -> None:
    first = some(granted(one))
    one.completes(first, state={"plugin": {"n": 1}})
    second = some(granted(one, "again"))
    assert second.conversation.state == {"plugin": {"n": 1}}
    assert second.lease.fence == first.lease.fence + 1
    assert second.conversation.interacted_at == NOW
    assert second.lease.key == ALICE
