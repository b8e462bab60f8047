"""Debian packages, downloaded by apt from the machine's sources and unpacked into a folder, without installing them.

It needs no root and changes nothing outside the folder. Packages that the machine has are not downloaded.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

SOURCES = Path("/etc/apt/sources.list.d")
TOOLS = ("apt-get", "dpkg-deb")
APT_TIMEOUT = 900.0
"""Time limit for one run of apt, in seconds. If a mirror does not answer, apt ends earlier."""


class CannotUnpackError(Exception):
    """Raised if packages cannot be unpacked. The text is the reason."""


class Apt:
    """apt with the machine's sources and the backports of its mirror, and with its own lists and cache in ``folder``.

    It is a context manager that deletes ``folder`` at the end. All methods raise CannotUnpackError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._update_errors: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        """Unpack ``packages`` and their missing dependencies into ``target``. If one fails, unpack none."""
        unpacked = self._folder / "unpacked"
        archives = self._fetch(packages)
        unpacked.mkdir()
        unpacked.chmod(0o755)
        for archive in archives:
            if _run(["dpkg-deb", "-x", str(archive), str(unpacked)]).returncode:
                raise CannotUnpackError(f"dpkg-deb cannot unpack {archive.name}")
            archive.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)

    def _fetch(self, packages: Iterable[str]) -> list[Path]:
        if self._update_errors is None:
            self._prepare()
            self._update_errors = self._apt("update").stderr
        result = self._apt("install", "--download-only", "--reinstall", "--no-install-recommends", "-y", *packages)
        archives = sorted((self._folder / "cache" / "archives").glob("*.deb"))
        if result.returncode or not archives:
            error = _first_error(self._update_errors) or _first_error(result.stderr) or "no package was downloaded"
            raise CannotUnpackError(f"apt failed: {error}")
        return archives

    def _prepare(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise CannotUnpackError(f"{' and '.join(missing)} not found, which unpack Debian packages")
        shutil.rmtree(self._folder, ignore_errors=True)
        for path in ("sources", "lists/partial", "cache/archives/partial"):
            (self._folder / path).mkdir(parents=True)
        for file in SOURCES.glob("*"):
            (self._folder / "sources" / file.name).symlink_to(file)
        (self._folder / "sources" / "wxbot-backports.list").write_text(self._backports(), encoding="utf-8")
        # The hooks of the machine's apt are disabled, because they may need root and delete other files.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        (self._folder / "apt.conf").write_text("".join(f"#clear {hook};\n" for hook in hooks), encoding="utf-8")

    def _backports(self) -> str:
        """Return a source for the backports of the machine's mirror; "" if it has them. Debian 12 has Valkey there."""
        codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        targets = _run(
            ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI) $(SIGNED_BY)", "Component: main"]
        )
        sites = {release: rest for release, _, rest in (line.partition(" ") for line in targets.stdout.splitlines())}
        site = sites.get(f"{codename}-updates") or sites.get(codename)
        if site is None or f"{codename}-backports" in sites:
            return ""
        uri, _, key = site.partition(" ")
        options = "" if key.startswith("$") else f"[signed-by={key}] "
        return f"deb {options}{uri} {codename}-backports main\n"

    def _apt(self, *words: str) -> subprocess.CompletedProcess[str]:
        options = {
            "Dir::Etc::SourceParts": self._folder / "sources",
            "Dir::State::Lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Dir::Cache::Archives": self._folder / "cache" / "archives",
            "APT::Sandbox::User": "root",  # because apt's usual user _apt cannot write into a checkout
            "Debug::NoLocking": "true",  # because only root may take the locks, and nothing is shared
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
        }
        arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return _run(["apt-get", "-q", "-c", str(self._folder / "apt.conf"), *arguments, *words])


def _first_error(stderr: str) -> str:
    """Return the first error in the output of apt; the first warning if there is no error."""
    lines = [line for line in stderr.splitlines() if re.match("[EW]: ", line)]
    return min(lines, key=lambda line: line[0], default="")[3:]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotUnpackError(f"{command[0]} took more than {APT_TIMEOUT:.0f} s") from None
