"""What every store promises about owning a conversation: one owner at a time, and a deposed one can change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.store.support import ALICE, BOB, LEASE, NOW, Stores, Worker, arrival, text_of
from wxbot.errors import LeaseLost
from wxbot.store.records import Claim


def test_a_claim_gives_the_first_message_and_what_is_known(one: Worker) -> None:
    one.accept(arrival("first", interacted_at=NOW - 1), arrival("second"))
    claim = one.claims()
    assert text_of(claim.pending) == "first"
    assert (claim.pending.attempts, claim.pending.sent, claim.pending.unsent) == (1, 0, ())
    assert (claim.interacted_at, claim.typing_until, claim.state) == (NOW, 0.0, {})
    assert (claim.lease.key, claim.lease.owner, claim.lease.expires_at) == (ALICE, "one", NOW + LEASE)


def test_nobody_claims_a_conversation_without_work(one: Worker) -> None:
    assert one.tries_to_claim() is None
    one.accept(arrival("hi"))
    one.works_off()
    assert one.tries_to_claim() is None


def test_nobody_claims_what_is_not_due(one: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, "retry", retry_at=NOW + 5)
    assert one.tries_to_claim(now=NOW + 4.9) is None
    assert one.tries_to_claim(now=NOW + 5) is not None


def test_a_conversation_has_one_owner(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    one.claims()
    assert two.tries_to_claim() is None
    assert two.tries_to_claim(now=NOW + LEASE - 0.1) is None


def test_conversations_are_owned_one_by_one(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi", ALICE), arrival("hi", BOB))
    one.claims(ALICE)
    assert two.claims(BOB).lease.owner == "two"


def test_of_many_claims_at_once_one_succeeds(stores: Stores) -> None:
    workers = [stores.worker(f"worker {n}") for n in range(4)]
    workers[0].accept(arrival("hi"))

    async def all_claim() -> list[Claim | None]:
        claims = (worker.store.claim(ALICE, worker.name, NOW, LEASE) for worker in workers for _ in range(10))
        return list(await asyncio.gather(*claims))

    claims = stores.runner.run(all_claim())
    assert len([claim for claim in claims if claim is not None]) == 1


def test_a_lease_that_ran_out_can_be_taken_and_the_fence_grows(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    before = one.claims()
    after = two.claims(now=NOW + LEASE)
    assert after.lease.fence > before.lease.fence
    assert (text_of(after.pending), after.pending.attempts) == ("hi", 2)


def test_the_fence_grows_with_every_owner(one: Worker, two: Worker) -> None:
    fences = []
    for n, worker in enumerate((one, two, one, one)):
        worker.accept(arrival(f"message {n}"))
        claim = worker.claims()
        fences.append(claim.lease.fence)
        worker.settles(claim.lease, claim.pending)
    assert fences == sorted(set(fences))


def test_a_released_conversation_is_free_at_once(one: Worker, two: Worker) -> None:
    one.accept(arrival("first"), arrival("second"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False)
    assert two.works_off() == ["second"]


USER_ACTIONS: dict[str, Callable[[Worker, Claim], object]] = {
    "save_typing": lambda worker, claim: worker.saves_typing(claim.lease, NOW + 99),
    "record_sent": lambda worker, claim: worker.records_sent(claim.lease, claim.pending, 7, NOW + 99),
    "settle answered": lambda worker, claim: worker.settles(claim.lease, claim.pending, state={"old": 1}),
    "settle dead": lambda worker, claim: worker.settles(claim.lease, claim.pending, "dead", reason="old"),
    "settle later": lambda worker, claim: worker.settles(claim.lease, claim.pending, "retry", retry_at=NOW + 99),
    "settle back": lambda worker, claim: worker.settles(claim.lease, claim.pending, "released", unsent=({"old": 1},)),
}


@pytest.mark.parametrize("deed", USER_ACTIONS.values(), ids=USER_ACTIONS.keys())
def test_a_deposed_owner_can_change_nothing(one: Worker, two: Worker, deed: Callable[[Worker, Claim], object]) -> None:
    one.accept(arrival("hi"))
    old = one.claims()
    new = two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        deed(one, old)
    two.settles(new.lease, new.pending, "released", now=NOW + LEASE)
    seen = two.claims(now=NOW + LEASE)
    assert seen.pending == new.pending
    assert (seen.interacted_at, seen.typing_until, seen.state) == (new.interacted_at, new.typing_until, new.state)


@pytest.mark.parametrize("deed", USER_ACTIONS.values(), ids=USER_ACTIONS.keys())
def test_an_owner_of_a_closed_conversation_can_change_nothing(
    one: Worker, deed: Callable[[Worker, Claim], object]
) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending)
    with pytest.raises(LeaseLost):
        deed(one, claim)
    assert one.works_off() == []


@pytest.mark.parametrize("deed", USER_ACTIONS.values(), ids=USER_ACTIONS.keys())
def test_an_old_lease_is_worth_nothing_to_its_owner_either(
    one: Worker, deed: Callable[[Worker, Claim], object]
) -> None:
    """The same process that lost a conversation and got it again: the fence tells its two leases apart."""
    one.accept(arrival("hi"))
    old = one.claims()
    one.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        deed(one, old)


def test_an_owner_who_was_away_but_was_not_replaced_still_owns(one: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.saves_typing(claim.lease, NOW + LEASE + 20)
    assert one.settles(claim.lease, claim.pending, now=NOW + LEASE + 5) is None
    assert one.works_off(now=NOW + LEASE + 5) == []


# Renewal


def test_renewing_extends_every_lease_of_the_owner(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi", ALICE), arrival("hi", BOB))
    leases = [one.claims(key).lease for key in (ALICE, BOB)]
    held = one.renews(now=NOW + 5)
    assert {key: fence for key, (fence, _) in held.items()} == {lease.key: lease.fence for lease in leases}
    assert two.tries_to_claim(ALICE, now=NOW + LEASE + 1) is None
    assert two.tries_to_claim(BOB, now=NOW + LEASE + 1) is None
    assert two.tries_to_claim(ALICE, now=NOW + 5 + LEASE) is not None


def test_renewing_tells_of_interactions_that_came_through_others(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    one.claims()
    two.accept(arrival("more", at=NOW + 3))
    (interacted_at,) = [interacted_at for _, interacted_at in one.renews(now=NOW + 4).values()]
    assert interacted_at == NOW + 3


def test_renewing_does_not_revive_what_was_taken_over(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    one.claims()
    new = two.claims(now=NOW + LEASE)
    assert ALICE not in one.renews(now=NOW + LEASE + 1)
    two.saves_typing(new.lease, 0.0)
    assert two.works_off(now=NOW + LEASE + 1) == []  # it is owned, by two itself
    two.settles(new.lease, new.pending)


def test_renewing_does_not_bring_back_what_was_released(one: Worker, two: Worker) -> None:
    one.accept(arrival("a"), arrival("b"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, go_on=False)
    assert one.renews() == {}
    assert two.works_off() == ["b"]


def test_renewing_saves_a_lease_that_ran_out_unnoticed(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    assert one.renews(now=NOW + LEASE + 5) == {ALICE: (claim.lease.fence, NOW)}
    assert two.tries_to_claim(now=NOW + LEASE + 6) is None
    one.settles(claim.lease, claim.pending)


# Who waits


def test_the_longest_waiting_come_first(one: Worker) -> None:
    keys = [ALICE._replace(openid=f"user {n}") for n in (3, 1, 2)]
    for n, key in enumerate(keys):
        one.accept(arrival("hi", key, at=NOW + n))
    one.accept(arrival("again", keys[0], at=NOW + 9))
    assert one.waiting(NOW + 10) == keys
    assert one.waiting(NOW + 10, limit=2) == keys[:2]


def test_the_owned_do_not_wait(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi", ALICE), arrival("hi", BOB))
    one.claims(ALICE)
    assert two.waiting() == one.waiting() == [BOB]


def test_those_of_a_dead_owner_wait(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    one.claims()
    assert two.waiting(NOW + LEASE) == [ALICE]


def test_those_that_are_not_due_do_not_wait(one: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, "retry", retry_at=NOW + 5)
    assert one.waiting(NOW + 4) == []
    assert one.waiting(NOW + 5) == [ALICE]


def test_the_answered_do_not_wait(one: Worker) -> None:
    one.accept(arrival("hi"))
    one.works_off()
    assert one.waiting(NOW + 99) == []


def test_what_waits_is_asked_for_by_account(one: Worker) -> None:
    one.accept(arrival("hi"))
    assert one.wait(one.store.waiting("wx_another_account", NOW, 10)) == []
    assert one.waiting() == [ALICE]
