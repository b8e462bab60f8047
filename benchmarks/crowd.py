"""Concurrent users: pushes are prepared beforehand, sent with raw asyncio protocols, and followed until the reply."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

from benchmarks.platform_double import Call, PlatformDouble
from wxbot.testing.envelope import Keys, new_aes_key
from wxbot.testing.envelope import push as envelope

KEYS = Keys(appid="wxbenchmark", token="benchmarktoken", aes_key=new_aes_key())
IN_ORDER = ("Typing", "CancelTyping", "send")
MAX_WAIT = 60.0

_numbers = itertools.count(1)


class Incomplete(Exception):
    """Not all messages of a benchmark were answered, so it has no result."""


@dataclass(slots=True)
class Message:
    """One message of one user: its push, the response and the API calls. Times are monotonic, in seconds."""

    openid: str
    request: bytes
    due_at: float = 0.0
    acknowledged_at: float = 0.0
    answer: bytes = b""
    calls: list[Call] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def when(self, kind: str) -> float:
        """Return when the first call of this kind arrived."""
        return next(call.at for call in self.calls if call.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of the calls for this user, in order."""
        return tuple(call.kind for call in self.calls)

    @property
    def acknowledged(self) -> bool:
        return self.answer.startswith(b"HTTP/1.1 200") and self.answer.endswith(b"success")


def make_messages(count: int, text: str = "你好，请问什么时候发货？", *, keep_alive: bool = False) -> list[Message]:
    """Return ``count`` encrypted XML pushes, each from a different user."""
    made = []
    for number in itertools.islice(_numbers, count):
        openid = f"oBench{os.getpid()}-{number:08d}"
        now = str(int(time.time()))
        fields = {
            "ToUserName": "gh_benchmark",
            "FromUserName": openid,
            "CreateTime": int(now),
            "MsgType": "text",
            "Content": text,
            "MsgId": 24_000_000_000_000_000 + number,
        }
        query, body = envelope(fields, KEYS, "safe", "xml", now, f"{number:09d}")
        head = (
            f"POST /wechat?{urlencode(query)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/4.0\r\n"
            f"Accept: */*\r\nPragma: no-cache\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        made.append(Message(openid, head.encode() + body))
    return made


class Connections(Protocol):
    """The connections that carry pushes to the bot."""

    async def exchange(self, request: bytes) -> bytes: ...


class NewConnections:
    """Connections that carry one push each."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def exchange(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_connection(lambda: _Exchange(loop), "127.0.0.1", self._port)
        try:
            transport.write(request)
            return await exchange.answered
        finally:
            transport.close()


class KeepAliveConnections:
    """Keep-alive connections. The requests must ask for keep-alive too."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.Transport, _Exchange]] = []

    async def exchange(self, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        self._free = [(transport, exchange) for transport, exchange in self._free if not transport.is_closing()]
        if self._free:
            transport, exchange = self._free.pop()
        else:
            transport, exchange = await loop.create_connection(lambda: _Exchange(loop), "127.0.0.1", self._port)
        exchange.begin()
        transport.write(request)
        answer = await exchange.answered
        self._free.append((transport, exchange))
        return answer

    def close(self) -> None:
        for transport, _ in self._free:
            transport.close()


class _Exchange(asyncio.Protocol):
    """A reader of one response. Every response of the measured servers has a Content-Length."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.begin()

    def begin(self) -> None:
        self.answered: asyncio.Future[bytes] = self._loop.create_future()
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if found and len(body) >= _length(head) and not self.answered.done():
            self.answered.set_result(self._read)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_result(self._read)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


class Crowd:
    """The users of one server. ``answers``: follow each message on the platform until its reply."""

    def __init__(self, platform: PlatformDouble, connections: Connections, *, answers: bool = True) -> None:
        self._connections = connections
        self._answers = answers
        self._messages: dict[str, Message] = {}
        self.waiting = 0
        self.max_waiting = 0
        platform.on_call = self._on_call

    async def keep_in_flight(self, planned: Sequence[Message], in_flight: int) -> float:
        """Send all messages, ``in_flight`` unanswered at the same time. Return the seconds until all were answered."""
        began = time.monotonic()
        queue = iter(planned)

        async def user() -> None:
            for message in queue:
                message.due_at = time.monotonic()
                await self._send(message)

        await self._all(user() for _ in range(in_flight))
        return time.monotonic() - began

    async def arrive(self, planned: Sequence[Message], per_second: float) -> float:
        """Send all messages at a constant rate, independent of the bot. Return the seconds until all were answered."""
        began = time.monotonic()
        tasks = []
        for number, message in enumerate(planned):
            message.due_at = began + number / per_second
            delay = message.due_at - time.monotonic()
            if delay > 0.001:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(self._send(message)))
        await self._all(tasks)
        return time.monotonic() - began

    async def _all(self, work: Iterable[Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(asyncio.gather(*work), MAX_WAIT)
        except TimeoutError:
            left = sum(not message.done.is_set() for message in self._messages.values())
            raise Incomplete(f"{left} messages were not answered in {MAX_WAIT:g} s") from None

    async def _send(self, message: Message) -> None:
        self._messages[message.openid] = message
        message.answer = await self._connections.exchange(message.request)
        message.acknowledged_at = time.monotonic()
        if not message.acknowledged:
            raise Incomplete(f"a push was answered {message.answer[:60]!r}")
        if self._answers:
            await message.done.wait()

    def _on_call(self, openid: str, call: Call) -> None:
        message = self._messages.get(openid)
        if message is None:
            return
        message.calls.append(call)
        if call.kind == "Typing":
            self.waiting += 1
            self.max_waiting = max(self.max_waiting, self.waiting)
        elif call.kind == "send":
            self.waiting -= 1
            message.done.set()
