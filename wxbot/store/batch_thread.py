"""The one thread of a process that accesses its store.

Webhook threads and coroutines queue their operations. The thread runs all queued operations as one batch. So a burst of
messages shares one fsync or one round trip, and the event loop never waits for a disk or a network.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from wxbot.errors import StoreUnavailable

BATCH = 256
ANSWER_SECONDS = 4.5
"""Seconds that a webhook thread waits. It is less than the 5 seconds that WeChat waits for the response."""

Operation = TypeVar("Operation")


class Job(Generic[Operation]):
    """An operation and its ``outcome``: the result, or the exception to raise in the caller."""

    __slots__ = ("abandoned", "durable", "operation", "outcome")

    def __init__(self, operation: Operation, durable: bool) -> None:
        self.operation = operation
        self.durable = durable
        self.abandoned = False
        """True if the caller has stopped waiting. Then the operation must not run."""
        self.outcome: Any = None


class _BlockingJob(Job[Operation]):
    """An operation that a webhook thread waits for."""

    __slots__ = ("outcomes",)

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation, durable=True)
        self.outcomes: SimpleQueue[Any] = SimpleQueue()

    def wait(self, store_name: str) -> Any:
        try:
            outcome = self.outcomes.get(timeout=ANSWER_SECONDS)
        except Empty:
            self.abandoned = True
            raise StoreUnavailable(f"{store_name} gave no answer within {ANSWER_SECONDS} seconds") from None
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class _AwaitedJob(Job[Operation]):
    """An operation that a coroutine waits for."""

    __slots__ = ("future",)

    def __init__(self, operation: Operation, durable: bool, future: asyncio.Future[Any]) -> None:
        super().__init__(operation, durable)
        self.future = future

    def settle(self) -> None:
        if self.future.done():  # the coroutine was cancelled; the operation has run nevertheless
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


class StoreThread(ABC, Generic[Operation]):
    """A thread that runs operations in the order of their arrival. ``store_name`` is for error texts."""

    def __init__(self, store_name: str, thread_name: str) -> None:
        self._store_name = store_name
        self._thread_name = thread_name
        self._queue: SimpleQueue[Any] = SimpleQueue()  # jobs; None stops the thread
        self._thread: threading.Thread | None = None

    @abstractmethod
    def work(self, batch: Sequence[Job[Operation]]) -> None:
        """Set the outcome of every job. Must not raise."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close the file or the connection, if it is open."""

    def start(self) -> None:
        """Start the thread. Operations are accepted from now on."""
        self._thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Run the operations that are queued, then disconnect."""
        if self._thread is not None:
            thread, self._thread = self._thread, None  # from now on no operation is accepted
            self._queue.put(None)
            thread.join()
            self._refuse_queued_jobs()
        self.disconnect()

    def run(self, operation: Operation) -> Any:
        """Run ``operation`` durably and block until it is done. Must not be called in the event loop's thread.

        Raises StoreUnavailable, and every exception of the operation.
        """
        job = _BlockingJob(operation)
        self._enqueue(job)
        return job.wait(self._store_name)

    async def submit(self, operation: Operation, *, durable: bool = True) -> Any:
        """Run ``operation`` and wait for it without blocking the event loop.

        Without ``durable``, its effect is visible to other processes and survives the end of this process, but a power
        loss may lose it.
        """
        job = _AwaitedJob(operation, durable, asyncio.get_running_loop().create_future())
        self._enqueue(job)
        return await job.future

    def _enqueue(self, job: Job[Operation]) -> None:
        if self._thread is None:
            raise StoreUnavailable(f"{self._store_name} is not open")
        self._queue.put(job)

    def _refuse_queued_jobs(self) -> None:
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                job.outcome = StoreUnavailable(f"{self._store_name} was closed")
                _deliver_outcomes([job])

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self.work(batch)
            _deliver_outcomes(batch)

    def _next_batch(self) -> list[Job[Operation]] | None:
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
                self._queue.put(None)  # stop after this batch
                break
            batch.append(job)
        return batch


def _deliver_outcomes(batch: Sequence[Job[Any]]) -> None:
    """Give every caller its outcome. Call each event loop once for all its jobs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_AwaitedJob[Any]]] = defaultdict(list)
    for job in batch:
        if isinstance(job, _BlockingJob):
            job.outcomes.put(job.outcome)
        elif isinstance(job, _AwaitedJob):
            by_loop[job.future.get_loop()].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, jobs)
        except RuntimeError:  # the loop is closed, so no coroutine waits
            continue


def _settle_all(jobs: Sequence[_AwaitedJob[Any]]) -> None:
    for job in jobs:
        job.settle()
