"""The programs that tests run, servers and a browser: which ones, how new, and where they are on this machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".servers"
"""What ``make servers`` unpacks; ``make clean`` removes it."""
LAUNCHERS = FOLDER / "bin"
SWITCH = "TEST_SERVERS"
"""An environment variable. ``required``: a program that is missing is a failure, and not a reason to skip."""
RABBIT_WITHOUT_SU = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's script on the PATH starts the broker as a user of its own, who may not write into a test's folder."""


def version_of(executable: Path) -> tuple[int, ...]:
    """What ``--version`` says; nothing if the program does not run."""
    try:
        told = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", told.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def version_of_broker(executable: Path) -> tuple[int, ...]:
    """RabbitMQ tells its version only once it runs; the name of its folder has it too, except where it is linked."""
    found = re.search(r"rabbitmq_server-(\d+(?:\.\d+)*)", _script(executable))
    return tuple(map(int, found[1].split("."))) if found else (0,)


def version_of_browser(executable: Path) -> tuple[int, ...]:
    """The script in place of a browser that some distributions put on the PATH has no version."""
    try:
        told = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r"(?:Google )?Chrom\S+ (\d+(?:\.\d+)*)", told.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def _script(executable: Path) -> str:
    real = executable.resolve()
    return f"{real}\n{real.read_text(errors='replace')}"


@dataclass(frozen=True)
class Program:
    """A program, the Debian packages it is in, and its place in them. Elsewhere it may have other names."""

    name: str
    minimum: int
    packages: tuple[str, ...]
    place: str
    version: Callable[[Path], tuple[int, ...]] = version_of
    other_names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.minimum} or newer" if self.minimum else self.name

    def suits(self, executable: Path) -> bool:
        return self.version(executable) >= (self.minimum,)


REDIS = Program("redis-server", 7, ("redis-tools", "redis-server"), "usr/bin/redis-server")
VALKEY = Program("valkey-server", 8, ("valkey-tools", "valkey-server"), "usr/bin/valkey-server")
RABBIT = Program(
    "rabbitmq-server",
    0,
    ("rabbitmq-server",),
    "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
    version_of_broker,
)
CHROMIUM = Program(
    "chromium",
    123,  # the first with light-dark(): the newest thing in the page's style
    ("chromium-common", "chromium"),
    "usr/lib/chromium/chromium",
    version_of_browser,
    ("chromium-browser", "google-chrome", "google-chrome-stable"),
)
PROGRAMS = (REDIS, VALKEY, RABBIT, CHROMIUM)


@dataclass(frozen=True)
class Files:
    """What a program needs beside it, the Debian packages it is in, and whether it is there: here or unpacked."""

    name: str
    packages: tuple[str, ...]
    there: Callable[[], bool]

    @property
    def unpacked(self) -> Path:
        return FOLDER / "packages" / self.name


def find(program: Program) -> Path | None:
    """What is on the PATH, else what ``make servers`` has unpacked."""
    names = (program.name, *program.other_names)
    for path in (*map(on_path, names), LAUNCHERS / program.name):
        if path is not None and path.is_file() and program.suits(path):
            return path
    return None


found = functools.cache(find)
"""``find``, asked once: a machine's programs do not change while tests run."""


def required() -> bool:
    return os.environ.get(SWITCH) == "required"


def on_path(name: str) -> Path | None:
    if name == RABBIT.name and RABBIT_WITHOUT_SU.is_file():
        return RABBIT_WITHOUT_SU
    place = shutil.which(name)
    return Path(place) if place else None
