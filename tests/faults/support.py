"""A deployment in real processes, and a server through which a test controls its handlers."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Self

from wxbot.testing import FakeWeChat, Record, User

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).parent / "plugins"
START_SECONDS = 20.0


@dataclass(eq=False)
class RunningHandler:
    """A running handler that waits for the test to give its reply."""

    openid: str
    text: str
    pid: int
    attempt: int
    _connection: BufferedIOBase = field(repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def answers(self, text: str) -> None:
        """Let the handler return ``text``."""
        self._connection.write(json.dumps(text).encode() + b"\n")

    def end(self) -> None:
        """Record that the handler has closed the connection."""
        self._ended.set()

    def waits_until_ended(self, timeout: float = 10.0) -> None:
        """Wait until the handler has returned, was cancelled, or its process has ended."""
        assert self._ended.wait(timeout), f"{self} still runs"


def wrong_calls(wechat: FakeWeChat) -> list[Record]:
    """Return the typing calls that WeChat refused, and needless ones.

    The bot sends CancelTyping before the reply, but over another connection. If a busy machine reads the reply first,
    the call is needless but not wrong.
    """
    wrong = []
    for record in wechat.violations:
        calls = [each for each in wechat.timeline if each.openid == record.openid and each.kind in ("typing", "send")]
        before = calls[max(0, calls.index(record) - 1)]
        if not (record.needless and before.kind == "send"):
            wrong.append(record)
    return wrong


class HandlerControl:
    """The server to which handlers connect. Every wait has a time limit."""

    def __init__(self) -> None:
        self.runs: list[RunningHandler] = []
        self._returned: set[RunningHandler] = set()
        self._changed = threading.Condition()
        self._server = _Listener(("127.0.0.1", 0), self._enter)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def waits_for(self, user: User, text: str, timeout: float = 10.0) -> RunningHandler:
        """Wait for the next handler that runs for this message of ``user``, and return it."""

        def arrived() -> RunningHandler | None:
            new = (handler for handler in self.runs if handler not in self._returned)
            return next((handler for handler in new if (handler.openid, handler.text) == (user.openid, text)), None)

        with self._changed:
            assert self._changed.wait_for(arrived, timeout), f"no handler for {text!r} of {user.name}: {self.runs}"
            handler = arrived()
            assert handler is not None
            self._returned.add(handler)
            return handler

    def _enter(self, fields: dict[str, str | int], connection: BufferedIOBase) -> RunningHandler:
        handler = RunningHandler(
            str(fields["openid"]),
            str(fields["text"]),
            int(fields["pid"]),
            int(fields["attempt"]),
            _connection=connection,
        )
        with self._changed:
            self.runs.append(handler)
            self._changed.notify_all()
        return handler


Enter = Callable[[dict[str, str | int], BufferedIOBase], RunningHandler]


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], enter: Callable[[dict[str, str | int], BufferedIOBase], RunningHandler]
    ) -> None:
        super().__init__(address, _HandlerConnection)
        self.enter = enter
        self.open: set[socket.socket] = set()

    def close_connections(self) -> None:
        for connection in tuple(self.open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _HandlerConnection(socketserver.StreamRequestHandler):
    server: _Listener

    def handle(self) -> None:
        self.server.open.add(self.connection)
        with suppress(OSError):
            line = self.rfile.readline()
            if line:
                handler = self.server.enter(json.loads(line), self.wfile)
                try:
                    self.rfile.read()  # returns when the handler closes the connection
                finally:
                    handler.end()
        self.server.open.discard(self.connection)


class Deployment:
    """``gunicorn wsgi:app`` with the shipped gunicorn.conf.py, the plugins of these tests and a SQLite store."""

    def __init__(self, wechat: FakeWeChat, handlers: HandlerControl, folder: Path) -> None:
        self.store = folder / "wxbot.db"
        self.port = _free_port()
        self.settings = {
            **wechat.settings(),
            "WXBOT_STORE_URL": f"sqlite:///{self.store}",
            "WXBOT_BIND": f"127.0.0.1:{self.port}",
            "WXBOT_PLUGIN_FOLDERS": str(PLUGINS),
            "WXBOT_PLUGIN_HANDLERS_PORT": str(handlers.port),
            "WXBOT_LEASE_SECONDS": "2",
            "WXBOT_POLL_SECONDS": "0.2",
            "WXBOT_DRAIN_SECONDS": "8",
            "WEB_CONCURRENCY": "2",
            "PYTHONUNBUFFERED": "1",
        }
        wechat.callback_url = f"http://127.0.0.1:{self.port}/wechat"
        self.log: list[str] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.kill_all()

    @property
    def pid(self) -> int:
        """Return the process id of gunicorn's master."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def start(self, **settings: str) -> None:
        """Start gunicorn, and wait until every worker is ready."""
        self.settings |= settings
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "wsgi:app"],
            cwd=ROOT,
            env=environment | self.settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()
        self._retry(self._is_ready, "ready")

    def kill_all(self) -> None:
        """Kill all processes at once, as a power loss does."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.waits_for_end()

    def kill(self, pid: int) -> None:
        """Kill one of the processes with SIGKILL, and wait for its end."""
        assert pid == self.pid or pid in self.workers, f"{pid} is not a process of this deployment"
        with _watched(pid) as ended:
            os.kill(pid, signal.SIGKILL)
            ended(10.0)

    def signals(self, signum: signal.Signals, pid: int = 0) -> None:
        os.kill(pid or self.pid, signum)

    @contextmanager
    def stopped(self, pid: int) -> Iterator[None]:
        """Stop a worker with SIGSTOP while it does not hold the store's lock, and continue it afterwards."""

        def stopped_without_lock() -> bool:
            os.kill(pid, signal.SIGSTOP)
            try:
                with self.locked_store(patience=0.0):
                    return True
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                return False

        self._retry(stopped_without_lock, "stopped")
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def waits_for_end(self, timeout: float = 20.0) -> int:
        """Wait until the master and all workers have ended, and return the exit code."""
        assert self._process is not None
        assert self._reader is not None
        code = self._process.wait(timeout)
        self._reader.join(timeout)
        assert not self._reader.is_alive(), "a worker runs although its master has ended:\n" + self.log_text()
        self._process = None
        return code

    def waits_for_log(self, words: str, after: int = 0, *, times: int = 1, timeout: float = 10.0) -> None:
        """Wait until ``times`` lines of the log contain ``words``, from line number ``after`` on."""
        with self._changed:
            logged = self._changed.wait_for(lambda: sum(words in line for line in self.log[after:]) >= times, timeout)
        assert logged, f"not in the log: {words!r}\n{self.log_text()}"

    def log_text(self) -> str:
        return "".join(self.log)

    @contextmanager
    def locked_store(self, patience: float = 5.0) -> Iterator[None]:
        """Lock the store as an unfinished transaction does. ``patience``: the seconds to wait for the lock."""
        other = sqlite3.connect(self.store, isolation_level=None, timeout=patience)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield
        finally:
            other.close()

    def waits_for_the_end_of(self, workers: set[int]) -> None:
        """Until the master has none of these processes any more: a moment after the last line of their log."""
        self._retry(lambda: workers.isdisjoint(self.workers), f"without {workers}")

    def waits_for_records(self, left: int = 0) -> None:
        """Wait until all but ``left`` messages are recorded as done, which is shortly after the reply was sent."""
        self._retry(lambda: len(self.inbox()) <= left, f"{left} messages left")

    def inbox(self) -> list[tuple[str, int, int, str | None]]:
        """Return the messages that are not done: dedup key, status, attempts, reason."""
        db = sqlite3.connect(self.store)
        rows = db.execute("SELECT dedup_key, status, attempts, reason FROM inbox WHERE status != 1 ORDER BY seq")
        left = rows.fetchall()
        db.close()
        return left

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                with self._changed:
                    self.log.append(line.decode(errors="replace"))
                    self._changed.notify_all()

    def _is_ready(self) -> bool:
        """Return True if all workers have opened the store, so that none opens it while a test locks it."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"ended\n{self.log_text()}")
        ready = [pid for pid in self.workers if _has_open(pid, f"{self.store}-wal")]
        return len(ready) == int(self.settings["WEB_CONCURRENCY"])

    def _retry(self, predicate: Callable[[], bool], why: str) -> None:
        """Wait until ``predicate`` holds. ``why``: the text of the failure."""
        limit, pause = time.monotonic() + START_SECONDS, threading.Event()
        while not predicate():
            assert time.monotonic() < limit, f"still not {why}: {self.inbox()}\n{self.log_text()}"
            pause.wait(0.05)


def _has_open(pid: int, path: str) -> bool:
    with suppress(OSError):
        return any(link.readlink() == Path(path) for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


@contextmanager
def _watched(pid: int) -> Iterator[Callable[[float], None]]:
    """Yield a function that waits for the end of a process, which need not be a child of this process."""
    handle = os.pidfd_open(pid)

    def ended(timeout: float) -> None:
        readable, _, _ = select.select([handle], [], [], timeout)
        assert readable, f"process {pid} did not end"

    try:
        yield ended
    finally:
        os.close(handle)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
