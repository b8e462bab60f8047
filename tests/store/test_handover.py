"""What every store promises about users who are with human agents."""

from __future__ import annotations

import pytest

from tests.store.support import ALICE, APPID, BOB, KEPT, LEASE, NOW, Place, Worker, arrival, some
from wxbot.errors import LeaseLost
from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, ClaimRequest, ConversationKey, Handover, LeaseUpdate

AGENT = Handover(NOW + 600.1, "kf2001@店")
BACK = Handover(0.0)
BID = ClaimRequest("one", LEASE, 20.0)
ELSEWHERE = ConversationKey("another appid", ALICE.openid)


def hand_over(worker: Worker, to: Handover = AGENT, key: ConversationKey = ALICE, now: float = NOW) -> None:
    """The bot answers a message and hands the user over."""
    worker.accept(arrival(f"please, at {now}", key, at=now))
    claim = worker.claims(key, now)
    worker.settles(claim.lease, claim.pending, now=now, handover=to)


def handed_over(worker: Worker, now: float = NOW, limit: int = 10, appid: str = APPID) -> dict[str, Handover]:
    found = worker.wait(worker.store.handovers(appid, now, limit))
    assert {key.appid for key, _ in found} <= {appid}
    return {key.openid: to for key, to in found}


def hands_back(worker: Worker, key: ConversationKey = ALICE) -> bool:
    return worker.wait(worker.store.end_handover(key))


# What comes while the agents have the user


def test_what_is_for_agents_does_not_wait_for_the_bot(one: Worker, two: Worker) -> None:
    hand_over(one)
    receipt = two.store.accept(arrival("hello?", at=NOW + 1, for_agents=True), BID)
    assert receipt == (True, None, NOW + 1, AGENT)
    assert one.waiting(NOW + 1000) == []
    assert one.tries_to_claim(now=NOW + 1000) is None


