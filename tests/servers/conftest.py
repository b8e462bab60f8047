"""The server fixtures."""

from __future__ import annotations

from tests.servers.fixtures import cluster_server, empty_cluster, empty_redis, empty_valkey, redis_server, valkey_server

__all__ = ["cluster_server", "empty_cluster", "empty_redis", "empty_valkey", "redis_server", "valkey_server"]
