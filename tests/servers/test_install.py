"""What ``make servers`` takes from the machine's sources, and what it says where there is nothing to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import debian, driver, install, programs
from tests.servers.fonts import FONTS

DISTRIBUTION = """\
# The distribution's own
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
SOMEBODY_ELSE = """\
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


def test_the_backports_are_of_the_distributions_own_mirror(machine: Path) -> None:
    (machine / "sources.list.d" / "another.sources").write_text(SOMEBODY_ELSE)
    (machine / "sources.list.d" / "debian.sources").write_text(DISTRIBUTION)
    others, own, backports = debian.sources("bookworm", machine)
    assert others["Signed-By"].splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    assert own["Suites"] == "bookworm bookworm-updates"
    assert backports == {**own, "Suites": "bookworm-backports"}
    assert (own["Uris"], own["Types"]) == ("http://mirror.example/debian", "deb")
    assert own["Signed-By"] == "/usr/share/keyrings/archive.gpg"


def test_one_line_sources(machine: Path) -> None:
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


def test_no_sources_of_this_release(machine: Path) -> None:
    (machine / "sources.list").write_text(ONE_LINE)
    with pytest.raises(debian.CannotUnpackError, match="apt has no sources of trixie"):
        debian.sources("trixie", machine)


WHY = "there is no apt-get and no dpkg-deb here to unpack it with"


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing, and its folder for what is unpacked."""
    monkeypatch.delenv(programs.SWITCH, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(programs, "RABBIT_WITHOUT_SU", tmp_path / "none")
    monkeypatch.setattr(programs, "LAUNCHERS", tmp_path / "bin")
    for module in (install, programs):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(driver, "node", lambda: tmp_path / "node")
    return tmp_path


@pytest.mark.parametrize(("switch", "code", "fate"), [("", 0, "are skipped"), ("required", 1, "fail")])
def test_a_machine_with_nothing(
    nothing: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    switch: str,
    code: int,
    fate: str,
) -> None:
    monkeypatch.setenv(programs.SWITCH, switch)
    assert install.main() == code
    said = capsys.readouterr().out.splitlines()
    names = [*(program.name for program in programs.PROGRAMS), *FONTS.packages, *driver.DRIVER.packages]
    assert [line.partition(" ")[0] for line in said] == names
    sentence = "redis-server 7 or newer is not here ({}), so tests of it {}; install it so that it is on the PATH."
    assert said[0] == sentence.format(WHY, fate)
    assert install.main([install.BROWSER]) == code
    assert capsys.readouterr().out.splitlines() == said[-3:]


BROWSERS = [
    ("chromium", "Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)", True),
    ("chromium-browser", "Chromium 150.0.7871.100 snap", True),
    ("google-chrome", "Google Chrome 151.0.7900.1 ", True),
    ("chromium", "Chromium 90.0.4430.212 built on Debian 10", False),
    ("chromium-browser", "Command 'chromium-browser' requires the chromium snap to be installed.", False),
]


@pytest.mark.parametrize(("name", "told", "good"), BROWSERS)
def test_browsers_on_the_path(
    nothing: Path, capsys: pytest.CaptureFixture[str], name: str, told: str, good: bool
) -> None:
    says(nothing / name, told)
    says(nothing / "fc-list", "some.ttc: Some")
    says(nothing / "node", "v24")
    assert programs.find(programs.CHROMIUM) == (nothing / name if good else None)
    assert install.main([install.BROWSER]) == 0
    assert (capsys.readouterr().out == "") is good


def test_what_a_browser_needs_beside_it(nothing: Path) -> None:
    says(nothing / "fc-list", "")
    assert not FONTS.there()
    assert not driver.DRIVER.there()
    assert driver.environment() == {}
    (FONTS.unpacked / "usr").mkdir(parents=True)
    (FONTS.unpacked / "usr" / "some.ttc").touch()
    assert FONTS.there()
    library = driver.DRIVER.unpacked / "usr" / "lib" / "x86_64-linux-gnu"
    library.mkdir(parents=True)
    (nothing / "node").write_text(f'#!/bin/sh\ntest "${{LD_LIBRARY_PATH%%:*}}" = "{library}"\n')
    (nothing / "node").chmod(0o755)
    assert driver.DRIVER.there()


def says(program: Path, words: str) -> None:
    program.write_text(f'#!/bin/sh\nprintf "%s" "{words}"\n')
    program.chmod(0o755)
