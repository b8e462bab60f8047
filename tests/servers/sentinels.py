"""Sentinels that monitor a master and its replicas, with short intervals for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.servers.processes import wait_until
from tests.servers.redis_node import RedisNode
from tests.servers.redis_server import RedisServer

# By default Sentinel polls every ten seconds, and does nothing for half a minute after it was delayed, which is too
# slow for a test. Shorter intervals than these fail. A replica is no candidate if its last INFO is older than five
# pings, and while its master is down Sentinel asks for INFO once a second. A Sentinel that has not heard of an election
# for four hello messages turns the new master into a replica again, so hello messages may be more frequent only
# until the Sentinels know each other.
_INTERVALS = ("info-period", 200, "ping-period", 400, "ask-period", 100, "tilt-period", 1000)
HELLO_MS = 1000
FIRST_HELLO_MS = 100
FAILOVER_TIMEOUT_MS = 3000
"""The next failover begins after twice this time at the earliest."""


class Sentinel(RedisNode):
    """A Sentinel: the server's program in another mode."""

    def start(self) -> None:
        super().start()
        self.cli("SENTINEL", "DEBUG", *_INTERVALS)
        self.sends_hello_every(HELLO_MS)

    def sends_hello_every(self, milliseconds: int) -> None:
        self.cli("SENTINEL", "DEBUG", "publish-period", milliseconds)

    def announced(self, name: str) -> int:
        """Return the port of the master."""
        return int(self.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[1])


class Sentinels:
    """A context manager with ``count`` Sentinels for ``master`` and its ``replicas``, which must be running."""

    def __init__(
        self,
        folder: Path,
        master: RedisServer,
        replicas: Sequence[RedisServer],
        *,
        count: int = 3,
        quorum: int = 2,
        name: str = "mymaster",
        down_after_ms: int = 500,
    ) -> None:
        self.name = name
        self._first = master
        self._servers = {server.port: server for server in (master, *replicas)}
        watch = {
            "sentinel monitor": f"{name} 127.0.0.1 {master.port} {quorum}",
            "sentinel down-after-milliseconds": f"{name} {down_after_ms}",
            "sentinel failover-timeout": f"{name} {FAILOVER_TIMEOUT_MS}",
            **({"sentinel auth-pass": f'{name} "{master.password}"'} if master.password else {}),
        }
        self._sentinels = [
            Sentinel(
                folder / f"sentinel-{number}",
                watch,
                flavour=master.flavour,
                certificates=master.certificates,
                mode=["--sentinel"],
            )
            for number in range(1, count + 1)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        addresses = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"{self._first.scheme}+sentinel://{self._first.user}{addresses}/{self.name}/0{self._first.query}"

    @property
    def sentinels(self) -> Sequence[Sentinel]:
        """Return the Sentinels, so that a test can kill and start one."""
        return self._sentinels

    @property
    def ports(self) -> list[int]:
        return [sentinel.port for sentinel in self._sentinels]

    @property
    def master(self) -> RedisServer:
        """Return the master. Raises AssertionError while the Sentinels do not agree on one."""
        announced = self._announced()
        assert len(announced) == 1, f"the Sentinels announce {len(announced)} masters: {announced}:\n{self.story()}"
        return self._servers[announced.pop()]

    def start(self) -> None:
        """Start all Sentinels, and wait until each knows the others and all replicas."""
        try:
            for sentinel in self._sentinels:
                sentinel.start()
                sentinel.sends_hello_every(FIRST_HELLO_MS)
            wait_until(self._know_each_other, self.story)
            for sentinel in self._sentinels:
                sentinel.sends_hello_every(HELLO_MS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        for sentinel in self._sentinels:
            sentinel.stop()

    def kill(self) -> None:
        for sentinel in self._sentinels:
            sentinel.kill()

    def fail_over(self, *, kill: bool = False) -> RedisServer:
        """Fail over by SENTINEL FAILOVER or by killing the master. Return the new master when all announce it."""
        old = self.master
        if kill:
            old.kill()
        else:
            self._sentinels[0].cli("SENTINEL", "FAILOVER", self.name)
        wait_until(lambda: self._agree_on_another(old), self.story)
        new = self.master
        wait_until(lambda: new.role == "master", new.story)
        return new

    def story(self) -> str:
        return "\n".join(sentinel.story() for sentinel in self._sentinels)

    def _announced(self) -> set[int]:
        return {sentinel.announced(self.name) for sentinel in self._sentinels if sentinel.alive}

    def _agree_on_another(self, old: RedisServer) -> bool:
        announced = self._announced()
        return len(announced) == 1 and old.port not in announced

    def _know_each_other(self) -> bool:
        others, replicas = len(self._sentinels) - 1, len(self._servers) - 1
        for sentinel in self._sentinels:
            state = sentinel.cli("SENTINEL", "MASTER", self.name)
            if (int(state["num-other-sentinels"]), int(state["num-slaves"])) != (others, replicas):
                return False
        return True
