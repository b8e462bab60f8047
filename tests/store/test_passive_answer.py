"""What every store promises about answers that wait for WeChat to ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.store.support import ALICE, APPID, BOB, KEPT, LEASE, NOW, Place, Stores, Worker, arrival
from wxbot.errors import LeaseLost
from wxbot.store.records import Claim, ConversationKey

ANSWER = {"kind": "text", "text": "你好 \U0001f600"}


def answers(worker: Worker, claim: Claim, answer: Mapping[str, Any] = ANSWER) -> bool:
    return worker.wait(worker.store.save_passive_reply(claim.lease, claim.pending.seq, answer))


def asks(
    worker: Worker, text: str = "hi", key: ConversationKey = ALICE, *, give_up: bool = False
) -> Mapping[str, Any] | None:
    return worker.wait(worker.store.passive_reply(key, f"msg:{text}", give_up=give_up))


def test_whoever_asks_gets_the_answer_once_it_is_there(one: Worker, two: Worker) -> None:
    two.accept(arrival("hi"))
    assert asks(two) is None
    claim = one.claims()
    assert asks(two) is None
    assert answers(one, claim)
    assert asks(two) == ANSWER


def test_silence_is_an_answer(one: Worker) -> None:
    one.accept(arrival("hi"))
    assert answers(one, one.claims(), {})
    assert asks(one) == {}


@pytest.mark.parametrize("give_up", [False, True])
def test_the_answer_is_there_after_the_message_was_settled(one: Worker, give_up: bool) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    answers(one, claim)
    one.settles(claim.lease, claim.pending)
    assert asks(one, give_up=give_up) == ANSWER
    assert asks(one) == ANSWER


def test_it_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(arrival("hi"))
    answers(first, first.claims())
    first.store.close()
    assert asks(stores.worker("second")) == ANSWER


def test_an_answer_that_nobody_will_ask_for_is_not_kept(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    assert asks(two, give_up=True) is None
    assert not answers(one, claim)
    assert asks(two) is None
    one.settles(claim.lease, claim.pending)
    assert asks(two) is None


def test_who_gave_up_on_one_message_has_not_on_the_next(one: Worker) -> None:
    one.accept(arrival("a"), arrival("b"))
    asks(one, "a", give_up=True)
    claim = one.claims()
    following = one.settles(claim.lease, claim.pending)
    assert following is not None
    assert one.wait(one.store.save_passive_reply(claim.lease, following.seq, ANSWER))
    assert (asks(one, "a"), asks(one, "b")) == (None, ANSWER)


@pytest.mark.parametrize("status", ["retry", "released"])
def test_it_stays_given_up_for_the_next_owner(one: Worker, two: Worker, status: Any) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    asks(one, give_up=True)
    one.settles(claim.lease, claim.pending, status, retry_at=NOW)
    assert not answers(two, two.claims())


def test_whoever_has_lost_the_lease_answers_nothing(one: Worker, two: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        answers(one, claim)
    assert asks(one) is None


def test_an_answer_to_what_never_came(one: Worker) -> None:
    """Nor is it given up on: it may come yet."""
    assert asks(one, give_up=True) is None
    one.accept(arrival("hi"))
    assert answers(one, one.claims())


def test_nobody_else_gets_it(one: Worker) -> None:
    elsewhere = ConversationKey("another appid", ALICE.openid)
    one.accept(arrival("hi"), arrival("hi", BOB), arrival("hi", elsewhere))
    answers(one, one.claims())
    asks(one, key=BOB, give_up=True)
    assert asks(one, key=elsewhere) is None
    assert asks(one) == ANSWER
    assert answers(one, one.claims(elsewhere))


def test_it_is_forgotten_with_the_message(one: Worker, place: Place) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    answers(one, claim)
    one.settles(claim.lease, claim.pending)
    place.time_passes(KEPT.dedup_seconds - 1)
    one.purges(NOW + KEPT.dedup_seconds - 1)
    assert asks(one) == ANSWER
    place.time_passes(2)
    one.purges(NOW + KEPT.dedup_seconds + 1)
    assert asks(one) is None


def test_a_dead_letter_that_is_dropped_takes_its_answer_along(one: Worker) -> None:
    one.accept(arrival("hi"))
    claim = one.claims()
    answers(one, claim)
    one.settles(claim.lease, claim.pending, "dead", reason="so")
    (letter,) = one.wait(one.store.dead_letters(APPID, 1))
    assert one.wait(one.store.drop_dead_letter(APPID, letter.seq))
    one.accept(arrival("hi"))
    assert asks(one) is None


def test_of_an_answer_and_giving_up_exactly_one_comes_first(one: Worker, two: Worker) -> None:
    """Many times at once: what was kept is what whoever gave up was told."""
    texts = [f"message {n}" for n in range(40)]
    keys = {text: ConversationKey(APPID, text) for text in texts}
    one.accept(*(arrival(text, key) for text, key in keys.items()))
    claims = {text: one.claims(key) for text, key in keys.items()}

    async def race(text: str) -> tuple[bool, Mapping[str, Any] | None]:
        claim = claims[text]
        calls = (
            one.store.save_passive_reply(claim.lease, claim.pending.seq, ANSWER),
            two.store.passive_reply(keys[text], f"msg:{text}", give_up=True),
        )
        kept, told = await asyncio.gather(*calls)
        return bool(kept), told if isinstance(told, dict) else None

    async def all_races() -> list[tuple[bool, Mapping[str, Any] | None]]:
        return list(await asyncio.gather(*map(race, texts)))

    for kept, told in one.wait(all_races()):
        assert told == (ANSWER if kept else None)


def test_the_first_answer_stays(one: Worker, two: Worker) -> None:
    """Its process died before it could close the message: those who ask have read it already."""
    one.accept(arrival("hi"))
    assert answers(one, one.claims())
    assert answers(two, two.claims(now=NOW + LEASE), {"kind": "text", "text": "another"})
    assert asks(one) == ANSWER
