"""The one thread of a process that touches its SQLite file.

Callers, webhook threads and the event loop alike, hand over small functions; the thread runs all that have gathered in
one transaction and commits once. So a burst of messages shares one fsync, the event loop never waits for a disk, and
the threads of a process never fight for SQLite's write lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from wxbot.errors import StoreUnavailable, WxbotError

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Result]

BATCH = 256
BUSY_SECONDS = 3.0
"""How long to wait for another process's transaction: less than the 5 seconds WeChat waits for our answer."""
ANSWER_SECONDS = 4.5
OPEN_PAUSE = 0.05


class _NotBegun(StoreUnavailable):
    """No operation has run."""


class _Job(Protocol):
    operation: Operation[Any]
    durable: bool
    abandoned: bool
    outcome: Any


class _BlockingJob:
    """An operation that a webhook thread waits for."""

    __slots__ = ("abandoned", "answers", "durable", "operation", "outcome")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.durable = True
        self.abandoned = False
        self.outcome: Any = None
        self.answers: SimpleQueue[Any] = SimpleQueue()

    def wait(self) -> Any:
        try:
            outcome = self.answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            self.abandoned = True
            raise StoreUnavailable(f"the SQLite store gave no answer within {ANSWER_SECONDS} seconds") from None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class _AwaitedJob:
    """An operation that a coroutine waits for."""

    __slots__ = ("durable", "future", "operation", "outcome")
    abandoned = False

    def __init__(self, operation: Operation[Any], durable: bool, future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.durable = durable
        self.outcome: Any = None
        self.future = future

    def settle(self) -> None:
        if self.future.done():  # its coroutine was cancelled meanwhile; the deed is done all the same
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


class SqliteWriter:
    """Runs operations on one connection, in the order in which they came."""

    def __init__(self, path: Path, *, full_sync: bool) -> None:
        self._path = path
        self._full_sync = full_sync
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._synced = False

    def start(self, prepare: Operation[None]) -> None:
        """Open the file, run ``prepare`` and start the thread. Raises StoreUnavailable."""
        try:
            self._open(prepare)
        except (sqlite3.Error, OSError) as error:
            problem = f"cannot open the SQLite store {self._path}: {error}"
            self._disconnect()
            raise StoreUnavailable(f"{problem}; does its folder exist, and may this user write there?") from None
        except WxbotError:
            self._disconnect()
            raise
        self._thread = threading.Thread(target=self._run, name="wxbot-sqlite", daemon=True)
        self._thread.start()

    def _open(self, prepare: Operation[None]) -> None:
        # Several workers that start on a new file at once lock each other out of its change to WAL mode, and SQLite
        # does not wait for that by itself.
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._connection = self._connect()
                return prepare(self._connection)
            except sqlite3.OperationalError as error:
                self._disconnect()
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(OPEN_PAUSE)

    def stop(self) -> None:
        """Finish what was handed over, then close the file."""
        if self._thread is not None:
            thread, self._thread = self._thread, None  # from here on nothing more is taken
            self._queue.put(None)
            thread.join()
            self._refuse_latecomers()
        self._disconnect()

    def _refuse_latecomers(self) -> None:
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                job.outcome = StoreUnavailable("the SQLite store was closed")
                _announce([job])

    def run(self, operation: Operation[Result]) -> Result:
        """Run ``operation`` durably and wait for its commit. For threads other than the event loop's."""
        job = _BlockingJob(operation)
        self._hand_over(job)
        result: Result = job.wait()
        return result

    async def submit(self, operation: Operation[Result], *, durable: bool = True) -> Result:
        """Run ``operation`` and wait for its commit without blocking the event loop.

        Not ``durable``: other processes see it and it survives the death of this one, but maybe not a power loss.
        """
        job = _AwaitedJob(operation, durable, asyncio.get_running_loop().create_future())
        self._hand_over(job)
        result: Result = await job.future
        return result

    def _hand_over(self, job: _BlockingJob | _AwaitedJob) -> None:
        if self._thread is None:
            raise StoreUnavailable("the SQLite store is not open")
        self._queue.put(job)

    def _connect(self) -> sqlite3.Connection:
        # Users' messages are in it: nobody else on this machine may read them.
        self._path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._work(batch)
            _announce(batch)

    def _next_batch(self) -> list[Any] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH:
            try:
                job = self._queue.get_nowait()
            except Empty:
                break
            if job is None:
                self._queue.put(None)  # stop, but only after this batch
                break
            batch.append(job)
        return batch

    def _work(self, batch: list[Any]) -> None:
        try:
            self._transact(batch)
        except _NotBegun as error:  # nobody's own fault: waiting for the same lock one by one would take for ever
            for job in batch:
                job.outcome = StoreUnavailable(str(error))
        except Exception:  # noqa: BLE001 - one of them failed: alone, each gets its own verdict
            for job in batch:
                try:
                    self._transact([job])
                except sqlite3.Error as error:
                    job.outcome = StoreUnavailable(f"the SQLite store {self._path} failed: {error}")
                except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller, not to this thread
                    job.outcome = error

    def _transact(self, batch: list[Any]) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 - the thread runs between start and stop only
        try:
            self._choose_sync(connection, durable=any(job.durable for job in batch))
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _NotBegun(f"the SQLite store {self._path} failed: {error}") from None
        try:
            for job in batch:
                if not job.abandoned:  # WeChat has got its 500 and delivers again: keep nothing half
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


def _announce(batch: list[Any]) -> None:
    """Tell every caller: threads one by one, each event loop once for all of its jobs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_AwaitedJob]] = defaultdict(list)
    for job in batch:
        if isinstance(job, _BlockingJob):
            job.answers.put(job.outcome)
        else:
            by_loop[job.future.get_loop()].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, jobs)
        except RuntimeError:  # the loop was closed: nobody is waiting any more
            continue


def _settle_all(jobs: list[_AwaitedJob]) -> None:
    for job in jobs:
        job.settle()
