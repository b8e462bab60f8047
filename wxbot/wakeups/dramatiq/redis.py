"""Hints on Redis or Valkey, through Dramatiq's own scripts and keys."""

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
"""Of all keys. What stands in braces makes them one slot of a Redis cluster."""
POLL_SECONDS = 0.02
"""How often an idle process looks whether there are hints: half of it is what a hint waits, and 1 % of a processor
what looking costs."""
LOOK_SECONDS = 0.25
"""For how long it looks at a stretch, before Dramatiq's thread around it has its turn."""
HEARTBEAT_SECONDS = 15.0
"""Dramatiq gives away what a process holds that has fetched nothing for 60 seconds."""
MISS_MS = 5
"""Longest pause after a fetch that found nothing: another process was faster."""


class RedisWakeupBroker(RedisBroker, WakeupBroker):
    """Dramatiq's broker, on a client whose every failure is one that Dramatiq knows.

    Raises ValueError for an address that cannot be read.
    """

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        self._pool = connection_pool(url)
        client = _Client(connection_pool=self._pool)
        super().__init__(client=client, namespace=NAMESPACE, middleware=middleware)  # type: ignore[no-untyped-call]
        self.consuming = Outage()
        self.refusing = Event()
        self._looking: Any = None

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """``timeout`` plays no part: see POLL_SECONDS."""
        inner = super().consume(queue_name, prefetch, MISS_MS)
        return _RedisConsumer(self, inner, queue_name, prefetch)

    def probe(self, queue_name: str) -> int:
        """By a script that writes: what refuses it would refuse a hint too."""
        return int(self.do_qsize(queue_name))

    def wait_for_hints(self, queue_name: str, seconds: float) -> bool:
        """Look again and again for as long, until there is a hint that nobody has fetched. For one thread only.

        Nothing here is asked as often, so it writes nothing, and keeps a connection and the words it sends.
        """
        limit = time.monotonic() + seconds
        try:
            connection = self._looking = self._looking or self._pool.get_connection()
            words = connection.pack_command("LLEN", f"{self.namespace}:{queue_name}")
            while not self.refusing.is_set():
                connection.send_packed_command(words, check_health=False)
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
        return str(error) if isinstance(error, _Failed) else f"the hints on Redis failed: {error!r:.200}"

    def disconnect(self) -> None:
        """Only one connection here is bound to a thread; ``close`` lets go of the others."""
        connection, self._looking = self._looking, None
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()
            self._pool.release(connection)

    def leave(self, queue_name: str) -> None:
        """Without that, Dramatiq's maintenance takes us for dead, and looks through every key of the database once."""
        with suppress(Exception):
            if not self.client.exists(f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"):
                self.client.zrem(f"{self.namespace}:__heartbeats__", self.broker_id)

    def abort(self) -> None:
        """Hang up, and leave the closing to whoever waits: a descriptor that is closed under a thread may be another
        connection's before the thread looks again. (Where redis-py keeps them otherwise, its time limits do the same.)
        """
        with suppress(RuntimeError):  # another thread takes or returns one meanwhile; we are called again
            for connection in tuple(getattr(self._pool, "_in_use_connections", ())):
                used: Any = getattr(connection, "_sock", None)
                with suppress(OSError, AttributeError):
                    used.shutdown(SHUT_RDWR)

    def close(self) -> None:
        self._pool.disconnect()
        for sentinel in getattr(getattr(self._pool, "sentinel_manager", None), "sentinels", ()):
            sentinel.close()


class _Client(redis.Redis):
    """Turns every failure into a ConnectionError with a sentence: the one kind that Dramatiq is prepared for."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except NoScriptError:  # the server has forgotten the script; redis-py loads it again
            raise
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):  # no master any more: the next connection asks who is
                self.connection_pool.disconnect(inuse_connections=False)
            raise _Failed(explain(error)) from None


class _Failed(redis.ConnectionError):
    """The text is a whole explanation."""


class _RedisConsumer(WakeupConsumer):
    """Fetches when there is something to fetch and a thread to work it.

    Dramatiq's own consumer fetches to find out. That writes a heartbeat each time, to the disk and to the replicas,
    and costs twice as much. And while all threads are at work it sleeps instead of waiting for one of them.
    """

    def __init__(self, broker: RedisWakeupBroker, inner: Consumer, queue_name: str, prefetch: int) -> None:
        super().__init__(broker, lambda: inner)
        self._broker = broker
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._room = Condition()
        self._late: deque[MessageProxy] = deque()
        self._idle = True
        self._fetch_at = time.monotonic()

    def take(self, inner: Consumer) -> MessageProxy | None:
        if not self._has_room() or (self._idle and not self._is_worth_it(inner)):
            return None
        self._idle = False
        message = next(inner)
        self.broker.consuming.ends()
        self._idle = message is None
        self._fetch_at = time.monotonic() + HEARTBEAT_SECONDS
        if message is not None:
            self.taken.add(message.message_id)
        return message

    def _has_room(self) -> bool:
        with self._room:
            return self._room.wait_for(lambda: len(self.taken) < self._prefetch, POLL_SECONDS)

    def _is_worth_it(self, inner: Consumer) -> bool:
        while self._late:
            inner.ack(self._late[0])
            self._late.popleft()
        return self._broker.wait_for_hints(self._queue_name, LOOK_SECONDS) or time.monotonic() >= self._fetch_at

    def reset(self) -> None:
        self._idle = True
        self._broker.disconnect()

    def close(self) -> None:
        """Called from another thread. The broker closes the connections."""

    def ack(self, message: MessageProxy) -> None:
        super().ack(message)
        with self._room:
            self._room.notify()

    def not_settled(self, message: MessageProxy, error: Exception) -> None:
        """Else it would lie in Redis, as if it were worked, until this process has ended."""
        self._late.append(message)
