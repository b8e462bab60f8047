"""Wake-ups on Redis or Valkey, through Dramatiq's own scripts and keys."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from socket import SHUT_RDWR
from threading import Condition, Event
from typing import Any

import redis
from dramatiq import Consumer, MessageProxy, Middleware
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from wxbot.store.redis.address import connection_pool
from wxbot.store.redis.link import explain
from wxbot.wakeups.dramatiq.broker import Outage, WakeupBroker, WakeupConsumer

NAMESPACE = "{wxbot}:hints"
"""The prefix of all keys. The braces put them into one slot of a Redis cluster."""
POLL_SECONDS = 0.02
"""Seconds between two polls of an idle process. A wake-up waits half of this on average. Polling costs 1 % of a CPU."""
POLLING_SECONDS = 0.25
"""Seconds of polling before control returns to Dramatiq's consumer thread."""
HEARTBEAT_SECONDS = 15.0
"""Seconds between two fetches at most. After 60 without one, Dramatiq requeues the messages of this process."""
MISS_MS = 5
"""Longest pause, in milliseconds, after a fetch without a result because another process was faster."""


class RedisWakeupBroker(RedisBroker, WakeupBroker):
    """Dramatiq's Redis broker, with a client that raises only errors that Dramatiq handles.

    Raises ValueError for an invalid address.
    """

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        self._pool = connection_pool(url)
        client = _Client(connection_pool=self._pool)
        super().__init__(client=client, namespace=NAMESPACE, middleware=middleware)  # type: ignore[no-untyped-call]
        self.consuming = Outage()
        self.refusing = Event()
        self._polling_connection: Any = None

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Return the consumer. ``timeout`` is not used (see POLL_SECONDS)."""
        inner = super().consume(queue_name, prefetch, MISS_MS)
        return _RedisConsumer(self, inner, queue_name, prefetch)

    def probe(self, queue_name: str) -> int:
        """Return the queue's size with a script that writes, so a server that rejects wake-ups rejects it too."""
        return int(self.do_qsize(queue_name))

    def wait_for_wakeups(self, queue_name: str, seconds: float) -> bool:
        """Poll for ``seconds`` until the queue contains a wake-up. Return True if it does. For one thread only.

        It runs very often. So it only reads, and it reuses one connection and the encoded command.
        """
        limit = time.monotonic() + seconds
        try:
            connection = self._polling_connection = self._polling_connection or self._pool.get_connection()
            command = connection.pack_command("LLEN", f"{self.namespace}:{queue_name}")
            while not self.refusing.is_set():
                connection.send_packed_command(command, check_health=False)
                if connection.read_response():
                    return True
                self.consuming.ends()
                if time.monotonic() >= limit:
                    break
                time.sleep(POLL_SECONDS)
        except (RedisError, OSError) as error:
            raise _Failed(explain(error)) from None
        return False

    def explain(self, error: Exception) -> str:
        while isinstance(error, BrokerConnectionError) and isinstance(error.message, Exception):
            error = error.message
        return str(error) if isinstance(error, _Failed) else f"wake-ups on Redis failed: {error!r:.200}"

    def disconnect(self) -> None:
        """Close the connection for polling, the only one that is bound to a thread. ``close`` closes the others."""
        connection, self._polling_connection = self._polling_connection, None
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()
            self._pool.release(connection)

    def leave(self, queue_name: str) -> None:
        """Remove this process's heartbeat. Otherwise Dramatiq treats it as dead and scans all keys of the database."""
        with suppress(Exception):
            if not self.client.exists(f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"):
                self.client.zrem(f"{self.namespace}:__heartbeats__", self.broker_id)

    def abort(self) -> None:
        """Shut down the sockets in use. Their threads close them.

        A descriptor that is closed under a thread may belong to another connection before the thread uses it again. If
        redis-py changes its private attributes, its time limits end the calls instead.
        """
        with suppress(RuntimeError):  # another thread changes the set; abort is called again
            for connection in tuple(getattr(self._pool, "_in_use_connections", ())):
                used: Any = getattr(connection, "_sock", None)
                with suppress(OSError, AttributeError):
                    used.shutdown(SHUT_RDWR)

    def close(self) -> None:
        self._pool.disconnect()
        for sentinel in getattr(getattr(self._pool, "sentinel_manager", None), "sentinels", ()):
            sentinel.close()


class _Client(redis.Redis):
    """A client that turns every failure into a ConnectionError, the only error that Dramatiq handles."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except NoScriptError:  # the server lost the script; redis-py loads it again
            raise
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):  # the server is not the master any more; reconnect to the new one
                self.connection_pool.disconnect(inuse_connections=False)
            raise _Failed(explain(error)) from None


class _Failed(redis.ConnectionError):
    """A failure whose text is an explanation for the operator."""


class _RedisConsumer(WakeupConsumer):
    """A consumer that fetches only if the queue contains a wake-up and a worker thread is free.

    Dramatiq's own consumer fetches to poll the queue. Each fetch writes a heartbeat, to the disk and to the replicas,
    and costs twice as much. And while all worker threads are busy it sleeps instead of waiting for one of them.
    """

    def __init__(self, broker: RedisWakeupBroker, inner: Consumer, queue_name: str, prefetch: int) -> None:
        super().__init__(broker, lambda: inner)
        self._broker = broker
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._settled = Condition()
        self._unacknowledged: deque[MessageProxy] = deque()
        self._idle = True
        self._fetch_at = time.monotonic()

    def fetch(self, inner: Consumer) -> MessageProxy | None:
        if not self._has_free_thread() or (self._idle and not self._should_fetch(inner)):
            return None
        self._idle = False
        message = next(inner)
        self.broker.consuming.ends()
        self._idle = message is None
        self._fetch_at = time.monotonic() + HEARTBEAT_SECONDS
        if message is not None:
            self.unsettled.add(message.message_id)
        return message

    def _has_free_thread(self) -> bool:
        with self._settled:
            return self._settled.wait_for(lambda: len(self.unsettled) < self._prefetch, POLL_SECONDS)

    def _should_fetch(self, inner: Consumer) -> bool:
        while self._unacknowledged:
            inner.ack(self._unacknowledged[0])
            self._unacknowledged.popleft()
        return self._broker.wait_for_wakeups(self._queue_name, POLLING_SECONDS) or time.monotonic() >= self._fetch_at

    def reset(self) -> None:
        self._idle = True
        self._broker.disconnect()

    def close(self) -> None:
        """Do nothing, because another thread calls this. The broker closes the connections."""

    def ack(self, message: MessageProxy) -> None:
        super().ack(message)
        with self._settled:
            self._settled.notify()

    def on_settle_failed(self, message: MessageProxy, error: Exception) -> None:
        """Acknowledge the message later. Otherwise Redis would assign it to this process until the process ends."""
        self._unacknowledged.append(message)
