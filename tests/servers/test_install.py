"""Test which apt sources ``make servers`` uses, and what it prints if a program is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import debian, driver, install, programs
from tests.servers.fonts import FONTS

DISTRIBUTION = """\
# Debian
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/archive.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
THIRD_PARTY = """\
Types: deb
URIs: http://else.example/deb
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""
ONE_LINE = """\
# deb http://off.example/debian bookworm main
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/archive.gpg] http://mirror.example/debian bookworm main contrib # x
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm-backports main
deb http://else.example/deb stable main
deb http://flat.example/deb ./
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_backports_come_from_the_mirror_of_the_distribution(machine: Path) -> None:
    (machine / "sources.list.d" / "another.sources").write_text(THIRD_PARTY)
    (machine / "sources.list.d" / "debian.sources").write_text(DISTRIBUTION)
    others, own, backports = debian.sources("bookworm", machine)
    assert others["Signed-By"].splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert own["Suites"] == "bookworm bookworm-updates"
    assert backports == {**own, "Suites": "bookworm-backports"}
    assert (own["Uris"], own["Types"]) == ("http://mirror.example/debian", "deb")
    assert own["Signed-By"] == "/usr/share/keyrings/archive.gpg"


def test_one_line_sources_are_read(machine: Path) -> None:
    (machine / "sources.list").write_text(ONE_LINE)
    own, backports = debian.sources("bookworm", machine)
    assert own == {
        "Types": "deb",
        "Uris": "http://mirror.example/debian",
        "Suites": "bookworm",
        "Components": "main contrib",
        "Architectures": "amd64 arm64",
        "Signed-By": "/usr/share/keyrings/archive.gpg",
        "Targets": "Packages",
    }
    assert backports["Suites"] == "bookworm-backports"


def test_missing_sources_of_the_release_raise_an_error(machine: Path) -> None:
    (machine / "sources.list").write_text(ONE_LINE)
    with pytest.raises(debian.CannotUnpackError, match="apt has no sources of trixie"):
        debian.sources("trixie", machine)


WHY = "apt-get and dpkg-deb not found, which unpack Debian packages"


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a machine without any program. Return the folder of its PATH and of unpacked packages."""
    monkeypatch.delenv(programs.SWITCH, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "RABBIT_WITHOUT_SU", tmp_path / "none")
    monkeypatch.setattr(programs, "LAUNCHERS", tmp_path / "bin")
    for module in (install, programs):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(driver, "node", lambda: tmp_path / "node")
    return tmp_path


@pytest.mark.parametrize(("switch", "code", "fate"), [("", 0, "are skipped"), ("required", 1, "fail")])
def test_missing_programs_are_reported_with_what_to_do(
    bare_machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    switch: str,
    code: int,
    fate: str,
) -> None:
    monkeypatch.setenv(programs.SWITCH, switch)
    assert install.main() == code
    lines = capsys.readouterr().out.splitlines()
    names = [*(program.name for program in programs.PROGRAMS), *FONTS.packages, *driver.DRIVER.packages]
    assert [line.partition(" ")[0] for line in lines] == names
    sentence = "redis-server 7 or newer not found, and it cannot be unpacked: {}. Its tests {}. Install it on the PATH."
    assert lines[0] == sentence.format(WHY, fate)
    assert install.main([install.BROWSER]) == code
    assert capsys.readouterr().out.splitlines() == lines[-3:]


BROWSERS = [
    ("chromium", "Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)", True),
    ("chromium-browser", "Chromium 150.0.7871.100 snap", True),
    ("google-chrome", "Google Chrome 151.0.7900.1 ", True),
    ("chromium", "Chromium 90.0.4430.212 built on Debian 10", False),
    ("chromium-browser", "Command 'chromium-browser' requires the chromium snap to be installed.", False),
]


@pytest.mark.parametrize(("name", "version_text", "is_accepted"), BROWSERS)
def test_a_browser_on_the_path_is_used_if_it_is_new_enough(
    bare_machine: Path, capsys: pytest.CaptureFixture[str], name: str, version_text: str, is_accepted: bool
) -> None:
    prints(bare_machine / name, version_text)
    prints(bare_machine / "fc-list", "some.ttc: Some")
    prints(bare_machine / "node", "v24")
    assert programs.find(programs.CHROMIUM) == (bare_machine / name if is_accepted else None)
    assert install.main([install.BROWSER]) == 0
    assert (capsys.readouterr().out == "") is is_accepted


def test_fonts_and_the_library_of_the_driver_are_found_when_unpacked(bare_machine: Path) -> None:
    prints(bare_machine / "fc-list", "")
    assert not FONTS.there()
    assert not driver.DRIVER.there()
    assert driver.environment() == {}
    (FONTS.unpacked / "usr").mkdir(parents=True)
    (FONTS.unpacked / "usr" / "some.ttc").touch()
    assert FONTS.there()
    library = driver.DRIVER.unpacked / "usr" / "lib" / "x86_64-linux-gnu"
    library.mkdir(parents=True)
    (bare_machine / "node").write_text(f'#!/bin/sh\ntest "${{LD_LIBRARY_PATH%%:*}}" = "{library}"\n')
    (bare_machine / "node").chmod(0o755)
    assert driver.DRIVER.there()


def prints(program: Path, text: str) -> None:
    """Write a script that prints ``text``."""
    program.write_text(f'#!/bin/sh\nprintf "%s" "{text}"\n')
    program.chmod(0o755)
