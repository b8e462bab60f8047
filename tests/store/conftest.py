"""Every contract test runs once for every store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.servers.fixtures import cluster_server, redis_server, valkey_server
from tests.store.processes import Processes, running_processes
from tests.store.support import Place, RedisPlace, SqlitePlace, Stores, Worker

__all__ = ["cluster_server", "redis_server", "valkey_server"]


@pytest.fixture(params=["sqlite", "redis", "valkey", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SqlitePlace(tmp_path)
    server: RedisServer = request.getfixturevalue(f"{request.param}_server")
    return RedisPlace(server.url)


@pytest.fixture
def stores(place: Place) -> Iterator[Stores]:
    with asyncio.Runner() as runner:
        stores = Stores(place, runner)
        try:
            yield stores
        finally:
            stores.close()


@pytest.fixture
def one(stores: Stores) -> Worker:
    """A process."""
    return stores.worker("one")


@pytest.fixture
def two(stores: Stores) -> Worker:
    """Another process on the same data."""
    return stores.worker("two")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Real ones."""
    with running_processes() as processes:
        yield processes
