"""Runs the command line within this process: a new one spends a second on imports before it does anything."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from click.testing import CliRunner

from wxbot.cli.main import main

# These go on as another program, play with signals or write into the environment of their process.
OF_THEIR_OWN = ("run", "worker", "playground")


def run_here(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what ``python -m wxbot …`` says and its exit code. An exception that it does not expect is raised."""
    assert arguments[0] not in OF_THEIR_OWN, f"{arguments[0]} needs a process of its own"
    with _only(environment), _logging_as_before(), _modules_as_before():
        said = CliRunner(catch_exceptions=False).invoke(main, arguments, prog_name="python -m wxbot")
    return subprocess.CompletedProcess(["wxbot", *arguments], said.exit_code, said.stdout, said.stderr)


@contextmanager
def _only(environment: Mapping[str, str]) -> Iterator[None]:
    """Let the process have this environment and nothing else of its own."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _logging_as_before() -> Iterator[None]:
    """Undo ``configure_logging``, which is made for a process that ends."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _modules_as_before() -> Iterator[None]:
    """Forget the plugins that were imported: the next command finds its own."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if name == "plugins" or name.startswith(("plugins.", "wxbot_plugins_")):
                del sys.modules[name]
