"""The one connection of a process to its Redis. A batch of commands is one pipeline and costs one round trip."""

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
"""Seconds to wait for replicas."""
TIME_SECONDS = 2.0
"""Minimum seconds between two requests for the server's time. The request is sent together with a batch."""


@dataclass(frozen=True, slots=True)
class Command(Generic[Result]):
    """A Redis command, and the function that reads its response."""

    words: tuple[Argument, ...]
    read: Callable[[Any], Result]


class RedisLink(StoreThread[Command[Any]]):
    """A thread that runs commands on one connection. It connects when needed and reconnects after a loss.

    ``scripts`` are loaded into the server with every new connection. ``on_time`` is called with the server's time. A
    durable command succeeds only if ``replicas`` replicas have it too.
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
        """Connect and start the thread. Raises StoreUnavailable with a text that explains the problem."""
        try:
            self._connect()
        except Exception as error:  # noqa: BLE001 - redis-py raises a bare TypeError for some addresses
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
            job.outcome = _NO_RESPONSE
        try:
            self._work(wanted)
        except Exception as error:  # noqa: BLE001 - no error may end the thread
            reason = explain(error)
            self.disconnect()
            for job in wanted:
                if job.outcome is _NO_RESPONSE:
                    job.outcome = StoreUnavailable(reason)
        for job in wanted:
            _read(job)

    def _work(self, jobs: Sequence[Job[Command[Any]]]) -> None:
        if self._connection is not None and self._was_closed():
            self.disconnect()
        if self._connection is None:
            self._connect()
        missing_script = self._exchange(jobs)
        if missing_script:
            self._load_scripts()
            for job in self._exchange(missing_script):
                job.outcome = StoreUnavailable("Redis lost the scripts right after they were loaded")
        durable = [job for job in jobs if job.durable and isinstance(job.outcome, _Response)]
        if durable and self._replicas:
            self._wait_for_replicas(durable)
        if any(isinstance(job.outcome, _NoMaster) for job in jobs):
            self.disconnect()  # the next connection goes to the current master

    def _connect(self) -> None:
        self._connection = self._pool.get_connection()
        self._asked_time_at = float("-inf")
        self._load_scripts()
        self._exchange([])

    def _was_closed(self) -> bool:
        """Return True if the server closed the connection, for example in a restart.

        No response is expected now, so readable data can only mean that.
        """
        try:
            return bool(self._connection.can_read())
        except redis.exceptions.ConnectionError:
            return True

    def _load_scripts(self) -> None:
        self._send([("SCRIPT", "LOAD", script) for script in self._scripts])
        for _ in self._scripts:
            self._connection.read_response()

    def _exchange(self, jobs: Sequence[Job[Command[Any]]]) -> list[Job[Command[Any]]]:
        """Send all commands, then read all responses. Return the jobs whose script the server does not have."""
        asked_at = elapsed()
        ask_time = asked_at - self._asked_time_at >= TIME_SECONDS
        self._send([*([("TIME",)] if ask_time else []), *(job.operation.words for job in jobs)])
        if ask_time:
            self._pass_time_on(self._connection.read_response(), asked_at)
        missing_script: list[Job[Command[Any]]] = []
        for job in jobs:
            try:
                job.outcome = _Response(self._connection.read_response())
            except NoScriptError:
                missing_script.append(job)
            except ReadOnlyError as error:
                job.outcome = _NoMaster(explain(error))
            except ResponseError as error:
                job.outcome = StoreUnavailable(explain(error))
        return missing_script

    def _wait_for_replicas(self, durable: Sequence[Job[Command[Any]]]) -> None:
        self._send([("WAIT", self._replicas, round(REPLICA_SECONDS * 1000))])
        replicas = int(self._connection.read_response())
        if replicas < self._replicas:
            for job in durable:  # the message is stored; a redelivery is acknowledged once replicas respond
                job.outcome = StoreUnavailable(f"only {replicas} replica(s) have the message (WXBOT_REDIS_REPLICAS)")

    def _send(self, commands: Sequence[tuple[Argument, ...]]) -> None:
        self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    def _pass_time_on(self, answer: Sequence[bytes], asked_at: float) -> None:
        self._asked_time_at = elapsed()
        if self._on_time is not None:
            self._on_time(int(answer[0]) + int(answer[1]) / 1e6, asked_at, self._asked_time_at)


_NO_RESPONSE = object()


class _NoMaster(StoreUnavailable):
    """The connected server is a read-only replica."""


class _Response:
    """A response that is not decoded yet. All responses are received before one of them may fail to decode."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _read(job: Job[Command[Any]]) -> None:
    if isinstance(job.outcome, _Response):
        try:
            job.outcome = job.operation.read(job.outcome.value)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            job.outcome = error


def explain(error: Exception) -> str:
    """Return an error text for the operator: what is wrong with the server, and what to do."""
    text = " ".join(str(error).split())[:200].rstrip(".")
    for kinds, sentence in _EXPLANATIONS:
        if isinstance(error, kinds):
            return sentence.format(text)
    if "compiling script" in text:
        return "this Redis is too old: use Redis 7 or newer, or Valkey"
    if text.startswith("MISCONF"):
        return f"Redis cannot write to its disk and rejects writes: {text}"
    if not isinstance(error, RedisError):
        return f"the Redis address cannot be used ({type(error).__name__}: {text})"
    return f"Redis failed: {text}"


_EXPLANATIONS: Sequence[tuple[tuple[type[Exception], ...], str]] = (
    ((MasterNotFoundError,), "Sentinel is unreachable or knows no master of that name; check the address"),
    (
        (AuthenticationError, AuthorizationError, NoPermissionError),
        "Redis denied access: {}; check user and password in the address, and the user's permissions",
    ),
    ((BusyLoadingError,), "Redis is still loading its data"),
    ((OutOfMemoryError,), "Redis has no memory left (maxmemory) and rejects writes"),
    ((ReadOnlyError,), "this Redis is a read-only replica; use the address of the master"),
    ((redis.exceptions.TimeoutError, TimeoutError), "Redis did not answer in time: {}"),
    (
        (redis.exceptions.ConnectionError, OSError),
        "Redis cannot be reached: {}; check that it runs and that the address is right",
    ),
)
