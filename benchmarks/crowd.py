"""Users who write at once: pushes made ready beforehand, sent by raw protocols, followed until they are answered."""

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
PATIENCE = 60.0

_numbers = itertools.count(1)


class Incomplete(Exception):
    """A benchmark whose messages were not all answered has no result."""


@dataclass(slots=True)
class Visit:
    """One message of one user: the request, and what came of it (times are monotonic)."""

    openid: str
    request: bytes
    due_at: float = 0.0
    acknowledged_at: float = 0.0
    answer: bytes = b""
    calls: list[Call] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def when(self, kind: str) -> float:
        """When the first call of this kind came in."""
        return next(call.at for call in self.calls if call.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The calls this user saw."""
        return tuple(call.kind for call in self.calls)

    @property
    def acknowledged(self) -> bool:
        return self.answer.startswith(b"HTTP/1.1 200") and self.answer.endswith(b"success")


def visits(count: int, text: str = "你好，请问什么时候发货？", *, keep_alive: bool = False) -> list[Visit]:
    """``count`` encrypted XML pushes, each of another user."""
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
        made.append(Visit(openid, head.encode() + body))
    return made


class Line(Protocol):
    """How pushes travel to the bot."""

    async def exchange(self, request: bytes) -> bytes: ...


class FreshConnections:
    """A new connection for every push."""

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


class KeptConnections:
    """Connections that are used again (the requests must ask for it)."""

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
    """Collects one answer; every answer of ours has a Content-Length."""

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
    """Sends visits to one server and follows them on the platform until they are answered, if ``answers`` come."""

    def __init__(self, platform: PlatformDouble, line: Line, *, answers: bool = True) -> None:
        self._line = line
        self._answers = answers
        self._visits: dict[str, Visit] = {}
        self.waiting = 0
        self.most_waiting = 0
        platform.on_call = self._called

    async def keep_in_flight(self, planned: Sequence[Visit], in_flight: int) -> float:
        """Send all, ``in_flight`` unanswered at a time. Returns the seconds until all were answered."""
        began = time.monotonic()
        queue = iter(planned)

        async def user() -> None:
            for visit in queue:
                visit.due_at = time.monotonic()
                await self._visit(visit)

        await self._all(user() for _ in range(in_flight))
        return time.monotonic() - began

    async def arrive(self, planned: Sequence[Visit], per_second: float) -> float:
        """Send all at a fixed rate, whatever the bot does. Returns the seconds until all were answered."""
        began = time.monotonic()
        tasks = []
        for number, visit in enumerate(planned):
            visit.due_at = began + number / per_second
            delay = visit.due_at - time.monotonic()
            if delay > 0.001:
                await asyncio.sleep(delay)
            tasks.append(asyncio.create_task(self._visit(visit)))
        await self._all(tasks)
        return time.monotonic() - began

    async def _all(self, work: Iterable[Awaitable[None]]) -> None:
        try:
            await asyncio.wait_for(asyncio.gather(*work), PATIENCE)
        except TimeoutError:
            left = sum(not visit.done.is_set() for visit in self._visits.values())
            raise Incomplete(f"{left} messages were not answered in {PATIENCE:g} s") from None

    async def _visit(self, visit: Visit) -> None:
        self._visits[visit.openid] = visit
        visit.answer = await self._line.exchange(visit.request)
        visit.acknowledged_at = time.monotonic()
        if not visit.acknowledged:
            raise Incomplete(f"a push was answered {visit.answer[:60]!r}")
        if self._answers:
            await visit.done.wait()

    def _called(self, openid: str, call: Call) -> None:
        visit = self._visits.get(openid)
        if visit is None:
            return
        visit.calls.append(call)
        if call.kind == "Typing":
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)
        elif call.kind == "send":
            self.waiting -= 1
            visit.done.set()
