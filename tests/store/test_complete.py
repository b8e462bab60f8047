"""Contract tests of completing a message: stored data, expiry and the next message."""

from __future__ import annotations

import pytest

from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, Backend, Status, Stores, Worker, incoming, text_of
from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, ConversationKey, ConversationRecord, Found, Handover

QUOTA = Quota(5, NOW + 172_800.5)
REPLIES = ({"kind": "text", "text": "one"}, {"kind": "text", "text": "二"})


def test_messages_of_a_user_come_in_the_order_of_their_arrival(one: Worker) -> None:
    texts = [f"message {n}" for n in range(20)]
    one.accept(*(incoming(text, at=NOW - n) for n, text in enumerate(texts)))  # the order does not depend on the clock
    assert one.works_off() == texts


@pytest.mark.parametrize("status", ["done", "dead"])
def test_completing_with_go_on_returns_the_next_message_under_the_same_lease(
    one: Worker, two: Worker, status: Status
) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    following = one.completes(claim, status, reason="so")
    assert following is not None
    assert (text_of(following), following.message.attempts) == ("second", 1)
    assert two.tries_to_claim() is None
    assert one.completes(following) is None


@pytest.mark.parametrize("status", ["done", "dead"])
def test_completing_without_go_on_releases_the_lease(one: Worker, two: Worker, status: Status) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    assert one.completes(claim, status, reason="so", go_on=False) is None
    taken = two.claims()
    assert (text_of(taken), taken.message.attempts) == ("second", 1)


