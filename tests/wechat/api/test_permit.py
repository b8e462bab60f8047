"""A call whose permit has ended is not written and does not block other calls."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from yarl import URL

from tests.wechat.raw_server import (
    FINE,
    FINE_BODY,
    LOOPS,
    RawServer,
    failure,
    post,
    raw_server,
    run,
    transport,
    until,
)
from wxbot.errors import RequestNotSent
from wxbot.wechat.http.transport import Limits, Transport

pytestmark = pytest.mark.parametrize("loop", LOOPS)


class CountingPermit:
    """A permit that the test can end. ``asked`` counts the calls of it."""

    def __init__(self, *, valid: bool = True) -> None:
        self.valid = valid
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.valid


class Gate:
    """An answer of the server that is sent when the test opens the gate."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        await self.opened.wait()
        writer.write(FINE)


async def call(client: Transport, server: RawServer, permit: CountingPermit, body: bytes = b"{}") -> tuple[int, bytes]:
    return await client.exchange("POST", URL(server.url + "/call"), body, Limits(2, 4), "/call", permit)


async def assert_not_sent(work: asyncio.Future[tuple[int, bytes]]) -> None:
    error = await failure(work)
    assert isinstance(error, RequestNotSent)
    assert str(error) == "/call was not sent: the lease on this conversation expired before the request was written"


async def step() -> None:
    """Let calls that were just started enter the queue and begin to open connections."""
    await asyncio.sleep(0)


def test_the_permit_is_asked_once_directly_before_the_write(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            permit = CountingPermit()
            for n in (1, 2):
                assert await call(client, server, permit) == (200, FINE_BODY)
                assert permit.asked == n
            early = call(client, server, permit, b"early")
            assert early.send(None) is not None  # one step of the coroutine; the loop does not run
            assert permit.asked == 3
            await until(lambda: len(server.requests) == 3)
            early.close()

    run(loop, scene())


def test_a_forbidden_call_leaves_an_idle_connection_idle(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            await post(client, server.url)
            permit = CountingPermit(valid=False)
            await assert_not_sent(asyncio.ensure_future(call(client, server, permit)))
            assert await post(client, server.url, b"next") == (200, FINE_BODY)
            assert (permit.asked, len(server.requests), server.opened) == (1, 2, 1)

    run(loop, scene())


def test_a_forbidden_call_keeps_the_order_of_idle_connections(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate) as server, transport() as client:
            calls = [asyncio.ensure_future(post(client, server.url)) for _ in range(3)]
            await until(lambda: len(server.requests) == 3)
            gate.opened.set()
            await asyncio.gather(*calls)
            await post(client, server.url)
            last_used = server.served_on[-1]
            await assert_not_sent(asyncio.ensure_future(call(client, server, CountingPermit(valid=False))))
            await post(client, server.url)
            assert server.served_on[-1] == last_used

    run(loop, scene())


def test_a_permit_that_ends_while_the_call_waits_for_a_connection(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url, b"first"))
            await until(lambda: len(server.requests) == 1)
            ended, valid = CountingPermit(), CountingPermit()
            waiting = [asyncio.ensure_future(call(client, server, ended, b"ended")) for _ in range(3)]
            last = asyncio.ensure_future(call(client, server, valid, b"last"))
            await step()
            assert (ended.asked, valid.asked) == (0, 0), "the permit must not be asked before the write"
            ended.valid = False
            gate.opened.set()
            for one in waiting:
                await assert_not_sent(one)
            assert await first == await last == (200, FINE_BODY)
            assert (ended.asked, valid.asked) == (3, 1)
            assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [b"first", b"last"]
            assert server.opened == 1

    run(loop, scene())


def test_a_connection_is_idle_if_every_waiting_call_is_forbidden(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url))
            await until(lambda: len(server.requests) == 1)
            second = asyncio.ensure_future(call(client, server, CountingPermit(valid=False)))
            await step()
            gate.opened.set()
            await assert_not_sent(second)
            assert await first == await post(client, server.url) == (200, FINE_BODY)
            assert (len(server.requests), server.opened) == (2, 1)

    run(loop, scene())


def test_a_permit_that_ends_while_a_connection_is_opened(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport(max_connections=1) as client:
            permit = CountingPermit()
            waiting = asyncio.ensure_future(call(client, server, permit))
            await step()
            assert permit.asked == 0
            permit.valid = False
            await assert_not_sent(waiting)
            assert await post(client, server.url) == (200, FINE_BODY)
            assert (len(server.requests), server.opened) == (1, 1)

    run(loop, scene())


def test_the_permit_of_a_cancelled_call_is_not_asked(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url))
            await until(lambda: len(server.requests) == 1)
            permit = CountingPermit()
            waiting = asyncio.ensure_future(call(client, server, permit))
            await step()
            waiting.cancel()
            gate.opened.set()
            await first
            await asyncio.wait({waiting})
            assert await post(client, server.url) == (200, FINE_BODY)
            assert permit.asked == 0

    run(loop, scene())


@pytest.mark.parametrize("connections", [1, 3])
def test_only_the_permitted_calls_of_many_are_written(loop: Any, connections: int) -> None:
    async def scene() -> None:
        chance = random.Random(connections)
        async with raw_server(FINE) as server, transport(max_connections=connections) as client:
            permits = [CountingPermit(valid=chance.random() < 0.5) for _ in range(200)]
            calls = (call(client, server, permit, b"%d" % number) for number, permit in enumerate(permits))
            results = await asyncio.gather(*calls, return_exceptions=True)
            for permit, result in zip(permits, results, strict=True):
                assert permit.asked == 1
                assert isinstance(result, RequestNotSent) if not permit.valid else result == (200, FINE_BODY)
            written = sorted(int(request.partition(b"\r\n\r\n")[2]) for request in server.requests)
            assert written == [number for number, permit in enumerate(permits) if permit.valid]
            assert server.opened <= connections
            assert await post(client, server.url) == (200, FINE_BODY)

    run(loop, scene())
