"""Debian packages for one folder: fetched by apt with state of its own, unpacked, and nothing installed.

It needs no root and changes nothing outside the folder. What the machine has already is not fetched again.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

MACHINE = Path("/etc/apt")
TOOLS = ("apt-get", "dpkg-deb")
PATIENCE = 900.0
"""Seconds for one run of apt. It gives up by itself when a mirror is silent."""
_FIELDS = {"Arch": "Architectures"}
"""Options of one-line sources that are called otherwise in the newer format. The others only differ in case."""

Source = Mapping[str, str]


class CannotUnpackError(Exception):
    """Why not, as the end of a sentence."""


class Apt:
    """apt with the machine's mirrors and keys, and with lists and a cache of its own, below ``folder``, while it lasts.

    Everything here raises CannotUnpackError.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._trouble: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def unpack(self, packages: Iterable[str], target: Path) -> None:
        """Unpack ``packages`` and those of their dependencies that the machine lacks into ``target``, or nothing."""
        half = self._folder / "unpacked"
        archives = self._fetch(packages)
        half.mkdir()
        half.chmod(0o755)
        for archive in archives:
            _run(["dpkg-deb", "-x", str(archive), str(half)])
            archive.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)

    def _fetch(self, packages: Iterable[str]) -> list[Path]:
        if self._trouble is None:
            self._prepare()
            self._trouble = self._apt("update").stderr
        got = self._apt("install", "--download-only", "--reinstall", "--no-install-recommends", "-y", *packages)
        archives = sorted((self._folder / "cache" / "archives").glob("*.deb"))
        if got.returncode or not archives:
            complaint = _complaint(self._trouble) or _complaint(got.stderr) or "there is nothing to fetch"
            raise CannotUnpackError(f"apt says: {complaint}")
        return archives

    def _prepare(self) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            raise CannotUnpackError(f"there is no {' and no '.join(missing)} here to unpack it with")
        shutil.rmtree(self._folder, ignore_errors=True)
        text = _text(sources(release()))
        for path in ("sources", "lists/partial", "cache/archives/partial"):
            (self._folder / path).mkdir(parents=True)
        (self._folder / "sources" / "machine.sources").write_text(text, encoding="utf-8")
        # Hooks are for the machine's own apt: they may need root, and clean what is not ours.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        (self._folder / "apt.conf").write_text("".join(f"#clear {hook};\n" for hook in hooks), encoding="utf-8")

    def _apt(self, *words: str) -> subprocess.CompletedProcess[str]:
        options = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": self._folder / "sources",
            "Dir::State::Lists": self._folder / "lists",
            "Dir::Cache": self._folder / "cache",
            "Dir::Cache::Archives": self._folder / "cache" / "archives",
            "APT::Sandbox::User": "root",  # the user whom root's apt becomes elsewhere cannot write into a checkout
            "Debug::NoLocking": "true",  # the locks are root's, and nothing is shared
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "30",
        }
        given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return _run(["apt-get", "-q", "-c", str(self._folder / "apt.conf"), *given, *words], check=False)


def release() -> str:
    """The code name of the machine's Debian or Ubuntu. Raises CannotUnpackError for another system."""
    try:
        return platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError):
        raise CannotUnpackError("this is no release of Debian or Ubuntu") from None


def sources(codename: str, machine: Path = MACHINE) -> list[Source]:
    """The machine's sources of its own release, and the backports of the same mirror.

    Sources of others are left out: they may be unreachable, and have nothing that is wanted here.
    """
    suites = {codename, *(f"{codename}-{part}" for part in ("updates", "security", "backports"))}
    kept: list[Source] = []
    for source in _machine_sources(machine):
        wanted = [suite for suite in source.get("Suites", "").split() if suite in suites]
        if wanted and "main" in source.get("Components", "").split():
            kept.append({**source, "Suites": " ".join(wanted), "Targets": "Packages"})
    if not kept:
        raise CannotUnpackError(f"apt has no sources of {codename} on this machine")
    if not any(f"{codename}-backports" in _suites(source) for source in kept):
        kept.append({**_mirror(codename, kept), "Suites": f"{codename}-backports"})
    return kept


def _mirror(codename: str, candidates: list[Source]) -> Source:
    """The distribution's mirror. Others may call a suite after the release, but they have no updates to it."""
    for suite in (f"{codename}-updates", codename):
        for source in candidates:
            if suite in _suites(source):
                return source
    return candidates[0]


def _suites(source: Source) -> list[str]:
    return source["Suites"].split()


def _machine_sources(machine: Path) -> Iterator[dict[str, str]]:
    for path in (machine / "sources.list", *sorted((machine / "sources.list.d").glob("*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _one_line_sources(text) if path.suffix == ".list" else _stanzas(text)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """The deb822 format. Values keep their further lines: a key may stand there as a whole."""
    text = re.sub(r"(?m)^#.*\n?", "", text)
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = {
            name.title(): value.strip() for name, value in re.findall(r"(?m)^(\S+?):(.*(?:\n[ \t].*)*)", paragraph)
        }
        on = fields.pop("Enabled", "yes").lower() not in ("no", "false", "0")
        if on and "deb" in fields.get("Types", "").split():
            yield {**fields, "Types": "deb"}


def _one_line_sources(text: str) -> Iterator[dict[str, str]]:
    for options, uri, suite, components in re.findall(
        r"(?m)^[ \t]*deb[ \t]+(?:\[(.*?)\][ \t]+)?(\w\S*)[ \t]+(\S+)[ \t]+([^#\n]+)", text
    ):
        given = (option.partition("=") for option in options.split())
        fields = {_FIELDS.get(name.title(), name.title()): value.replace(",", " ") for name, _, value in given}
        yield {**fields, "Types": "deb", "Uris": uri, "Suites": suite, "Components": components.strip()}


def _text(stanzas: list[Source]) -> str:
    return "\n".join("".join(f"{_field(*field)}\n" for field in stanza.items()) for stanza in stanzas)


def _field(name: str, value: str) -> str:
    return f"{name}:\n {value}" if "\n" in value else f"{name}: {value}"


def _complaint(stderr: str) -> str:
    """The first thing that apt complains of; an error rather than a warning."""
    lines = [line for line in stderr.splitlines() if re.match("[EW]: ", line)]
    return min(lines, key=lambda line: line[0], default="")[3:]


def _run(command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=check,
        )
    except subprocess.TimeoutExpired:
        raise CannotUnpackError(f"{shlex.join(command[:1])} took more than {PATIENCE:.0f} s") from None
    except subprocess.CalledProcessError as failure:
        raise CannotUnpackError(f"{command[0]} failed: {failure.stderr.strip()}") from None
