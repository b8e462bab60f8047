"""Access control of the page: this machine, or a client with the key; never another site in the browser."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.playground.page_support import JSON, PATIENCE, Answer, PageClient, client_for
from wxbot.playground.page.access import COOKIE, HEADERS, is_loopback, new_key

KEY = "the-key-that-was-printed"


def routes(client: PageClient) -> list[tuple[str, str]]:
    """Return method and path of every route of the server, and of some that do not exist."""
    found = client.server._runner.app.router.routes()
    paths = [(route.method, re.sub(r"{[^}]*}", "0", route.resource.canonical)) for route in found if route.resource]
    assert len(paths) > 20
    return [*paths, ("GET", "/none"), ("GET", "/static/index.html"), ("PUT", "/users"), ("HEAD", "/events")]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[PageClient]:
    """A client of a page that requires the key."""
    with client_for(tmp_path, key=KEY) as client:
        yield client


def raw(client: PageClient, *lines: bytes) -> Answer:
    """Send a raw request that no HTTP library would send."""
    with closing(socket.create_connection(("127.0.0.1", client.server.port), PATIENCE)) as connection:
        connection.sendall(b"\r\n".join([b"GET / HTTP/1.1", *lines, b"Connection: close", b"", b""]))
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    first, *headers = head.decode("latin-1").split("\r\n")
    named = dict(header.split(": ", 1) for header in headers)
    return Answer(int(first.split()[1]), named, body)


def assert_refused(answer: Answer, words: str = "") -> None:
    assert answer.status == 403
    assert answer.headers.items() >= HEADERS.items()
    assert "Set-Cookie" not in answer.headers
    assert not words or words in answer.error


# -- DNS rebinding


LOOPBACK = [
    *("127.0.0.1", "localhost", "LocalHost", "[::1]", "127.9.9.9"),
    *("127.0.0.1:{port}", "localhost:{port}", "[::1]:1"),
]
FOREIGN = [
    *("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example"),
    *("192.168.1.7", "10.0.0.1:8000", "0.0.0.0", "[::]", "[::2]", "", ":80", "[", "[::1", "a]b"),  # noqa: S104
]


def test_loopback_host_names_are_accepted(client: PageClient) -> None:
    for host in LOOPBACK:
        assert client.ask("GET", "/", headers={"Host": host.format(port=client.server.port)}).status == 200, host


def test_other_host_names_are_refused(client: PageClient) -> None:
    for host in FOREIGN:
        assert_refused(client.ask("GET", "/", headers={"Host": host}), "this machine")
    for host in ("127.0.0.1:x", "localhost/..", "localhost?"):
        assert client.ask("GET", "/", headers={"Host": host}).status in (200, 400, 403)


def test_invalid_host_headers_are_refused(client: PageClient) -> None:
    for host in (b"\xff\xfe", "ｌｏｃａｌｈｏｓｔ".encode(), "℀.example".encode(), b"xn--\xe9"):
        assert_refused(raw(client, b"Host: " + host), "this machine")
    assert raw(client).status in (400, 403)


def test_every_route_is_protected(client: PageClient) -> None:
    for method, path in routes(client):
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            assert_refused(ask(client, method, path, headers))
    assert client.wechat.users == []


def ask(client: PageClient, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    return client.ask(method, path, b"{}" if method == "POST" else None, {"Content-Type": JSON, **headers})


# -- other sites


def test_requests_of_the_page_are_accepted(client: PageClient) -> None:
    for host in ("127.0.0.1", "localhost"):
        own = f"{host}:{client.server.port}"
        client.headers = {"Host": own, "Origin": f"http://{own}"}
        client.done("/users", {"name": host})


@pytest.mark.parametrize(
    "origin",
    [
        *("http://evil.example", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:1", "null", ""),
        *("http://localhost:{port}", "http://127.0.0.1:{port}@evil.example", "http://127.0.0.1:{port}.evil.example"),
        *("file://", "http://[", "nonsense"),
    ],
)
def test_requests_of_another_site_are_refused(client: PageClient, origin: str) -> None:
    client.headers = {"Origin": origin.format(port=client.server.port)}
    client.refuses("/users", {"name": "bob"}, 403, "another site")


# -- the key


def cookie_of(answer: Answer) -> str:
    return answer.headers["Set-Cookie"].partition(";")[0]


def test_the_printed_address_opens_the_page(guarded: PageClient) -> None:
    opened = guarded.ask("GET", f"/?key={KEY}", headers={"Host": "playground.example"})
    assert opened.status == 303
    assert opened.headers["Location"] == "/"
    assert "key" not in opened.headers["Location"]
    cookie = opened.headers["Set-Cookie"]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    guarded.headers = {"Cookie": cookie_of(opened), "Host": "playground.example"}
    assert guarded.get("/").status == 200
    alice = guarded.adds("alice")
    with guarded.opens() as page:
        guarded.lets(alice, "says", text="hi")
        page.row("hi", "send")


def test_every_route_needs_the_key(guarded: PageClient) -> None:
    values = ["wrong", "", f"{KEY}x", KEY[:-1]]
    wrong = [{}, {"Cookie": f"other={KEY}"}, *({"Cookie": f"{COOKIE}={value}"} for value in values)]
    for method, path in routes(guarded):
        for headers in (*wrong, {"Cookie": f"{COOKIE}={KEY}", "Origin": "http://evil.example"}):
            assert_refused(ask(guarded, method, path, headers))
    assert guarded.wechat.users == []


@pytest.mark.parametrize(
    "key", ["", "wrong", KEY + "x", KEY[:-1], KEY.upper(), "%FF%FE", "%E4%BD%A0", "%00", "%ED%A0%80"]
)
def test_a_wrong_key_is_refused(guarded: PageClient, key: str) -> None:
    assert_refused(guarded.get(f"/?key={key}"), "key")


def test_the_key_in_the_url_is_accepted_for_the_page_only(guarded: PageClient) -> None:
    for path in ("/events", "/log", "/static/index.html", "/rows/0"):
        assert_refused(guarded.get(f"{path}?key={KEY}"), "key")


@pytest.mark.parametrize("cookie", [b"\xff\xfe", "你好".encode(), b"\xed\xa0\x80", b'"\\303\\277"', b"\\377", b"a b c"])
def test_invalid_cookies_are_refused(guarded: PageClient, cookie: bytes) -> None:
    host = b"Host: playground.example"
    assert_refused(raw(guarded, host, b"Cookie: " + COOKIE.encode() + b"=" + cookie), "key")
    assert_refused(raw(guarded, host, b"Cookie: " + cookie), "key")


def test_no_key_is_needed_on_loopback(client: PageClient) -> None:
    answer = client.get("/?key=")
    assert answer.status == 200
    assert "Set-Cookie" not in answer.headers


def test_each_new_key_is_different() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", key) for key in keys)


# -- loopback addresses


def test_loopback_addresses_are_recognized() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"]))
    foreign = ["0.0.0.0", "::", "192.168.0.1", "8.8.8.8", "name", "", "localhost.name", "127.0.0.1.name", "[", "::2"]  # noqa: S104
    assert not any(map(is_loopback, foreign))
