"""Run the command line in this process, because a new process needs a second for its imports."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from click.testing import CliRunner

from wxbot.cli.main import main

# These commands become another program, handle signals, or change the environment of their process.
OWN_PROCESS = ("run", "worker", "playground")


def run_here(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m wxbot …``; return its output and exit code. Raises its unhandled exception."""
    assert arguments[0] not in OWN_PROCESS, f"{arguments[0]} needs a process of its own"
    with _environment(environment), _logging_restored(), _modules_restored():
        result = CliRunner(catch_exceptions=False).invoke(main, arguments, prog_name="python -m wxbot")
    return subprocess.CompletedProcess(["wxbot", *arguments], result.exit_code, result.stdout, result.stderr)


@contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    """Replace the environment of the process, and restore it afterwards."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _logging_restored() -> Iterator[None]:
    """Undo ``configure_logging`` afterwards, which is meant for a process that ends."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _modules_restored() -> Iterator[None]:
    """Remove imported plugin modules afterwards, because the next command imports its own."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            if name == "plugins" or name.startswith(("plugins.", "wxbot_plugins_")):
                del sys.modules[name]