@pytest.mark.parametrize("go_on", [True, False])
def test_a_message_to_retry_blocks_later_messages(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    assert one.completes(claim, "retry", retry_at=NOW + 5, go_on=go_on) is None
    one.accept(incoming("third", at=NOW + 1))
    assert two.tries_to_claim(now=NOW + 4) is None
    taken = two.claims(now=NOW + 5)
    assert (text_of(taken), taken.message.attempts) == ("first", 2)


@pytest.mark.parametrize("go_on", [True, False])
def test_a_released_message_can_be_claimed_at_once_and_counts_no_attempt(one: Worker, two: Worker, go_on: bool) -> None:
    one.accept(incoming("first"), incoming("second"))
    for _ in range(5):
        claim = one.claims()
        assert one.completes(claim, "released", go_on=go_on) is None
    taken = two.claims()
    assert (text_of(taken), taken.message.attempts) == ("first", 1)


def test_the_attempt_of_a_dead_owner_counts(stores: Stores) -> None:
    stores.worker("first").accept(incoming("hi"))
    attempts = [stores.worker(f"{n}").claims(now=NOW + n * LEASE).message.attempts for n in range(4)]
    assert attempts == [1, 2, 3, 4]


@pytest.mark.parametrize("status", ["retry", "released"])
def test_unsent_replies_survive(one: Worker, two: Worker, status: Status) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.completes(claim, status, retry_at=NOW, sent=1, unsent=REPLIES)
    pending = two.claims().message
    assert (pending.sent, pending.unsent) == (1, REPLIES)


def test_the_number_of_sent_replies_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.records_sent(claim, 2, NOW + 3)
    taken = two.claims(now=NOW + LEASE)
    assert (taken.message.sent, taken.conversation.interacted_at, taken.conversation.typing_until) == (2, NOW + 3, 0.0)


def test_the_typing_end_survives_a_dead_owner(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    assert one.saves_typing(claim, NOW + 15) == ConversationRecord(NOW, NOW + 15, handover=WITH_BOT)
    assert two.claims(now=NOW + LEASE).conversation.typing_until == NOW + 15


def test_a_sent_message_is_an_interaction_and_ends_the_indicator(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    one.saves_typing(claim, NOW + 15)
    one.records_sent(claim, 1, NOW + 2)
    assert one.saves_typing(claim, NOW + 18).interacted_at == NOW + 2
    one.records_sent(claim, 2, NOW - 99)  # an earlier time never replaces a later one
    assert one.saves_typing(claim, NOW + 18).interacted_at == NOW + 2


def test_completing_stores_the_interaction_and_the_typing_end(one: Worker) -> None:
    one.accept(incoming("first"), incoming("second"))
    claim = one.claims()
    one.completes(claim, go_on=False, sent=1, sent_at=NOW + 4, typing_until=NOW + 9)
    taken = one.claims()
    assert (taken.conversation.interacted_at, taken.conversation.typing_until) == (NOW + 4, NOW + 9)


def test_state_survives_until_it_is_replaced(one: Worker, two: Worker) -> None:
    state = {"orders": {"step": 2, "名": ["x", None, 1.5]}}
    one.accept(incoming("a"), incoming("b"), incoming("c"))
    claim = one.claims()
    one.completes(claim, go_on=False, state=state)
    claim = two.claims()
    assert claim.conversation.state == state
    two.completes(claim, go_on=False)  # None leaves it as it is
    claim = one.claims()
    assert claim.conversation.state == state
    one.completes(claim, state={})
    one.accept(incoming("d"))
    assert one.claims().conversation.state == {}


def test_the_clock_of_the_completing_process_does_not_matter_to_the_next_message(one: Worker, two: Worker) -> None:
    one.accept(incoming("first"))
    claim = one.claims()
    two.accept(incoming("second", at=NOW + 1))
    following = one.completes(claim, now=NOW)
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
    one.completes(claim, typing_until=NOW + 5)
    backend.time_passes(150)
    one.purges()
    one.accept(incoming("new", interacted_at=NOW - 500))
    again = one.claims()
    assert (again.conversation.interacted_at, again.conversation.typing_until) == (NOW - 500, 0.0)


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
    assert one.completes(claim) is None


def test_dead_letters_expire_by_the_time_they_died(one: Worker) -> None:
    one.accept(incoming("old", at=NOW - 2000), incoming("new", at=NOW - 2000))
    claim = one.claims()
    following = one.completes(claim, "dead", now=NOW - 1060, reason="so")
    assert following is not None
    one.completes(following, "dead", now=NOW - 910, reason="so")
    assert one.purges() == 1
    assert [letter.fields["Content"] for letter in one.wait(one.store.dead_letters(APPID, 10))] == ["new"]


def test_a_conversation_with_state_expires_later(one: Worker, backend: Backend) -> None:
    one.accept(incoming("old", at=NOW - 5000))
    claim = one.claims(now=NOW - 5000)
    one.completes(claim, now=NOW - 5000, state={"name": "Alice"})
    backend.time_passes(5000)
    one.purges()
    one.accept(incoming("new"))
    claim = one.claims()
    assert claim.conversation.state == {"name": "Alice"}
    one.completes(claim)
    backend.time_passes(11_000)
    one.purges(NOW + 11_000)
    one.accept(incoming("newer", at=NOW + 11_000))
    assert one.claims(now=NOW + 11_000).conversation.state == {}


def test_the_purge_affects_one_account_only(one: Worker) -> None:
    other = ConversationKey("wx-another", "alice")
    one.accept(incoming("a", at=NOW - 2000), incoming("a", other, at=NOW - 2000))
    claim, theirs = one.claims(now=NOW - 2000), one.claims(other, now=NOW - 2000)
    one.completes(claim, "dead", now=NOW - 2000, reason="so")
    one.completes(theirs, "dead", now=NOW - 2000, reason="so")
    assert one.purges() == 1
    (letter,) = one.wait(one.store.dead_letters(other.appid, 10))
    assert not one.wait(one.store.remove_dead_letter(APPID, letter.seq, NOW))
    assert not one.wait(one.store.remove_dead_letter(APPID, letter.seq))
    assert one.wait(one.store.remove_dead_letter(other.appid, letter.seq))


def test_unsent_replies_are_stored_with_each_sent_message(one: Worker, two: Worker) -> None:
    """The next owner sends them and runs no handler."""
    left = ({"kind": "text", "text": "two"}, {"kind": "text", "text": "three"})
    one.accept(incoming("a"))
    claim = one.claims()
    one.records_sent(claim, 1, unsent=left, state={"plugin": {"a": 1}})
    taken = two.claims(now=NOW + LEASE)
    assert (taken.message.sent, taken.message.unsent, taken.conversation.state) == (1, left, {"plugin": {"a": 1}})
    two.records_sent(taken, 2)
    again = one.claims(now=NOW + 2 * LEASE)
    assert (again.message.sent, again.message.unsent, again.conversation.state) == (2, left, {"plugin": {"a": 1}})
    one.records_sent(again, 3, unsent=(), state={})
    last = two.claims(now=NOW + 3 * LEASE)
    assert (last.message.unsent, last.conversation.state) == ((), {})


def test_a_message_is_found_until_its_dedup_record_expires(one: Worker, two: Worker) -> None:
    assert one.finds(ALICE, "msg:a") == Found(None, False, None)
    one.accept(incoming("a", quota=QUOTA))
    known = ConversationRecord(NOW, 0.0, QUOTA, WITH_BOT, {})
    assert two.finds(ALICE, "msg:a") == Found(known, True, None)
    assert two.finds(ALICE, "msg:b") == two.finds(ALICE) == Found(known, False, None)
    assert two.finds(BOB, "msg:a") == Found(None, False, None)
    claim = one.claims()
    one.completes(claim, state={"plugin": 1}, handover=Handover(NOW + 9, "kf"), typing_until=NOW + 3)
    done = ConversationRecord(NOW, NOW + 3, QUOTA, Handover(NOW + 9, "kf"), {"plugin": 1})
    assert two.finds(ALICE, "msg:a") == Found(done, True, None)


def test_a_checkpoint_returns_the_conversation(one: Worker, two: Worker) -> None:
    one.accept(incoming("a", quota=QUOTA))
    claim = one.claims()
    two.delivers("a human, please", at=NOW + 1, handover=Handover(NOW + 9, "kf"), for_agents=True)
    sent = one.records_sent(claim, 1, NOW + 3, QUOTA._replace(remaining=4))
    assert (sent.interacted_at, sent.typing_until) == (NOW + 3, 0.0)
    assert (sent.quota, sent.handover) == (QUOTA._replace(remaining=4), Handover(NOW + 9, "kf"))
