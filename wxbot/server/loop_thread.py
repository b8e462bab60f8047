"""The thread that runs a process's event loop. Other threads start it, stop it and call functions on it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from wxbot.errors import StoreUnavailable

log = logging.getLogger("wxbot.loop")

START_SECONDS = 10.0
"""Time limit for the start of the event loop, in seconds."""
RESTART_SECONDS = 1.0
"""Pause before an event loop that ended unexpectedly is replaced, in seconds."""

Result = TypeVar("Result")
Work = Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]]


async def wait_until_stopped(stopping: asyncio.Event, started: Callable[[], None]) -> None:
    """Keep the loop running for ``LoopThread.call`` and ``LoopThread.run``, without work of its own."""
    started()
    await stopping.wait()


class LoopThread:
    """The thread of the event loop. It runs ``work``, which gets an event that is set when it must stop, and a function
    to call when it has started.

    If the loop ends without ``stop``, the thread starts another loop.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        """The context of the thread that made this object. Everything on the loop runs in a copy of it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_requested = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._run,), name="wxbot-loop", daemon=True
        )

    def start(self) -> None:
        """Start the thread and wait until ``work`` has started. Raises the error that prevented the start."""
        self._thread.start()
        self._started.result(START_SECONDS)

    def stop(self) -> None:
        """Tell ``work`` to stop, and wait until the thread has ended."""
        self._stop_requested = True
        if self._stopping is not None:
            self.call(self._stopping.set)
        self._thread.join()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Schedule a call of ``function`` on the loop, and return immediately."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has just ended unexpectedly
                self._context.copy().run(self._loop.call_soon_threadsafe, function, *arguments)

    def run(self, coroutine: Awaitable[Result], timeout: float | None = None) -> Result:
        """Run ``coroutine`` on the loop, and wait in the calling thread for its result.

        Raises StoreUnavailable after ``timeout`` seconds, or if the loop ended.
        """

        async def awaited() -> Result:
            return await coroutine

        assert self._loop is not None  # noqa: S101 - set before start() returns
        future = self._context.copy().run(asyncio.run_coroutine_threadsafe, awaited(), self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise StoreUnavailable(f"no answer within {timeout} seconds") from None
        except CancelledError:
            raise StoreUnavailable("the event loop ended") from None

    def _run(self) -> None:
        while not self._stop_requested:
            try:
                with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                    runner.run(self._run_work())
                return
            except BaseException as error:
                if not self._started.done():
                    self._started.set_exception(error)
                    return
                # A plugin may have called sys.exit() in a task, for example. The leases of the ended loop expire.
                log.critical("event loop ended unexpectedly, starting another", exc_info=error)
                time.sleep(RESTART_SECONDS)

    async def _run_work(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._stop_requested:  # ``stop`` was called while no loop was running
            self._stopping.set()
        await self._work(self._stopping, self._on_start)

    def _on_start(self) -> None:
        if not self._started.done():
            self._started.set_result(None)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop if it is installed, else asyncio's loop. uvloop needs less CPU (docs/performance.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
