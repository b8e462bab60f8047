"""The HTTP server of the page: it parses requests, calls the playground, and reports errors."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel

from wxbot.errors import WxbotError
from wxbot.playground.page import actions
from wxbot.playground.page.access import HEADERS, Access
from wxbot.playground.page.actions import BadRequest, parse
from wxbot.playground.page.feed import Feed
from wxbot.playground.page.playground import Busy, NotFound, Playground
from wxbot.playground.replay.export import as_pytest
from wxbot.playground.session import AccountChoice
from wxbot.playground.transcript import (
    BadTranscript,
    ClearFaults,
    DeliverTwiceAtOnce,
    Hold,
    InOrder,
    Release,
    RevokeToken,
    read,
    write,
)
from wxbot.testing.background import Background
from wxbot.testing.media import content_type_of

log = logging.getLogger("wxbot.playground")

Json = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATIC = Path(__file__).parent / "static"
MAX_BODY = 64 * 1024
"""Maximum number of bytes of a JSON body."""
MAX_IMAGE = 10 * 1024 * 1024
"""Maximum number of bytes of an image that a user sends."""
MAX_TRANSCRIPT = 16 * 1024 * 1024
"""Maximum number of bytes of a transcript."""
IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif"})

_DISPLAYED_TYPES = IMAGE_TYPES | {"audio/amr", "audio/mpeg", "video/mp4"}
_STATUS: dict[type[WxbotError], int] = {BadRequest: 400, NotFound: 404, Busy: 409}


class PageServer:
    """The server of the page of one playground on ``host`` and ``port`` (0: any free port), until ``close``.

    ``key``: the access key for other machines. Raises OSError if it cannot listen on the address.
    """

    def __init__(self, playground: Playground, host: str, port: int, key: str = "") -> None:
        self.port = 0
        self._playground = playground
        self._access = Access(key)
        self._background = Background("wxbot-playground")
        try:
            self._background.run(self._start(host, port))
        except BaseException:
            self._background.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server. Connections of open pages are closed, and a replay is stopped."""
        self._playground.changed = lambda: None
        self._playground.end_playing()
        self._background.run(self._stop())
        self._background.close()

    async def _start(self, host: str, port: int) -> None:
        self._feed = Feed(self._playground)
        self._playground.changed = self._feed.wake_soon
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_TRANSCRIPT)
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        self._feed.close()
        await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        playground = self._playground
        return [
            web.get("/", self._file),
            web.get("/static/{name}", self._file),
            web.get("/events", self._events, allow_head=False),
            web.get("/rows/{number}", self._row),
            web.get("/media/{media_id}", self._media),
            web.get("/lanes/{name:[^/]+}", self._lanes),
            web.get("/log", self._log),
            _post("/users", actions.NewUser, self._add_user, 201),
            web.post("/users/{name:[^/]+}/actions", self._user_action),
            web.post("/users/{name:[^/]+}/images", self._image),
            _post("/redeliver", actions.Redelivery, self._redeliver, 202),
            _post("/controls", actions.Controls, self._controls, blocks=True),
            _post("/release", actions.Release, lambda asked: playground.apply(Release(asked.order)), 202),
            _post("/faults", actions.FaultInjection, lambda asked: playground.apply(asked.step()), 202),
            _post("/faults/clear", actions.Empty, lambda _: playground.apply(ClearFaults())),
            _post("/token/revoke", actions.Empty, lambda _: playground.apply(RevokeToken())),
            _post("/clock", actions.ClockAdvance, self._clock),
            _post("/bot/restart", actions.Empty, lambda _: playground.restart_bot(), blocks=True),
            _post("/account", actions.AccountChange, self._account, blocks=True),
            _post("/agents", actions.AgentAction, self._agent, 202),
            web.get("/transcript.yaml", self._transcript),
            web.get("/transcript.py", self._pytest),
            web.post("/play", self._play),
            _post("/play/stop", actions.Empty, lambda _: playground.stop_playing(), 202),
        ]

    # -- access control and errors

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await self._guarded(request, handler)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/" and self._access.brings_key(request):
            response = web.Response(status=303, headers={"Location": "/"})
            self._access.set_cookie(response)
            return response
        if refusal := self._access.refusal_of(request):
            return _error(403, refusal)
        try:
            return await handler(request)
        except WxbotError as error:
            return _error(_STATUS.get(type(error), 422), self._redacted(str(error)))
        except web.HTTPException as error:
            return _error(error.status, _HTTP_PROBLEMS.get(error.status, error.reason))
        except Exception:
            log.exception("request of the page failed: method=%s path=%s", request.method, request.path)
            return _error(500, "internal error of the playground: see its console")

    def _redacted(self, text: str) -> str:
        return self._playground.view.wechat.platform.redactor.redact(text)

    # -- reading

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "index.html")
        if name not in {path.name for path in STATIC.iterdir() if path.is_file()}:
            raise NotFound(f"no such file: {name}")
        return web.FileResponse(STATIC / name, headers={"Cache-Control": "no-cache"})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        headers = {**HEADERS, "Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        with suppress(ConnectionError):  # the page was closed
            async for event in self._feed.events(_last_event_id(request)):
                await response.write(event.encode())
        return response

    async def _row(self, request: web.Request) -> web.StreamResponse:
        view = self._playground.view
        number = _number(request.match_info["number"])
        if request.query.get("session", str(view.session.number)) != str(view.session.number):
            raise NotFound("the session of this row has ended")
        try:
            return web.json_response(view.rows.details(number), dumps=_json)
        except IndexError:
            raise NotFound(f"no such row: {number}") from None

    async def _media(self, request: web.Request) -> web.StreamResponse:
        file = self._playground.view.wechat.media.get(request.match_info["media_id"])
        if file is None:
            raise NotFound("no such file at the platform, or it has expired")
        kind = content_type_of(file.content)
        headers = {"Content-Type": kind} if kind in _DISPLAYED_TYPES else {"Content-Disposition": "attachment"}
        return web.Response(body=file.content, headers={**headers, "Cache-Control": "private, max-age=3600"})

    async def _lanes(self, request: web.Request) -> web.StreamResponse:
        view = self._playground.view
        user = self._playground.user(request.match_info["name"])
        return web.json_response(view.lanes(user), dumps=_json)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        text, end = await asyncio.to_thread(self._playground.bot.log, _number(request.query.get("after", "0")))
        return web.json_response({"text": self._redacted(text), "next": end}, dumps=_json)

    # -- users

    def _add_user(self, asked: actions.NewUser) -> Json:
        user = self._playground.add_user(asked.name)
        return {"user": self._playground.view.user_state(user)}

    async def _user_action(self, request: web.Request) -> web.StreamResponse:
        user = self._playground.user(request.match_info["name"])
        action = await _body(request, actions.UserAction)
        self._playground.act(lambda: action.root.by(user))
        return _ok(202)

    async def _image(self, request: web.Request) -> web.StreamResponse:
        user = self._playground.user(request.match_info["name"])
        content = await _content(request, MAX_IMAGE)
        if content_type_of(content) not in IMAGE_TYPES:
            raise BadRequest("unsupported image format: send a JPEG, PNG or GIF file")
        self._playground.act(lambda: user.sends_image(content))
        return _ok(202)

    def _redeliver(self, asked: actions.Redelivery) -> None:
        playground = self._playground
        if asked.row is None:
            playground.redeliver_last(playground.user(asked.user))
        else:
            playground.redeliver_row(asked.row)

    # -- controls

    def _controls(self, asked: actions.Controls) -> Json:
        playground = self._playground
        now = playground.choice()
        choice = AccountChoice(now.kind, asked.mode or now.mode, asked.format or now.form)
        if choice != now:
            playground.change_mode(choice)
        if asked.deliver_twice_at_once is not None:
            playground.apply(DeliverTwiceAtOnce(asked.deliver_twice_at_once))
        if asked.in_order is not None:
            playground.apply(InOrder(asked.in_order))
        if asked.hold:
            playground.apply(Hold())
        return {"controls": playground.view.controls()}

    def _clock(self, asked: actions.ClockAdvance) -> Json:
        playground = self._playground
        if asked.to is not None:
            seconds = playground.seconds_to(playground.user(asked.user), asked.to)
        else:
            seconds = asked.forward or 0.0
        playground.advance_clock(seconds)
        return {"now": playground.view.session.now}

    def _account(self, asked: actions.AccountChange) -> None:
        self._playground.change_account(AccountChoice(asked.kind, self._playground.choice().mode))

    def _agent(self, asked: actions.AgentAction) -> None:
        user = self._playground.user(asked.user)
        if asked.action == "says" and not asked.text:
            raise BadRequest("text: must not be empty for the action says")
        agent = self._playground.view.wechat.agent(asked.agent)
        does = {
            "takes": lambda: agent.takes(user),
            "closes": lambda: agent.closes(user),
            "says": lambda: agent.says(user, asked.text),
        }
        self._playground.act(does[asked.action])

    # -- transcripts

    async def _transcript(self, request: web.Request) -> web.StreamResponse:
        recorder = self._playground.view.recorder
        text = await asyncio.to_thread(lambda: write(recorder.transcript()))
        return _attachment(self._redacted(text), "application/yaml", "conversation.yaml")

    async def _pytest(self, request: web.Request) -> web.StreamResponse:
        recorder, plugins = self._playground.view.recorder, self._playground.bot.plugins
        text = await asyncio.to_thread(lambda: as_pytest(recorder.transcript(), plugins))
        return _attachment(self._redacted(text), "text/x-python", "test_conversation.py")

    async def _play(self, request: web.Request) -> web.StreamResponse:
        content = await _content(request, MAX_TRANSCRIPT)
        name = request.query.get("name", "")[:200] or "transcript.yaml"
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise BadTranscript(name, 1, "the file is not UTF-8: save it as UTF-8") from None
        transcript = await asyncio.to_thread(read, text, name)
        self._playground.play(transcript, name)
        return _ok(202)


_HTTP_PROBLEMS = {
    404: "no such path",
    405: "method not allowed for this path",
    413: "the request body is too large",
}


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, default=str)


