"""A real Redis or Valkey on a free port of 127.0.0.1, for one test or shared by all tests."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from tests.servers.certificates import make_certificates
from tests.servers.processes import Port, wait_until
from tests.servers.redis_node import Flavour, RedisNode

SLOTS = 16384
NO_OPTIONS: Mapping[str, str] = {}


class RedisServer(RedisNode):
    """A server with its data in ``folder``.

    ``options`` are settings of its configuration file, which override those below. A replica has its master's password
    and certificates. With ``cluster`` it is a cluster of one node, which has all slots.
    """

    def __init__(
        self,
        folder: Path,
        *,
        flavour: Flavour = "redis",
        password: str = "",
        tls: bool = False,
        appendonly: bool = True,
        appendfsync: str = "everysec",
        cluster: bool = False,
        replica_of: RedisServer | None = None,
        options: Mapping[str, str] = NO_OPTIONS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if replica_of is not None:
            password, certificates = replica_of.password, replica_of.certificates
        else:
            certificates = make_certificates(folder) if tls else None
        self._bus = Port() if cluster else None
        self._replica = replica_of is not None
        settings = {
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            **_FAST,
            **_with_password(password),
            **(_cluster(self._bus, tls) if self._bus else {}),
            **({"replicaof": f"127.0.0.1 {replica_of.port}"} if replica_of else {}),
            **options,
        }
        super().__init__(folder, settings, flavour=flavour, password=password, certificates=certificates)

    def start(self) -> None:
        """Start with the data in the folder, and wait until it answers commands.

        A new replica also gets its master's data first, and a cluster serves its slots.
        """
        is_new = not (self.folder / "node.conf").exists()
        super().start()
        try:
            if is_new and self._replica:
                self.wait_until_in_sync()
            if self._bus is not None:
                self._wait_until_slots_are_served(is_new)
        except BaseException:
            self.kill()
            raise

    @property
    def role(self) -> str:
        """Return ``master`` or ``slave``, as INFO reports it; empty if the server does not answer."""
        return str(self._replication().get("role", ""))

    def restart(self) -> None:
        self.stop()
        self.start()

    def flush(self) -> None:
        """Delete all data, functions and scripts. Settings made by CONFIG SET stay."""
        with self._client() as client:
            for words in (("FLUSHALL", "SYNC"), ("FUNCTION", "FLUSH", "SYNC"), ("SCRIPT", "FLUSH", "SYNC")):
                client.execute_command(*words)

    def wait_until_in_sync(self) -> None:
        """Wait until this replica has its master's data."""
        wait_until(lambda: self._replication().get("master_link_status") == "up", self.story)

    def _replication(self) -> dict[str, Any]:
        """Return INFO replication; empty if the server does not answer."""
        with suppress(redis.ConnectionError, redis.TimeoutError):
            return dict(self.cli("INFO", "replication"))
        return {}

    def _wait_until_slots_are_served(self, is_new: bool) -> None:
        if is_new:
            self.cli("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(lambda: "cluster_state:ok" in self.cli("CLUSTER", "INFO"), self.story)


_FAST = {
    "save": '""',  # no snapshots: the tests use the append-only file only
    "shutdown-timeout": "1",  # because a master waits ten seconds by default for a replica that a test has paused
    "repl-diskless-sync-delay": "0",
    "enable-debug-command": "local",
}


def _with_password(password: str) -> dict[str, str]:
    return {"requirepass": f'"{password}"', "masterauth": f'"{password}"'} if password else {}


def _cluster(bus: Port, tls: bool) -> dict[str, str]:
    return {
        "cluster-enabled": "yes",
        "cluster-port": str(bus.number),
        "cluster-announce-ip": "127.0.0.1",
        "tls-cluster": "yes" if tls else "no",
    }
