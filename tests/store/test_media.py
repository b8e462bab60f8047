"""What every store promises about the files that an account has uploaded."""

from __future__ import annotations

from tests.store.support import APPID, NOW, Place, Stores, Worker
from wxbot.store.records import StoredMedia

CAT = StoredMedia("media id of a cat", NOW + 1000.25)
DOG = StoredMedia("媒体", NOW + 2000.0)


def saves(worker: Worker, digest: str, media: StoredMedia | None, now: float = NOW) -> None:
    worker.wait(worker.store.save_media(APPID, digest, media, now))


def loads(worker: Worker, digest: str, appid: str = APPID) -> StoredMedia | None:
    return worker.wait(worker.store.load_media(appid, digest))


def test_what_was_not_saved_is_not_there(one: Worker) -> None:
    assert loads(one, "cat") is None


def test_what_was_saved_is_everybodys(one: Worker, two: Worker) -> None:
    saves(one, "cat", CAT)
    saves(two, "dog", DOG)
    assert (loads(two, "cat"), loads(one, "dog")) == (CAT, DOG)


def test_it_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    saves(first, "cat", CAT)
    first.store.close()
    assert loads(stores.worker("second"), "cat") == CAT


def test_the_newer_one_counts(one: Worker) -> None:
    saves(one, "cat", CAT)
    saves(one, "cat", DOG)
    assert loads(one, "cat") == DOG


def test_it_can_be_forgotten(one: Worker, two: Worker) -> None:
    saves(one, "cat", CAT)
    saves(one, "dog", DOG)
    saves(two, "cat", None)
    saves(two, "never there", None)
    assert (loads(one, "cat"), loads(one, "dog")) == (None, DOG)


def test_every_account_has_its_own(one: Worker) -> None:
    saves(one, "cat", CAT)
    assert loads(one, "cat", "another appid") is None
    one.wait(one.store.save_media("another appid", "cat", None, NOW))
    assert loads(one, "cat") == CAT


def test_it_is_kept_until_it_expires(one: Worker, place: Place) -> None:
    saves(one, "cat", CAT)
    place.time_passes(999)
    saves(one, "dog", DOG, NOW + 999)
    assert loads(one, "cat") == CAT


def test_what_has_expired_makes_room(one: Worker, place: Place) -> None:
    saves(one, "cat", CAT)
    place.time_passes(1001)
    saves(one, "dog", DOG, NOW + 1001)
    assert (loads(one, "cat"), loads(one, "dog")) == (None, DOG)
