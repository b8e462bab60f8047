"""``make servers``: see that the servers which tests run can be started here. It starts none, and needs no root.

What is on the PATH is used as it is. On Debian and Ubuntu the rest is unpacked into ``.servers/``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.servers.debian import Apt, CannotUnpackError
from tests.servers.programs import FOLDER, LAUNCHERS, PROGRAMS, Program, find, required

# The launcher may be anywhere the checkout is moved to, and is the process that it starts.
_HEAD = """#!/bin/sh
# Written by make servers.
here=$(dirname "$(dirname "$(readlink -f "$0")")")/{packages}
"""
_LIBRARIES = 'export LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
_PROGRAM = 'exec "$here/{place}" "$@"\n'
_BROKER = 'PATH="$(dirname "$(readlink -f "$0")"):$PATH" exec "$here/{place}" "$@"\n'
# Debian's erl has its place built in, so this does what erl does.
_ERLANG = """export ROOTDIR="$here/usr/lib/erlang" BINDIR="$here/{place}" EMU=beam PROGNAME=erl
exec "$BINDIR/erlexec" "$@"
"""


def main() -> int:
    with Apt(FOLDER / "apt") as apt:
        there = [_see_to(program, apt) for program in PROGRAMS]
    return 0 if all(there) or not required() else 1


def _see_to(program: Program, apt: Apt) -> bool:
    path = find(program)
    try:
        path = path or _unpacked(program, apt)
    except CannotUnpackError as error:
        sys.stdout.write(f"{program} is not here ({error}); install it so that it is on the PATH.\n")
    else:
        sys.stdout.write(_shown(program, path) + "\n")
    sys.stdout.flush()
    return path is not None


def _shown(program: Program, path: Path) -> str:
    version = program.version(path)
    place = path.relative_to(FOLDER.parent) if path.is_relative_to(FOLDER) else path
    return " ".join([program.name, *([".".join(map(str, version))] if any(version) else []), f"({place})"])


def _unpacked(program: Program, apt: Apt) -> Path:
    """Its launcher. Raises CannotUnpackError."""
    target = FOLDER / "packages" / program.name
    apt.unpack(program.packages, target)
    launcher = _write_launchers(program, target)
    if program.suits(launcher):
        return launcher
    version = ".".join(map(str, program.version(launcher)))
    launcher.unlink()
    shutil.rmtree(target)
    raise CannotUnpackError(
        f"in this machine's packages is {version}" if version else "what was unpacked does not start"
    )


def _write_launchers(program: Program, target: Path) -> Path:
    place = _only(target, program.place)
    if not place.startswith("usr/lib/rabbitmq/"):
        return _write_launcher(program.name, target, _PROGRAM.format(place=place))
    erlang = _only(target, "usr/lib/erlang/erts-*/bin")
    _write_launcher("erl", target, _ERLANG.format(place=erlang))
    _write_launcher("epmd", target, _PROGRAM.format(place=f"{erlang}/epmd"))
    return _write_launcher(program.name, target, _BROKER.format(place=place))


def _write_launcher(name: str, target: Path, words: str) -> Path:
    places = [path for pattern in ("usr/lib/*-linux-*", "lib/*-linux-*") for path in sorted(target.glob(pattern))]
    libraries = ":".join(f"$here/{path.relative_to(target)}" for path in places)
    head = _HEAD.format(packages=target.relative_to(FOLDER))
    LAUNCHERS.mkdir(exist_ok=True)
    path = LAUNCHERS / name
    path.write_text(head + (_LIBRARIES.format(libraries=libraries) if libraries else "") + words, encoding="utf-8")
    path.chmod(0o755)
    return path


def _only(target: Path, pattern: str) -> str:
    for path in target.glob(pattern):
        return str(path.relative_to(target))
    raise CannotUnpackError(f"the packages have no {pattern}")


if __name__ == "__main__":
    sys.exit(main())
