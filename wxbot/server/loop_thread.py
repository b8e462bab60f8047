"""The thread of a process's event loop: started, stopped and talked to from other threads."""

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
RESTART_SECONDS = 1.0

Result = TypeVar("Result")
Work = Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]]


async def do_nothing(stopping: asyncio.Event, started: Callable[[], None]) -> None:
    """The work of a loop on which nothing runs but what is asked for."""
    started()
    await stopping.wait()


class LoopThread:
    """The thread of the event loop. ``work`` is announced when to stop and tells when it has started.

    Should something end the loop before its time, another one takes its place.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._context = contextvars.copy_context()
        """Of whoever made this: all that runs on the loop has it, whoever asks for it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_requested = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._run,), name="wxbot-loop", daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        self._started.result(START_SECONDS)

    def stop(self) -> None:
        self._stop_requested = True
        if self._stopping is not None:
            self.call(self._stopping.set)
        self._thread.join()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have ``function`` called on the loop, soon."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has just ended by itself
                self._context.copy().run(self._loop.call_soon_threadsafe, function, *arguments)

    def run(self, coroutine: Awaitable[Result], timeout: float | None = None) -> Result:
        """Wait in another thread for the result. Raises StoreUnavailable after ``timeout`` seconds."""

        async def awaited() -> Result:
            return await coroutine

        assert self._loop is not None  # noqa: S101 - set before start() returns
        answer = self._context.copy().run(asyncio.run_coroutine_threadsafe, awaited(), self._loop)
        try:
            return answer.result(timeout)
        except TimeoutError:
            answer.cancel()
            raise StoreUnavailable(f"no answer within {timeout} seconds") from None
        except CancelledError:
            raise StoreUnavailable("the event loop ended") from None

    def _run(self) -> None:
        while not self._stop_requested:
            try:
                with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                    runner.run(self._live())
                return
            except BaseException as error:
                if not self._started.done():
                    self._started.set_exception(error)
                    return
                # Something called sys.exit() in a task of its own, say. The leases it held run out by themselves.
                log.critical("the event loop ended, starting another", exc_info=error)
                time.sleep(RESTART_SECONDS)

    async def _live(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        if self._stop_requested:  # while the loop before it ended
            self._stopping.set()
        await self._work(self._stopping, self._note_start)

    def _note_start(self) -> None:
        if not self._started.done():
            self._started.set_result(None)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where there is one: a tenth less processor time for each message (docs/performance.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
