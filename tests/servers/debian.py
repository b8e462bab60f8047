"""Debian packages, downloaded by apt and unpacked into a folder, without installing them.

It needs no root and changes nothing outside the folder. Packages that the machine has are not downloaded.
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

APT_CONFIGURATION = Path("/etc/apt")
TOOLS = ("apt-get", "dpkg-deb")
APT_TIMEOUT = 900.0
"""Time limit for one run of apt, in seconds. If a mirror does not answer, apt ends earlier."""
_FIELDS = {"Arch": "Architectures"}
"""Options of one-line sources that have another name in the deb822 format. The others differ only in case."""

Source = Mapping[str, str]


class CannotUnpackError(Exception):
    """Raised if packages cannot be unpacked. The text is the reason."""


class Apt:
    """apt with the machine's mirrors and keys, and with its own lists and cache in ``folder``.

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
            _run(["dpkg-deb", "-x", str(archive), str(unpacked)])
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
        text = _text(sources(release()))
        for path in ("sources", "lists/partial", "cache/archives/partial"):
            (self._folder / path).mkdir(parents=True)
        (self._folder / "sources" / "machine.sources").write_text(text, encoding="utf-8")
        # The hooks of the machine's apt are disabled, because they may need root and delete other files.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success")
        (self._folder / "apt.conf").write_text("".join(f"#clear {hook};\n" for hook in hooks), encoding="utf-8")

    def _apt(self, *words: str) -> subprocess.CompletedProcess[str]:
        options = {
            "Dir::Etc::SourceList": "/dev/null",
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
        return _run(["apt-get", "-q", "-c", str(self._folder / "apt.conf"), *arguments, *words], check=False)


def release() -> str:
    """Return the code name of the machine's Debian or Ubuntu. Raises CannotUnpackError for another system."""
    try:
        return platform.freedesktop_os_release()["VERSION_CODENAME"]
    except (OSError, KeyError):
        raise CannotUnpackError("this system is not Debian or Ubuntu") from None


def sources(codename: str, configuration: Path = APT_CONFIGURATION) -> list[Source]:
    """Return the machine's apt sources of its own release, and the backports of the same mirror.

    Third-party sources are left out, because they may be unreachable and do not have these packages.
    """
    suites = {codename, *(f"{codename}-{part}" for part in ("updates", "security", "backports"))}
    found: list[Source] = []
    for source in _configured_sources(configuration):
        wanted = [suite for suite in source.get("Suites", "").split() if suite in suites]
        if wanted and "main" in source.get("Components", "").split():
            found.append({**source, "Suites": " ".join(wanted), "Targets": "Packages"})
    if not found:
        raise CannotUnpackError(f"apt has no sources of {codename} on this machine")
    if not any(f"{codename}-backports" in _suites(source) for source in found):
        found.append({**_mirror(codename, found), "Suites": f"{codename}-backports"})
    return found


def _mirror(codename: str, candidates: list[Source]) -> Source:
    """Return the source of the distribution: a third party may have a suite with this name, but no updates suite."""
    for suite in (f"{codename}-updates", codename):
        for source in candidates:
            if suite in _suites(source):
                return source
    return candidates[0]


def _suites(source: Source) -> list[str]:
    return source["Suites"].split()


def _configured_sources(configuration: Path) -> Iterator[dict[str, str]]:
    for path in (configuration / "sources.list", *sorted((configuration / "sources.list.d").glob("*"))):
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from _one_line_sources(text) if path.suffix == ".list" else _stanzas(text)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the sources of a file in deb822 format. A value may have several lines, such as a complete key."""
    text = re.sub(r"(?m)^#.*\n?", "", text)
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = {
            name.title(): value.strip() for name, value in re.findall(r"(?m)^(\S+?):(.*(?:\n[ \t].*)*)", paragraph)
        }
        is_enabled = fields.pop("Enabled", "yes").lower() not in ("no", "false", "0")
        if is_enabled and "deb" in fields.get("Types", "").split():
            yield {**fields, "Types": "deb"}


def _one_line_sources(text: str) -> Iterator[dict[str, str]]:
    for options, uri, suite, components in re.findall(
        r"(?m)^[ \t]*deb[ \t]+(?:\[(.*?)\][ \t]+)?(\w\S*)[ \t]+(\S+)[ \t]+([^#\n]+)", text
    ):
        pairs = (option.partition("=") for option in options.split())
        fields = {_FIELDS.get(name.title(), name.title()): value.replace(",", " ") for name, _, value in pairs}
        yield {**fields, "Types": "deb", "Uris": uri, "Suites": suite, "Components": components.strip()}


def _text(stanzas: list[Source]) -> str:
    return "\n".join("".join(f"{_field(*field)}\n" for field in stanza.items()) for stanza in stanzas)


def _field(name: str, value: str) -> str:
    return f"{name}:\n {value}" if "\n" in value else f"{name}: {value}"


def _first_error(stderr: str) -> str:
    """Return the first error in the output of apt; the first warning if there is no error."""
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
            timeout=APT_TIMEOUT,
            check=check,
        )
    except subprocess.TimeoutExpired:
        raise CannotUnpackError(f"{shlex.join(command[:1])} took more than {APT_TIMEOUT:.0f} s") from None
    except subprocess.CalledProcessError as failure:
        raise CannotUnpackError(f"{command[0]} failed: {failure.stderr.strip()}") from None
