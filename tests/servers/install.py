"""``make servers``: see that the servers and the browser which tests run can be started here, without root.

What is on the PATH is used as it is. On Debian and Ubuntu the rest is unpacked into ``.servers/``. Nothing is started.
``python -m tests.servers.install browser`` sees to the browser only, and has no words for what is there.
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


def main(words: Sequence[str] = ()) -> int:
    """0, or 1 where something is missing that is required."""
    quiet = BROWSER in words
    with Apt(FOLDER / "apt") as apt:
        there = [_see_to(program, apt, quiet) for program in ((CHROMIUM,) if quiet else PROGRAMS)]
        there += [_see_to_files(files, apt, quiet) for files in (FONTS, DRIVER)]
    return 0 if all(there) or not required() else 1


def _see_to(program: Program, apt: Apt, quiet: bool) -> bool:
    path = find(program)
    if path is not None and quiet:
        return True
    try:
        path = path or _unpacked(program, apt)
    except CannotUnpackError as error:
        _say(f"{program} is not here ({error}), so tests of it {_fate()}; install it so that it is on the PATH.")
    else:
        _say(_shown(program, path))
    return path is not None


def _see_to_files(files: Files, apt: Apt, quiet: bool) -> bool:
    there = files.there()
    if there and quiet:
        return True
    packages = " ".join(files.packages)
    try:
        if not there:
            _unpack_files(files, apt)
    except CannotUnpackError as error:
        _say(f"{packages} for the browser is not here ({error}), so tests of it {_fate()}; install it.")
        return False
    _say(f"{packages} ({_place(files.unpacked) if files.unpacked.is_dir() else 'or the like, of this machine'})")
    return True


def _unpack_files(files: Files, apt: Apt) -> None:
    """Raises CannotUnpackError."""
    apt.unpack(files.packages, files.unpacked)
    if not files.there():
        shutil.rmtree(files.unpacked)
        raise CannotUnpackError("what was unpacked does not help")


def _fate() -> str:
    return "fail" if required() else "are skipped"


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def _shown(program: Program, path: Path) -> str:
    version = program.version(path)
    return " ".join([program.name, *([".".join(map(str, version))] if any(version) else []), f"({_place(path)})"])


def _place(path: Path) -> Path:
    return path.relative_to(FOLDER.parent) if path.is_relative_to(FOLDER) else path


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
    # libpulse, which Chromium is linked with, has the place of its own other half built in.
    patterns = ("usr/lib/*-linux-*", "lib/*-linux-*", "usr/lib/*-linux-*/pulseaudio")
    places = [path for pattern in patterns for path in sorted(target.glob(pattern))]
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
    sys.exit(main(sys.argv[1:]))
