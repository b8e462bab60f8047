"""Servers of the hints: shared ones for what leaves no trace, and own ones for what kills them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.servers.fixtures import cluster_server, needs, rabbit_server, redis_server, valkey_server
from tests.servers.programs import RABBIT, REDIS, VALKEY
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer
from tests.wakeups.dramatiq.support import Ear, Server, forget_hints

__all__ = ["cluster_server", "rabbit_server", "redis_server", "valkey_server"]


@pytest.fixture(params=["redis", "valkey", "cluster", "rabbit"])
def url(request: pytest.FixtureRequest) -> str:
    """A broker that other tests use too, without any hints in it."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    forget_hints(server.url)
    return server.url


@pytest.fixture(scope="module")
def own_rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """It takes long to start."""
    needs(RABBIT)
    with RabbitServer(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture(params=["redis", "valkey", "rabbit"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A broker's server that the test may kill and pause, running."""
    if request.param == "rabbit":
        rabbit: RabbitServer = request.getfixturevalue("own_rabbit")
        if not rabbit.alive:
            rabbit.kill()
            rabbit.start()
        forget_hints(rabbit.url)
        yield rabbit
        with suppress(AssertionError):
            rabbit.resume()
        return
    needs(VALKEY if request.param == "valkey" else REDIS)
    with RedisServer(tmp_path, flavour=request.param) as own:
        yield own


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.has_room()
