"""The process of one server. It ends when the process that started it ends, even by SIGKILL."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 20.0
# Kills the process group when its standard input is closed, which happens even if the test process is killed.
_GUARD = 'read -r _; kill -KILL "-$1"'


class Process:
    """A program in its own process group, with its output in a file. It ends with the test process at the latest."""

    def __init__(self, command: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "output.log"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not end it
        )

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._ended(0.0)

    def story(self, lines: int = 30) -> str:
        """Return the last lines of its output."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Send SIGTERM, wait, and return the exit code. Raises AssertionError if it had to be killed."""
        self.resume()
        os.kill(self.pid, signal.SIGTERM)
        has_ended = self._ended(timeout)
        code = self.kill()
        assert has_ended, f"did not stop within {timeout} s:\n{self.story()}"
        return code

    def kill(self) -> int:
        """Send SIGKILL to its process group, wait, and return the exit code. Only this releases the pid."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            assert self._ended(STOP_SECONDS), f"process {self.pid} survived SIGKILL"
            self._end_guard()
        return self._process.wait()

    def pause(self) -> None:
        """Send SIGSTOP and wait until the process is stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _ended(self, timeout: float) -> bool:
        """Return True if the process ends within ``timeout``. Its pid is not released: only ``kill`` does that."""
        with watched(self.pid) as ends:
            return ends(timeout)

    def _end_guard(self) -> None:
        assert self._guard.stdin is not None
        self._guard.kill()
        self._guard.wait()
        self._guard.stdin.close()


class Port:
    """A free port of 127.0.0.1 that stays reserved while no server listens on it, such as during a restart.

    A bound socket that does not listen reserves it: the kernel does not give the port to a process that asks for any
    port, but a server that binds this port with SO_REUSEADDR, as servers do, gets it.
    """

    def __init__(self) -> None:
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            self.number = int(reserved.getsockname()[1])
            weakref.finalize(self, os.close, reserved.detach())

    def __int__(self) -> int:
        return self.number

    def __str__(self) -> str:
        return str(self.number)


@contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for the end of a process, which need not be a child. It returns True if it ended."""
    handle = os.pidfd_open(pid)
    try:
        yield lambda timeout: bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


def wait_until(predicate: Callable[[], bool], what: Callable[[], str] | str, seconds: float = START_SECONDS) -> None:
    """Poll until ``predicate`` is true. Raises AssertionError with ``what`` after ``seconds``."""
    limit, pause = time.monotonic() + seconds, threading.Event()
    while not predicate():
        assert time.monotonic() < limit, f"timed out after {seconds:g} s: {what if isinstance(what, str) else what()}"
        pause.wait(0.02)
