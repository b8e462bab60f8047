"""The servers and the browser that tests run: their minimum versions, and their paths on this machine."""

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
"""The folder into which ``make servers`` unpacks programs; ``make clean`` deletes it."""
LAUNCHERS = FOLDER / "bin"
SWITCH = "TEST_SERVERS"
"""The environment variable TEST_SERVERS. ``required``: a test fails, and is not skipped, if its program is missing."""
RABBIT_WITHOUT_SU = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The broker's own script. Debian's script on the PATH runs it as another user, who cannot write into a test folder."""


def version_of(executable: Path) -> tuple[int, ...]:
    """Return the version that ``--version`` prints; empty if the program does not run."""
    try:
        result = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", result.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def version_of_broker(executable: Path) -> tuple[int, ...]:
    """Return the version in the name of the broker's folder; (0,) if it has none. Only a running broker prints it."""
    found = re.search(r"rabbitmq_server-(\d+(?:\.\d+)*)", _script(executable))
    return tuple(map(int, found[1].split("."))) if found else (0,)


def version_of_browser(executable: Path) -> tuple[int, ...]:
    """Return the version of a browser; empty for the placeholder script that some distributions put on the PATH."""
    try:
        result = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r"(?:Google )?Chrom\S+ (\d+(?:\.\d+)*)", result.stdout)
    return tuple(map(int, found[1].split("."))) if found else ()


def _script(executable: Path) -> str:
    real = executable.resolve()
    return f"{real}\n{real.read_text(errors='replace')}"


@dataclass(frozen=True)
class Program:
    """A program, its Debian packages, and its path in them. On other systems it may have ``other_names``."""

    name: str
    minimum: int
    packages: tuple[str, ...]
    path_in_package: str
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
    123,  # the first version with light-dark(), which the page's style uses
    ("chromium-common", "chromium"),
    "usr/lib/chromium/chromium",
    version_of_browser,
    ("chromium-browser", "google-chrome", "google-chrome-stable"),
)
PROGRAMS = (REDIS, VALKEY, RABBIT, CHROMIUM)


@dataclass(frozen=True)
class Files:
    """Files that a program needs, their Debian packages, and ``there``, which returns True if the machine has them."""

    name: str
    packages: tuple[str, ...]
    there: Callable[[], bool]

    @property
    def unpacked(self) -> Path:
        return FOLDER / "packages" / self.name


def find(program: Program) -> Path | None:
    """Return the path of ``program``: on the PATH, or unpacked by ``make servers``; None if it is missing."""
    names = (program.name, *program.other_names)
    for path in (*map(on_path, names), LAUNCHERS / program.name):
        if path is not None and path.is_file() and program.suits(path):
            return path
    return None


found = functools.cache(find)
"""The same as ``find``, but cached, because programs do not change while tests run."""


def required() -> bool:
    return os.environ.get(SWITCH) == "required"


def on_path(name: str) -> Path | None:
    if name == RABBIT.name and RABBIT_WITHOUT_SU.is_file():
        return RABBIT_WITHOUT_SU
    path = shutil.which(name)
    return Path(path) if path else None
