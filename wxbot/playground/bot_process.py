"""Runs a bot as it is deployed: gunicorn with real workers on a loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from wxbot.errors import WxbotError
from wxbot.server.assembly import make_bot
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import ACCOUNT_SETTINGS, ACCOUNTS_VARIABLE, PREFIX

_OWN = frozenset(setting.variable for setting in ACCOUNT_SETTINGS.values() if setting.is_own)
READY_SECONDS = 60.0
STOP_SECONDS = 60.0


class BotDidNotStart(WxbotError):
    """The bot under gunicorn exited, or was not ready in time. The text contains the end of its log."""


class BotProcess:
    """A process ``gunicorn wsgi:app`` in the current folder that logs to ``log_file``.

    It inherits the environment, except the settings of an account: those come from ``settings`` only.
    """

    def __init__(self, settings: Mapping[str, str], log_file: Path) -> None:
        self.port = free_port()
        ours = {name: value for name, value in os.environ.items() if name not in _OWN}
        self._environment = {**ours, **settings, "WXBOT_BIND": f"127.0.0.1:{self.port}", ACCOUNTS_VARIABLE: ""}
        self._environment["PYTHONUNBUFFERED"] = "1"  # print() of a plugin appears in the log immediately
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return the URL of the bot, such as ``http://127.0.0.1:8000``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Return True if the process was started and has not exited."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the bot and wait until it is ready. Raises BotDidNotStart."""
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "wsgi:app"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must reach only this process, which then stops the bot
            )
        try:
            self._wait_until_ready(self._process)
        except BotDidNotStart:
            self.stop()
            raise

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Stop the bot gracefully. Kill it after ``patience`` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise BotDidNotStart(f"the bot exited during startup:\n{self._end_of_log()}")
            if self._is_ready():
                return
            time.sleep(0.05)
        raise BotDidNotStart(f"the bot was not ready within {READY_SECONDS:g} s:\n{self._end_of_log()}")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=2) as response:  # noqa: S310 - loopback
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _end_of_log(self) -> str:
        return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-15:])


def check_bot(settings: Mapping[str, str]) -> None:
    """Raise ConfigError, PluginError or BotDidNotStart if a bot with these settings cannot start.

    The check runs in this process, so that the error appears here and not only in the log of the bot.
    """
    if not Path("wsgi.py").is_file():
        raise BotDidNotStart(
            "no wsgi.py in the current folder: run this command in the folder of a bot (docs/deployment.md)"
        )
    given = {name.removeprefix(PREFIX).lower(): value for name, value in settings.items()}
    make_bot(load_settings(accounts="", **given))


def free_port() -> int:
    """Return a TCP port that is free on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
