"""Runs one handler, of whatever kind, as a sequence of replies.

``async def`` and async generators run on the event loop; ``def`` and generators in a thread, one step at a time.
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

CLOSING_SECONDS = 1.0
_END = object()


class Step(NamedTuple):
    """What a handler said next: a reply or silence; ``last`` if it is through."""

    reply: Reply | None
    last: bool


class HandlerRun:
    """One handler at work on one message, ``limit`` seconds of its own time at most."""

    def __init__(self, handler: Handler, context: Context, threads: Executor, clock: Clock, limit: float) -> None:
        self._handler = handler
        self._context = context
        self._threads = threads
        self._clock = clock
        self._left = limit
        self.ai = handler.ai
        """The plugin's choice of WeChat's note that an answer was made by AI."""
        self._steps: AsyncIterator[Any] | Iterator[Any] | None = None
        self._abandoned = False

    async def next(self) -> Step:
        """The next step. Raises PluginError for a wrong kind of answer, or what the handler raised.

        TimeoutError means the handler's time is up; one of its own making becomes a PluginError.
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
        except BaseException as error:  # SystemExit, a panic of an extension: these would end more than the handler
            self._abandoned = True
            if _is_for_us(error):
                raise
            problem = type(error).__name__
        finally:
            self._left = max(0.0, self._left - (self._clock.now() - began))
        # Its own doing, and nobody else's conversation may suffer from it.
        raise PluginError(f"handler {self._handler.name} raised {problem}")

    async def close(self) -> None:
        """Let a generator that is not through run its ``finally``."""
        try:
            async with time_limit(self._clock, max(self._left, CLOSING_SECONDS)):
                if isinstance(self._steps, AsyncGenerator):
                    await self._steps.aclose()
                elif isinstance(self._steps, Generator) and not self._abandoned:
                    await self._in_thread(self._steps.close)
        except BaseException as error:
            if _is_for_us(error):
                raise
            log.exception("handler %s failed while it was closed", self._handler.name)

    async def _first_step(self) -> Step:
        function = self._handler.function
        if inspect.iscoroutinefunction(function):
            return Step(self._reply(await function(self._context)), last=True)
        if inspect.isasyncgenfunction(function):
            answer = function(self._context)
        else:
            answer = await self._in_thread(function, self._context)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, AsyncIterator | Iterator):
            self._steps = answer
            return await self._next_step()
        return Step(self._reply(answer), last=True)

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
            hint = "; was an await forgotten?"
        raise PluginError(
            f"handler {self._handler.name} answered with {type(value).__name__},"
            f" which is neither str, a reply nor None{hint}"
        )


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # no future can carry this one: whoever waits would wait for ever
        raise RuntimeError("the handler raised StopIteration") from error


def _is_for_us(error: BaseException) -> bool:
    """Whether ``error`` is somebody's cancelling of this task, and not the handler's own doing."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
