"""Every contract test runs once for every store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.support import STORES, StoreFactory, Stores, Worker


@pytest.fixture(params=STORES, ids=lambda factory: str(factory.__name__))
def factory(request: pytest.FixtureRequest) -> StoreFactory:
    chosen: StoreFactory = request.param
    return chosen


@pytest.fixture
def stores(factory: StoreFactory, tmp_path: Path) -> Iterator[Stores]:
    with asyncio.Runner() as runner:
        stores = Stores(factory, tmp_path, runner)
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
