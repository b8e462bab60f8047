"""The one thread of a process that accesses its SQLite file. A batch of operations shares a transaction and its fsync.

So the threads of a process never compete for SQLite's write lock.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from wxbot.errors import StoreUnavailable, WxbotError
from wxbot.store.batch_thread import Job, StoreThread

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
Operation = Callable[[sqlite3.Connection], Any]

BUSY_SECONDS = 3.0
"""Seconds to wait for another process's transaction. Less than the 5 seconds that WeChat waits for the response."""
OPEN_PAUSE = 0.05


class _NotBegun(StoreUnavailable):
    """The transaction could not begin, so no operation has run."""


class SqliteWriter(StoreThread[Operation]):
    """A thread that runs functions on one connection. Each function is applied completely or not at all."""

    def __init__(self, path: Path, *, full_sync: bool) -> None:
        super().__init__("the SQLite store", "wxbot-sqlite")
        self._path = path
        self._full_sync = full_sync
        self._connection: sqlite3.Connection | None = None
        self._synced = False

    def open(self, prepare: Operation) -> None:
        """Open the file, run ``prepare`` and start the thread. Raises StoreUnavailable."""
        try:
            self._open(prepare)
        except (sqlite3.Error, OSError) as error:
            problem = f"cannot open the SQLite store {self._path}: {error}"
            self.disconnect()
            raise StoreUnavailable(
                f"{problem}; check that its folder exists and that this user may write to it"
            ) from None
        except WxbotError:
            self.disconnect()
            raise
        self.start()

    def _open(self, prepare: Operation) -> None:
        # Workers that start on a new file at the same time lock each other out while it changes to WAL mode. SQLite
        # does not wait for that lock, so retry here.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection = self._connect()
                prepare(self._connection)
                return
            except sqlite3.OperationalError as error:
                self.disconnect()
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(OPEN_PAUSE)

    def _connect(self) -> sqlite3.Connection:
        # The file contains users' messages, so other users of this machine must not read it.
        self._path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        result: Result = super().run(operation)
        return result

    async def submit(self, operation: Callable[[sqlite3.Connection], Result], *, durable: bool = True) -> Result:
        result: Result = await super().submit(operation, durable=durable)
        return result

    def work(self, batch: Sequence[Job[Operation]]) -> None:
        try:
            self._transact(batch)
        except _NotBegun as error:  # each operation alone would wait for the same lock
            for job in batch:
                job.outcome = StoreUnavailable(str(error))
        except Exception:  # noqa: BLE001 - one operation failed, so each runs alone
            for job in batch:
                try:
                    self._transact([job])
                except sqlite3.Error as error:
                    job.outcome = StoreUnavailable(f"the SQLite store {self._path} failed: {error}")
                except Exception as error:  # noqa: BLE001 - the caller gets it
                    job.outcome = error

    def _transact(self, batch: Sequence[Job[Operation]]) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - the thread runs between start and stop only
        try:
            self._choose_sync(connection, durable=any(job.durable for job in batch))
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _NotBegun(f"the SQLite store {self._path} failed: {error}") from None
        try:
            for job in batch:
                if not job.abandoned:  # else WeChat got HTTP 500 and delivers the push again
                    job.outcome = job.operation(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _choose_sync(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        wanted = durable and self._full_sync
        if wanted != self._synced:
            connection.execute("PRAGMA synchronous = FULL" if wanted else "PRAGMA synchronous = NORMAL")
            self._synced = wanted


class HasWriter(Protocol):
    """A store that has a writer."""

    writer: SqliteWriter


def method(
    function: Callable[Concatenate[sqlite3.Connection, Arguments], Result], *, durable: bool = True
) -> Callable[Concatenate[HasWriter, Arguments], Coroutine[Any, Any, Result]]:
    """Return a method of a store that runs ``function`` in the writer's thread, inside a transaction."""

    async def run(store: HasWriter, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await store.writer.submit(lambda db: function(db, *args, **kwargs), durable=durable)

    return run
