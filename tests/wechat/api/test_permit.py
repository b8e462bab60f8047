"""A call that waited until somebody else may answer the user is not written, and stands in nobody's way."""

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


class Right:
    """A permit that can run out; ``asked`` counts how often it was asked."""

    def __init__(self, *, valid: bool = True) -> None:
        self.valid = valid
        self.asked = 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.valid


class Gate:
    """A server's answer that comes when the test opens the gate."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter) -> None:
        await self.opened.wait()
        writer.write(FINE)


async def call(client: Transport, server: RawServer, right: Right, body: bytes = b"{}") -> tuple[int, bytes]:
    return await client.exchange("POST", URL(server.url + "/call"), body, Limits(2, 4), "/call", right)


async def refused(work: asyncio.Future[tuple[int, bytes]]) -> None:
    error = await failure(work)
    assert isinstance(error, RequestNotSent)
    assert str(error) == "/call was not sent: the lease on this conversation expired before the request was written"


async def step() -> None:
    """Calls just started come as far as they can: they are in the queue, and their connections are being opened."""
    await asyncio.sleep(0)


def test_it_is_asked_once_directly_before_the_request_is_written(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            right = Right()
            for n in (1, 2):
                assert await call(client, server, right) == (200, FINE_BODY)
                assert right.asked == n
            early = call(client, server, right, b"early")
            assert early.send(None) is not None  # one step, and the loop does not run meanwhile
            assert right.asked == 3
            await until(lambda: len(server.requests) == 3)
            early.close()

    run(loop, scene())


def test_on_an_idle_connection(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            await post(client, server.url)
            right = Right(valid=False)
            await refused(asyncio.ensure_future(call(client, server, right)))
            assert await post(client, server.url, b"next") == (200, FINE_BODY)
            assert (right.asked, len(server.requests), server.opened) == (1, 2, 1)

    run(loop, scene())


def test_idle_connections_keep_their_order(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate) as server, transport() as client:
            calls = [asyncio.ensure_future(post(client, server.url)) for _ in range(3)]
            await until(lambda: len(server.requests) == 3)
            gate.opened.set()
            await asyncio.gather(*calls)
            await post(client, server.url)
            warmest = server.served_on[-1]
            await refused(asyncio.ensure_future(call(client, server, Right(valid=False))))
            await post(client, server.url)
            assert server.served_on[-1] == warmest

    run(loop, scene())


def test_while_it_waits_for_a_connection(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url, b"first"))
            await until(lambda: len(server.requests) == 1)
            lost, kept = Right(), Right()
            waiting = [asyncio.ensure_future(call(client, server, lost, b"lost")) for _ in range(3)]
            last = asyncio.ensure_future(call(client, server, kept, b"last"))
            await step()
            assert (lost.asked, kept.asked) == (0, 0), "what they would say now means nothing"
            lost.valid = False
            gate.opened.set()
            for one in waiting:
                await refused(one)
            assert await first == await last == (200, FINE_BODY)
            assert (lost.asked, kept.asked) == (3, 1)
            assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [b"first", b"last"]
            assert server.opened == 1

    run(loop, scene())


def test_when_nobody_who_waits_may_go_on_the_connection_is_idle(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url))
            await until(lambda: len(server.requests) == 1)
            second = asyncio.ensure_future(call(client, server, Right(valid=False)))
            await step()
            gate.opened.set()
            await refused(second)
            assert await first == await post(client, server.url) == (200, FINE_BODY)
            assert (len(server.requests), server.opened) == (2, 1)

    run(loop, scene())


def test_while_a_connection_is_opened(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport(max_connections=1) as client:
            right = Right()
            waiting = asyncio.ensure_future(call(client, server, right))
            await step()
            assert right.asked == 0
            right.valid = False
            await refused(waiting)
            assert await post(client, server.url) == (200, FINE_BODY)
            assert (len(server.requests), server.opened) == (1, 1)

    run(loop, scene())


def test_whoever_gave_up_is_not_asked(loop: Any) -> None:
    async def scene() -> None:
        gate = Gate()
        async with raw_server(gate, FINE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(post(client, server.url))
            await until(lambda: len(server.requests) == 1)
            right = Right()
            waiting = asyncio.ensure_future(call(client, server, right))
            await step()
            waiting.cancel()
            gate.opened.set()
            await first
            await asyncio.wait({waiting})
            assert await post(client, server.url) == (200, FINE_BODY)
            assert right.asked == 0

    run(loop, scene())


@pytest.mark.parametrize("connections", [1, 3])
def test_a_crowd_of_which_some_may_go_on(loop: Any, connections: int) -> None:
    async def scene() -> None:
        chance = random.Random(connections)
        async with raw_server(FINE) as server, transport(max_connections=connections) as client:
            rights = [Right(valid=chance.random() < 0.5) for _ in range(200)]
            calls = (call(client, server, right, b"%d" % number) for number, right in enumerate(rights))
            results = await asyncio.gather(*calls, return_exceptions=True)
            for right, result in zip(rights, results, strict=True):
                assert right.asked == 1
                assert isinstance(result, RequestNotSent) if not right.valid else result == (200, FINE_BODY)
            written = sorted(int(request.partition(b"\r\n\r\n")[2]) for request in server.requests)
            assert written == [number for number, right in enumerate(rights) if right.valid]
            assert server.opened <= connections
            assert await post(client, server.url) == (200, FINE_BODY)

    run(loop, scene())
