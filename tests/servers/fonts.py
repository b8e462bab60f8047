"""Fonts for the browser tests, because a machine without a desktop often has no font with Chinese characters."""

from __future__ import annotations

import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from tests.servers import programs
from tests.servers.programs import CHROMIUM, Files

MACHINE = Path("/etc/fonts/fonts.conf")
# Used on a machine without a fontconfig configuration.
_PREFERRED = {
    "sans-serif": ("DejaVu Sans", "WenQuanYi Micro Hei"),
    "monospace": ("DejaVu Sans Mono", "WenQuanYi Micro Hei Mono"),
}


def configuration(folder: Path) -> Path:
    """Write a file for FONTCONFIG_FILE with the fonts of the machine and the unpacked ones. Return its path."""
    parts = [f"<include>{MACHINE}</include>"] if MACHINE.is_file() else [_alias(*each) for each in _PREFERRED.items()]
    # Debian's Chromium depends on fonts, which were unpacked with it.
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
    """Return True if there is a font with Chinese characters."""
    return any(FONTS.unpacked.rglob("*.tt[cf]")) or _machine_has_chinese()


def _machine_has_chinese() -> bool:
    try:
        listed = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(listed.stdout.strip())


FONTS = Files("fonts", ("fonts-wqy-microhei",), _there)
