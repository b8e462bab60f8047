"""A minimal bot for the tests of FakeWeChat, which receives pushes and calls the API over real HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from wxbot.testing import FakeWeChat, User


@dataclass(frozen=True)
class Received:
    """A received request."""

    method: str
    query: dict[str, str]
    body: bytes
    headers: dict[str, str] = field(repr=False)


UPLOAD = "/cgi-bin/media/upload"
DOWNLOAD = "/cgi-bin/media/get"

Answer = tuple[int, bytes] | None
SUCCESS: Answer = (200, b"success")
SILENCE: Answer = None


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024


class Receiver:
    """A callback URL. ``answer`` returns status and body for a request; None for silence until the receiver closes."""

    def __init__(self, answer: Callable[[Received], Answer] = lambda received: SUCCESS) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.changed = threading.Condition()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/wechat"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def waits_for(self, n: int) -> list[Received]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= n, 10), f"only {self.received}"
            return list(self.received)


def _handler_of(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            received = Received(self.command, query, self.rfile.read(length), dict(self.headers))
            with receiver.changed:
                receiver.received.append(received)
                receiver.changed.notify_all()
            answer = receiver.answer(received)
            if answer is None:
                receiver.closing.wait(20)
            else:
                self.reply(*answer)

        def reply(self, status: int, body: bytes) -> None:
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *parts: object) -> None:
            """Log nothing."""

        do_GET = do_POST = handle_any  # noqa: N815

    return Handler


class Caller:
    """A client of the API, which opens one connection per call."""

    def __init__(self, wechat: FakeWeChat) -> None:
        self.wechat = wechat
        self.api_base = wechat.api_base
        self.token = ""
        self.response_headers: dict[str, str] = {}

    def get(self, path: str, **query: str) -> dict[str, Any]:
        return self.ask("GET", path, query, None)

    def post(self, path: str, body: Any, **query: str) -> dict[str, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return self.ask("POST", path, query, raw)

    def call(self, path: str, body: Any, **query: str) -> int:
        """Call the API with the token and return the errcode."""
        return int(self.post(path, body, access_token=self.token or self.fetch(), **query)["errcode"])

    def fetch(self, **changes: str) -> str:
        """Fetch a token from cgi-bin/token, return it, and use it for the next calls."""
        self.token = str(self.classic(**changes).get("access_token", ""))
        return self.token

    def classic(self, **changes: str) -> dict[str, Any]:
        return self.get("/cgi-bin/token", **{**self.client, **changes})

    def stable(self, **changes: Any) -> dict[str, Any]:
        return self.post("/cgi-bin/stable_token", {**self.client, **changes})

    @property
    def client(self) -> dict[str, str]:
        settings = self.wechat.settings()
        names = {"appid": settings["WXBOT_APPID"], "secret": settings["WXBOT_SECRET"]}
        return {"grant_type": "client_credential", **names}

    def typing(self, user: User, command: str = "Typing") -> int:
        return self.call("/cgi-bin/message/custom/typing", {"touser": user.openid, "command": command})

    def sends(self, user: User, text: str) -> int:
        return self.sends_kind(user, "text", {"content": text})

    def uploads(self, kind: str, content: bytes, filename: str = "cat.png") -> dict[str, Any]:
        """Upload a file and return the answer."""
        return self.posts_form(kind, f'form-data; name="media"; filename="{filename}"', content)

    def posts_form(self, kind: str, disposition: str, content: bytes) -> dict[str, Any]:
        head = f"--BOUNDARY\r\nContent-Disposition: {disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body = head.encode() + content + b"\r\n--BOUNDARY--\r\n"
        query = {"access_token": self.token or self.fetch(), "type": kind}
        headers = {"Content-Type": "multipart/form-data; boundary=BOUNDARY"}
        answer: dict[str, Any] = json.loads(self.exchange("POST", UPLOAD, query, body, headers)[1])
        return answer

    def downloads(self, media_id: str) -> tuple[str, str, bytes]:
        """Download a file. Return Content-Type, Content-disposition and body; the status is 200 even for an error."""
        query = {"access_token": self.token or self.fetch(), "media_id": media_id}
        status, body = self.exchange("GET", DOWNLOAD, query, None)
        assert status == 200
        return self.response_headers["Content-Type"], self.response_headers.get("Content-disposition", ""), body

    def sends_kind(self, user: User, kind: str, content: Any) -> int:
        body = {"touser": user.openid, "msgtype": kind, kind: content}
        return self.call("/cgi-bin/message/custom/send", body)

    def ask(self, method: str, path: str, query: dict[str, str], body: bytes | None) -> dict[str, Any]:
        status, answer = self.exchange(method, path, query, body)
        assert status in (200, 404), status
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def exchange(
        self, method: str, path: str, query: dict[str, str], body: bytes | None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send a request and return status and body. The headers of the response are stored in ``response_headers``."""
        port = urllib.parse.urlsplit(self.api_base).port
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, f"{path}?{urllib.parse.urlencode(query)}", body, headers or {})
            response = connection.getresponse()
            self.response_headers = dict(response.getheaders())
            return response.status, response.read()
        finally:
            connection.close()
