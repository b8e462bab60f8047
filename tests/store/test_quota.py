"""What every store promises about how many messages may still be sent to a user."""

from __future__ import annotations

from tests.store.support import ALICE, BOB, KEPT, LEASE, NOW, Place, Worker, arrival, some
from wxbot.model.quota import Quota
from wxbot.store.records import ClaimRequest, ConversationKey

LATER = NOW + 172_800.1  # no float that a few digits would tell
FIVE, FOUR = Quota(5, LATER), Quota(4, LATER)
NEWER = Quota(5, LATER + 1)


def test_at_first_nothing_is_known(one: Worker) -> None:
    assert one.quota() is None
    one.accept(arrival("hi"))
    assert one.quota() is None
    assert one.claims().pending.quota is None


def test_what_the_user_has_done_counts_for_everybody(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi", quota=FIVE))
    assert two.quota() == FIVE
    assert two.claims().pending.quota == FIVE


def test_it_comes_with_the_grant(one: Worker) -> None:
    claim = some(one.store.accept(arrival("hi", quota=FIVE), ClaimRequest("one", LEASE)).claim)
    assert claim.pending.quota == FIVE
    one.settles(claim.lease, claim.pending, quota=FOUR)
    claim = some(one.store.accept(arrival("no deed"), ClaimRequest("one", LEASE)).claim)
    assert claim.pending.quota == FOUR


def test_every_deed_sets_it_anew(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE), arrival("b", quota=Quota(2, NOW + 60.0)))
    assert one.quota() == Quota(2, NOW + 60.0)


def test_what_is_no_deed_leaves_it_as_it_is(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE), arrival("b"))
    assert one.quota() == FIVE


def test_a_redelivery_sets_nothing(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE), arrival("a", quota=NEWER))
    assert one.quota() == FIVE


def test_what_was_sent_is_counted(one: Worker, two: Worker) -> None:
    one.accept(arrival("a", quota=FIVE))
    claim = one.claims()
    one.records_sent(claim.lease, claim.pending, 1, NOW, FOUR)
    assert two.quota() == FOUR
    one.records_sent(claim.lease, claim.pending, 2, NOW)
    assert two.quota() == FOUR


def test_the_count_of_an_older_deed_is_not_written(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE))
    claim = one.claims()
    one.accept(arrival("b", at=NOW + 1, quota=NEWER))
    one.records_sent(claim.lease, claim.pending, 1, NOW + 1, FOUR)
    assert one.quota() == NEWER
    following = one.settles(claim.lease, claim.pending, quota=FOUR)
    assert following is not None
    assert following.quota == NEWER


def test_it_is_written_where_nothing_was_known(one: Worker) -> None:
    one.accept(arrival("a"), arrival("b"))
    claim = one.claims()
    one.records_sent(claim.lease, claim.pending, 1, NOW, FIVE)
    assert one.quota() == FIVE


def test_the_next_message_comes_with_what_the_one_before_has_left(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE), arrival("b"), arrival("c"))
    claim = one.claims()
    second = one.settles(claim.lease, claim.pending, quota=FOUR)
    assert second is not None
    assert second.quota == FOUR
    third = one.settles(claim.lease, second)
    assert third is not None
    assert third.quota == FOUR


def test_it_survives_a_release(one: Worker, two: Worker) -> None:
    one.accept(arrival("a", quota=FIVE))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, "released", quota=FOUR)
    assert two.claims().pending.quota == FOUR


def test_nothing_left_is_not_the_same_as_nothing_known(one: Worker) -> None:
    one.accept(arrival("a", quota=Quota(0, LATER)))
    assert one.quota() == Quota(0, LATER)


def test_a_whole_number_of_seconds_is_the_same_end(one: Worker) -> None:
    one.accept(arrival("a", quota=Quota(5, int(NOW))))
    claim = one.claims()
    one.settles(claim.lease, claim.pending, quota=Quota(4, NOW))
    assert one.quota() == Quota(4, NOW)


def test_every_user_has_their_own(one: Worker) -> None:
    one.accept(arrival("a", quota=FIVE))
    assert one.quota(BOB) is None
    assert one.quota(ConversationKey("another appid", ALICE.openid)) is None


def test_whoever_is_forgotten_has_none(one: Worker, place: Place) -> None:
    one.accept(arrival("old", at=NOW - 150, quota=Quota(5, NOW - 90)))
    one.works_off(now=NOW - 150)
    place.time_passes(150)
    one.purges()
    assert one.quota() is None


def test_nobody_is_forgotten_while_something_may_be_sent_to_them(one: Worker, place: Place) -> None:
    """WeChat's 48 hours are longer than a push is remembered."""
    two_days = Quota(5, NOW + 2 * KEPT.dedup_seconds)
    one.accept(arrival("hi", quota=two_days))
    one.works_off()
    now = NOW
    for seconds, known in ((KEPT.dedup_seconds + 1, two_days), (KEPT.dedup_seconds, None)):
        place.time_passes(seconds)
        now += seconds
        one.purges(now)
        assert one.quota() == known
