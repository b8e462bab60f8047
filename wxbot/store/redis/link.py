"""The one connection of a process to its Redis: what has gathered travels as one pipeline, in one round trip."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.sentinel import MasterNotFoundError

from wxbot.clock import elapsed
from wxbot.errors import StoreUnavailable
from wxbot.store.batch_thread import Job, StoreThread
from wxbot.store.redis.address import connection_pool

log = logging.getLogger("wxbot.store")

Result = TypeVar("Result")
Argument = str | bytes | int
OnTime = Callable[[float, float, float], None]

REPLICA_SECONDS = 1.0
"""How long to wait for replicas."""
TIME_SECONDS = 2.0
"""How often the server is asked for its time, at most: with a batch that is on its way anyway."""


@dataclass(frozen=True, slots=True)
class Command(Generic[Result]):
    """A command of Redis, and how its answer is read."""

    words: tuple[Argument, ...]
    read: Callable[[Any], Result]


class RedisLink(StoreThread[Command[Any]]):
    """Runs commands on one connection, which is made when it is needed and made anew when it is lost.

    ``scripts`` are loaded into the server with every new connection. ``on_time`` hears the server's time. What is
    durable is only done once ``replicas`` replicas have it too.
    """

    def __init__(self, url: str, scripts: Sequence[str], on_time: OnTime | None = None, replicas: int = 0) -> None:
        super().__init__("the Redis store", "wxbot-redis")
        self._replicas = replicas
        self._pool = connection_pool(url)
        self._scripts = scripts
        self._on_time = on_time
        self._asked_time_at = float("-inf")
        self._connection: Any = None

    def open(self) -> None:
        """Connect and start the thread. Raises StoreUnavailable, or whatever is wrong with the server, in words."""
        try:
            self._connect()
        except Exception as error:  # noqa: BLE001 - redis-py meets some faults of an address with a bare TypeError
            self.disconnect()
            raise StoreUnavailable(explain(error)) from None
        self.start()

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)
        self._pool.disconnect()

    def run(self, operation: Command[Result]) -> Result:
        result: Result = super().run(operation)
        return result

    async def submit(self, operation: Command[Result], *, durable: bool = False) -> Result:
        result: Result = await super().submit(operation, durable=durable)
        return result

    def work(self, batch: Sequence[Job[Command[Any]]]) -> None:
        wanted = [job for job in batch if not job.abandoned]
        for job in wanted:
            job.outcome = _UNANSWERED
        try:
            self._work(wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is must not end the thread
            reason = explain(error)
            self.disconnect()
            for job in wanted:
                if job.outcome is _UNANSWERED:
                    job.outcome = StoreUnavailable(reason)
        for job in wanted:
            _read(job)

    def _work(self, jobs: Sequence[Job[Command[Any]]]) -> None:
        if self._connection is not None and self._was_closed():
            self.disconnect()
        if self._connection is None:
            self._connect()
        forgotten = self._exchange(jobs)
        if forgotten:
            self._load_scripts()
            for job in self._exchange(forgotten):
                job.outcome = StoreUnavailable("Redis forgets our scripts again and again")
        promised = [job for job in jobs if job.durable and isinstance(job.outcome, _Answer)]
        if promised and self._replicas:
            self._wait_for_replicas(promised)
        if any(isinstance(job.outcome, _NoMaster) for job in jobs):
            self.disconnect()  # the next connection goes to whoever is the master by then

    def _connect(self) -> None:
        self._connection = self._pool.get_connection()
        self._asked_time_at = float("-inf")
        self._load_scripts()
        self._exchange([])

    def _was_closed(self) -> bool:
        """While nothing is asked for, all that can come is the server's farewell: it was restarted, say."""
        try:
            return bool(self._connection.can_read())
        except redis.exceptions.ConnectionError:
            return True

    def _load_scripts(self) -> None:
        self._send([("SCRIPT", "LOAD", script) for script in self._scripts])
        for _ in self._scripts:
            self._connection.read_response()

    def _exchange(self, jobs: Sequence[Job[Command[Any]]]) -> list[Job[Command[Any]]]:
        """Send all, then read all; those whose script the server has forgotten come back."""
        asked_at = elapsed()
        ask_time = asked_at - self._asked_time_at >= TIME_SECONDS
        self._send([*([("TIME",)] if ask_time else []), *(job.operation.words for job in jobs)])
        if ask_time:
            self._hear_time(self._connection.read_response(), asked_at)
        forgotten: list[Job[Command[Any]]] = []
        for job in jobs:
            try:
                job.outcome = _Answer(self._connection.read_response())
            except NoScriptError:
                forgotten.append(job)
            except ReadOnlyError as error:
                job.outcome = _NoMaster(explain(error))
            except ResponseError as error:
                job.outcome = StoreUnavailable(explain(error))
        return forgotten

    def _wait_for_replicas(self, promised: Sequence[Job[Command[Any]]]) -> None:
        self._send([("WAIT", self._replicas, round(REPLICA_SECONDS * 1000))])
        there = int(self._connection.read_response())
        if there < self._replicas:
            for job in promised:  # it is in the store, and a redelivery that meets the replicas will be acknowledged
                job.outcome = StoreUnavailable(f"only {there} replica(s) have the message (WXBOT_REDIS_REPLICAS)")

    def _send(self, commands: Sequence[tuple[Argument, ...]]) -> None:
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    def _hear_time(self, answer: Sequence[bytes], asked_at: float) -> None:
        self._asked_time_at = elapsed()
        if self._on_time is not None:
            self._on_time(int(answer[0]) + int(answer[1]) / 1e6, asked_at, self._asked_time_at)


_UNANSWERED = object()


class _NoMaster(StoreUnavailable):
    """We are connected to a server that only copies another one."""


class _Answer:
    """What the server said, not read yet: all answers are taken off the wire before any of them may fail."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _read(job: Job[Command[Any]]) -> None:
    if isinstance(job.outcome, _Answer):
        try:
            job.outcome = job.operation.read(job.outcome.value)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller, not to this thread
            job.outcome = error


def explain(error: Exception) -> str:
    """What is wrong with the server, and what to do, for the person who runs the bot."""
    text = " ".join(str(error).split())[:200].rstrip(".")
    for kinds, sentence in _EXPLANATIONS:
        if isinstance(error, kinds):
            return sentence.format(text)
    if "compiling script" in text:
        return "this Redis is too old: wxbot needs Redis 7 or newer, or Valkey"
    if text.startswith("MISCONF"):
        return f"Redis cannot write to its disk and takes nothing new: {text}"
    if not isinstance(error, RedisError):
        return f"the Redis address cannot be used ({type(error).__name__}: {text})"
    return f"Redis failed: {text}"


_EXPLANATIONS: Sequence[tuple[tuple[type[Exception], ...], str]] = (
    ((MasterNotFoundError,), "Sentinel knows no master by that name, or cannot be reached"),
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        "Redis refuses us: {}; check user, password and rights in the address",
    ),
    ((BusyLoadingError,), "Redis is loading its data and takes nothing yet"),
    ((OutOfMemoryError,), "Redis has no memory left (maxmemory) and takes nothing new"),
    ((ReadOnlyError,), "this Redis is a read-only replica; the address must lead to the master"),
    ((redis.exceptions.TimeoutError, TimeoutError), "Redis did not answer in time: {}"),
    (
        (redis.exceptions.ConnectionError, OSError),
        "Redis cannot be reached: {}; does it run, and is the address right?",
    ),
)
