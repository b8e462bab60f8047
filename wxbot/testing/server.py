"""The HTTP side of the API: a real server on a port of its own, faults included."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from wxbot.testing.api import Api, Call
from wxbot.testing.clock import sleep
from wxbot.testing.faults import Fault
from wxbot.testing.platform import Platform

_JSON = {"Content-Type": "application/json; encoding=utf-8"}
_BACKLOG = 2048


class Server:
    """Serves one Platform. All methods run on one event loop."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._api = Api(platform)
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; ``self.port`` is the port then. Raises OSError."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Let go of calls that hang, and close every socket."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        call = Call(request.method, request.path, request.query, await request.read())
        kind = self._api.kind_of(call.path)
        with self._platform.memory.changed:
            fault = self._platform.faults.take(kind or "")
        if fault is not None:
            return await self._go_wrong(request, call, fault)
        return _json_response(self._api.answer(call), 404 if kind is None else 200)

    async def _go_wrong(self, request: web.BaseRequest, call: Call, fault: Fault) -> web.StreamResponse:
        if fault.kind == "fail":
            return _json_response(self._api.refuse(call, fault.errcode, str(fault)))
        answer = self._act_or_not(call, fault)
        if fault.kind == "http":
            return web.Response(status=fault.status, text="")
        if fault.kind == "slow":
            await sleep(self._platform.clock, fault.seconds)
            return _json_response(answer)
        if fault.kind == "hang":
            await self._closing.wait()
        return _drop(request)

    def _act_or_not(self, call: Call, fault: Fault) -> dict[str, Any]:
        if fault.acted:
            return self._api.answer(call, str(fault), fault.seconds)
        self._api.ignore(call, str(fault))
        return {}


def _drop(request: web.BaseRequest) -> web.Response:
    """Close the connection; the response can no longer be written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json_response(answer: dict[str, Any], status: int = 200) -> web.Response:
    body = json.dumps(answer, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, headers=_JSON)
