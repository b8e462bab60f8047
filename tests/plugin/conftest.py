"""Fixtures of the plugin tests: plugin folders, and a user of a running bot."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from wxbot.server.assembly import make_bot
from wxbot.testing import FakeWeChat, User
from wxbot.testing.chat import serve, settings_for

Write = Callable[..., Path]
Visit = Callable[..., AbstractContextManager[User]]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the settings and the ``.env`` file of the developer who runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("WXBOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def no_module_is_left() -> Iterator[None]:
    """Remove the modules that a test imported."""
    before = dict(sys.modules)
    yield
    for name in set(sys.modules) - set(before):
        if name.startswith(("wxbot_plugins_", "shop_")):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the plugin folder."""
    made = tmp_path / "plugins"
    made.mkdir()
    return made


@pytest.fixture
def write(folder: Path) -> Write:
    """Return a function that writes a file into the plugin folder, or into the folder ``where``."""

    def write(name: str, text: str = "", where: Path = folder) -> Path:
        path = where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    """Return a context manager: ``with visit(folders, plugins="echo") as user`` runs a bot with these plugins."""

    @contextmanager
    def visit(*folders: Path, plugins: str = "") -> Iterator[User]:
        with FakeWeChat() as wechat:
            settings = settings_for(wechat, tmp_path / "visit.db", plugin_folders=folders, plugins=plugins)
            with serve(make_bot(settings)) as address:
                wechat.callback_url = address
                yield wechat.user("alice")

    return visit
