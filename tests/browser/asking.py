"""A client of the page's server, so that a test can compare its data with the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote, urlsplit

Json = dict[str, Any]
SECONDS = 30.0


class Server:
    """A client of the page's server at ``address``."""

    def __init__(self, address: str) -> None:
        self._place = urlsplit(address).netloc

    def post(self, path: str, body: Json) -> Json:
        """Send a request as the page does. Raises AssertionError for an error response."""
        status, answer = self._ask("POST", path, json.dumps(body).encode())
        assert status < 400, f"{path}: {answer.decode()}"
        return dict(json.loads(answer))

    def rows(self, user: str = "") -> list[Json]:
        """Return all rows of this session, or those of one user."""
        return [row for row in self._rows() if user in ("", row["user"])]

    def lanes(self, user: str) -> dict[str, list[Json]]:
        """Return the bars of a user's lanes by the name of the lane."""
        status, answer = self._ask("GET", f"/lanes/{quote(user)}")
        assert status == 200, answer
        return {lane["lane"]: lane["bars"] for lane in json.loads(answer)["lanes"]}

    def session(self) -> Json:
        """Return the state of the session that a newly opened page gets."""
        with closing(HTTPConnection(self._place, timeout=SECONDS)) as connection:
            connection.request("GET", "/events")
            with connection.getresponse() as stream:
                return next(dict(data) for name, data in _events(stream) if name == "session")

    def _rows(self) -> Iterator[Json]:
        number = 0
        while True:
            status, answer = self._ask("GET", f"/rows/{number}")
            if status == 404:
                return
            assert status == 200, answer
            yield json.loads(answer)["row"]
            number += 1

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        with closing(HTTPConnection(self._place, timeout=SECONDS)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            with connection.getresponse() as response:
                return response.status, response.read()


def _events(stream: HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in stream:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)
