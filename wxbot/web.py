"""The HTTP entrance: WeChat's callback, and two addresses for load balancers. Translates, and decides nothing."""

from __future__ import annotations

import logging
from typing import Protocol

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from wxbot.errors import PushRefused, StoreUnavailable

log = logging.getLogger("wxbot.web")


class Desk(Protocol):
    """What the entrance hands pushes to."""

    def verify(self, query: list[tuple[str, str]]) -> str:
        """The echostr of a genuine URL verification. Raises PushRefused."""
        ...

    def receive(self, query: list[tuple[str, str]], body: bytes) -> None:
        """Take a push for good. Raises PushRefused, StoreUnavailable."""
        ...

    def problem(self) -> str | None:
        """Why this process should get no pushes now; None if it should."""
        ...

    def metrics(self) -> bytes | None:
        """What Dramatiq's Prometheus middleware counted; None if it is not in use."""
        ...


def create_app(desk: Desk, callback_path: str | None, max_body_bytes: int) -> Flask:
    """The WSGI application: ``callback_path``, ``/healthz`` (the process lives), ``/readyz`` (it can do its work).

    Without a path, on a worker, WeChat's pushes are not taken.
    """
    app = Flask("wxbot", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    if callback_path is not None:
        _add_callback(app, desk, callback_path)

    @app.get("/healthz")
    def healthz() -> Response:
        return _plain("ok")

    @app.get("/readyz")
    def readyz() -> Response:
        problem = desk.problem()
        return _plain("ok") if problem is None else _plain(problem, 503)

    @app.get("/metrics")
    def metrics() -> Response:
        counted = desk.metrics()
        return _plain("there are no metrics here", 404) if counted is None else _plain(counted.decode())

    app.register_error_handler(PushRefused, _refused)
    app.register_error_handler(StoreUnavailable, _unavailable)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_callback(app: Flask, desk: Desk, path: str) -> None:
    @app.get(path)
    def verify() -> Response:
        return _plain(desk.verify(_query(request)))

    @app.post(path)
    def receive() -> Response:
        desk.receive(_query(request), request.get_data(cache=False))
        return _plain("success")


def _query(request: Request) -> list[tuple[str, str]]:
    return list(request.args.items(multi=True))


def _plain(text: str, status: int = 200) -> Response:
    # nosniff: the echostr that verification reflects must never be taken for a page.
    return Response(text, status, {"X-Content-Type-Options": "nosniff"}, content_type="text/plain; charset=utf-8")


def _refused(error: PushRefused) -> Response:
    log.warning("refused a request from %s: %s", request.remote_addr, error.reason)
    return _plain(error.reason, error.status)


def _unavailable(error: StoreUnavailable) -> Response:
    log.error("could not keep a push, WeChat will deliver it again: %s", error)
    return _plain("the message store is unavailable", 500)


def _http_error(error: HTTPException) -> Response:
    reason = error.name.lower()
    if isinstance(error, RequestEntityTooLarge):
        reason = "the body is too large"
        log.warning("refused a request from %s: %s", request.remote_addr, reason)
    return _plain(reason, error.code or 500)


def _unexpected(error: Exception) -> Response:
    log.error("a request failed, WeChat will deliver it again", exc_info=error)
    return _plain("internal error", 500)
