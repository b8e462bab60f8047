"""Contract tests of the quota."""

from __future__ import annotations

from tests.store.support import ALICE, BOB, LEASE, NOW, RETENTION, Backend, Worker, incoming, some
from wxbot.model.quota import Quota
from wxbot.store.records import ClaimRequest, ConversationKey

LATER = NOW + 172_800.1  # a float that needs many digits
FIVE, FOUR = Quota(5, LATER), Quota(4, LATER)
NEWER = Quota(5, LATER + 1)


def test_the_quota_of_a_new_user_is_unknown(one: Worker) -> None:
    assert one.quota() is None
    one.accept(incoming("hi"))
    assert one.quota() is None
    assert one.claims().conversation.quota is None


def test_the_quota_of_a_user_action_is_shared_by_all_processes(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi", quota=FIVE))
    assert two.quota() == FIVE
    assert two.claims().conversation.quota == FIVE


def test_a_granted_claim_contains_the_quota(one: Worker) -> None:
    claim = some(one.store.accept(incoming("hi", quota=FIVE), ClaimRequest("one", LEASE)).claim)
    assert claim.conversation.quota == FIVE
    one.completes(claim, quota=FOUR)
    claim = some(one.store.accept(incoming("no action"), ClaimRequest("one", LEASE)).claim)
    assert claim.conversation.quota == FOUR


def test_every_user_action_replaces_the_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE), incoming("b", quota=Quota(2, NOW + 60.0)))
    assert one.quota() == Quota(2, NOW + 60.0)


def test_a_message_without_a_user_action_leaves_the_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE), incoming("b"))
    assert one.quota() == FIVE


def test_a_redelivery_does_not_change_the_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE), incoming("a", quota=NEWER))
    assert one.quota() == FIVE


def test_sent_messages_reduce_the_quota(one: Worker, two: Worker) -> None:
    one.accept(incoming("a", quota=FIVE))
    claim = one.claims()
    one.records_sent(claim, 1, NOW, FOUR)
    assert two.quota() == FOUR
    one.records_sent(claim, 2, NOW)
    assert two.quota() == FOUR


def test_the_count_of_an_older_user_action_is_not_stored(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE))
    claim = one.claims()
    one.accept(incoming("b", at=NOW + 1, quota=NEWER))
    one.records_sent(claim, 1, NOW + 1, FOUR)
    assert one.quota() == NEWER
    following = one.completes(claim, quota=FOUR)
    assert following is not None
    assert following.conversation.quota == NEWER


def test_a_quota_is_stored_if_none_was_known(one: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    claim = one.claims()
    one.records_sent(claim, 1, NOW, FIVE)
    assert one.quota() == FIVE


def test_the_next_message_contains_the_remaining_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE), incoming("b"), incoming("c"))
    claim = one.claims()
    second = one.completes(claim, quota=FOUR)
    assert second is not None
    assert second.conversation.quota == FOUR
    third = one.completes(second)
    assert third is not None
    assert third.conversation.quota == FOUR


def test_the_quota_survives_a_release(one: Worker, two: Worker) -> None:
    one.accept(incoming("a", quota=FIVE))
    claim = one.claims()
    one.completes(claim, "released", quota=FOUR)
    assert two.claims().conversation.quota == FOUR


def test_an_empty_quota_is_not_an_unknown_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=Quota(0, LATER)))
    assert one.quota() == Quota(0, LATER)


def test_a_whole_number_of_seconds_is_an_equal_expiry(one: Worker) -> None:
    one.accept(incoming("a", quota=Quota(5, int(NOW))))
    claim = one.claims()
    one.completes(claim, quota=Quota(4, NOW))
    assert one.quota() == Quota(4, NOW)


def test_every_user_has_their_own_quota(one: Worker) -> None:
    one.accept(incoming("a", quota=FIVE))
    assert one.quota(BOB) is None
    assert one.quota(ConversationKey("another appid", ALICE.openid)) is None


def test_an_expired_conversation_has_no_quota(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 150, quota=Quota(5, NOW - 90)))
    one.works_off(now=NOW - 150)
    backend.time_passes(150)
    one.purges()
    assert one.quota() is None


def test_a_conversation_with_a_quota_does_not_expire(one: Worker, backend: Backend) -> None:
    """WeChat's 48 hours are longer than the retention of dedup records."""
    two_days = Quota(5, NOW + 2 * RETENTION.dedup_seconds)
    one.accept(incoming("hi", quota=two_days))
    one.works_off()
    now = NOW
    for seconds, known in ((RETENTION.dedup_seconds + 1, two_days), (RETENTION.dedup_seconds, None)):
        backend.time_passes(seconds)
        now += seconds
        one.purges(now)
        assert one.quota() == known
