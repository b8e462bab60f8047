"""A double of WeChat's API for benchmarks: it answers every call at once, and records its kind, user and time.

It uses raw asyncio protocols, so that the users and the platform need less CPU than the measured bot. It does not check
the rules of the real platform, as FakeWeChat (wxbot.testing) does.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TOKEN = json.dumps({"access_token": "benchmark-token", "expires_in": 7200}).encode()
_OK = b'{"errcode":0,"errmsg":"ok"}'


class Call(NamedTuple):
    """One API call of the bot. ``kind``: ``Typing``, ``CancelTyping`` or ``send``. ``at``: its monotonic time."""

    kind: str
    at: float


class PlatformDouble:
    """A server on a free port of 127.0.0.1. ``on_call`` is called with the openid and each API call."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.on_call: Callable[[str, Call], None] = lambda openid, call: None
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def answer(self, path: bytes, body: bytes) -> bytes:
        """Record one call, and return the response body."""
        if b"/custom/" not in path:
            return _TOKEN
        at = time.monotonic()
        fields = json.loads(body)
        call = Call(fields.get("command", "send"), at)
        self.calls[fields["touser"]].append(call)
        self.on_call(fields["touser"], call)
        return _OK


class _Connection(asyncio.Protocol):
    """One keep-alive connection of the bot."""

    def __init__(self, platform: PlatformDouble) -> None:
        self._platform = platform
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._read) < whole:
                return
            body, self._read = self._read[end + 4 : whole], self._read[whole:]
            self._answer(self._platform.answer(head.split(b" ", 2)[1], body))

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def _serve() -> None:
    platform = PlatformDouble()
    await platform.start()
    print(platform.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
