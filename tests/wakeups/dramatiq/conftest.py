"""Broker servers: shared ones, and own ones for tests that kill or pause them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.fixtures import cluster_server, needs, rabbit_server, redis_server, valkey_server
from tests.servers.programs import REDIS, VALKEY
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer
from tests.wakeups.dramatiq.support import Listener, Server, flush_wakeups

__all__ = ["cluster_server", "rabbit_server", "redis_server", "valkey_server"]


@pytest.fixture(params=["redis", "valkey", "cluster", "rabbit"])
def url(request: pytest.FixtureRequest) -> str:
    """Return the address of a shared broker with an empty queue."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    flush_wakeups(server.url)
    return server.url


@pytest.fixture(params=["redis", "valkey", "rabbit"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Return a running server that the test may kill and pause.

    RabbitMQ starts slowly, so all tests share one. It is restarted after the test.
    """
    if request.param == "rabbit":
        rabbit: RabbitServer = request.getfixturevalue("rabbit_server")
        flush_wakeups(rabbit.url)
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
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.has_room()
