"""Fonts for what a browser draws in tests: a machine without a desktop often has none of Chinese characters."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from tests.servers import programs
from tests.servers.programs import CHROMIUM, Files

MACHINE = Path("/etc/fonts/fonts.conf")
# For a machine without a configuration of its own.
_PREFERRED = {
    "sans-serif": ("DejaVu Sans", "WenQuanYi Micro Hei"),
    "monospace": ("DejaVu Sans Mono", "WenQuanYi Micro Hei Mono"),
}


def configuration(folder: Path) -> Path:
    """Write what FONTCONFIG_FILE is to name: the machine's fonts, if it has any, and those that were unpacked."""
    parts = [f"<include>{MACHINE}</include>"] if MACHINE.is_file() else [_alias(*each) for each in _PREFERRED.items()]
    # Where Chromium was unpacked, the fonts that Debian wants beside it were too.
    unpacked = (FONTS.unpacked, programs.FOLDER / "packages" / CHROMIUM.name)
    parts += [f"<dir>{escape(str(place / 'usr/share/fonts'))}</dir>" for place in unpacked]
    parts.append(f"<cachedir>{escape(str(folder / 'cache'))}</cachedir>")
    path = folder / "fonts.conf"
    path.write_text("\n".join(["<fontconfig>", *parts, "</fontconfig>", ""]), encoding="utf-8")
    return path


def _alias(family: str, preferred: tuple[str, ...]) -> str:
    names = "".join(f"<family>{name}</family>" for name in preferred)
    return f"<alias><family>{family}</family><prefer>{names}</prefer></alias>"


def _there() -> bool:
    """Whether Chinese characters can be drawn."""
    return any(FONTS.unpacked.rglob("*.tt[cf]")) or _machine_has_chinese()


def _machine_has_chinese() -> bool:
    try:
        listed = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(listed.stdout.strip())


FONTS = Files("fonts", ("fonts-wqy-microhei",), _there)
