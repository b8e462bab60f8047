"""Fixtures: one server of a kind for each process that runs tests, started when the first test asks for it.

Import them into a conftest.py. However many import them, the servers are the same. What is called ``empty_…`` is the
server of all tests too, without anything that the tests before have left in it. Who harms one mends it with
``emptied``, since not everybody asks for an empty one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol, TypeVar

import pytest

from tests.servers.programs import RABBIT, REDIS, SWITCH, VALKEY, Program, found, required
from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer


class _Runs(Protocol):
    def start(self) -> None: ...
    def kill(self) -> None: ...


_Server = TypeVar("_Server", bound=_Runs)
_shared = pytest.StashKey[dict[str, _Runs]]()


def skip_or_fail(what: str) -> NoReturn:
    """There is no ``what``: the test is skipped and says what to do, or fails where servers are required."""
    sentence = f"there is no {what} here: run `make servers`"
    if required():
        pytest.fail(f"{sentence} ({SWITCH}=required)", pytrace=False)
    pytest.skip(sentence)


def needs(program: Program) -> None:
    """For a test that starts a server of its own."""
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
    """A cluster of one node: it refuses what a larger one would refuse."""
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
    """It ends with the run and not with the fixture, of which there is one for each place that imports it."""
    running = request.config.stash.setdefault(_shared, {})
    if kind not in running:
        server = make()
        server.start()
        request.config.add_cleanup(server.kill)
        running[kind] = server
    return running[kind]  # type: ignore[return-value]  # what ``make`` makes for this kind


def emptied(server: RedisServer) -> RedisServer:
    """Also after a test that has paused or killed it."""
    if server.alive:
        server.resume()
    else:
        server.kill()
        server.start()
    server.flush()
    return server
