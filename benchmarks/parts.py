"""Benchmarks of single parts in this process: the CPU time of all its threads, per operation."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

from yarl import URL

from benchmarks.crowd import KEYS, make_messages
from benchmarks.report import Row
from benchmarks.servers import ROOT
from wxbot.store.records import ConversationKey, ConversationRecord, IncomingMessage
from wxbot.store.sqlite.store import SqliteStore
from wxbot.wechat.http.transport import Transport, limits
from wxbot.wechat.push.callback import Callback, single_values

ROUNDS = 5
WEBHOOK_THREADS = 8

_numbers = itertools.count()


def open_push(count: int = 1000) -> Row:
    """Measure verifying, decrypting, parsing and checking a push."""
    callback = Callback(appid=KEYS.appid, token=KEYS.token, aes_key=KEYS.aes_key)
    pushes = []
    for message in make_messages(count):
        head, _, body = message.request.partition(b"\r\n\r\n")
        query = head.decode().split(" ", 2)[1].partition("?")[2]
        pushes.append((parse_qsl(query), body))

    def run() -> None:
        now = time.time()
        for query, body in pushes:
            callback.open(single_values(query), body, now, now)

    return Row("open a push (signature, AES, XML, checks)", _measured(run, count), "ms of CPU")


def accept(folder: Path, *, full_sync: bool, count: int = 1600) -> list[Row]:
    """Measure storing messages, with one thread and with as many threads as gunicorn has."""
    mode = "FULL" if full_sync else "NORMAL"
    store = SqliteStore(folder / f"accept-{mode}.db", full_sync=full_sync)
    store.open()
    rows = []
    for threads in (1, WEBHOOK_THREADS):
        messages = _messages(ROUNDS * count)

        def accept_some(amount: int, messages: Iterator[IncomingMessage] = messages) -> None:
            for _ in range(amount):
                store.accept(next(messages))

        def run(threads: int = threads, accept_some: Callable[[int], None] = accept_some) -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(accept_some, [count // threads] * threads))

        began = time.monotonic()
        figures = _measured(run, count)
        per_second = ROUNDS * count / (time.monotonic() - began)
        rows.append(
            Row(f"store.accept, {mode}, {threads} thread(s)", figures, "ms of CPU", f"{per_second:.0f} per second")
        )
    store.close()
    return rows


def _messages(count: int) -> Iterator[IncomingMessage]:
    made = []
    for _ in range(count):
        openid = f"oBench{next(_numbers):022d}"
        fields = {"FromUserName": openid, "MsgType": "text", "Content": "你好，请问什么时候发货？", "MsgId": 1}
        now = time.time()
        made.append(IncomingMessage(ConversationKey(KEYS.appid, openid), "m:1:1", fields, now, ConversationRecord(now)))
    return iter(made)


def api_call(count: int = 1600, at_once: int = 16) -> Row:
    """Measure one call of WeChat's API on a keep-alive connection. The platform double runs in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.platform_double"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        figures = asyncio.run(_api_calls(port, count, at_once))
    finally:
        process.terminate()
        process.communicate()
    return Row("one API call (keep-alive)", _spread(figures), "ms of CPU")


async def _api_calls(port: int, count: int, at_once: int) -> list[float]:
    transport, timeout = Transport(), limits(10.0)
    url = URL(f"http://127.0.0.1:{port}/cgi-bin/message/custom/typing?access_token=benchmark-token")
    body = b'{"touser":"oBench","command":"Typing"}'
    await transport.open()

    async def caller() -> None:
        for _ in range(count // at_once):
            await transport.exchange("POST", url, body, timeout, "typing")

    figures = []
    for _ in range(ROUNDS):
        began = time.process_time()
        await asyncio.gather(*(caller() for _ in range(at_once)))
        figures.append((time.process_time() - began) / count * 1000)
    await transport.close()
    return figures


def _measured(run: Callable[[], None], count: int) -> dict[str, float]:
    figures = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        figures.append((time.process_time() - began) / count * 1000)
    return _spread(figures)


def _spread(figures: list[float]) -> dict[str, float]:
    return {"min": min(figures), "median": statistics.median(figures), "max": max(figures)}
