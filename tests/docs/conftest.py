"""A bot's folder to run the documents' code in, without the settings of whoever runs the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def bot_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in, from which ``plugins`` is imported."""
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
