"""Sentinels that watch a master and its replicas, at a pace for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.servers.processes import wait_until
from tests.servers.redis_node import RedisNode
from tests.servers.redis_server import RedisServer

# Sentinel asks every ten seconds, and when it finds that it was slow, it does nothing for half a minute: a test would
# wait for that. Quicker is not better. What a replica told five pings ago makes it no candidate, and while its master
# is down it is asked once a second. And a new master is made a replica again by a Sentinel that has not heard of its
# election for four greetings; only as long as they do not know each other may they greet more often.
_PACE = ("info-period", 200, "ping-period", 400, "ask-period", 100, "tilt-period", 1000)
GREETING_MS = 1000
STRANGERS_GREETING_MS = 100
FAILOVER_TIMEOUT_MS = 3000
"""Another failover is begun only after twice this time."""


class Sentinel(RedisNode):
    """One of them. It is the server's program in another mode."""

    def start(self) -> None:
        super().start()
        self.cli("SENTINEL", "DEBUG", *_PACE)
        self.greets_every(GREETING_MS)

    def greets_every(self, milliseconds: int) -> None:
        self.cli("SENTINEL", "DEBUG", "publish-period", milliseconds)

    def announced(self, name: str) -> int:
        """The port of the master."""
        return int(self.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)[1])


class Sentinels:
    """``count`` Sentinels for ``master`` and its ``replicas``, which run already. As RedisServer, a context manager."""

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
        places = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"{self._first.scheme}+sentinel://{self._first.user}{places}/{self.name}/0{self._first.query}"

    @property
    def sentinels(self) -> Sequence[Sentinel]:
        """Each of them, to be killed and started again."""
        return self._sentinels

    @property
    def ports(self) -> list[int]:
        return [sentinel.port for sentinel in self._sentinels]

    @property
    def master(self) -> RedisServer:
        """Whom the Sentinels call the master. Raises AssertionError while they do not agree."""
        announced = self._announced()
        assert len(announced) == 1, f"{announced or 'nobody'} is announced:\n{self.story()}"
        return self._servers[announced.pop()]

    def start(self) -> None:
        """Start, and wait until each of them knows all the others and all the replicas."""
        try:
            for sentinel in self._sentinels:
                sentinel.start()
                sentinel.greets_every(STRANGERS_GREETING_MS)
            wait_until(self._know_each_other, self.story)
            for sentinel in self._sentinels:
                sentinel.greets_every(GREETING_MS)
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
        """Have another master, by SENTINEL FAILOVER or by the death of the old one, and wait until all announce it."""
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
            told = sentinel.cli("SENTINEL", "MASTER", self.name)
            if (int(told["num-other-sentinels"]), int(told["num-slaves"])) != (others, replicas):
                return False
        return True
