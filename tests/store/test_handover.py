"""Contract tests of handovers to human agents."""

from __future__ import annotations

import pytest

from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, RETENTION, Backend, Worker, incoming, some
from wxbot.errors import LeaseLost
from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, ClaimRequest, ConversationKey, ConversationRecord, Handover

AGENT = Handover(NOW + 600.1, "kf2001@店")
BACK = Handover(0.0)
REQUEST = ClaimRequest("one", LEASE, 20.0)
ELSEWHERE = ConversationKey("another appid", ALICE.openid)


def hand_over(worker: Worker, to: Handover = AGENT, key: ConversationKey = ALICE, now: float = NOW) -> None:
    """Complete a message with a handover."""
    worker.accept(incoming(f"please, at {now}", key, at=now))
    claim = worker.claims(key, now)
    worker.completes(claim, now=now, handover=to)


def handed_over(worker: Worker, now: float = NOW, limit: int = 10, appid: str = APPID) -> dict[str, Handover]:
    found = worker.wait(worker.store.handovers(appid, now, limit))
    assert {key.appid for key, _ in found} <= {appid}
    return {key.openid: to for key, to in found}


def ends_handover(worker: Worker, key: ConversationKey = ALICE) -> bool:
    return worker.wait(worker.store.end_handover(key))


# Messages during a handover


def test_a_message_for_agents_is_not_pending(one: Worker, two: Worker) -> None:
    hand_over(one)
    receipt = two.store.accept(incoming("hello?", at=NOW + 1, for_agents=True), REQUEST)
    assert receipt == (True, None, NOW + 1, AGENT)
    assert one.waiting(NOW + 1000) == []
    assert one.tries_to_claim(now=NOW + 1000) is None


