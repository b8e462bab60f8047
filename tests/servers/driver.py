"""Playwright's driver, a Node.js that is part of the package. It needs a library that a minimal Debian lacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from tests.servers.programs import Files


def environment() -> Mapping[str, str]:
    """Return the environment variables that the driver needs to start on this machine."""
    folders = [str(path) for path in DRIVER.unpacked.glob("usr/lib/*-linux-*")]
    if not folders:
        return {}
    return {"LD_LIBRARY_PATH": ":".join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])}


def node() -> Path:
    """Return the path of the Node.js that Playwright starts."""
    spec = find_spec("playwright")
    assert spec is not None
    assert spec.origin is not None
    return Path(os.environ.get("PLAYWRIGHT_NODEJS_PATH") or Path(spec.origin).with_name("driver") / "node")


def _starts() -> bool:
    try:
        result = subprocess.run(
            [node(), "--version"], env={**os.environ, **environment()}, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


DRIVER = Files("driver", ("libatomic1",), _starts)
