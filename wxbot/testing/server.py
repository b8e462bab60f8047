"""The HTTP server of the simulated API, with injected faults."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from wxbot.testing.api import JSON_HEADERS, Api, Call
from wxbot.testing.clock import sleep
from wxbot.testing.exchange import json_bytes
from wxbot.testing.faults import Fault
from wxbot.testing.media import StoredFile
from wxbot.testing.platform import Platform

_BACKLOG = 2048
_UNQUOTABLE = {ord(character): None for character in '"\r\n'}


class Server:
    """The HTTP server of one Platform. All methods run on one event loop."""

    def __init__(self, platform: Platform, api: Api | None = None) -> None:
        self._api = api or Api(platform)
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen and set ``self.port``. Raises OSError if the port is in use."""
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """End all calls that hang, and close every socket."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()  # request.read() accepts no more than 1 MiB
        content_type = request.headers.get("Content-Type", "")
        call = Call(request.method, request.path, request.query, body, content_type, request.headers)
        return await self._answer(request, call)

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        return await self._serve(request, call, self._api)

    async def _serve(self, request: web.BaseRequest, call: Call, api: Api) -> web.StreamResponse:
        platform = api.platform
        with platform.record_log.changed:
            fault = platform.faults.take(api.kind_of(call.path) or "")
        if fault is not None:
            return await self._serve_with_fault(request, call, api, fault)
        return self._respond(call, api.answer(call))

    async def _serve_with_fault(
        self, request: web.BaseRequest, call: Call, api: Api, fault: Fault
    ) -> web.StreamResponse:
        if fault.kind == "fail":
            return self._respond(call, api.refuse(call, fault.errcode, str(fault)))
        answer = _process_unless_lost(call, api, fault)
        if fault.kind == "http":
            return web.Response(status=fault.status, text="")
        if fault.kind == "slow":
            await sleep(api.platform.clock, fault.seconds)
            return self._respond(call, answer)
        if fault.kind == "hang":
            await self._closing.wait()
        return _drop(request)

    def _respond(self, call: Call, answer: dict[str, Any]) -> web.Response:
        return _file_response(call.file) if call.file and not answer else _json_response(answer, call.status)


def _process_unless_lost(call: Call, api: Api, fault: Fault) -> dict[str, Any]:
    if fault.acted:
        return api.answer(call, str(fault), fault.seconds)
    api.ignore(call, str(fault))
    return {}


def _drop(request: web.BaseRequest) -> web.Response:
    """Close the connection, so that the returned response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json_response(answer: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=json_bytes(answer), status=status, headers=JSON_HEADERS)


def _file_response(media: StoredFile) -> web.Response:
    name = media.saved_as.translate(_UNQUOTABLE)
    headers = {"Content-Type": media.content_type, "Content-disposition": f'attachment; filename="{name}"'}
    return web.Response(body=media.content, headers=headers)