def test_a_redelivery_of_a_message_for_agents_is_recognized(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    again = one.delivers("hello?", at=NOW + 6, for_agents=True)
    assert (again.new, again.claim, again.handover) == (False, None, AGENT)


def test_a_redelivery_after_the_handover_is_recognized(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    again = one.delivers("hello?", at=AGENT.until, for_agents=True)
    assert (again.new, again.handover) == (False, WITH_BOT)
    assert one.waiting(AGENT.until) == []


def test_a_message_that_is_not_for_agents_is_pending(one: Worker) -> None:
    hand_over(one)
    receipt = one.store.accept(incoming("an event", at=NOW + 1), REQUEST)
    assert receipt.handover == WITH_BOT
    assert some(receipt.claim).conversation.handover == AGENT
    assert one.delivers("an event", at=NOW + 2).handover == WITH_BOT


def test_a_message_for_agents_is_pending_without_a_handover(one: Worker) -> None:
    receipt = one.delivers("hello?", for_agents=True)
    assert (receipt.new, receipt.handover) == (True, WITH_BOT)
    assert one.works_off() == ["hello?"]


def test_a_handover_ends_at_its_time(one: Worker) -> None:
    hand_over(one)
    assert one.delivers("a", at=AGENT.until - 0.5, for_agents=True).handover == AGENT
    assert one.delivers("b", at=AGENT.until, for_agents=True).handover == WITH_BOT
    assert one.works_off(now=AGENT.until) == ["b"]


def test_a_message_for_agents_counts_as_an_interaction(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 30, for_agents=True, quota=Quota(5, NOW + 99))
    assert one.quota() == Quota(5, NOW + 99)
    one.accept(incoming("an event", at=NOW + 31, interacted_at=NOW + 10))
    assert one.claims(now=NOW + 31).conversation.interacted_at == NOW + 30


def test_a_message_for_agents_is_not_processed_after_a_restart(one: Worker, two: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    one.store.close()
    assert two.works_off(now=AGENT.until + 1) == []


def test_a_message_for_agents_does_not_affect_the_owner_of_an_earlier_one(
    one: Worker, two: Worker, backend: Backend
) -> None:
    hand_over(one)
    one.accept(incoming("an event", at=NOW + 1))
    claim = one.claims(now=NOW + 1)
    two.delivers("hello?", at=NOW + 2, for_agents=True)
    assert two.tries_to_claim(now=NOW + 2) is None
    backend.time_passes(20_000)
    assert one.completes(claim, now=NOW + 3) is None


def test_a_message_for_agents_does_not_affect_pending_messages(one: Worker, backend: Backend) -> None:
    hand_over(one)
    one.accept(incoming("an event", at=NOW + 1))
    one.delivers("hello?", at=NOW + 2, for_agents=True)
    backend.time_passes(20_000)
    one.purges(NOW + 20_000)
    assert one.waiting(NOW + 2) == [ALICE]
    assert one.works_off(now=NOW + 2) == ["an event"]


# Beginning and end of a handover


def test_a_push_can_begin_a_handover_and_is_for_agents_itself(one: Worker) -> None:
    receipt = one.store.accept(incoming("a human, please", handover=AGENT, for_agents=True), REQUEST)
    assert (receipt.claim, receipt.handover) == (None, AGENT)
    assert one.waiting() == []
    assert handed_over(one) == {"alice": AGENT}


def test_a_push_can_begin_a_handover_and_be_for_the_bot(one: Worker) -> None:
    claim = some(one.store.accept(incoming("the agents began", handover=AGENT), REQUEST).claim)
    assert claim.conversation.handover == AGENT


def test_a_push_can_end_a_handover(one: Worker) -> None:
    hand_over(one)
    receipt = one.delivers("the agents are through", at=NOW + 1, handover=BACK, for_agents=True)
    assert receipt.handover == WITH_BOT
    assert one.claims(now=NOW + 1).conversation.handover == WITH_BOT
    assert handed_over(one) == {}


def test_a_redelivery_does_not_begin_a_handover(one: Worker) -> None:
    one.accept(incoming("hi"), incoming("hi", handover=AGENT))
    assert one.claims().conversation.handover == WITH_BOT
    assert handed_over(one) == {}


def test_the_next_message_contains_the_handover_of_the_previous_one(one: Worker) -> None:
    one.accept(incoming("a"), incoming("b"), incoming("c"))
    claim = one.claims()
    second = one.completes(claim, handover=AGENT)
    assert second is not None
    assert second.conversation.handover == AGENT
    third = one.completes(second)  # None leaves it as it is
    assert third is not None
    assert third.conversation.handover == AGENT
    one.completes(third, "released", handover=BACK)
    assert one.claims().conversation.handover == WITH_BOT


def test_a_handover_needs_the_lease(one: Worker, two: Worker) -> None:
    one.accept(incoming("a"))
    claim = one.claims()
    two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        one.completes(claim, handover=AGENT)
    assert handed_over(one) == {}


def test_a_renewal_returns_the_handover(one: Worker, two: Worker) -> None:
    one.accept(incoming("a"))
    one.claims()
    assert one.renews()[ALICE] == ConversationRecord(NOW, 0.0, handover=WITH_BOT)
    two.delivers("a human, please", at=NOW + 1, handover=AGENT, for_agents=True)
    assert one.renews(NOW + 2)[ALICE] == ConversationRecord(NOW + 1, 0.0, handover=AGENT)


# Listing and ending handovers


def test_handovers_that_end_first_are_listed_first(one: Worker, two: Worker) -> None:
    keys = [ConversationKey(APPID, name) for name in ("c", "a", "b")]
    for n, key in enumerate(keys):
        hand_over(one, Handover(NOW + 10 + n, f"agent {n}"), key)
    assert list(handed_over(two).items()) == [
        (key.openid, Handover(NOW + 10 + n, f"agent {n}")) for n, key in enumerate(keys)
    ]
    assert list(handed_over(two, limit=2)) == ["c", "a"]
    assert list(handed_over(two, now=NOW + 10)) == ["a", "b"]


def test_a_handover_can_be_extended(one: Worker) -> None:
    hand_over(one)
    longer = Handover(AGENT.until + 600)
    hand_over(one, longer, now=NOW + 5)
    assert handed_over(one, AGENT.until) == {"alice": longer}


def test_ending_a_handover(one: Worker, two: Worker) -> None:
    hand_over(one)
    assert ends_handover(two)
    assert not ends_handover(one)
    assert handed_over(one) == {}
    assert one.delivers("hello?", at=NOW + 1, for_agents=True).handover == WITH_BOT
    assert one.claims(now=NOW + 1).conversation.handover == WITH_BOT


def test_the_handover_of_an_unknown_user_cannot_be_ended(one: Worker) -> None:
    assert not ends_handover(one)
    one.accept(incoming("hi"))
    assert not ends_handover(one)


def test_ending_a_handover_does_not_affect_pending_messages(one: Worker, two: Worker) -> None:
    hand_over(one)
    one.accept(incoming("an event", at=NOW + 1))
    claim = one.claims(now=NOW + 1)
    assert ends_handover(two)
    assert two.tries_to_claim(now=NOW + 1) is None
    assert one.completes(claim) is None


def test_handovers_are_listed_per_account(one: Worker) -> None:
    hand_over(one)
    assert handed_over(one, appid=ELSEWHERE.appid) == {}
    assert not ends_handover(one, ELSEWHERE)
    assert one.delivers("hello?", ELSEWHERE, for_agents=True).handover == WITH_BOT
    assert handed_over(one) == {"alice": AGENT}


# Expiry


@pytest.mark.parametrize("how", ["complete", "accept"])
def test_a_conversation_with_a_handover_does_not_expire(one: Worker, backend: Backend, how: str) -> None:
    to = Handover(NOW + 50 * RETENTION.dedup_seconds, "agent")
    if how == "complete":
        hand_over(one, to)
    else:
        one.delivers("a human, please", handover=to, for_agents=True)
    backend.time_passes(to.until - 1 - NOW)
    one.purges(to.until - 1)
    assert handed_over(one, to.until - 1) == {"alice": to}
    assert one.delivers("hello?", at=to.until - 1, for_agents=True).handover == to


def test_a_conversation_expires_after_its_handover_has_ended(one: Worker, backend: Backend) -> None:
    hand_over(one)
    later = AGENT.until + RETENTION.dedup_seconds + 1
    backend.time_passes(later - NOW)
    one.purges(later)
    one.accept(incoming("new", at=later, interacted_at=NOW - 500))
    assert one.claims(now=later).conversation.interacted_at == NOW - 500


def test_a_conversation_with_messages_for_agents_only_expires(one: Worker, backend: Backend) -> None:
    one.delivers("a human, please", handover=Handover(NOW + 10), for_agents=True, quota=Quota(5, NOW + 50))
    later = NOW + RETENTION.dedup_seconds + 1
    backend.time_passes(later - NOW)
    one.purges(later)
    assert one.quota() is None
    assert one.delivers("a human, please", at=later).new


def test_state_has_its_own_retention(one: Worker, backend: Backend) -> None:
    one.accept(incoming("please"))
    claim = one.claims()
    one.completes(claim, state={"name": "Alice"}, handover=Handover(NOW + 200))
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    backend.time_passes(5000)
    one.purges(NOW + 5000)
    one.accept(incoming("again", at=NOW + 5000))
    assert one.claims(now=NOW + 5000).conversation.state == {"name": "Alice"}


def test_a_handover_without_an_end_does_not_end(one: Worker, backend: Backend) -> None:
    to = Handover(float("inf"), "agent")
    hand_over(one, to, BOB)
    backend.time_passes(20_000)
    one.purges(NOW + 20_000)
    assert handed_over(one, NOW + 20_000) == {"bob": to}
