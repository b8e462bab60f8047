"""Helpers of the client's tests: a manual clock, a store, a scripted server, and a check for secrets."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from wxbot.errors import StoreUnavailable
from wxbot.store.records import SharedValue

SECRET = "s3cr3t-app-secret"
TOKEN = "t0k3n-of-today"
SECRETS = (SECRET, TOKEN, "n3w-t0k3n")
OK = {"errcode": 0, "errmsg": "ok"}


@dataclass
class HandClock:
    """A clock that moves only by ``advance``."""

    time: float = 1_000_000.0
    timers: list[HandTimer] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> HandTimer:
        self.timers.append(HandTimer(self.time + delay, callback))
        return self.timers[-1]

    async def advance(self, seconds: float) -> None:
        """Advance by ``seconds``, run the timers that are due, and let every task run until it waits."""
        self.time += seconds
        due = [timer for timer in self.timers if timer.due <= self.time]
        self.timers = [timer for timer in self.timers if timer.due > self.time]
        for timer in due:
            timer.callback()
        await settle()


@dataclass
class HandTimer:
    due: float
    callback: Callable[[], None]

    def cancel(self) -> None:
        self.callback = lambda: None


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(30):
        await asyncio.sleep(0)


@dataclass
class Values:
    """The SharedValues of a store, in memory. ``broken`` makes every call raise StoreUnavailable."""

    values: dict[tuple[str, str], SharedValue] = field(default_factory=dict)
    claimed_until: float = 0.0
    broken: bool = False

    async def get(self, appid: str, name: str) -> SharedValue | None:
        self._check()
        return self.values.get((appid, name))

    async def put(self, appid: str, name: str, value: SharedValue | None, now: float) -> None:
        self._check()
        self.claimed_until = 0.0
        if value is not None:
            self.values[appid, name] = value

    async def lock(self, appid: str, name: str, now: float, seconds: float, *, outdated: str | None) -> bool:
        self._check()
        stored = self.values.get((appid, name))
        if (stored is not None and stored.value != outdated) or now < self.claimed_until:
            return False
        self.claimed_until = now + seconds
        return True

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("the disk is full")


class FixedTokens:
    """Tokens that return the values of the test."""

    def __init__(self, *values: str) -> None:
        self.values = list(values) or [TOKEN]
        self.refused: list[str] = []

    async def get(self) -> str:
        return self.values[0]

    async def replace(self, refused: str) -> str:
        self.refused.append(refused)
        return self.values.pop(0) if len(self.values) == 1 else self.values[1]


@dataclass
class Api:
    """A server that answers with ``script``. An entry is a dict (JSON), a Response or an async function of the request.

    The last entry answers all further requests.
    """

    script: list[Any]
    base: str = ""
    asked: list[Asked] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(Asked(request.method, request.path, dict(request.query), body, dict(request.headers)))
        reply = self.script[min(len(self.asked), len(self.script)) - 1]
        if callable(reply):
            reply = await reply(request)
        if isinstance(reply, dict):
            # WeChat often sends JSON with this content type.
            reply = web.Response(text=json.dumps(reply, ensure_ascii=False), content_type="text/plain")
        if isinstance(reply, web.Response):
            # A Response object can be sent only once, but the last entry answers several requests.
            reply = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        assert isinstance(reply, web.StreamResponse)
        return reply


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def page(status: int, text: str = "<html>gateway</html>") -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html")


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hang_up_midway(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b'{"errcode":')
    assert request.transport is not None
    request.transport.close()
    return answer


@asynccontextmanager
async def api(*script: Any) -> AsyncIterator[Api]:
    server = Api(list(script))
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.base = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def error_of(work: Awaitable[object]) -> Any:
    """Return the error that ``work`` raises."""
    results = await asyncio.gather(work, return_exceptions=True)
    assert isinstance(results[0], BaseException), f"it succeeded: {results[0]!r}"
    return results[0]


def assert_silent(error: BaseException) -> None:
    """Assert that no text of ``error`` that a log could print has a secret or a URL with one."""
    printed = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    context = error.__context__
    printed += "".join(traceback.format_exception(context)) if context is not None else ""
    for secret in SECRETS:
        assert secret not in printed, f"{secret} leaked"
    assert "access_token=" not in printed
    assert "&secret=" not in printed
