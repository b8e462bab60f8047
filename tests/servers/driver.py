"""Playwright's driver: it is a Node.js that comes with it, and wants a library that a small Debian lacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tests.servers.programs import Files


def environment() -> Mapping[str, str]:
    """What it needs in its environment to start here."""
    places = [str(path) for path in DRIVER.unpacked.glob("usr/lib/*-linux-*")]
    if not places:
        return {}
    return {"LD_LIBRARY_PATH": ":".join([*places, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])}


def node() -> Path:
    """The one that Playwright starts."""
    spec = find_spec("playwright")
    assert spec is not None
    assert spec.origin is not None
    return Path(os.environ.get("PLAYWRIGHT_NODEJS_PATH") or Path(spec.origin).with_name("driver") / "node")


def _starts() -> bool:
    try:
        told = subprocess.run(
            [node(), "--version"], env={**os.environ, **environment()}, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return told.returncode == 0


DRIVER = Files("driver", ("libatomic1",), _starts)
