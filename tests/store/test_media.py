"""Contract tests of uploaded media."""

from __future__ import annotations

from tests.store.support import APPID, NOW, Backend, Stores, Worker
from wxbot.store.records import SharedValue

CAT = SharedValue("media id of a cat", NOW + 1000.25)
DOG = SharedValue("媒体", NOW + 2000.0)
EXPIRED = SharedValue("", NOW)


def saves(worker: Worker, digest: str, media: SharedValue | None, now: float = NOW) -> None:
    worker.wait(worker.store.put(APPID, f"media:{digest}", media, now))


def loads(worker: Worker, digest: str, appid: str = APPID) -> SharedValue | None:
    return worker.wait(worker.store.get(appid, f"media:{digest}"))


def test_unknown_media_is_not_found(one: Worker) -> None:
    assert loads(one, "cat") is None


def test_saved_media_is_shared_by_all_processes(one: Worker, two: Worker) -> None:
    saves(one, "cat", CAT)
    saves(two, "dog", DOG)
    assert (loads(two, "cat"), loads(one, "dog")) == (CAT, DOG)


def test_it_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    saves(first, "cat", CAT)
    first.store.close()
    assert loads(stores.worker("second"), "cat") == CAT


def test_saving_again_replaces_the_media(one: Worker) -> None:
    saves(one, "cat", CAT)
    saves(one, "cat", DOG)
    assert loads(one, "cat") == DOG


def test_saved_media_can_be_deleted(one: Worker, two: Worker) -> None:
    saves(one, "cat", CAT)
    saves(one, "dog", DOG)
    saves(two, "cat", EXPIRED)
    saves(two, "never there", EXPIRED)
    assert (loads(one, "cat"), loads(one, "dog")) == (None, DOG)


def test_a_value_without_a_lock_is_left_by_none(one: Worker) -> None:
    saves(one, "cat", CAT)
    saves(one, "cat", None)
    assert loads(one, "cat") == CAT


def test_every_account_has_its_own(one: Worker) -> None:
    saves(one, "cat", CAT)
    assert loads(one, "cat", "another appid") is None
    one.wait(one.store.put("another appid", "media:cat", EXPIRED, NOW))
    assert loads(one, "cat") == CAT


def test_media_is_stored_until_it_expires(one: Worker, backend: Backend) -> None:
    saves(one, "cat", CAT)
    backend.time_passes(999)
    saves(one, "dog", DOG, NOW + 999)
    assert loads(one, "cat") == CAT


def test_expired_media_is_deleted(one: Worker, backend: Backend) -> None:
    saves(one, "cat", CAT)
    backend.time_passes(1001)
    saves(one, "dog", DOG, NOW + 1001)
    assert (loads(one, "cat"), loads(one, "dog")) == (None, DOG)
