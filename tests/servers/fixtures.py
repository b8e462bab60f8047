"""Fixtures: one shared server of each kind for each test process, started when the first test needs it.

Import them into a conftest.py; all importers share the same servers. An ``empty_…`` fixture is the shared server
without the data of earlier tests. A test that stops, kills or pauses a shared server restores it with ``emptied``,
because not every test uses an ``empty_…`` fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

import pytest

from tests.servers.programs import RABBIT, REDIS, SWITCH, VALKEY, Program, found, required
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer


class _SharedServer(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...


_Server = TypeVar("_Server", bound=_SharedServer)
_shared = pytest.StashKey[dict[str, _SharedServer]]()


def skip_or_fail(what: str) -> NoReturn:
    """Skip the test because ``what`` is missing, or fail it if servers are required. The reason says what to do."""
    sentence = f"{what} not found: run `make servers`"
    if required():
        pytest.fail(f"{sentence} ({SWITCH}=required)", pytrace=False)
    pytest.skip(sentence)


def needs(program: Program) -> None:
    """Skip or fail a test that starts ``program`` itself, if the program is missing."""
    if found(program) is None:
        skip_or_fail(str(program))


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    needs(REDIS)
    return _one_for_all(request, "redis", lambda: RedisServer(tmp_path_factory.mktemp("redis")))


@pytest.fixture(scope="session")
def valkey_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    needs(VALKEY)
    return _one_for_all(request, "valkey", lambda: RedisServer(tmp_path_factory.mktemp("valkey"), flavour="valkey"))


@pytest.fixture(scope="session")
def cluster_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    """Return a cluster of one node. It rejects the same commands as a larger cluster."""
    needs(REDIS)
    return _one_for_all(request, "cluster", lambda: RedisServer(tmp_path_factory.mktemp("cluster"), cluster=True))


@pytest.fixture(scope="session")
def rabbit_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RabbitServer:
    needs(RABBIT)
    return _one_for_all(request, "rabbit", lambda: RabbitServer(tmp_path_factory.mktemp("rabbit")))


@pytest.fixture
def empty_redis(redis_server: RedisServer) -> RedisServer:
    return emptied(redis_server)


@pytest.fixture
def empty_valkey(valkey_server: RedisServer) -> RedisServer:
    return emptied(valkey_server)


@pytest.fixture
def empty_cluster(cluster_server: RedisServer) -> RedisServer:
    return emptied(cluster_server)


def _one_for_all(request: pytest.FixtureRequest, kind: str, make: Callable[[], _Server]) -> _Server:
    """Return the shared server of this kind. It ends with the test run: each conftest.py has its own fixture."""
    running = request.config.stash.setdefault(_shared, {})
    if kind not in running:
        server = make()
        server.start()
        request.config.add_cleanup(server.kill)
        running[kind] = server
    return running[kind]  # type: ignore[return-value]  # ``make`` of this kind returned it


def emptied(server: RedisServer) -> RedisServer:
    """Delete all data of ``server`` and return it. Resume or restart it first, if a test paused or ended it."""
    if server.alive:
        server.resume()
    else:
        server.kill()
        server.start()
    server.flush()
    return server
