"""Servers of the hints: shared ones for what leaves no trace, and own ones for what kills them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fixtures import cluster_server, needs, rabbit_server, redis_server, valkey_server
from tests.servers.programs import REDIS, VALKEY
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


@pytest.fixture(params=["redis", "valkey", "rabbit"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A broker's server that the test may kill and pause, running.

    RabbitMQ takes long to start: it is the one of all tests, and mended.
    """
    if request.param == "rabbit":
        rabbit: RabbitServer = request.getfixturevalue("rabbit_server")
        forget_hints(rabbit.url)
        yield rabbit
        if rabbit.alive:
            rabbit.resume()
        else:
            rabbit.kill()
            rabbit.start()
        return
    needs(VALKEY if request.param == "valkey" else REDIS)
    with RedisServer(tmp_path, flavour=request.param) as own:
        yield own


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.has_room()
