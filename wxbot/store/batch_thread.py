"""The one thread of a process that talks to its store.

Callers, webhook threads and the event loop alike, hand operations over; the thread works all that have gathered as
one batch. So a burst of messages shares one fsync or one round trip, and the event loop never waits for a disk or a
network.
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
"""How long a webhook thread waits: less than the 5 seconds WeChat waits for our answer."""

Operation = TypeVar("Operation")


class Job(Generic[Operation]):
    """An operation, and in the end its ``outcome``: a result, or the exception for whoever handed it over."""

    __slots__ = ("abandoned", "durable", "operation", "outcome")

    def __init__(self, operation: Operation, durable: bool) -> None:
        self.operation = operation
        self.durable = durable
        self.abandoned = False
        """Nobody waits for it any more, and it must not be done."""
        self.outcome: Any = None


class _BlockingJob(Job[Operation]):
    """An operation that a webhook thread waits for."""

    __slots__ = ("answers",)

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation, durable=True)
        self.answers: SimpleQueue[Any] = SimpleQueue()

    def wait(self, what: str) -> Any:
        try:
            outcome = self.answers.get(timeout=ANSWER_SECONDS)
        except Empty:
            self.abandoned = True
            raise StoreUnavailable(f"{what} gave no answer within {ANSWER_SECONDS} seconds") from None
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
        if self.future.done():  # its coroutine was cancelled meanwhile; the deed is done all the same
            return
        if isinstance(self.outcome, BaseException):
            self.future.set_exception(self.outcome)
        else:
            self.future.set_result(self.outcome)


class StoreThread(ABC, Generic[Operation]):
    """Works operations in the order in which they came. ``what`` names the store in errors."""

    def __init__(self, what: str, name: str) -> None:
        self._what = what
        self._name = name
        self._queue: SimpleQueue[Any] = SimpleQueue()  # of jobs; None means stop
        self._thread: threading.Thread | None = None

    @abstractmethod
    def work(self, batch: Sequence[Job[Operation]]) -> None:
        """Set the outcome of every job. Must not raise."""

    @abstractmethod
    def disconnect(self) -> None:
        """Let go of the file or the connection, if there is one."""

    def start(self) -> None:
        """Begin to take operations."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish what was handed over, then disconnect."""
        if self._thread is not None:
            thread, self._thread = self._thread, None  # from here on nothing more is taken
            self._queue.put(None)
            thread.join()
            self._refuse_latecomers()
        self.disconnect()

    def run(self, operation: Operation) -> Any:
        """Have ``operation`` done durably, and wait for it. For threads other than the event loop's.

        Raises StoreUnavailable, and whatever the operation raises.
        """
        job = _BlockingJob(operation)
        self._handover(job)
        return job.wait(self._what)

    async def submit(self, operation: Operation, *, durable: bool = True) -> Any:
        """Have ``operation`` done, and wait for it without blocking the event loop.

        Not ``durable``: other processes see it and it survives the death of this one, but maybe not a power loss.
        """
        job = _AwaitedJob(operation, durable, asyncio.get_running_loop().create_future())
        self._handover(job)
        return await job.future

    def _handover(self, job: Job[Operation]) -> None:
        if self._thread is None:
            raise StoreUnavailable(f"{self._what} is not open")
        self._queue.put(job)

    def _refuse_latecomers(self) -> None:
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                job.outcome = StoreUnavailable(f"{self._what} was closed")
                _announce([job])

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self.work(batch)
            _announce(batch)

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
                self._queue.put(None)  # stop, but only after this batch
                break
            batch.append(job)
        return batch


def _announce(batch: Sequence[Job[Any]]) -> None:
    """Tell every caller: threads one by one, each event loop once for all of its jobs."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_AwaitedJob[Any]]] = defaultdict(list)
    for job in batch:
        if isinstance(job, _BlockingJob):
            job.answers.put(job.outcome)
        elif isinstance(job, _AwaitedJob):
            by_loop[job.future.get_loop()].append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, jobs)
        except RuntimeError:  # the loop was closed: nobody is waiting any more
            continue


def _settle_all(jobs: Sequence[_AwaitedJob[Any]]) -> None:
    for job in jobs:
        job.settle()