def _last_event_id(request: web.Request) -> str:
    """Return the id of the last event that the page has: from the browser, or from a page that reconnects by itself."""
    return request.headers.get("Last-Event-ID") or request.query.get("after", "")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise BadRequest(f"not a number: {text[:20]!r}")
    return int(text)


async def _content(request: web.Request, limit: int) -> bytes:
    """Return the body. Raises BadRequest if it is empty or broken, HTTPRequestEntityTooLarge."""
    try:
        content = await request.clone(client_max_size=limit).read()
    except web.RequestPayloadError:
        raise BadRequest("the body is corrupt or incomplete") from None
    if not content:
        raise BadRequest("the body is empty")
    return content


async def _body(request: web.Request, kind: type[Body]) -> Body:
    if request.content_type != "application/json":
        raise BadRequest("the Content-Type must be application/json")
    return parse(kind, await _content(request, MAX_BODY))


def _post(
    path: str, kind: type[Body], change: Callable[[Body], Json | None], status: int = 200, *, blocks: bool = False
) -> web.RouteDef:
    """Return the route that calls ``change`` with the body. ``blocks``: it takes seconds, and runs in a thread."""

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = await _body(request, kind)
        answer = await asyncio.to_thread(change, asked) if blocks else change(asked)
        return _ok(status, **(answer or {}))

    return web.post(path, handle)


def _ok(status: int, **more: Any) -> web.Response:
    return web.json_response({"ok": True, **more}, status=status)


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _attachment(text: str, kind: str, name: str) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return web.Response(text=text, content_type=kind, headers=headers)
