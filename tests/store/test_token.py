"""Contract tests of the access token that all processes share."""

from __future__ import annotations

import asyncio
from threading import Barrier

from tests.store.processes import Processes
from tests.store.support import APPID, NOW, Backend, Stores, Worker
from wxbot.store.port import TOKEN
from wxbot.store.records import SharedValue

OLD = SharedValue("an old token", NOW + 60)
NEW = SharedValue("a new token", NOW + 7200)


def begins(worker: Worker, refused: str | None = None, now: float = NOW, seconds: float = 10.0) -> bool:
    return worker.wait(worker.store.lock(APPID, TOKEN, now, seconds, outdated=refused))


def saves(worker: Worker, token: SharedValue | None) -> None:
    worker.wait(worker.store.put(APPID, TOKEN, token, NOW))


def loads(worker: Worker, appid: str = APPID) -> SharedValue | None:
    return worker.wait(worker.store.get(appid, TOKEN))


def test_a_new_account_has_no_token(one: Worker) -> None:
    assert loads(one) is None


def test_a_saved_token_is_shared_by_all_processes(one: Worker, two: Worker) -> None:
    saves(one, OLD)
    assert loads(two) == OLD
    saves(two, NEW)
    assert loads(one) == NEW


def test_a_token_survives_a_restart(stores: Stores) -> None:
    first = stores.worker("first")
    saves(first, NEW)
    first.store.close()
    assert loads(stores.worker("second")) == NEW


def test_every_account_has_its_own(one: Worker) -> None:
    saves(one, NEW)
    assert loads(one, "another appid") is None


def test_the_value_is_not_in_the_repr() -> None:
    assert NEW.value not in repr(NEW)


def test_one_process_fetches_at_a_time(one: Worker, two: Worker) -> None:
    assert begins(one)
    assert not begins(two)
    assert not begins(one)


def test_one_of_many_concurrent_callers_fetches(stores: Stores) -> None:
    workers = [stores.worker(f"worker {n}") for n in range(4)]

    async def all_begin() -> list[bool]:
        calls = (worker.store.lock(APPID, TOKEN, NOW, 10.0, outdated=None) for worker in workers for _ in range(10))
        return list(await asyncio.gather(*calls))

    assert sum(stores.runner.run(all_begin())) == 1


def test_a_fetch_that_never_ends_is_taken_over(one: Worker, two: Worker) -> None:
    assert begins(one, seconds=10.0)
    assert not begins(two, now=NOW + 9.9)
    assert begins(two, now=NOW + 10.0)


def test_a_saved_token_ends_the_fetch(one: Worker, two: Worker) -> None:
    assert begins(one)
    saves(one, NEW)
    assert begins(two, refused=NEW.value)


def test_a_failed_fetch_ends_and_leaves_the_token(one: Worker, two: Worker) -> None:
    saves(one, OLD)
    assert begins(one, refused=OLD.value)
    saves(one, None)
    assert loads(two) == OLD
    assert begins(two, refused=OLD.value)


def test_a_failed_first_fetch_leaves_no_token(one: Worker, two: Worker) -> None:
    assert begins(one)
    saves(one, None)
    assert loads(two) is None
    assert begins(two)


def test_a_token_that_was_replaced_meanwhile_is_not_fetched_again(one: Worker, two: Worker) -> None:
    saves(one, OLD)
    assert begins(one, refused=OLD.value)
    saves(one, NEW)
    assert not begins(two, refused=OLD.value)


def test_a_replacement_that_has_expired_is_fetched_again(one: Worker) -> None:
    saves(one, NEW)
    assert begins(one, refused=OLD.value, now=NEW.expires_at)


def test_one_of_many_processes_fetches(backend: Backend, processes: Processes) -> None:
    answers = processes.run(_begin_everywhere, backend)
    assert [sum(winners) for winners in zip(*answers, strict=True)] == [1] * 10


def _begin_everywhere(backend: Backend, ready: Barrier) -> list[bool]:
    """Begin a fetch. Runs in its own process."""

    async def begin(appid: str) -> bool:
        return await store.lock(appid, TOKEN, NOW, 10.0, outdated=None)

    store = backend.store()
    store.open()
    try:
        answers = []
        for n in range(10):
            ready.wait(20)
            answers.append(asyncio.run(begin(f"account {n}")))
        return answers
    finally:
        store.close()
