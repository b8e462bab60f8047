"""Addresses of Redis and Valkey: one server, with or without TLS, or the master that Sentinel names.

::

    redis://[[USER]:PASSWORD@]HOST[:6379][/DATABASE]
    rediss://…                                                    the same over TLS
    redis+sentinel://[[USER]:PASSWORD@]HOST[:26379],HOST[:26379]/NAME[/DATABASE]
    rediss+sentinel://…                                           TLS to the servers and to the Sentinels

The options after a ``?`` are passed to redis-py unchanged, for example ``?ssl_ca_certs=/etc/ssl/redis-ca.pem``. With
Sentinel, ``sentinel_username`` and ``sentinel_password`` are the credentials for the Sentinels.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 3.0
"""Time limit for a response. With ``CONNECT_SECONDS`` it is about ``batch_thread.ANSWER_SECONDS``, for which a webhook
thread waits."""
SENTINEL_PORT = 26379


def connection_pool(url: str) -> ConnectionPool:
    """Return a pool of connections to the server at ``url``. It does not connect yet. Connections do not retry.

    Raises ValueError for an invalid address. The text does not quote the address, because it may contain a password.
    """
    _, _, rest = url.partition("://")
    if "@" in re.split("[/?#]", rest, maxsplit=1)[-1] and not re.match("[^/?#]*$", rest):
        raise ValueError("in an address, escape the characters / ? # @ of a password: %2F %3F %23 %40")
    limits: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),  # the caller decides what to retry
    }
    if "+sentinel://" not in url:
        return ConnectionPool(**{**limits, **_options(url)})
    scheme, _, rest = url.partition("+sentinel://")
    user, _, location = rest.rpartition("@")
    hosts, _, path = location.partition("/")
    path, _, query = path.partition("?")
    name, _, database = path.partition("/")
    if not name or not hosts:
        raise ValueError("a Sentinel address must end with the name of the master: redis+sentinel://HOST:26379/NAME")
    options = _options(f"{scheme}://{user}{'@' if user else ''}-/{database}{'?' if query else ''}{query}")
    return _sentinel_pool(unquote(name), hosts.split(","), {**limits, **options})


def _options(url: str) -> dict[str, Any]:
    try:
        return dict(parse_url(url))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise ValueError("the Redis address is invalid; write redis://HOST:6379/0") from None


def _sentinel_pool(name: str, hosts: list[str], options: dict[str, Any]) -> SentinelConnectionPool:
    options.pop("host", None)
    over_tls = options.pop("connection_class", None) is not None
    sentinel_options = {key.removeprefix("sentinel_"): options.pop(key) for key in list(options) if "sentinel_" in key}
    shared = {key: value for key, value in options.items() if key.startswith(("socket_", "ssl_", "protocol", "retry"))}
    to_sentinels = {**shared, "ssl": over_tls, **sentinel_options}
    sentinel = Sentinel([_host_and_port(host) for host in hosts], sentinel_kwargs=to_sentinels)  # type: ignore[no-untyped-call]
    return SentinelConnectionPool(name, sentinel, ssl=over_tls, **options)  # type: ignore[no-untyped-call]


def _host_and_port(host: str) -> tuple[str, int]:
    host, _, port = host.rpartition(":") if host.rpartition(":")[2].isdigit() else (host, "", "")
    return host.strip("[]"), int(port or SENTINEL_PORT)
