"""Fixtures of the contract tests. Every contract test runs once for each store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.servers.fixtures import cluster_server, redis_server, valkey_server
from tests.store.processes import Processes, running_processes
from tests.store.support import Backend, RedisBackend, SqliteBackend, Stores, Worker

__all__ = ["cluster_server", "redis_server", "valkey_server"]


@pytest.fixture(params=["sqlite", "redis", "valkey", "cluster"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SqliteBackend(tmp_path)
    server: RedisServer = request.getfixturevalue(f"{request.param}_server")
    return RedisBackend(server.url)


@pytest.fixture
def stores(backend: Backend) -> Iterator[Stores]:
    with asyncio.Runner() as runner:
        stores = Stores(backend, runner)
        try:
            yield stores
        finally:
            stores.close()


@pytest.fixture
def one(stores: Stores) -> Worker:
    """Return one process."""
    return stores.worker("one")


@pytest.fixture
def two(stores: Stores) -> Worker:
    """Return another process on the same data."""
    return stores.worker("two")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Start real processes."""
    with running_processes() as processes:
        yield processes
