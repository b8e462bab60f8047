"""Run a handler of any kind as a sequence of replies.

An ``async def`` handler and an async generator run on the event loop. A ``def`` handler and a generator run in a
thread, one step at a time.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

from wxbot.clock import Clock, time_limit
from wxbot.errors import PluginError
from wxbot.model.replies import Reply, TextReply
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Handler

log = logging.getLogger("wxbot.handlers")

MIN_CLOSE_SECONDS = 1.0
"""Minimum seconds that a generator gets for its ``finally``, even if the handler's time is over."""

_END = object()


class Step(NamedTuple):
    """One step of a handler: a reply, or None for no reply. ``last``: the handler is done."""

    reply: Reply | None
    last: bool


class HandlerRun:
    """The run of one handler for one message. ``limit``: maximum time of the handler itself, in seconds."""

    def __init__(self, handler: Handler, context: Context, threads: Executor, clock: Clock, limit: float) -> None:
        self._handler = handler
        self._context = context
        self._threads = threads
        self._clock = clock
        self._left = limit
        self.ai = handler.ai
        """The plugin's AI mark: show WeChat's note that AI made the reply."""
        self._steps: AsyncIterator[Any] | Iterator[Any] | None = None
        self._abandoned = False

    async def next(self) -> Step:
        """Return the next step. Raises PluginError for a wrong type of reply, and any exception of the handler.

        TimeoutError means that the handler's time is over; a TimeoutError of the handler itself becomes a PluginError.
        """
        began = self._clock.now()
        try:
            async with time_limit(self._clock, self._left) as limit:
                try:
                    return await (self._first_step() if self._steps is None else self._next_step())
                except TimeoutError as error:
                    if limit.expired():
                        raise
                    raise PluginError(f"handler {self._handler.name} raised {error!r}") from error
        except TimeoutError:
            self._abandoned = True
            raise
        except Exception:
            raise
        except BaseException as error:  # SystemExit or a panic of an extension would end more than the handler
            self._abandoned = True
            if _is_our_cancellation(error):
                raise
            problem = type(error).__name__
        finally:
            self._left = max(0.0, self._left - (self._clock.now() - began))
        # An error of the handler must not affect other conversations.
        raise PluginError(f"handler {self._handler.name} raised {problem}")

    async def close(self) -> None:
        """Close a generator that is not done, so that its ``finally`` runs."""
        try:
            async with time_limit(self._clock, max(self._left, MIN_CLOSE_SECONDS)):
                if isinstance(self._steps, AsyncGenerator):
                    await self._steps.aclose()
                elif isinstance(self._steps, Generator) and not self._abandoned:
                    await self._in_thread(self._steps.close)
        except BaseException as error:
            if _is_our_cancellation(error):
                raise
            log.exception("handler failed while it was closed: handler=%s", self._handler.name)

    async def _first_step(self) -> Step:
        function = self._handler.function
        if inspect.iscoroutinefunction(function):
            return Step(self._reply(await function(self._context)), last=True)
        if inspect.isasyncgenfunction(function):
            result = function(self._context)
        else:
            result = await self._in_thread(function, self._context)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, AsyncIterator | Iterator):
            self._steps = result
            return await self._next_step()
        return Step(self._reply(result), last=True)

    async def _next_step(self) -> Step:
        if isinstance(self._steps, AsyncIterator):
            value = await anext(self._steps, _END)
        else:
            value = await self._in_thread(next, self._steps, _END)
        return Step(None, last=True) if value is _END else Step(self._reply(value), last=False)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        work = partial(contextvars.copy_context().run, _call, function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _reply(self, value: Any) -> Reply | None:
        if isinstance(value, str):
            return TextReply(value)
        if value is None or isinstance(value, Reply):
            return value
        hint = ""
        if inspect.iscoroutine(value):
            value.close()
            hint = "; is an await missing?"
        raise PluginError(
            f"handler {self._handler.name} returned {type(value).__name__}; it must return a str, a reply or None{hint}"
        )


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # a future cannot hold StopIteration, and its awaiter would wait without end
        raise RuntimeError("the handler raised StopIteration") from error


def _is_our_cancellation(error: BaseException) -> bool:
    """Return True if wxbot cancelled this task; False if the handler raised ``error`` itself."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
