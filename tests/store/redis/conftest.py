"""Real servers, and blocking calls of one process to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.servers.fixtures import empty_redis, needs, redis_server
from tests.servers.programs import REDIS
from tests.store.support import Worker
from wxbot.store.redis.store import RedisStore

__all__ = ["empty_redis", "redis_server"]


class OpenWorker(Protocol):
    def __call__(self, url: str, **options: int) -> Worker: ...


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def worker_at(runner: asyncio.Runner) -> Iterator[OpenWorker]:
    """Return a function that opens a process with a store at an address."""
    opened: list[RedisStore] = []

    def open_store(url: str, **options: int) -> Worker:
        store = RedisStore(url, **options)  # type: ignore[arg-type]  # the options are numbers
        store.open()
        opened.append(store)
        return Worker(f"worker {len(opened)}", store, runner)

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def own_servers() -> None:
    """Skip tests that start their own servers if Redis is not installed."""
    needs(REDIS)
