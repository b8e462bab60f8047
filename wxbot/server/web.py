"""The HTTP entry points: WeChat's callbacks, ``/send`` for other systems, and addresses for load balancers.

This module translates between HTTP and the bots. It decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from wxbot.errors import InvalidReply, InvalidRequest, ReplyNotReady, SendNotAllowed, StoreUnavailable
from wxbot.logs import speak_of
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.wechat.push.callback import PassiveAnswer

log = logging.getLogger("wxbot.web")

SEND_PATH = "/send"
"""The address for other systems; with several accounts, ``/send/<name>``. Its responses are JSON."""


def create_app(deployment: Deployment) -> Flask:
    """Return the WSGI application: callbacks, ``/send``, ``/healthz`` (the process lives), ``/readyz`` (it can work).

    With several accounts the callbacks are at ``/wechat/<name>``. A worker has neither callbacks nor ``/send``.
    """
    app = Flask("wxbot", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = deployment.max_body_bytes
    accounts: dict[str, str] = {}  # by path
    for name, bot in deployment.bots.items():
        if bot.callback_path is not None:
            _add_callback(app, bot, bot.callback_path)
            accounts[bot.callback_path] = name
        if bot.callback_path is not None and bot.send_api.is_open:
            path = f"{SEND_PATH}/{name}" if name else SEND_PATH
            _add_send(app, bot, path)
            accounts[path] = name
    if "" not in deployment.bots:
        _name_accounts_in_logs(app, accounts)
    _add_probes(app, deployment)
    app.register_error_handler(InvalidRequest, _refused)
    app.register_error_handler(StoreUnavailable, _unavailable)
    app.register_error_handler(ReplyNotReady, _late)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_probes(app: Flask, deployment: Deployment) -> None:
    @app.get("/healthz")
    def healthz() -> Response:
        return _plain("ok")

    @app.get("/readyz")
    def readyz() -> Response:
        problem = deployment.problem()
        return _plain("ok") if problem is None else _plain(problem, 503)

    @app.get("/metrics")
    def metrics() -> Response:
        counted = deployment.metrics()
        return _plain("there are no metrics here", 404) if counted is None else _plain(counted.decode())


def _name_accounts_in_logs(app: Flask, accounts: Mapping[str, str]) -> None:
    """Have every log line of a request name the account whose address was called."""

    @app.before_request
    def enter() -> None:
        speak_of(accounts.get(request.path, ""))

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        speak_of("")  # the thread serves the next request


def _add_callback(app: Flask, bot: Bot, path: str) -> None:
    def verify() -> Response:
        return _plain(bot.verify(_query(request)))

    def receive() -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = bot.receive(_query(request), headers, request.get_data(cache=False))
        return _plain("success") if answer is None else _answer(answer)

    app.add_url_rule(path, f"verify {path}", verify, methods=["GET"])
    app.add_url_rule(path, f"receive {path}", receive, methods=["POST"])


def _add_send(app: Flask, bot: Bot, path: str) -> None:
    def send() -> Response:
        key, given = request.headers.get("Idempotency-Key", ""), request.headers.get("Authorization", "")
        return _said(202, lambda: {"id": bot.send_for(given, key, request.get_data(cache=False))})

    app.add_url_rule(path, f"send {path}", send, methods=["POST"])


def _said(status: int, work: Callable[[], Mapping[str, str]]) -> Response:
    """What ``work`` says, or why not, as JSON for a program of the company's own."""
    try:
        said = work()
    except InvalidRequest as error:
        log.warning("refused a message from %s: %s", request.remote_addr, error.reason)
        status, said = error.status, {"error": error.reason}
    except InvalidReply as error:
        status, said = 422, {"error": str(error)}
    except SendNotAllowed as error:
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


def _answer(answer: PassiveAnswer) -> Response:
    return Response(answer.body, 200, {"X-Content-Type-Options": "nosniff"}, content_type=answer.content_type)


def _refused(error: InvalidRequest) -> Response:
    log.warning("refused a request from %s: %s", request.remote_addr, error.reason)
    return _plain(error.reason, error.status)


def _unavailable(error: StoreUnavailable) -> Response:
    log.error("could not keep a push, WeChat will deliver it again: %s", error)
    return _plain("the message store is unavailable", 500)


def _late(_: ReplyNotReady) -> Response:
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
