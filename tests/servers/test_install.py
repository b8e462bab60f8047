"""Test what ``make servers`` prints if a program is missing, and which programs it uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import driver, install, programs
from tests.servers.fonts import FONTS

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
