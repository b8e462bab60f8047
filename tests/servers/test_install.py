"""What ``make servers`` takes from the machine's sources, and what it says where there is nothing to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import debian, install, programs

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


@pytest.mark.parametrize(("switch", "code"), [("", 0), ("required", 1)])
def test_a_machine_with_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], switch: str, code: int
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(programs.SWITCH, switch)
    monkeypatch.setattr(programs, "RABBIT_WITHOUT_SU", tmp_path / "none")
    monkeypatch.setattr(programs, "LAUNCHERS", tmp_path / "bin")
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    assert install.main() == code
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in said] == [program.name for program in programs.PROGRAMS]
    why = "there is no apt-get and no dpkg-deb here to unpack it with"
    assert said[0] == f"redis-server 7 or newer is not here ({why}); install it so that it is on the PATH."
