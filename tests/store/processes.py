"""Processes that access a store at the same moment. They start slowly, so a module has one set of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from threading import Barrier
from typing import TypeVar

Where = TypeVar("Where")
Result = TypeVar("Result")


class Processes:
    """A pool of ``count`` processes."""

    count = 3

    def __init__(self, pool: ProcessPoolExecutor, manager: SyncManager) -> None:
        self._pool = pool
        self._manager = manager

    def run(self, work: Callable[[Where, Barrier], Result], backend: Where) -> list[Result]:
        """Run ``work`` in each process and return all results. ``work`` must wait for the others at the barrier."""
        ready = self._manager.Barrier(self.count)
        runs = [self._pool.submit(work, backend, ready) for _ in range(self.count)]
        return [run.result(30) for run in runs]


@contextmanager
def running_processes() -> Iterator[Processes]:
    """Start the processes. They end with the block."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(Processes.count, mp_context=context) as pool:
        yield Processes(pool, manager)
