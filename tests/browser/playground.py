"""The process ``python -m wxbot playground`` in a folder of its own.

Its bot has one worker, which starts in half the time of two.
"""

from __future__ import annotations

import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from tests.browser.asking import Server
from tests.servers.processes import STOP_SECONDS, Process, wait_until

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "wxbot" / "playground" / "page" / "static"
PLUGINS = Path(__file__).parent / "plugins"
START_SECONDS = 60.0
_PROJECT = ("wsgi.py", "gunicorn.conf.py")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*")
_MARK = "PLAYGROUND_OF_A_TEST"
_SECRETS = ("WXBOT_SECRET", "WXBOT_TOKEN", "WXBOT_AES_KEY")
_ENDS = (0, 128 + signal.SIGTERM)


class Playground:
    """The playground's process. At the end of its context it is stopped, and must have left nothing behind."""

    def __init__(self, folder: Path, plugins: Sequence[Path] = (PLUGINS,), words: Sequence[str] = ()) -> None:
        self._folder = folder
        self._temporary = folder / "tmp"
        self._temporary.mkdir(parents=True)
        for name in _PROJECT:
            shutil.copy(ROOT / name, folder)
        self._mark = uuid4().hex
        self._process = Process(
            [
                sys.executable,
                "-m",
                "wxbot",
                "playground",
                "--port",
                "0",
                "--plugins",
                ",".join(map(str, plugins)),
                *words,
            ],
            folder,
            {
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": str(self._temporary),
                "WEB_CONCURRENCY": "1",
                _MARK: self._mark,
            },
        )
        self.address = ""

    def __enter__(self) -> Self:
        try:
            wait_until(self._has_address, self.story, START_SECONDS)
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the process. After a failure its remains are not checked, because the failure may have caused them."""
        if kind is not None:
            self._process.kill()
        else:
            self.stop()

    @property
    def server(self) -> Server:
        """Return a client of the page's server."""
        return Server(self.address)

    def story(self, lines: int = 30) -> str:
        """Return the end of its output."""
        return self._process.story(lines)

    def secrets(self) -> set[str]:
        """Return the secrets of its bot, which must never be shown."""
        names = tuple(f"{name}=".encode() for name in _SECRETS)
        found = (line for _, lines in self._processes() for line in lines if line.startswith(names))
        return {line.partition(b"=")[2].decode() for line in found}

    def lets_answer(self, name: str) -> None:
        """Let the handlers continue that wait for this file in the bot's folder."""
        (self._folder / name).touch()

    def stop(self) -> None:
        """Stop the process with SIGTERM and check that no process and no file is left. Raises AssertionError."""
        code = self._process.stop()
        assert code in _ENDS or code == -signal.SIGTERM, f"it ended with {code}:\n{self.story()}"
        wait_until(lambda: not list(self._left()), lambda: f"left running: {list(self._left())}", STOP_SECONDS)
        files = [str(path.relative_to(self._temporary)) for path in self._temporary.rglob("*")]
        assert not files, f"left in its temporary folder: {files}"

    def _has_address(self) -> bool:
        assert self._process.alive, f"it ended before it had an address:\n{self.story()}"
        found = _ADDRESS.search(self.story(lines=1000))
        self.address = found[0] if found else ""
        return bool(found)

    def _left(self) -> Iterator[str]:
        """Yield the processes that it started, directly or not. They have its mark in their environment."""
        for process, _ in self._processes():
            with suppress(OSError):  # it has ended
                yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")

    def _processes(self) -> Iterator[tuple[Path, list[bytes]]]:
        """Yield the folders of these processes in /proc, with their environments."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or belongs to another user
                environment = (process / "environ").read_bytes().split(b"\0")
                if f"{_MARK}={self._mark}".encode() in environment:
                    yield process, environment
