"""Test all kinds of handlers and their failures: a failure affects only the handler's own user."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from wxbot.errors import PluginError
from wxbot.model.messages import TextMessage
from wxbot.model.replies import Reply, TextReply
from wxbot.plugin.context import Context
from wxbot.plugin.handler_run import HandlerRun
from wxbot.plugin.plugin import Handler
from wxbot.testing import ManualClock

LIMIT = 10.0
T = TypeVar("T")


class Stage:
    """A clock, threads and one message for the run of a handler."""

    def __init__(self, threads: Executor) -> None:
        self.clock = ManualClock()
        self.threads = threads

    def run(self, function: Callable[[Context], Any]) -> HandlerRun:
        message = TextMessage(appid="wx1", openid="oALICE", account="gh_1", created_at=0, received_at=0, text="hi")
        handler = Handler("shop", function, lambda _: True, "text")
        return HandlerRun(handler, Context(message, "shop"), self.threads, self.clock, LIMIT)

    async def time_passes(self, seconds: float) -> None:
        """Advance the clock as soon as a timer waits for it."""
        await settle()
        assert self.clock.timers, "no timer is set"
        self.clock.advance(seconds)
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def on_stage(play: Callable[[Stage], Coroutine[Any, Any, T]]) -> T:
    """Run ``play`` with real threads, and assert that no thread and no task is left."""

    async def watched() -> T:
        with ThreadPoolExecutor(2) as threads:
            result = await play(Stage(threads))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(watched())


async def answers_of(run: HandlerRun) -> list[Reply | None]:
    """Return all replies of a handler, fetched as the pipeline fetches them."""
    said = []
    try:
        while not (step := await run.next()).last:
            said.append(step.reply)
    finally:
        await run.close()
    return [*said, step.reply]


def replies_of(function: Callable[[Context], Any]) -> list[str | None]:
    async def play(stage: Stage) -> list[Reply | None]:
        return await answers_of(stage.run(function))

    return [text_of(reply) for reply in on_stage(play)]


def text_of(reply: Reply | None) -> str | None:
    return reply.text if isinstance(reply, TextReply) else None


def error_of(function: Callable[[Context], Any]) -> BaseException:
    """Return the error that the pipeline gets. It must be an Exception, or it would end the process."""

    async def play(stage: Stage) -> None:
        await answers_of(stage.run(function))

    with pytest.raises(Exception) as caught:  # noqa: PT011 - the callers check it
        on_stage(play)
    return caught.value


# -- the ways to write a handler


async def coroutine(ctx: Context) -> str:
    await asyncio.sleep(0)
    return ctx.text


def plain(ctx: Context) -> str:
    return ctx.text


async def asynchronous_generator(ctx: Context) -> AsyncIterator[str]:
    yield ctx.text
    await asyncio.sleep(0)
    yield "there"


def generator(ctx: Context) -> Iterator[str]:
    yield ctx.text
    yield "there"


def returns_awaitable(ctx: Context) -> Awaitable[str]:
    return coroutine(ctx)


def returns_async_generator(ctx: Context) -> AsyncIterator[str]:
    return asynchronous_generator(ctx)


def iterator(ctx: Context) -> Iterator[str]:
    return map(str, (ctx.text, "there"))


async def with_more(more: str, ctx: Context) -> str:
    return more + ctx.text


class Callables:
    def __call__(self, ctx: Context) -> str:
        return ctx.text

    async def method(self, ctx: Context) -> str:
        return ctx.text


class AsynchronousCallable:
    async def __call__(self, ctx: Context) -> str:
        return ctx.text


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (coroutine, ["hi"]),
        (plain, ["hi"]),
        (lambda ctx: ctx.text, ["hi"]),
        (functools.partial(with_more, "oh "), ["oh hi"]),
        (functools.partial(plain), ["hi"]),
        (Callables(), ["hi"]),
        (Callables().method, ["hi"]),
        (AsynchronousCallable(), ["hi"]),
        (returns_awaitable, ["hi"]),
        (asynchronous_generator, ["hi", "there", None]),
        (generator, ["hi", "there", None]),
        (returns_async_generator, ["hi", "there", None]),
        (functools.partial(generator), ["hi", "there", None]),
        (iterator, ["hi", "there", None]),
    ],
)
def test_every_kind_of_handler_runs(function: Callable[[Context], Any], expected: list[str | None]) -> None:
    assert replies_of(function) == expected


def test_a_reply_object_is_sent_unchanged() -> None:
    assert replies_of(lambda ctx: TextReply("hi")) == ["hi"]


def test_none_is_a_valid_reply() -> None:
    def silent_parts(ctx: Context) -> Iterator[str | None]:
        yield None
        yield "hi"

    assert replies_of(lambda ctx: None) == [None]
    assert replies_of(silent_parts) == [None, "hi", None]
    assert replies_of(lambda ctx: iter(())) == [None]


def test_plain_functions_do_not_block_the_event_loop() -> None:
    """Run two handlers in threads that can end only if the event loop goes on."""
    goes_on = threading.Event()

    def waits(ctx: Context) -> str:
        assert goes_on.wait(10), "the loop stands still"
        return threading.current_thread().name

    def waits_and_yields(ctx: Context) -> Iterator[str]:
        assert goes_on.wait(10), "the loop stands still"
        yield threading.current_thread().name

    async def play(stage: Stage) -> list[list[Reply | None]]:
        runs = [asyncio.create_task(answers_of(stage.run(function))) for function in (waits, waits_and_yields)]
        await settle()
        goes_on.set()
        return [await run for run in runs]

    replies = [reply for replies in on_stage(play) for reply in replies if reply is not None]
    assert len(replies) == 2
    assert threading.current_thread().name not in {text_of(reply) for reply in replies}


# -- wrong answers


def return_value(value: Any) -> Callable[[Context], Any]:
    async def status(ctx: Context) -> Any:
        return value

    return status


def yield_value(value: Any) -> Callable[[Context], Any]:
    async def status(ctx: Context) -> AsyncIterator[Any]:
        yield value

    return status


def return_value_in_thread(value: Any) -> Callable[[Context], Any]:
    def status(ctx: Context) -> Any:
        return value

    return status


def yield_value_in_thread(value: Any) -> Callable[[Context], Any]:
    def status(ctx: Context) -> Iterator[Any]:
        yield value

    return status


every_way = pytest.mark.parametrize(
    "status", [return_value, yield_value, return_value_in_thread, yield_value_in_thread]
)


@every_way
@pytest.mark.parametrize("wrong", [42, b"hi", True, {"text": "hi"}, ["hi", "there"], ("hi",), object()])
def test_a_reply_of_a_wrong_type_raises_an_error_with_the_name_of_the_handler(
    status: Callable[[Any], Callable[[Context], Any]], wrong: Any
) -> None:
    error = error_of(status(wrong))
    assert isinstance(error, PluginError)
    assert str(error).startswith(f"handler shop.status returned {type(wrong).__name__}; ")
    assert "await" not in str(error)


@pytest.mark.parametrize("status", [return_value, yield_value, yield_value_in_thread])
def test_the_error_suggests_a_missing_await(status: Callable[[Any], Callable[[Context], Any]]) -> None:
    """Close the coroutine too: Python's warning "was never awaited" would fail this test."""

    async def fetch() -> str:
        return "never fetched"

    error = error_of(status(fetch()))
    assert isinstance(error, PluginError)
    assert str(error).startswith("handler shop.status returned coroutine; ")
    assert str(error).endswith("; is an await missing?")


