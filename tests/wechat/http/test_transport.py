"""The HTTP of the transport: requests, every form of an answer, and the error for each broken answer."""

from __future__ import annotations

from typing import Any

import pytest
from yarl import URL

from tests.wechat.raw_server import (
    FINE,
    FINE_BODY,
    LOOPS,
    Answer,
    byte_by_byte,
    closing,
    failure,
    late,
    post,
    raw_server,
    resetting,
    run,
    transport,
)
from wxbot.errors import DeliveryUnknown, RequestNotSent
from wxbot.version import __version__
from wxbot.wechat.http.transport import Limits

CHUNKED = (
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\n{"er\r\n9\r\nrcode":0}\r\n0\r\nTrailer: x\r\n\r\n'
)
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + FINE_BODY
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
MIB = 1024 * 1024

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def test_the_bytes_of_a_request(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(FINE) as server, transport() as client:
            await post(client, server.url, b'{"a":1}')
            url = URL(f"{server.url}/a%2Fb?q=%E4%BD%A0%26", encoded=True)
            await client.exchange("GET", url, None, Limits(1, 1), "get")
            await client.exchange("POST", url, None, Limits(1, 1), "empty post")
        host = server.url.removeprefix("http://").encode()
        headers = b"Host: " + host + b"\r\nUser-Agent: wxbot/" + __version__.encode() + b"\r\n"
        assert server.requests == [
            b"POST /cgi-bin/call?access_token=t0k3n-of-today HTTP/1.1\r\n"
            + headers
            + b'Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}',
            b"GET /a%2Fb?q=%E4%BD%A0%26 HTTP/1.1\r\n" + headers + b"\r\n",
            b"POST /a%2Fb?q=%E4%BD%A0%26 HTTP/1.1\r\n" + headers + b"Content-Length: 0\r\n\r\n",
        ]
        assert server.opened == 1

    run(loop, scene())


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (FINE, True),
        (CHUNKED, True),
        (byte_by_byte(FINE), True),
        (byte_by_byte(CHUNKED), True),
        (byte_by_byte(CONTINUE + FINE), True),
        (CONTINUE + FINE, True),
        (late(0.01, CONTINUE + CHUNKED), True),
        (FINE.replace(b"OK\r\n", b"OK\r\nX-Huge: " + b"x" * 300_000 + b"\r\n"), True),
        (FINE.replace(b"OK\r\n", b"OK\r\n" + b"X-Many: x\r\n" * 5000), True),
        (FINE.replace(b"1.1", b"1.0").replace(b"OK\r\n", b"OK\r\nConnection: keep-alive\r\n"), True),
        (FINE.replace(b"1.1", b"1.0"), False),
        (FINE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), False),
        (closing(UNTIL_CLOSE), False),
        (closing(CONTINUE + UNTIL_CLOSE), False),
        (FINE + FINE, False),
        (CHUNKED + FINE[:1], False),
        (FINE + b"garbage", False),
        (FINE.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"garbage", False),
    ],
    ids=range(18),
)
def test_valid_answers_are_read(loop: Any, answer: Answer, reused: bool) -> None:
    async def scene() -> None:
        async with raw_server(answer) as server, transport() as client:
            for _ in range(3):
                assert await post(client, server.url) == (200, FINE_BODY)
            assert server.opened == (1 if reused else 3)

    run(loop, scene())


@pytest.mark.parametrize(
    "answer",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + FINE,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * (2 * MIB + 1),
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MIB + 1) + b" " * (MIB + 1),
        closing(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MIB + 1)),
        closing(b""),
        closing(FINE[:10]),
        closing(FINE[:-1]),
        closing(CHUNKED[:-2]),
        closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        closing(CONTINUE),
        resetting(b""),
        resetting(FINE[:-1]),
        resetting(UNTIL_CLOSE),
    ],
    ids=range(23),
)
def test_broken_answers_are_delivery_unknown(loop: Any, answer: Answer) -> None:
    async def scene() -> None:
        async with raw_server(answer, FINE) as server, transport() as client:
            assert isinstance(await failure(post(client, server.url)), DeliveryUnknown)
            assert await post(client, server.url) == (200, FINE_BODY)
            assert server.opened == 2

    run(loop, scene())


def test_the_longest_answer_is_read(loop: Any) -> None:
    async def scene() -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MIB + b" " * MIB
        async with raw_server(answer) as server, transport() as client:
            assert await post(client, server.url, b"x" * MIB) == (200, b" " * MIB)
            assert len(server.requests[0]) > MIB

    run(loop, scene())


@pytest.mark.parametrize("status", [204, 302, 304, 404, 500])
def test_any_status_is_returned(loop: Any, status: int) -> None:
    async def scene() -> None:
        body = b"" if status in (204, 304) else b"{}"
        answer = b"HTTP/1.1 %d X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        async with raw_server(answer + body) as server, transport() as client:
            assert await post(client, server.url) == (status, body)

    run(loop, scene())


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", URL("ftp://127.0.0.1/")),
        ("POST", URL("/path")),
        ("POST", URL("http://user:s3cr3t-app-secret@127.0.0.1:1/")),
        ("POST", URL("http://127.0.0.1:1/a\r\nX-Injected: 1", encoded=True)),
        ("POST", URL("http://127.0.0.1:1/").with_path("/a b\r\n", encoded=True)),
        ("GET / HTTP/1.1\r\nX-Injected: 1\r\n\r\n", URL("http://127.0.0.1:1/")),
    ],
    ids=range(6),
)
def test_an_invalid_request_is_not_sent(loop: Any, method: str, url: URL) -> None:
    async def scene() -> None:
        async with transport() as client:
            error = await failure(client.exchange(method, url, None, Limits(1, 1), "call"))
            assert isinstance(error, RequestNotSent)

    run(loop, scene())
