"""The HTTP entry points: WeChat's callbacks, ``/send`` for other systems, and health checks for load balancers.

This module only translates between HTTP and the bots.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flask import Flask, Request, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from wxbot.errors import InvalidReply, InvalidRequest, ReplyNotReady, SendNotAllowed, StoreUnavailable
from wxbot.logs import set_log_account
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.wechat.push.callback import PushResponse

log = logging.getLogger("wxbot.web")

SEND_PATH = "/send"
"""The path for other systems; with several accounts, ``/send/<name>``. Its responses are JSON."""


def create_app(deployment: Deployment) -> Flask:
    """Return the WSGI application: callbacks, ``/send``, ``/healthz``, ``/readyz`` and ``/metrics``.

    ``/healthz`` says that the process runs, ``/readyz`` that it can accept pushes. With several accounts the callbacks
    are at ``/wechat/<name>``. A worker has neither callbacks nor ``/send``.
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
    app.register_error_handler(InvalidRequest, _on_invalid_request)
    app.register_error_handler(StoreUnavailable, _on_store_unavailable)
    app.register_error_handler(ReplyNotReady, _on_reply_not_ready)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_unexpected_error)
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
        counts = deployment.metrics()
        return _plain("there are no metrics here", 404) if counts is None else _plain(counts.decode())


def _name_accounts_in_logs(app: Flask, accounts: Mapping[str, str]) -> None:
    """Add the account's name to every log line of a request. ``accounts``: the name for each path."""

    @app.before_request
    def enter() -> None:
        set_log_account(accounts.get(request.path, ""))

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        set_log_account("")  # because the thread serves other accounts next


def _add_callback(app: Flask, bot: Bot, path: str) -> None:
    def verify() -> Response:
        return _plain(bot.verify(_query(request)))

    def receive() -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = bot.receive(_query(request), headers, request.get_data(cache=False))
        return _plain("success") if answer is None else _passive_answer(answer)

    app.add_url_rule(path, f"verify {path}", verify, methods=["GET"])
    app.add_url_rule(path, f"receive {path}", receive, methods=["POST"])


def _add_send(app: Flask, bot: Bot, path: str) -> None:
    def send() -> Response:
        key, authorization = request.headers.get("Idempotency-Key", ""), request.headers.get("Authorization", "")
        return _send_response(lambda: bot.send_for(authorization, key, request.get_data(cache=False)))

    app.add_url_rule(path, f"send {path}", send, methods=["POST"])


def _send_response(send: Callable[[], str]) -> Response:
    """Return the JSON response of ``/send``: the id that ``send`` returns, or the error."""
    try:
        status, body = 202, {"id": send()}
    except InvalidRequest as error:
        log.warning("request to /send refused: from=%s reason=%s", request.remote_addr, error.reason)
        status, body = error.status, {"error": error.reason}
    except InvalidReply as error:
        status, body = 422, {"error": str(error)}
    except SendNotAllowed as error:
        status, body = 409, {"error": str(error)}
    except StoreUnavailable as error:
        log.error("store unavailable, request to /send not accepted: error=%s", error)
        status, body = 503, {"error": "the message store is unavailable"}
    response = _json(body, status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(body: Mapping[str, str], status: int) -> Response:
    response: Response = jsonify(body)
    response.status_code = status
    return response


def _error_response(reason: str, status: int) -> Response:
    """Return an error in the format of the requested path: JSON for ``/send``, else plain text."""
    if request.path == SEND_PATH or request.path.startswith(f"{SEND_PATH}/"):
        return _json({"error": reason}, status)
    return _plain(reason, status)


def _query(request: Request) -> list[tuple[str, str]]:
    return list(request.args.items(multi=True))


def _plain(text: str, status: int = 200) -> Response:
    # nosniff, because a browser must not display the echostr of a URL verification as an HTML page.
    return Response(text, status, {"X-Content-Type-Options": "nosniff"}, content_type="text/plain; charset=utf-8")


def _passive_answer(answer: PushResponse) -> Response:
    return Response(answer.body, 200, {"X-Content-Type-Options": "nosniff"}, content_type=answer.content_type)


def _on_invalid_request(error: InvalidRequest) -> Response:
    log.warning("request refused: from=%s reason=%s", request.remote_addr, error.reason)
    return _plain(error.reason, error.status)


def _on_store_unavailable(error: StoreUnavailable) -> Response:
    log.error("store unavailable, push not accepted, WeChat will redeliver it: error=%s", error)
    return _plain("the message store is unavailable", 500)


def _on_reply_not_ready(_: ReplyNotReady) -> Response:
    return _plain("the answer is not ready", 503)  # WeChat has closed the connection by now and does not read this


def _on_http_error(error: HTTPException) -> Response:
    reason = error.name.lower()
    if isinstance(error, RequestEntityTooLarge):
        reason = "the body is too large"
        log.warning("request refused: from=%s reason=%s", request.remote_addr, reason)
    response = _error_response(reason, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _on_unexpected_error(error: Exception) -> Response:
    log.error("request failed unexpectedly, WeChat will redeliver a push", exc_info=error)
    return _error_response("internal error", 500)