# -- failures


def raising(error: BaseException) -> dict[str, Callable[[Context], Any]]:
    """Return a handler of each kind that raises ``error``."""

    async def in_coroutine(ctx: Context) -> str:
        raise error

    async def in_asynchronous_generator(ctx: Context) -> AsyncIterator[str]:
        yield "first"
        raise error

    def in_thread(ctx: Context) -> str:
        raise error

    def in_generator(ctx: Context) -> Iterator[str]:
        yield "first"
        raise error

    def in_returned_awaitable(ctx: Context) -> Awaitable[str]:
        return in_coroutine(ctx)

    kinds = (in_coroutine, in_asynchronous_generator, in_thread, in_generator, in_returned_awaitable)
    return {kind.__name__: kind for kind in kinds}


kinds = pytest.mark.parametrize("kind", list(raising(Exception())))


@kinds
def test_an_exception_of_the_handler_is_passed_on(kind: str) -> None:
    error = ValueError("no such order")
    assert error_of(raising(error)[kind]) is error


@kinds
@pytest.mark.parametrize("stop", [StopIteration, StopAsyncIteration])
def test_a_raised_stop_iteration_is_a_failure(kind: str, stop: type[Exception]) -> None:
    """Turn StopIteration into another error, because a future cannot hold it and its awaiter would wait for ever."""
    error = error_of(raising(stop("over"))[kind])
    assert isinstance(error, RuntimeError | stop)


