"""A bot's folder in which the documents' code runs, without the settings of the developer who runs the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def bot_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to an empty folder, from which ``plugins`` is imported, and return it."""
    for name in [name for name in os.environ if name.upper().startswith("WXBOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    before = dict(sys.modules)
    for name in _plugin_modules():
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in _plugin_modules():
        del sys.modules[name]
    sys.modules.update({name: module for name, module in before.items() if name not in sys.modules})


def _plugin_modules() -> list[str]:
    return [name for name in sys.modules if name == "plugins" or name.startswith(("plugins.", "wxbot_plugins_"))]
