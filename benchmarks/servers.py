"""The measured servers, each with its own gunicorn. CPU time and memory of their processes come from /proc (Linux)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.crowd import KEYS

ROOT = Path(__file__).parent.parent
START_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class CannotMeasure(Exception):
    """The benchmark cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """An application to measure, with the arguments and the environment of its gunicorn."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


_PLAIN = ("-c", str(ROOT / "benchmarks" / "gunicorn_plain.py"))
BY_HAND = Target("wechatpy by hand", (*_PLAIN, "benchmarks.wechatpy_by_hand:app"))
BARE = Target("bare gunicorn", (*_PLAIN, "benchmarks.bare:app"))


def wxbot(plugin: str, *, name: str = "wxbot", **settings: str) -> Target:
    """Return wxbot as it is deployed, with one of the shipped plugins."""
    chosen = {f"WXBOT_{setting.upper()}": value for setting, value in settings.items()}
    return Target(name, ("wsgi:app",), {"WXBOT_PLUGINS": plugin, **chosen})


class Server:
    """A running target."""

    def __init__(self, target: Target, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.target = target
        self.port = port
        self.log = log
        self._process = process

    def cpu_seconds(self) -> float:
        """Return the user and system time of gunicorn's master and workers so far, in seconds."""
        return sum(_cpu_seconds(pid) for pid in self._processes())

    def memory_mib(self) -> float:
        """Return the resident memory of the workers, in MiB."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._processes()[1:]]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _processes(self) -> list[int]:
        if self._process.poll() is not None:
            raise CannotMeasure(f"{self.target.name} ended:\n{self.log.read_text()[-2000:]}")
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        return [master, *map(int, children)]

    async def ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._processes()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"{self.target.name} does not listen") from None
                await asyncio.sleep(0.1)
                continue
            writer.close()
            await writer.wait_closed()
            return

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def serving(target: Target, folder: Path, platform_port: int, workers: int = 1) -> Iterator[Server]:
    """Run ``target`` with gunicorn on a free port. Its files and its log are in ``folder``."""
    if not Path("/proc/self/stat").exists():
        raise CannotMeasure("CPU time and memory are read from /proc, so these benchmarks need Linux")
    port = _free_port()
    home = folder / f"{target.name.replace(' ', '-')}-{port}"
    home.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("WXBOT_", "GUNICORN_"))},
        "WXBOT_BIND": f"127.0.0.1:{port}",
        "WEB_CONCURRENCY": str(workers),
        "WXBOT_APPID": KEYS.appid,
        "WXBOT_SECRET": "benchmark",
        "WXBOT_TOKEN": KEYS.token,
        "WXBOT_AES_KEY": KEYS.aes_key,
        "WXBOT_API_BASE": f"http://127.0.0.1:{platform_port}",
        "WXBOT_STORE_URL": f"sqlite:///{home}/wxbot.db",
        "WXBOT_DRAIN_SECONDS": "2",
        **target.environment,
    }
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *target.arguments], cwd=ROOT, env=environment, stderr=output
        )
    server = Server(target, process, port, log)
    try:
        yield server
    finally:
        server.stop()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