@kinds
@pytest.mark.parametrize("base_exception", [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_a_base_exception_ends_only_the_handler(kind: str, base_exception: type[BaseException]) -> None:
    error = error_of(raising(base_exception())[kind])
    assert isinstance(error, PluginError)
    assert str(error) == f"handler shop.{kind} raised {base_exception.__name__}"


@kinds
def test_a_timeout_raised_by_the_handler_is_its_own_error(kind: str) -> None:
    """Report a timeout of a fetch as the handler's error, not as the handler's own timeout."""
    error = error_of(raising(TimeoutError("orders did not answer"))[kind])
    assert isinstance(error, PluginError)
    assert f"handler shop.{kind} raised TimeoutError('orders did not answer')" in str(error)
    assert isinstance(error.__cause__, TimeoutError)


def test_an_asyncio_timeout_in_the_handler_is_its_own_error() -> None:
    async def times_out(ctx: Context) -> str:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return "never"

    assert "handler shop.times_out raised TimeoutError" in str(error_of(times_out))


def test_a_cancellation_by_wxbot_is_passed_on() -> None:
    async def play(stage: Stage) -> None:
        work = asyncio.create_task(answers_of(stage.run(wait_for_ever)))
        await stage.time_passes(1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    on_stage(play)


# -- time


async def wait_for_ever(ctx: Context) -> str:
    await asyncio.Event().wait()
    return "never"


async def say_one_thing_and_wait(ctx: Context) -> AsyncIterator[str]:
    yield "first"
    await asyncio.Event().wait()


def return_awaitable_that_waits(ctx: Context) -> Awaitable[str]:
    return wait_for_ever(ctx)


@pytest.mark.parametrize("function", [wait_for_ever, say_one_thing_and_wait, return_awaitable_that_waits])
def test_a_handler_on_the_event_loop_times_out(function: Callable[[Context], Any]) -> None:
    async def play(stage: Stage) -> None:
        work = asyncio.create_task(answers_of(stage.run(function)))
        await stage.time_passes(LIMIT - 0.1)
        assert not work.done()
        await stage.time_passes(0.2)
        with pytest.raises(TimeoutError):
            await work

    on_stage(play)


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_handler_in_a_thread_times_out(in_parts: bool) -> None:
    """Return at the timeout, although the thread itself cannot be stopped."""
    let_go = threading.Event()

    def waits(ctx: Context) -> str:
        let_go.wait(10)
        return "too late"

    def waits_in_parts(ctx: Context) -> Iterator[str]:
        yield "first"
        let_go.wait(10)
        yield "too late"

    async def play(stage: Stage) -> None:
        work = asyncio.create_task(answers_of(stage.run(waits_in_parts if in_parts else waits)))
        await stage.time_passes(LIMIT - 0.1)
        assert not work.done()
        await stage.time_passes(0.2)
        try:
            with pytest.raises(TimeoutError):
                await work
        finally:
            let_go.set()

    on_stage(play)


def test_the_timeout_covers_all_steps_together() -> None:
    async def play(stage: Stage) -> list[str]:
        said = []

        async def works(ctx: Context) -> AsyncIterator[str]:
            while True:
                await stage.clock.sleep(4)
                yield "part"

        run = stage.run(works)
        for _ in range(2):
            step = asyncio.create_task(run.next())
            await stage.time_passes(4)
            said.append((await step).reply)
        last = asyncio.create_task(run.next())
        await stage.time_passes(2)
        with pytest.raises(TimeoutError):
            await last
        await run.close()
        return [reply.text for reply in said if isinstance(reply, TextReply)]

    assert on_stage(play) == ["part", "part"]


def test_the_time_between_steps_does_not_count() -> None:
    """Count only the handler's own time, not that of a slow send."""

    async def play(stage: Stage) -> str:
        run = stage.run(asynchronous_generator)
        await run.next()
        stage.clock.advance(LIMIT * 5)
        step = await run.next()
        await run.close()
        assert isinstance(step.reply, TextReply)
        return step.reply.text

    assert on_stage(play) == "there"


def test_no_timer_is_left() -> None:
    async def play(stage: Stage) -> int:
        for function in (coroutine, plain, generator, asynchronous_generator):
            await answers_of(stage.run(function))
        return stage.clock.timers

    assert on_stage(play) == 0


# -- the end


def test_close_runs_finally(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def asynchronous(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            await asyncio.sleep(0)
            ended.append("asynchronous")

    def in_thread(ctx: Context) -> Iterator[str]:
        try:
            yield "first"
            yield "second"
        finally:
            ended.append(threading.current_thread().name)

    async def play(stage: Stage) -> None:
        for function in (asynchronous, in_thread, iterator, coroutine):
            run = stage.run(function)
            await run.next()
            await run.close()
            await run.close()

    on_stage(play)
    assert ended[0] == "asynchronous"
    assert ended[1] != threading.current_thread().name, "a plain generator is closed in a thread as well"
    assert len(ended) == 2
    assert caplog.records == []


def test_a_timeout_runs_finally() -> None:
    ended = []

    async def works(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def play(stage: Stage) -> None:
        work = asyncio.create_task(answers_of(stage.run(works)))
        await stage.time_passes(LIMIT)
        with pytest.raises(TimeoutError):
            await work

    on_stage(play)
    assert ended == [True]


def raising_at_the_end(error: BaseException, in_thread: bool) -> Callable[[Context], Any]:
    async def fails_in_finally(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "first"
        finally:
            raise error

    def fails_in_finally_in_thread(ctx: Context) -> Iterator[str]:
        try:
            yield "first"
        finally:
            raise error

    return fails_in_finally_in_thread if in_thread else fails_in_finally


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_failure_during_close_is_only_logged(
    error: type[BaseException], in_thread: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(stage: Stage) -> None:
        run = stage.run(raising_at_the_end(error("fails_in_finally"), in_thread))
        await run.next()
        await run.close()

    on_stage(play)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("handler failed while it was closed: handler=shop.fails_in_finally")


def test_close_has_a_timeout(caplog: pytest.LogCaptureFixture) -> None:
    async def waits_in_finally(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "first"
        finally:
            await asyncio.Event().wait()

    async def play(stage: Stage) -> None:
        run = stage.run(waits_in_finally)
        await run.next()
        closing = asyncio.create_task(run.close())
        await stage.time_passes(LIMIT)
        await closing

    on_stage(play)
    assert "TimeoutError" in caplog.text


def test_a_cancellation_of_close_is_passed_on() -> None:
    async def waits_in_finally(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "first"
        finally:
            await asyncio.Event().wait()

    async def play(stage: Stage) -> None:
        run = stage.run(waits_in_finally)
        await run.next()
        closing = asyncio.create_task(run.close())
        await stage.time_passes(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    on_stage(play)


def test_a_generator_that_yields_during_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def yields_again(ctx: Context) -> Generator[str, None, None]:
        for _ in range(2):
            with contextlib.suppress(GeneratorExit):
                yield "still here"

    async def play(stage: Stage) -> None:
        run = stage.run(yields_again)
        await run.next()
        await run.close()

    on_stage(play)
    assert "generator ignored GeneratorExit" in caplog.text
