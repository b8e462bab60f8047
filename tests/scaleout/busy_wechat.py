"""A FakeWeChat for hundreds of messages a second, which pushes to several webhooks.

The rules and records are those of FakeWeChat. Only its HTTP code is replaced by raw asyncio protocols, because aiohttp
needs more CPU, which would be missing for the bot on a small machine.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

import uvloop

from wxbot.testing import Allowance, FakeWeChat
from wxbot.testing.api import Api, Call
from wxbot.testing.background import Background
from wxbot.testing.platform import Platform
from wxbot.testing.push import CallbackResponse, PushDelivery
from wxbot.testing.running import RunningPlatform
from wxbot.testing.server import Server

T = TypeVar("T")
Address = tuple[str, int]

ALLOWED = 100
"""Messages that a user's message allows: many, because repeated replies count too, and the quota is not tested here."""
MAX_PUSHES = 4096
"""Maximum number of concurrent pushes. No limit of the real platform is known."""
CHECK_SECONDS = 0.05
"""Time between two measurements of the event loop's delay, in seconds."""
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class BusyWeChat(FakeWeChat):
    """A fast FakeWeChat. Each attempt of a push goes to a random one of ``webhooks`` (host and port).

    ``slowest``: the longest delay of this platform's own event loop, in seconds. Calls that arrive on several
    connections during a delay are processed in any order.
    """

    def __init__(self, host: str, webhooks: Sequence[Address], chance: random.Random) -> None:
        self._webhooks = webhooks
        self._chance = chance
        quota = {"message": Allowance(ALLOWED, 48 * 3600)}
        super().__init__(host=host, quota=quota, callback_url="any of the webhooks")
        self._running.close()
        self._running = _BusyPlatform(self.platform, self, host)
        self.api_base = self.platform.origin
        self.slowest = 0.0
        self._running.background.call(self._measure_delay, self._running.background.loop.time())

    def _measure_delay(self, due: float) -> None:
        loop = self._running.background.loop
        self.slowest = max(self.slowest, loop.time() - due)
        loop.call_later(CHECK_SECONDS, self._measure_delay, loop.time() + CHECK_SECONDS)

    def choose_webhook(self) -> Address:
        return self._chance.choice(self._webhooks)

    def play(self, scenario: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the platform's event loop, and return its result."""
        return self._running.background.run(scenario)


class _BusyPlatform(RunningPlatform):
    """A running platform with the fast server and the fast delivery of this module."""

    def __init__(self, platform: Platform, sender: BusyWeChat, host: str) -> None:
        self.platform = platform
        self.record_log = platform.record_log
        self.background = _Background("busy-wechat")
        self.delivery = _Delivery(sender, platform, self.background, sender.choose_webhook)
        self._server = _Server(platform)
        self._pushes = {}
        self._closed = False
        self.background.run(self._server.start(host, 0))
        platform.origin = f"http://{host}:{self._server.port}"


class _Background(Background):
    """A background thread with a uvloop event loop."""

    def __init__(self, name: str) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()


class _Delivery(PushDelivery):
    """A delivery of pushes that uses a new connection for each push, to one of several addresses."""

    def __init__(
        self, sender: BusyWeChat, platform: Platform, background: Background, choose: Callable[[], Address]
    ) -> None:
        super().__init__(sender, platform, background)
        self._slots = asyncio.Semaphore(MAX_PUSHES)
        self._choose = choose

    async def request(
        self, method: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> CallbackResponse:
        host, port = self._choose()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"{method} /wechat?{urlencode(query)} HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_connection(lambda: _Answer(loop), host, port)
        try:
            transport.write(head.encode() + body)
            answer = await exchange.whole
        finally:
            transport.abort()
        if isinstance(answer, OSError):
            raise answer
        return answer


class _Answer(asyncio.Protocol):
    """A reader of one response, which ends when the connection ends.

    A failure is a result of the future and not its exception, because asyncio would log an exception without a waiter.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.whole: asyncio.Future[CallbackResponse | OSError] = loop.create_future()
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.whole.done():
            return
        head, _, body = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if exc is None and length is not None and len(body) == int(length[1]):
            self.whole.set_result(CallbackResponse(int(head.split(b" ", 2)[1]), {}, body))
        else:
            self.whole.set_result(ConnectionResetError("closed before the response was complete"))


class _Server(Server):
    """A server of the API with keep-alive connections. It ignores injected faults of FakeWeChat."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()

    async def start(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Caller(self._api, self._open), host, port, backlog=2048)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        for transport in tuple(self._open):
            transport.abort()


class _Caller(asyncio.Protocol):
    """One connection of the bot to the API."""

    _transport: asyncio.Transport

    def __init__(self, api: Api, connections: set[asyncio.Transport]) -> None:
        self._api = api
        self._connections = connections
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No assert, because uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = transport  # type: ignore[assignment]
        self._connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        path, _, query = target.partition("?")
        answer = json.dumps(self._api.answer(Call(method, path, dict(parse_qsl(query)), body))).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; encoding=utf-8\r\nContent-Length: %d\r\n\r\n%b"
            % (len(answer), answer)
        )
