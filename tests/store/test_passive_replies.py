"""Contract tests of passive replies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.store.support import ALICE, APPID, BOB, LEASE, NOW, RETENTION, Backend, Stores, Worker, incoming
from wxbot.errors import LeaseLost
from wxbot.store.records import Claim, ConversationKey

ANSWER = {"kind": "text", "text": "你好 \U0001f600"}


def answers(worker: Worker, claim: Claim, answer: Mapping[str, Any] = ANSWER) -> bool:
    return worker.wait(worker.store.save_reply(claim.lease, claim.message.seq, answer))


def asks(
    worker: Worker, text: str = "hi", key: ConversationKey = ALICE, *, give_up: bool = False
) -> Mapping[str, Any] | None:
    if give_up:
        return worker.wait(worker.store.give_up(key, f"msg:{text}"))
    return worker.finds(key, f"msg:{text}").reply


def test_a_saved_passive_reply_is_returned_to_every_process(one: Worker, two: Worker) -> None:
    two.accept(incoming("hi"))
    assert asks(two) is None
    claim = one.claims()
    assert asks(two) is None
    assert answers(one, claim)
    assert asks(two) == ANSWER


def test_an_empty_passive_reply_is_returned(one: Worker) -> None:
    one.accept(incoming("hi"))
    assert answers(one, one.claims(), {})
    assert asks(one) == {}


@pytest.mark.parametrize("give_up", [False, True])
def test_the_passive_reply_is_returned_after_the_message_is_complete(one: Worker, give_up: bool) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    answers(one, claim)
    one.completes(claim)
    assert asks(one, give_up=give_up) == ANSWER
    assert asks(one) == ANSWER


def test_it_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    first.accept(incoming("hi"))
    answers(first, first.claims())
    first.store.close()
    assert asks(stores.worker("second")) == ANSWER


def test_a_passive_reply_is_not_stored_after_giving_up(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    assert asks(two, give_up=True) is None
    assert not answers(one, claim)
    assert asks(two) is None
    one.completes(claim)
    assert asks(two) is None


def test_giving_up_on_one_message_does_not_affect_the_next(one: Worker) -> None:
    one.accept(incoming("a"), incoming("b"))
    asks(one, "a", give_up=True)
    claim = one.claims()
    following = one.completes(claim)
    assert following is not None
    assert one.wait(one.store.save_reply(claim.lease, following.message.seq, ANSWER))
    assert (asks(one, "a"), asks(one, "b")) == (None, ANSWER)


@pytest.mark.parametrize("status", ["retry", "released"])
def test_giving_up_applies_to_the_next_owner(one: Worker, two: Worker, status: Any) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    asks(one, give_up=True)
    one.completes(claim, status, retry_at=NOW)
    assert not answers(two, two.claims())


def test_a_passive_reply_needs_the_lease(one: Worker, two: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    two.claims(now=NOW + LEASE)
    with pytest.raises(LeaseLost):
        answers(one, claim)
    assert asks(one) is None


def test_an_unknown_message_has_no_passive_reply(one: Worker) -> None:
    """Giving up has no effect on it, because it may still arrive."""
    assert asks(one, give_up=True) is None
    one.accept(incoming("hi"))
    assert answers(one, one.claims())


def test_a_passive_reply_belongs_to_one_message(one: Worker) -> None:
    elsewhere = ConversationKey("another appid", ALICE.openid)
    one.accept(incoming("hi"), incoming("hi", BOB), incoming("hi", elsewhere))
    answers(one, one.claims())
    asks(one, key=BOB, give_up=True)
    assert asks(one, key=elsewhere) is None
    assert asks(one) == ANSWER
    assert answers(one, one.claims(elsewhere))


def test_a_passive_reply_expires_with_its_message(one: Worker, backend: Backend) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    answers(one, claim)
    one.completes(claim)
    backend.time_passes(RETENTION.dedup_seconds - 1)
    one.purges(NOW + RETENTION.dedup_seconds - 1)
    assert asks(one) == ANSWER
    backend.time_passes(2)
    one.purges(NOW + RETENTION.dedup_seconds + 1)
    assert asks(one) is None


def test_dropping_a_dead_letter_deletes_its_passive_reply(one: Worker) -> None:
    one.accept(incoming("hi"))
    claim = one.claims()
    answers(one, claim)
    one.completes(claim, "dead", reason="so")
    (letter,) = one.wait(one.store.dead_letters(APPID, 1))
    assert one.wait(one.store.remove_dead_letter(APPID, letter.seq))
    one.accept(incoming("hi"))
    assert asks(one) is None


def test_saving_a_passive_reply_and_giving_up_exclude_each_other(one: Worker, two: Worker) -> None:
    """Many concurrent pairs: the caller that gives up gets the reply exactly if it was stored."""
    texts = [f"message {n}" for n in range(40)]
    keys = {text: ConversationKey(APPID, text) for text in texts}
    one.accept(*(incoming(text, key) for text, key in keys.items()))
    claims = {text: one.claims(key) for text, key in keys.items()}

    async def race(text: str) -> tuple[bool, Mapping[str, Any] | None]:
        claim = claims[text]
        calls = (
            one.store.save_reply(claim.lease, claim.message.seq, ANSWER),
            two.store.give_up(keys[text], f"msg:{text}"),
        )
        stored, returned = await asyncio.gather(*calls)
        return bool(stored), returned if isinstance(returned, dict) else None

    async def all_races() -> list[tuple[bool, Mapping[str, Any] | None]]:
        return list(await asyncio.gather(*map(race, texts)))

    for stored, returned in one.wait(all_races()):
        assert returned == (ANSWER if stored else None)


def test_a_second_passive_reply_does_not_replace_the_first(one: Worker, two: Worker) -> None:
    """The first owner died before it completed the message, but a delivery may have got its reply already."""
    one.accept(incoming("hi"))
    assert answers(one, one.claims())
    assert answers(two, two.claims(now=NOW + LEASE), {"kind": "text", "text": "another"})
    assert asks(one) == ANSWER
