"""``make servers``: check that the tests find their servers and browser, and unpack missing ones. It needs no root.

Programs on the PATH are used. On Debian and Ubuntu, missing programs are unpacked into ``.servers/``. Nothing is
started. ``python -m tests.servers.install browser`` checks the browser only, and prints nothing if all is there.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers.debian import Apt, CannotUnpackError
from tests.servers.driver import DRIVER
from tests.servers.fonts import FONTS
from tests.servers.programs import CHROMIUM, FOLDER, LAUNCHERS, PROGRAMS, Files, Program, find, required

BROWSER = "browser"

# The launcher finds its packages by its own path, because the checkout may be moved. It uses exec, so that its pid
# is the pid of the program.
_HEAD = """#!/bin/sh
# Written by make servers.
here=$(dirname "$(dirname "$(readlink -f "$0")")")/{packages}
"""
_LIBRARIES = 'export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
_PROGRAM = 'exec "$here/{path}" "$@"\n'
_BROKER = 'PATH="$(dirname "$(readlink -f "$0")"):$PATH" exec "$here/{path}" "$@"\n'
# This replaces Debian's erl, which has its path built in.
_ERLANG = """export ROOTDIR="$here/usr/lib/erlang" BINDIR="$here/{path}" EMU=beam PROGNAME=erl
exec "$BINDIR/erlexec" "$@"
"""


def main(words: Sequence[str] = ()) -> int:
    """Return the exit code: 1 if a program is missing and TEST_SERVERS=required, else 0."""
    quiet = BROWSER in words
    with Apt(FOLDER / "apt") as apt:
        is_there = [_provide(program, apt, quiet) for program in ((CHROMIUM,) if quiet else PROGRAMS)]
        is_there += [_provide_files(files, apt, quiet) for files in (FONTS, DRIVER)]
    return 0 if all(is_there) or not required() else 1


def _provide(program: Program, apt: Apt, quiet: bool) -> bool:
    path = find(program)
    if path is not None and quiet:
        return True
    try:
        path = path or _unpacked(program, apt)
    except CannotUnpackError as error:
        _print(f"{program} not found, and it cannot be unpacked: {error}. Its tests {_fate()}. Install it on the PATH.")
    else:
        _print(_description(program, path))
    return path is not None


def _provide_files(files: Files, apt: Apt, quiet: bool) -> bool:
    there = files.there()
    if there and quiet:
        return True
    packages = " ".join(files.packages)
    try:
        if not there:
            _unpack_files(files, apt)
    except CannotUnpackError as error:
        _print(f"{packages} not found, and it cannot be unpacked: {error}. The browser tests {_fate()}. Install it.")
        return False
    _print(
        f"{packages} ({_relative(files.unpacked) if files.unpacked.is_dir() else 'or an equivalent on this machine'})"
    )
    return True


def _unpack_files(files: Files, apt: Apt) -> None:
    """Unpack ``files``. Raises CannotUnpackError."""
    apt.unpack(files.packages, files.unpacked)
    if not files.there():
        shutil.rmtree(files.unpacked)
        raise CannotUnpackError("the unpacked files do not work on this machine")


def _fate() -> str:
    return "fail" if required() else "are skipped"


def _print(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def _description(program: Program, path: Path) -> str:
    version = program.version(path)
    return " ".join([program.name, *([".".join(map(str, version))] if any(version) else []), f"({_relative(path)})"])


def _relative(path: Path) -> Path:
    return path.relative_to(FOLDER.parent) if path.is_relative_to(FOLDER) else path


def _unpacked(program: Program, apt: Apt) -> Path:
    """Unpack ``program`` and return the path of its launcher. Raises CannotUnpackError."""
    target = FOLDER / "packages" / program.name
    apt.unpack(program.packages, target)
    launcher = _write_launchers(program, target)
    if program.suits(launcher):
        return launcher
    version = ".".join(map(str, program.version(launcher)))
    launcher.unlink()
    shutil.rmtree(target)
    raise CannotUnpackError(
        f"this machine's packages have only version {version}" if version else "the unpacked program does not start"
    )


def _write_launchers(program: Program, target: Path) -> Path:
    path = _only(target, program.path_in_package)
    if not path.startswith("usr/lib/rabbitmq/"):
        return _write_launcher(program.name, target, _PROGRAM.format(path=path))
    erlang = _only(target, "usr/lib/erlang/erts-*/bin")
    _write_launcher("erl", target, _ERLANG.format(path=erlang))
    _write_launcher("epmd", target, _PROGRAM.format(path=f"{erlang}/epmd"))
    return _write_launcher(program.name, target, _BROKER.format(path=path))


def _write_launcher(name: str, target: Path, words: str) -> Path:
    # Chromium links libpulse, which has the path of its second library built in.
    patterns = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib/*-linux-*/pulseaudio")
    folders = [path for pattern in patterns for path in sorted(target.glob(pattern))]
    libraries = ":".join(f"$here/{path.relative_to(target)}" for path in folders)
    head = _HEAD.format(packages=target.relative_to(FOLDER))
    LAUNCHERS.mkdir(exist_ok=True)
    path = LAUNCHERS / name
    path.write_text(head + (_LIBRARIES.format(libraries=libraries) if libraries else "") + words, encoding="utf-8")
    path.chmod(0o755)
    return path


def _only(target: Path, pattern: str) -> str:
    for path in target.glob(pattern):
        return str(path.relative_to(target))
    raise CannotUnpackError(f"the packages do not have the file {pattern}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
