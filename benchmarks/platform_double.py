"""WeChat's API as far as a benchmark needs it: answers every call at once and notes who called what, and when.

Raw asyncio protocols, so that the crowd and the platform together cost less than the bot they measure. The rules of the
real platform are FakeWeChat's business (wxbot.testing), not this one's.
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
    """One API call of the bot: ``Typing``, ``CancelTyping`` or ``send``, and when it had come in (monotonic)."""

    kind: str
    at: float


class PlatformDouble:
    """Serves on a free port of 127.0.0.1. ``on_call`` is called for every call of a user."""

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
        """The answer to one call, noted with its user."""
        if b"/custom/" not in path:
            return _TOKEN
        at = time.monotonic()
        fields = json.loads(body)
        call = Call(fields.get("command", "send"), at)
        self.calls[fields["touser"]].append(call)
        self.on_call(fields["touser"], call)
        return _OK


class _Connection(asyncio.Protocol):
    """One keep-alive connection of the bot's."""

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
