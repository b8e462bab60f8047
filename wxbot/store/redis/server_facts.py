"""What a Redis server says of itself: what an acknowledged message is worth there (docs/scaling.md, Persistence)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """Read from INFO and CONFIG. ``appendfsync`` is empty where the server does not let us read its settings."""

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
    """A store that is a Redis."""

    async def facts(self) -> RedisFacts:
        """What the server says of itself. Raises StoreUnavailable."""
        ...


def facts_from(info: bytes, config: Mapping[str, str]) -> RedisFacts:
    """``info`` is the answer to INFO; ``config`` what CONFIG GET told, if it may be asked."""
    told = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    valkey = told.get("valkey_version")
    policy = told.get("maxmemory_policy", "noeviction")
    return RedisFacts(
        name=f"Valkey {valkey}" if valkey else f"Redis {told.get('redis_version', '')}".strip(),
        appendonly=told.get("aof_enabled") == "1",
        appendfsync=config.get("appendfsync", ""),
        snapshots=bool(config.get("save", "")),
        evicts=policy != "noeviction" and told.get("maxmemory", "0") != "0",
        maxmemory_policy=policy,
        replicas=int(told.get("connected_slaves", 0)),
        writes_to_disk=all(
            told.get(name, "ok") == "ok" for name in ("aof_last_write_status", "rdb_last_bgsave_status")
        ),
    )
