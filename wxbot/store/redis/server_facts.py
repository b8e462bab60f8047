"""The settings of a Redis server that decide if acknowledged messages can be lost (docs/scaling.md, Persistence)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """The server's persistence settings, from INFO and CONFIG. ``appendfsync`` is empty if CONFIG is not allowed."""

    name: str
    appendonly: bool
    appendfsync: str
    snapshots: bool
    evicts: bool
    maxmemory_policy: str
    replicas: int
    writes_to_disk: bool


@runtime_checkable
class HasServerFacts(Protocol):
    """A store on a Redis server."""

    async def facts(self) -> RedisFacts:
        """Return the server's persistence settings. Raises StoreUnavailable."""
        ...


def facts_from(info: bytes, config: Mapping[str, str]) -> RedisFacts:
    """Return the facts. ``info`` is the response to INFO; ``config`` the one to CONFIG GET, empty if not allowed."""
    values = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    valkey = values.get("valkey_version")
    policy = values.get("maxmemory_policy", "noeviction")
    return RedisFacts(
        name=f"Valkey {valkey}" if valkey else f"Redis {values.get('redis_version', '')}".strip(),
        appendonly=values.get("aof_enabled") == "1",
        appendfsync=config.get("appendfsync", ""),
        snapshots=bool(config.get("save", "")),
        evicts=policy != "noeviction" and values.get("maxmemory", "0") != "0",
        maxmemory_policy=policy,
        replicas=int(values.get("connected_slaves", 0)),
        writes_to_disk=all(
            values.get(name, "ok") == "ok" for name in ("aof_last_write_status", "rdb_last_bgsave_status")
        ),
    )
