"""The connection pool: reuse, limits, cancellation and closing. No connection is left open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.wechat.raw_server import (
    FINE,
    FINE_BODY,
    LOOPS,
    SILENCE,
    closing,
    failure,
    late,
    post,
    raw_server,
    run,
    transport,
    until,
)
from wxbot.errors import DeliveryUnknown, RequestNotSent
from wxbot.wechat.http import pool
from wxbot.wechat.http.connection import Connection

pytestmark = pytest.mark.parametrize("loop", LOOPS)

LAST = FINE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n")
BODIES = [b'{"n":%d}' % number for number in range(5)]


@contextmanager
def full_server() -> Iterator[str]:
    """Open a listening socket that accepts no more connections; yield its URL."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            yield f"http://127.0.0.1:{full.getsockname()[1]}"


def test_an_idle_connection_is_written_to_before_the_first_suspension(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport(max_connections=1) as client:
            await post(client, server.url)
            call = post(client, server.url, b"early")
            waiting_for = call.send(None)  # one step of the coroutine; the loop does not run
            assert waiting_for is not None
            await until(lambda: len(server.requests) == 2)
            assert server.requests[1].endswith(b"early")
            call.close()

    run(loop, scene())


@pytest.mark.parametrize("connections", [1, 5])
def test_calls_are_written_in_order(loop: Any, connections: int) -> None:
    async def scene() -> None:
        async with raw_server(late(0.01)) as server, transport(max_connections=connections) as client:
            for _ in range(3):
                await asyncio.gather(*(post(client, server.url, body) for body in BODIES))
            written = [request.partition(b"\r\n\r\n")[2] for request in server.requests]
            if connections == 1:
                assert written == BODIES * 3
            assert server.opened == connections

    run(loop, scene())


def test_the_most_recently_used_connection_is_reused_and_idle_ones_are_closed(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        time = asyncio.get_running_loop().time
        async with raw_server(late(0.02)) as server, transport() as client:
            await asyncio.gather(*(post(client, server.url) for _ in range(4)))
            between = time()
            for _ in range(3):
                await asyncio.sleep(0.15)
                await post(client, server.url)
            assert len(set(server.served_on[-3:])) == 1
            assert (server.opened, server.open_now) == (4, 4)
            monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", time() - between)
            await post(client, server.url)
            await until(lambda: server.open_now == 1)
            monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.01)
            await asyncio.sleep(0.02)
            await post(client, server.url)
            await until(lambda: server.open_now == 1)
            assert server.opened == 5

    run(loop, scene())


@pytest.mark.parametrize("last_bytes", [b"", FINE, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"])
def test_a_connection_that_was_closed_while_idle_is_not_used(loop: Any, last_bytes: bytes) -> None:
    async def answer_then_close(writer: asyncio.StreamWriter) -> None:
        writer.write(FINE)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(last_bytes)
        writer.close()

    async def scene() -> None:
        async with raw_server(answer_then_close) as server, transport() as client:
            for _ in range(3):
                assert await post(client, server.url) == (200, FINE_BODY)
                await until(lambda: server.open_now == 0)
            assert server.opened == 3

    run(loop, scene())


def test_six_hundred_calls_share_fifty_connections(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(late(0.005)) as server, transport(max_connections=50) as client:
            answers = await asyncio.gather(*(post(client, server.url, total=30, connect=30) for _ in range(600)))
            assert answers == [(200, FINE_BODY)] * 600
            assert (server.opened, server.most_open) == (50, 50)

    run(loop, scene())


def test_closed_connections_are_replaced_for_waiting_calls(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(closing(LAST)) as server, transport(max_connections=3) as client:
            answers = await asyncio.gather(*(post(client, server.url) for _ in range(30)))
            assert answers == [(200, FINE_BODY)] * 30
            assert server.opened == 30
            assert server.most_open <= 6  # the server may see the end of one after the start of the next

    run(loop, scene())


def test_without_a_free_connection_in_time_the_call_was_not_sent(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(SILENCE) as server, transport(max_connections=1) as client:
            first = asyncio.ensure_future(failure(post(client, server.url, total=1.0)))
            await until(lambda: len(server.requests) == 1)
            second = await failure(post(client, server.url, connect=0.1, total=5))
            assert isinstance(second, RequestNotSent)
            assert "in time" in str(second)
            assert isinstance(await first, DeliveryUnknown)
            assert len(server.requests) == 1

    run(loop, scene())


def test_without_a_connection_in_time_the_call_was_not_sent(loop: Any) -> None:
    async def scene() -> None:
        with full_server() as url:
            async with transport() as client:
                calls = [failure(post(client, url, connect=0.1, total=60)) for _ in range(5)]
                assert [type(error) for error in (await asyncio.gather(*calls))[1:]] == [RequestNotSent] * 4

    run(loop, scene())


@pytest.mark.parametrize("sent", [b"", FINE[:10], FINE[:-1]])
def test_a_call_without_an_answer_in_time_is_delivery_unknown(loop: Any, sent: bytes) -> None:
    async def scene() -> None:
        async with raw_server(FINE, sent, sent, FINE) as server, transport() as client:
            await post(client, server.url)
            for _ in ("on the idle connection", "on a new one"):
                error = await failure(post(client, server.url, connect=0.3, total=0.4))
                assert isinstance(error, DeliveryUnknown)
                assert "in time" in str(error)
            assert await post(client, server.url) == (200, FINE_BODY)
            assert server.opened == 3

    run(loop, scene())


def test_a_cancelled_call_closes_its_connection(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE, SILENCE, FINE) as server, transport() as client:
            await post(client, server.url)
            call = asyncio.ensure_future(post(client, server.url))
            await until(lambda: len(server.requests) == 2)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            assert await post(client, server.url) == (200, FINE_BODY)
            assert server.opened == 2
            await until(lambda: server.open_now == 1)

    run(loop, scene())


def test_cancelled_calls_do_not_affect_other_calls(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(late(0.003)) as server, transport(max_connections=4) as client:
            calls = [asyncio.ensure_future(post(client, server.url, connect=10, total=10)) for _ in range(60)]
            for call in calls[::3]:
                await asyncio.sleep(0.0007)
                call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [one for index, one in enumerate(results) if index % 3] == [(200, FINE_BODY)] * 40
            assert all(isinstance(one, asyncio.CancelledError | tuple) for one in results)
            assert await post(client, server.url) == (200, FINE_BODY)

    run(loop, scene())


def test_calls_are_cancelled_while_they_wait_for_a_connection(loop: Any) -> None:
    async def scene() -> None:
        with full_server() as url:
            async with transport(max_connections=2) as client:
                calls = [asyncio.ensure_future(post(client, url)) for _ in range(4)]
                await asyncio.sleep(0.05)
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)

    run(loop, scene())


def test_close_fails_running_and_waiting_calls(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(SILENCE) as server, transport(max_connections=2) as client:
            calls = [asyncio.ensure_future(failure(post(client, server.url))) for _ in range(3)]
            await until(lambda: len(server.requests) == 2)
            await client.close()
            assert [type(await call) for call in calls] == [DeliveryUnknown, DeliveryUnknown, RequestNotSent]
            assert isinstance(await failure(post(client, server.url)), RequestNotSent)
            await until(lambda: server.open_now == 0)

    run(loop, scene())


def test_close_cancels_connection_attempts(loop: Any) -> None:
    async def scene() -> None:
        with full_server() as url:
            async with transport() as client:
                calls = [asyncio.ensure_future(failure(post(client, url))) for _ in range(3)]
                await asyncio.sleep(0.05)
                await client.close()
                assert [type(await call) for call in calls][1:] == [RequestNotSent, RequestNotSent]

    run(loop, scene())


@contextmanager
def at_the_first_connection(action: Callable[[], object]) -> Iterator[None]:
    """Run ``action`` once, when the first connection is open and before its attempt continues."""
    on_open, actions = pool.Pool.on_open, [action]

    def patched(self: pool.Pool, connection: Connection) -> None:
        on_open(self, connection)
        if actions:
            actions.pop()()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool.Pool, "on_open", patched)
        yield


def test_close_just_when_a_connection_opens(loop: Any) -> None:
    async def scene() -> None:
        closing_tasks: list[asyncio.Future[None]] = []
        async with raw_server(FINE) as server, transport() as client:
            with at_the_first_connection(lambda: closing_tasks.append(asyncio.ensure_future(client.close()))):
                assert isinstance(await failure(post(client, server.url)), RequestNotSent)
                async with asyncio.timeout(5):
                    await closing_tasks[0]
            await until(lambda: server.open_now == 0)

    run(loop, scene())


def test_a_call_is_cancelled_just_when_its_connection_opens(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport(max_connections=1) as client:
            call = asyncio.ensure_future(post(client, server.url))
            with at_the_first_connection(call.cancel):
                await asyncio.wait({call})
                assert await post(client, server.url) == (200, FINE_BODY)
            assert call.cancelled()
            await until(lambda: server.open_now == 1)

    run(loop, scene())


def test_a_transport_can_be_opened_again(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            for _ in range(2):
                assert await post(client, server.url) == (200, FINE_BODY)
                await client.close()
                await client.open()
            assert server.opened == 2

    run(loop, scene())


def test_a_call_over_ipv6(loop: Any) -> None:
    async def scene() -> None:
        try:
            async with raw_server(FINE, host="::1") as server, transport() as client:
                assert await post(client, server.url) == (200, FINE_BODY)
                assert b"Host: [::1]:" in server.requests[0]
        except OSError:
            pytest.skip("this machine has no IPv6")

    run(loop, scene())
