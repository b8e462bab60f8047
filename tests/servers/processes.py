"""One server's process: it is waited for and never guessed at, and it does not outlive whoever started it."""

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
# Waits for the end of the pipe from whoever started it, which comes even if that one is killed.
_KEEPER = 'read -r _; kill -KILL "-$1"'


class Process:
    """A program in a process group of its own, its output in a file. Its end is certain: here, or with ours."""

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
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._ended(0.0)

    def story(self, lines: int = 30) -> str:
        """The end of its output."""
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """SIGTERM, and wait; the exit code. Raises AssertionError if it had to be killed."""
        self.resume()
        os.kill(self.pid, signal.SIGTERM)
        in_time = self._ended(timeout)
        code = self.kill()
        assert in_time, f"did not stop within {timeout} s:\n{self.story()}"
        return code

    def kill(self) -> int:
        """SIGKILL to all of its group, and wait; the exit code. Its number cannot be another's before that."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            assert self._ended(STOP_SECONDS), f"process {self.pid} survived SIGKILL"
            self._dismiss_keeper()
        return self._process.wait()

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def _ended(self, timeout: float) -> bool:
        """Whether it has ended, without taking its number away: only ``kill`` does that."""
        with watched(self.pid) as ends:
            return ends(timeout)

    def _dismiss_keeper(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.kill()
        self._keeper.wait()
        self._keeper.stdin.close()


class Port:
    """A free port of 127.0.0.1 that stays ours while nobody listens on it, such as between a kill and a restart.

    A bound socket that does not listen keeps the kernel from giving the port to anybody who asks for any port; a
    server that asks for this one with SO_REUSEADDR, as servers do, gets it.
    """

    def __init__(self) -> None:
        with socket.socket() as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
            self.number = int(holder.getsockname()[1])
            weakref.finalize(self, os.close, holder.detach())

    def __int__(self) -> int:
        return self.number

    def __str__(self) -> str:
        return str(self.number)


@contextmanager
def watched(pid: int) -> Iterator[Callable[[float], bool]]:
    """Yields a function that waits for the end of a process, which need not be our child, and says if it came."""
    handle = os.pidfd_open(pid)
    try:
        yield lambda timeout: bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


def wait_until(there: Callable[[], bool], what: Callable[[], str] | str, seconds: float = START_SECONDS) -> None:
    """For what nobody tells us of. ``what`` is for the AssertionError."""
    limit, pause = time.monotonic() + seconds, threading.Event()
    while not there():
        assert time.monotonic() < limit, f"not within {seconds} s: {what if isinstance(what, str) else what()}"
        pause.wait(0.02)