def test_its_redelivery_is_known(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    again = one.delivers("hello?", at=NOW + 6, for_agents=True)
    assert (again.new, again.claim, again.active_handover) == (False, None, AGENT)


def test_a_redelivery_after_the_hand_over_is_known_too(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    again = one.delivers("hello?", at=AGENT.until, for_agents=True)
    assert (again.new, again.active_handover) == (False, WITH_BOT)
    assert one.waiting(AGENT.until) == []


def test_what_is_not_for_agents_waits_for_the_bot(one: Worker) -> None:
    hand_over(one)
    receipt = one.store.accept(arrival("an event", at=NOW + 1), BID)
    assert receipt.active_handover == WITH_BOT
    assert some(receipt.claim).pending.active_handover == AGENT
    assert one.delivers("an event", at=NOW + 2).active_handover == WITH_BOT


def test_what_is_for_agents_is_the_bots_while_it_has_the_user(one: Worker) -> None:
    receipt = one.delivers("hello?", for_agents=True)
    assert (receipt.new, receipt.active_handover) == (True, WITH_BOT)
    assert one.works_off() == ["hello?"]


def test_a_hand_over_ends_by_itself(one: Worker) -> None:
    hand_over(one)
    assert one.delivers("a", at=AGENT.until - 0.5, for_agents=True).active_handover == AGENT
    assert one.delivers("b", at=AGENT.until, for_agents=True).active_handover == WITH_BOT
    assert one.works_off(now=AGENT.until) == ["b"]


def test_what_the_user_did_counts_also_when_the_agents_answer_it(one: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 30, for_agents=True, quota=Quota(5, NOW + 99))
    assert one.quota() == Quota(5, NOW + 99)
    one.accept(arrival("an event", at=NOW + 31, interacted_at=NOW + 10))
    assert one.claims(now=NOW + 31).interacted_at == NOW + 30


def test_what_the_user_wrote_to_the_agents_is_not_answered_after_a_restart(one: Worker, two: Worker) -> None:
    hand_over(one)
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    one.store.close()
    assert two.works_off(now=AGENT.until + 1) == []


def test_a_message_for_agents_leaves_him_alone_who_works_an_earlier_one(one: Worker, two: Worker, place: Place) -> None:
    hand_over(one)
    one.accept(arrival("an event", at=NOW + 1))
    claim = one.claims(now=NOW + 1)
    two.delivers("hello?", at=NOW + 2, for_agents=True)
    assert two.tries_to_claim(now=NOW + 2) is None
    place.time_passes(20_000)
    assert one.settles(claim.lease, claim.pending, now=NOW + 3) is None


def test_a_message_for_agents_leaves_alone_what_waits(one: Worker, place: Place) -> None:
    hand_over(one)
    one.accept(arrival("an event", at=NOW + 1))
    one.delivers("hello?", at=NOW + 2, for_agents=True)
    place.time_passes(20_000)
    one.purges(NOW + 20_000)
    assert one.waiting(NOW + 2) == [ALICE]
    assert one.works_off(now=NOW + 2) == ["an event"]


# Who has the user, and since when


def test_a_push_can_hand_over_and_is_the_first_that_the_agents_answer(one: Worker) -> None:
    receipt = one.store.accept(arrival("a human, please", handover=AGENT, for_agents=True), BID)
    assert (receipt.claim, receipt.active_handover) == (None, AGENT)
    assert one.waiting() == []
    assert handed_over(one) == {"alice": AGENT}


def test_a_push_can_hand_over_and_be_the_bots(one: Worker) -> None:
    claim = some(one.store.accept(arrival("the agents began", handover=AGENT), BID).claim)
    assert claim.pending.active_handover == AGENT


def test_a_push_can_hand_back(one: Worker) -> None:
    hand_over(one)
    receipt = one.delivers("the agents are through", at=NOW + 1, handover=BACK, for_agents=True)
    assert receipt.active_handover == WITH_BOT
    assert one.claims(now=NOW + 1).pending.active_handover == WITH_BOT
    assert handed_over(one) == {}


def test_a_redelivery_hands_nothing_over(one: Worker) -> None:
    one.accept(arrival("hi"), arrival("hi", handover=AGENT))
    assert one.claims().pending.active_handover == WITH_BOT
    assert handed_over(one) == {}


def test_the_next_message_comes_with_the_hand_over_of_the_one_before(one: Worker) -> None:
    one.accept(arrival("a"), arrival("b"), arrival("c"))
    claim = one.claims()
    second = one.settles(claim.lease, claim.pending, handover=AGENT)
    assert second is not None
    assert second.active_handover == AGENT
    third = one.settles(claim.lease, second)  # None leaves it as it is
    assert third is not None
    assert third.active_handover == AGENT
    one.settles(claim.lease, third, "released", handover=BACK)
    assert one.claims().pending.active_handover == WITH_BOT


def test_whoever_has_lost_the_lease_hands_nothing_over(one: Worker, two: Worker) -> None:
    one.accept(arrival("a"))
    claim = one.claims()
    two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        one.settles(claim.lease, claim.pending, handover=AGENT)
    assert handed_over(one) == {}


def test_an_owner_hears_of_it_with_the_next_renewal(one: Worker, two: Worker) -> None:
    one.accept(arrival("a"))
    one.claims()
    assert one.hears()[ALICE] == LeaseUpdate(NOW)
    two.delivers("a human, please", at=NOW + 1, handover=AGENT, for_agents=True)
    assert one.hears(NOW + 2)[ALICE] == LeaseUpdate(NOW + 1, AGENT)
    assert one.hears(AGENT.until)[ALICE] == LeaseUpdate(NOW + 1)


# The list, and handing back


def test_those_that_end_first_are_listed_before_the_others(one: Worker, two: Worker) -> None:
    keys = [ConversationKey(APPID, name) for name in ("c", "a", "b")]
    for n, key in enumerate(keys):
        hand_over(one, Handover(NOW + 10 + n, f"agent {n}"), key)
    assert list(handed_over(two).items()) == [
        (key.openid, Handover(NOW + 10 + n, f"agent {n}")) for n, key in enumerate(keys)
    ]
    assert list(handed_over(two, limit=2)) == ["c", "a"]
    assert list(handed_over(two, now=NOW + 10)) == ["a", "b"]


def test_a_hand_over_can_be_prolonged(one: Worker) -> None:
    hand_over(one)
    longer = Handover(AGENT.until + 600)
    hand_over(one, longer, now=NOW + 5)
    assert handed_over(one, AGENT.until) == {"alice": longer}


def test_handing_back(one: Worker, two: Worker) -> None:
    hand_over(one)
    assert hands_back(two)
    assert not hands_back(one)
    assert handed_over(one) == {}
    assert one.delivers("hello?", at=NOW + 1, for_agents=True).active_handover == WITH_BOT
    assert one.claims(now=NOW + 1).pending.active_handover == WITH_BOT


def test_nobody_is_handed_back_who_was_never_here(one: Worker) -> None:
    assert not hands_back(one)
    one.accept(arrival("hi"))
    assert not hands_back(one)


def test_handing_back_leaves_work_alone(one: Worker, two: Worker) -> None:
    hand_over(one)
    one.accept(arrival("an event", at=NOW + 1))
    claim = one.claims(now=NOW + 1)
    assert hands_back(two)
    assert two.tries_to_claim(now=NOW + 1) is None
    assert one.settles(claim.lease, claim.pending) is None


def test_one_account_sees_nothing_of_another(one: Worker) -> None:
    hand_over(one)
    assert handed_over(one, appid=ELSEWHERE.appid) == {}
    assert not hands_back(one, ELSEWHERE)
    assert one.delivers("hello?", ELSEWHERE, for_agents=True).active_handover == WITH_BOT
    assert handed_over(one) == {"alice": AGENT}


# Forgetting


@pytest.mark.parametrize("how", ["settle", "accept"])
def test_nobody_is_forgotten_while_the_agents_have_them(one: Worker, place: Place, how: str) -> None:
    to = Handover(NOW + 50 * KEPT.dedup_seconds, "agent")
    if how == "settle":
        hand_over(one, to)
    else:
        one.delivers("a human, please", handover=to, for_agents=True)
    place.time_passes(to.until - 1 - NOW)
    one.purges(to.until - 1)
    assert handed_over(one, to.until - 1) == {"alice": to}
    assert one.delivers("hello?", at=to.until - 1, for_agents=True).active_handover == to


def test_whoever_came_back_and_was_silent_is_forgotten(one: Worker, place: Place) -> None:
    hand_over(one)
    later = AGENT.until + KEPT.dedup_seconds + 1
    place.time_passes(later - NOW)
    one.purges(later)
    one.accept(arrival("new", at=later, interacted_at=NOW - 500))
    assert one.claims(now=later).interacted_at == NOW - 500


def test_whoever_wrote_only_to_the_agents_is_forgotten_as_others_are(one: Worker, place: Place) -> None:
    one.delivers("a human, please", handover=Handover(NOW + 10), for_agents=True, quota=Quota(5, NOW + 50))
    later = NOW + KEPT.dedup_seconds + 1
    place.time_passes(later - NOW)
    one.purges(later)
    assert one.quota() is None
    assert one.delivers("a human, please", at=later).new


def test_state_is_kept_for_its_own_time(one: Worker, place: Place) -> None:
    one.accept(arrival("please"))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, state={"name": "Alice"}, handover=Handover(NOW + 200))
    one.delivers("hello?", at=NOW + 1, for_agents=True)
    place.time_passes(5000)
    one.purges(NOW + 5000)
    one.accept(arrival("again", at=NOW + 5000))
    assert one.claims(now=NOW + 5000).state == {"name": "Alice"}


def test_a_hand_over_without_an_end_has_none(one: Worker, place: Place) -> None:
    to = Handover(float("inf"), "agent")
    hand_over(one, to, BOB)
    place.time_passes(20_000)
    one.purges(NOW + 20_000)
    assert handed_over(one, NOW + 20_000) == {"bob": to}
