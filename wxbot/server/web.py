"""The HTTP entrance: WeChat's callbacks, the door for other systems, and addresses for load balancers.

Translates, and decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from wxbot.errors import AnswerLate, NotNow, PushRefused, ReplyRefused, StoreUnavailable

log = logging.getLogger("wxbot.web")

SEND_PATH = "/send"
"""Where other systems send; with several accounts a name follows. What is said there is JSON."""


class Answered(Protocol):
    """A passive answer, written as WeChat wants it."""

    @property
    def body(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...


class Desk(Protocol):
    """What the entrance hands pushes to."""

    def verify(self, query: list[tuple[str, str]]) -> str:
        """The echostr of a genuine URL verification. Raises PushRefused."""
        ...

    def receive(self, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> Answered | None:
        """Take a push for good: the answer to it, or None for ``success``. ``headers`` have lower-case names.

        Raises PushRefused, StoreUnavailable, AnswerLate.
        """
        ...

    def send_for(self, authorization: str, idempotency_key: str, body: bytes) -> str:
        """Take a message from another system: the name it was kept under.

        Raises PushRefused (401, 404, 400), ReplyRefused, NotNow, StoreUnavailable.
        """
        ...


@dataclass(frozen=True, slots=True)
class Door:
    """One account's addresses; None where there is none."""

    desk: Desk
    callback_path: str | None
    send_path: str | None = None


class House(Protocol):
    """All accounts of a process together."""

    def problem(self) -> str | None:
        """Why this process should get no pushes now; None if it should."""
        ...

    def metrics(self) -> bytes | None:
        """What Dramatiq's Prometheus middleware counted; None if it is not in use."""
        ...


def create_app(house: House, doors: Iterable[Door], max_body_bytes: int) -> Flask:
    """The WSGI application: the doors, ``/healthz`` (the process lives), ``/readyz`` (it can do its work).

    On a worker there are no doors: WeChat's pushes are not taken.
    """
    app = Flask("wxbot", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    for door in doors:
        if door.callback_path is not None:
            _add_callback(app, door.desk, door.callback_path)
        if door.send_path is not None:
            _add_send(app, door.desk, door.send_path)

    @app.get("/healthz")
    def healthz() -> Response:
        return _plain("ok")

    @app.get("/readyz")
    def readyz() -> Response:
        problem = house.problem()
        return _plain("ok") if problem is None else _plain(problem, 503)

    @app.get("/metrics")
    def metrics() -> Response:
        counted = house.metrics()
        return _plain("there are no metrics here", 404) if counted is None else _plain(counted.decode())

    app.register_error_handler(PushRefused, _refused)
    app.register_error_handler(StoreUnavailable, _unavailable)
    app.register_error_handler(AnswerLate, _late)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_callback(app: Flask, desk: Desk, path: str) -> None:
    def verify() -> Response:
        return _plain(desk.verify(_query(request)))

    def receive() -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = desk.receive(_query(request), headers, request.get_data(cache=False))
        return _plain("success") if answer is None else _answer(answer)

    app.add_url_rule(path, f"verify {path}", verify, methods=["GET"])
    app.add_url_rule(path, f"receive {path}", receive, methods=["POST"])


def _add_send(app: Flask, desk: Desk, path: str) -> None:
    def send() -> Response:
        key, given = request.headers.get("Idempotency-Key", ""), request.headers.get("Authorization", "")
        return _said(202, lambda: {"kept_as": desk.send_for(given, key, request.get_data(cache=False))})

    app.add_url_rule(path, f"send {path}", send, methods=["POST"])


def _said(status: int, work: Callable[[], Mapping[str, str]]) -> Response:
    """What ``work`` says, or why not, as JSON for a program of the company's own."""
    try:
        said = work()
    except PushRefused as error:
        log.warning("refused a message from %s: %s", request.remote_addr, error.reason)
        status, said = error.status, {"error": error.reason}
    except ReplyRefused as error:
        status, said = 422, {"error": str(error)}
    except NotNow as error:
        status, said = 409, {"error": str(error)}
    except StoreUnavailable as error:
        log.error("could not keep a message of another system: %s", error)
        status, said = 503, {"error": "the message store is unavailable"}
    response = _json(said, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(said: Mapping[str, str], status: int) -> Response:
    response: Response = jsonify(said)
    response.status_code = status
    return response


def _failed(reason: str, status: int) -> Response:
    """``reason`` as whoever asks at this address reads it."""
    if request.path == SEND_PATH or request.path.startswith(f"{SEND_PATH}/"):
        return _json({"error": reason}, status)
    return _plain(reason, status)


def _query(request: Request) -> list[tuple[str, str]]:
    return list(request.args.items(multi=True))


def _plain(text: str, status: int = 200) -> Response:
    # nosniff: the echostr that verification reflects must never be taken for a page.
    return Response(text, status, {"X-Content-Type-Options": "nosniff"}, content_type="text/plain; charset=utf-8")


def _answer(answer: Answered) -> Response:
    return Response(answer.body, 200, {"X-Content-Type-Options": "nosniff"}, content_type=answer.content_type)


def _refused(error: PushRefused) -> Response:
    log.warning("refused a request from %s: %s", request.remote_addr, error.reason)
    return _plain(error.reason, error.status)


def _unavailable(error: StoreUnavailable) -> Response:
    log.error("could not keep a push, WeChat will deliver it again: %s", error)
    return _plain("the message store is unavailable", 500)


def _late(_: AnswerLate) -> Response:
    return _plain("the answer is not ready", 503)  # nobody reads it: WeChat has hung up


def _http_error(error: HTTPException) -> Response:
    reason = error.name.lower()
    if isinstance(error, RequestEntityTooLarge):
        reason = "the body is too large"
        log.warning("refused a request from %s: %s", request.remote_addr, reason)
    response = _failed(reason, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _unexpected(error: Exception) -> Response:
    log.error("a request failed, WeChat will deliver it again", exc_info=error)
    return _failed("internal error", 500)
