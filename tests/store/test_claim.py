"""Contract tests of leases: a conversation has one owner at a time, and a replaced owner can change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.store.support import ALICE, BOB, LEASE, NOW, Stores, Worker, incoming, text_of
from wxbot.errors import LeaseLost
from wxbot.store.records import Claim


def test_a_claim_contains_the_first_message_and_the_conversation(one: Worker) -> None:
    one.accept(incoming("first", interacted_at=NOW - 1), incoming("second"))
    claim = one.claims()
    assert text_of(claim) == "first"
    assert (claim.message.attempts, claim.message.sent, claim.message.unsent) == (1, 0, ())
    assert (claim.conversation.interacted_at, claim.conversation.typing_until, claim.conversation.state) == (
        NOW,
        0.0,
        {},
    )
    assert (claim.lease.key, claim.lease.owner, claim.lease.expires_at) == (ALICE, "one", NOW + LEASE)


def test_a_conversation_without_pending_messages_cannot_be_claimed(one: Worker) -> None:
    assert one.tries_to_claim() is None
    one.accept(incoming("hi"))
    one.works_off()
    assert one.tries_to_claim() is None


def test_a_conversation_that_is_not_due_cannot_be_claimed(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.completes(claim, "retry", retry_at=NOW + 5)
    assert one.tries_to_claim(now=NOW + 4.9) is None
    assert one.tries_to_claim(now=NOW + 5) is not None


def test_a_conversation_has_one_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    one.claims()
    assert two.tries_to_claim() is None
    assert two.tries_to_claim(now=NOW + LEASE - 0.1) is None


def test_each_conversation_has_its_own_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi", ALICE), incoming("hi", BOB))
    one.claims(ALICE)
    assert two.claims(BOB).lease.owner == "two"


def test_one_of_many_concurrent_claims_succeeds(stores: Stores) -> None:
    workers = [stores.worker(f"worker {n}") for n in range(4)]
    workers[0].accept(incoming("hi"))

    async def all_claim() -> list[Claim | None]:
        claims = (worker.store.claim(ALICE, worker.name, NOW, LEASE) for worker in workers for _ in range(10))
        return list(await asyncio.gather(*claims))

    claims = stores.runner.run(all_claim())
    assert len([claim for claim in claims if claim is not None]) == 1


def test_an_expired_lease_can_be_claimed_and_the_fence_grows(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    before = one.claims()
    after = two.claims(now=NOW + LEASE)
    assert after.lease.fence > before.lease.fence
    assert (text_of(after), after.message.attempts) == ("hi", 2)


def test_the_fence_grows_with_every_owner(one: Worker, two: Worker) -> None:
    fences = []
    for n, worker in enumerate((one, two, one, one)):
        worker.accept(incoming(f"message {n}"))
        claim = worker.claims()
        fences.append(claim.lease.fence)
        worker.completes(claim)
    assert fences == sorted(set(fences))


def test_a_released_conversation_can_be_claimed_at_once(one: Worker, two: Worker) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    one.completes(claim, go_on=False)
    assert two.works_off() == ["second"]


OWNER_WRITES: dict[str, Callable[[Worker, Claim], object]] = {
    "checkpoint before Typing": lambda worker, claim: worker.saves_typing(claim, NOW + 99),
    "checkpoint after a send": lambda worker, claim: worker.records_sent(claim, 7, NOW + 99),
    "complete done": lambda worker, claim: worker.completes(claim, state={"old": 1}),
    "complete dead": lambda worker, claim: worker.completes(claim, "dead", reason="old"),
    "complete retry": lambda worker, claim: worker.completes(claim, "retry", retry_at=NOW + 99),
    "complete released": lambda worker, claim: worker.completes(claim, "released", unsent=({"old": 1},)),
}


@pytest.mark.parametrize("action", OWNER_WRITES.values(), ids=OWNER_WRITES.keys())
def test_a_replaced_owner_can_change_nothing(
    one: Worker, two: Worker, action: Callable[[Worker, Claim], object]
) -> None:
    one.accept(incoming("hi"))
    old = one.claims()
    new = two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        action(one, old)
    two.completes(new, "released", now=NOW + LEASE)
    seen = two.claims(now=NOW + LEASE)
    assert seen.message == new.message
    assert (seen.conversation.interacted_at, seen.conversation.typing_until, seen.conversation.state) == (
        new.conversation.interacted_at,
        new.conversation.typing_until,
        new.conversation.state,
    )


@pytest.mark.parametrize("action", OWNER_WRITES.values(), ids=OWNER_WRITES.keys())
def test_an_owner_that_released_the_conversation_can_change_nothing(
    one: Worker, action: Callable[[Worker, Claim], object]
) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.completes(claim)
    with pytest.raises(LeaseLost):
        action(one, claim)
    assert one.works_off() == []


@pytest.mark.parametrize("action", OWNER_WRITES.values(), ids=OWNER_WRITES.keys())
def test_an_old_lease_is_invalid_for_its_own_owner_too(one: Worker, action: Callable[[Worker, Claim], object]) -> None:
    """A process loses a conversation and claims it again. The fence distinguishes its two leases."""
    one.accept(incoming("hi"))
    old = one.claims()
    one.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        action(one, old)


def test_an_owner_whose_lease_expired_unclaimed_still_owns(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.saves_typing(claim, NOW + LEASE + 20)
    assert one.completes(claim, now=NOW + LEASE + 5) is None
    assert one.works_off(now=NOW + LEASE + 5) == []


# Renewal


def test_renewing_extends_every_lease_of_the_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi", ALICE), incoming("hi", BOB))
    leases = [one.claims(key).lease for key in (ALICE, BOB)]
    held = one.renews(now=NOW + 5)
    assert set(held) == {lease.key for lease in leases}
    assert two.tries_to_claim(ALICE, now=NOW + LEASE + 1) is None
    assert two.tries_to_claim(BOB, now=NOW + LEASE + 1) is None
    assert two.tries_to_claim(ALICE, now=NOW + 5 + LEASE) is not None


def test_renewing_returns_interactions_accepted_by_other_processes(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    one.claims()
    two.accept(incoming("more", at=NOW + 3))
    assert one.renews(now=NOW + 4)[ALICE].interacted_at == NOW + 3


def test_renewing_does_not_restore_a_lease_that_was_taken_over(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    one.claims()
    new = two.claims(now=NOW + LEASE)
    assert ALICE not in one.renews(now=NOW + LEASE + 1)
    two.saves_typing(new, 0.0)
    assert two.works_off(now=NOW + LEASE + 1) == []  # it is owned, by two itself
    two.completes(new)


def test_renewing_does_not_restore_a_released_lease(one: Worker, two: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    claim = one.claims()
    one.completes(claim, go_on=False)
    assert one.renews() == {}
    assert two.works_off() == ["b"]


def test_renewing_extends_an_expired_lease_that_nobody_claimed(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    assert list(one.renews(now=NOW + LEASE + 5)) == [ALICE]
    assert two.tries_to_claim(now=NOW + LEASE + 6) is None
    one.completes(claim)


# Waiting conversations


def test_the_longest_waiting_come_first(one: Worker) -> None:
    keys = [ALICE._replace(openid=f"user {n}") for n in (3, 1, 2)]
    for n, key in enumerate(keys):
        one.accept(incoming("hi", key, at=NOW + n))
    one.accept(incoming("again", keys[0], at=NOW + 9))
    assert one.waiting(NOW + 10) == keys
    assert one.waiting(NOW + 10, limit=2) == keys[:2]


def test_owned_conversations_are_not_waiting(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi", ALICE), incoming("hi", BOB))
    one.claims(ALICE)
    assert two.waiting() == one.waiting() == [BOB]


def test_conversations_of_a_dead_owner_are_waiting(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    one.claims()
    assert two.waiting(NOW + LEASE) == [ALICE]


def test_conversations_that_are_not_due_are_not_waiting(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.completes(claim, "retry", retry_at=NOW + 5)
    assert one.waiting(NOW + 4) == []
    assert one.waiting(NOW + 5) == [ALICE]


def test_done_conversations_are_not_waiting(one: Worker) -> None:
    one.accept(incoming("hi"))
    one.works_off()
    assert one.waiting(NOW + 99) == []


def test_waiting_conversations_are_listed_per_account(one: Worker) -> None:
    one.accept(incoming("hi"))
    assert one.wait(one.store.waiting("wx_another_account", NOW, 10)) == []
    assert one.waiting() == [ALICE]
