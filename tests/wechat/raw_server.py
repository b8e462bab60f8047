"""A server that sends exactly the bytes of a test, and helpers of the transport's tests."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from tests.wechat.support import TOKEN, assert_silent
from wxbot.errors import WeChatError
from wxbot.wechat.http.transport import Limits, Transport

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]

FINE = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"errcode":0}'
FINE_BODY = b'{"errcode":0}'
SILENCE = b""

LOOPS: list[Any] = [asyncio.new_event_loop]
if importlib.util.find_spec("uvloop") is not None:  # not installed everywhere
    LOOPS.append(importlib.import_module("uvloop").new_event_loop)


@dataclass
class RawServer:
    """A server that answers request n with entry n of ``answers``. The last entry answers all further requests."""

    answers: list[Answer]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    served_on: list[int] = field(default_factory=list)
    """The number of each request's connection."""
    opened: int = 0
    open_now: int = 0
    most_open: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            while True:
                await self._one(number, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_now -= 1
            writer.transport.abort()

    async def _one(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        self.requests.append(head + await reader.readexactly(length))
        self.served_on.append(number)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if callable(answer):
            await answer(writer)
        else:
            writer.write(answer)
            await writer.drain()


@asynccontextmanager
async def raw_server(
    *answers: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Yield a RawServer that listens on ``host``."""
    raw = RawServer(list(answers))

    def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(raw.talk(reader, writer))
        raw.tasks.add(task)
        task.add_done_callback(raw.tasks.discard)

    server = await asyncio.start_server(talk, host, 0, ssl=tls, limit=2**20)
    port = server.sockets[0].getsockname()[1]
    raw.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        yield raw
    finally:
        server.close()
        for task in list(raw.tasks):
            task.cancel()
        await asyncio.gather(*raw.tasks, return_exceptions=True)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def transport(**options: Any) -> AsyncIterator[Transport]:
    """Yield an open Transport."""
    made = Transport(**options)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def post(
    client: Transport, base: str, body: bytes = b"{}", *, connect: float = 2.0, total: float = 4.0
) -> Coroutine[Any, Any, tuple[int, bytes]]:
    """Make one call with a token in its URL."""
    url = URL(f"{base}/cgi-bin/call?access_token={TOKEN}")
    return client.exchange("POST", url, body, Limits(connect, total), "/cgi-bin/call")


async def failure(work: Awaitable[object]) -> WeChatError:
    """Return the WeChatError that ``work`` raises, and check that it has no secret."""
    [error] = await asyncio.gather(work, return_exceptions=True)
    assert isinstance(error, WeChatError), f"{error!r}"
    assert error.__context__ is None
    assert_silent(error)
    return error


def run(new_loop: Any, scene: Coroutine[Any, Any, None]) -> None:
    """Run ``scene`` and fail the test if the event loop reports an error."""
    reports: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, report: reports.append(report))
        runner.run(scene)
    assert reports == []


def closing(data: bytes) -> Answer:
    """Return an answer that sends ``data`` and closes the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return answer


def resetting(data: bytes) -> Answer:
    """Return an answer that sends ``data`` and resets the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def byte_by_byte(data: bytes) -> Answer:
    """Return an answer that sends ``data`` byte by byte."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for index in range(len(data)):
            writer.write(data[index : index + 1])
            await writer.drain()
            await asyncio.sleep(0.0005)

    return answer


def late(seconds: float, data: bytes = FINE) -> Answer:
    """Return an answer that sends ``data`` after ``seconds``."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(data)

    return answer


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` is true, at most ten seconds, and then a few milliseconds more."""
    for _ in range(5000):
        if condition():
            break
        await asyncio.sleep(0.002)
    assert condition()
    for _ in range(3):
        await asyncio.sleep(0.002)
