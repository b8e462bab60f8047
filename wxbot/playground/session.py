"""A session: a simulated platform with one account, its clock, and the bot that is tested on it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import aiohttp
from dotenv import dotenv_values

from wxbot.errors import WxbotError
from wxbot.playground.bot_process import STOP_SECONDS, BotProcess, check_bot
from wxbot.testing import FakeWeChat, LeapingClock
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.rules import AccountKind

APPID = "wx0123456789abcdef"
CALLBACK_PATH = "/wechat"
LEASE_SECONDS = 60
"""Lease duration in seconds. Longer than usual, because the user may advance the clock while a process renews."""


@dataclass(frozen=True, slots=True)
class AccountChoice:
    """The kind of an account, and the mode and format of its pushes."""

    kind: AccountKind = "miniprogram"
    mode: Mode = "safe"
    form: Format = "json"

    @property
    def forms(self) -> tuple[Format, ...]:
        """Return the formats that this kind of account supports."""
        return ("json", "xml") if self.kind == "miniprogram" else ("xml",)

    def with_valid_format(self) -> AccountChoice:
        """Return this choice, with the format replaced if this kind of account does not support it."""
        return self if self.form in self.forms else AccountChoice(self.kind, self.mode, self.forms[0])


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of an external bot. Empty values are generated. ``api_port`` 0 means any free port."""

    appid: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    api_port: int = 0


_ERROR = re.compile(r"^(?:\S+ \S+ (?:ERROR|CRITICAL) |Traceback )", re.MULTILINE)

BotState = Literal["starting", "up", "down"]


class BotUnderTest(Protocol):
    """The bot that is tested. ``target``: the callback URL of an external bot, empty for a local bot."""

    target: str
    plugins: str

    @property
    def is_up(self) -> bool:
        """Return True if the bot is known to accept pushes."""
        ...

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        """Connect the bot to ``wechat``, with an empty store. Raises WxbotError."""
        ...

    def restart(self, wechat: FakeWeChat) -> None:
        """Restart the bot with its store and with the current settings of ``wechat``. Raises WxbotError."""
        ...

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Stop a local bot. Running handlers may finish within ``patience`` seconds."""
        ...

    def log(self, after: int) -> tuple[str, int]:
        """Return the log from the byte ``after`` on, in whole lines, and the position of its end."""
        ...

    def troubles(self) -> int:
        """Return the number of errors and tracebacks in the log."""
        ...


class LocalBot:
    """A local bot: ``gunicorn wsgi:app`` in the current folder.

    ``plugins``: the plugin folders, separated by commas. ``more``: more settings, by the name of their variable.
    """

    target = ""

    def __init__(self, plugins: str, more: Mapping[str, str] | None = None) -> None:
        self.plugins = plugins
        self._more = more or {}
        self._process: BotProcess | None = None
        self._settings: dict[str, str] = {}
        self._log_file = Path(os.devnull)
        self._log_read = 0
        self._troubles = 0

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.is_running

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        self._log_file = folder / "bot.log"
        self._log_read = self._troubles = 0
        self._settings = {
            "WXBOT_STORE_URL": f"sqlite:///{folder / 'wxbot.db'}",
            "WXBOT_PLUGIN_FOLDERS": self.plugins,
            "WXBOT_CALLBACK_PATH": CALLBACK_PATH,
            "WXBOT_CLOCK_FILE": str(clock.file),
            "WXBOT_LEASE_SECONDS": str(LEASE_SECONDS),
            "WXBOT_ACCOUNT_KIND": wechat.platform.account.kind,
            "WXBOT_CLOUD_CALL": "off",
            "WXBOT_BROKER_URL": "",
            "WXBOT_ROLE": "webhook",
            **self._more,
        }
        self.restart(wechat)

    def restart(self, wechat: FakeWeChat) -> None:
        settings = {**self._settings, **wechat.settings()}
        _check_key_conflict(wechat.mode)
        check_bot(settings)
        self.stop()
        self._process = BotProcess(settings, self._log_file)
        wechat.callback_url = f"{self._process.address}{CALLBACK_PATH}"
        self._process.start()

    def stop(self, patience: float = STOP_SECONDS) -> None:
        if self._process is not None:
            self._process.stop(patience)
            self._process = None

    def log(self, after: int) -> tuple[str, int]:
        if not self._log_file.is_file():
            return "", 0
        with self._log_file.open("rb") as log:
            log.seek(max(0, after))
            read = log.read(MAX_LOG_BYTES)
        if len(read) == MAX_LOG_BYTES:
            read = read[: read.rfind(b"\n") + 1] or read
        return read.decode(errors="replace"), max(0, after) + len(read)

    def troubles(self) -> int:
        text, self._log_read = self.log(self._log_read)
        self._troubles += len(_ERROR.findall(text))
        return self._troubles


MAX_LOG_BYTES = 256 * 1024
"""Maximum number of bytes of the log that one call reads."""


class ExternalBot:
    """An external bot in any language. ``target``: its callback URL."""

    plugins = ""

    def __init__(self, target: str) -> None:
        self.target = target
        self.is_up = False

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        self.restart(wechat)

    def restart(self, wechat: FakeWeChat) -> None:
        wechat.callback_url = self.target
        problem = _why_not_verified(wechat)
        self.is_up = not problem
        if problem:
            raise BotDidNotAnswer(f"{self.target} {problem}")

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """Do nothing, because the playground did not start this bot."""

    def log(self, after: int) -> tuple[str, int]:
        return "", 0

    def troubles(self) -> int:
        return 0


class BotDidNotAnswer(WxbotError):
    """The bot at ``target`` did not pass the verification of its callback URL."""


def _why_not_verified(wechat: FakeWeChat) -> str:
    try:
        problem = wechat.why_not_verified()
    except aiohttp.ClientConnectorCertificateError as error:
        return f"has a certificate that is not trusted here ({error.certificate_error})"
    except (OSError, TimeoutError, aiohttp.ClientConnectionError) as error:
        return f"cannot be reached ({type(error).__name__}): is the bot running?"
    except (aiohttp.ClientError, ValueError) as error:
        return f"sent an invalid HTTP response ({type(error).__name__})"
    return f"failed the callback URL verification (GET request): it {problem}" if problem else ""


def _check_key_conflict(mode: Mode) -> None:
    """Raise ConflictingKey if .env sets a key: a bot with a key accepts only encrypted pushes."""
    if mode == "plain" and dotenv_values(".env").get("WXBOT_AES_KEY"):
        raise ConflictingKey(
            "plaintext mode is not possible: .env sets WXBOT_AES_KEY, and a bot with a key accepts only encrypted "
            "pushes. Remove that line from .env while you test plaintext mode."
        )


def needs_restart(before: Mode, after: Mode) -> bool:
    """Return True if the bot must restart for this change, because plaintext mode needs a bot without a key."""
    return (before == "plain") != (after == "plain")


def switch_mode(bot: BotUnderTest, wechat: FakeWeChat, mode: Mode, form: Format) -> None:
    """Change the mode and format of the pushes. Restart the bot if it needs another key.

    Raises WxbotError if the bot does not start. Mode and format are then restored.
    """
    before = wechat.mode, wechat.format
    wechat.mode, wechat.format = mode, form
    if not needs_restart(before[0], mode):
        return
    try:
        bot.restart(wechat)
    except WxbotError:
        wechat.mode, wechat.format = before
        raise


class ApiPortUnavailable(WxbotError):
    """The port of the simulated API is in use."""


class ConflictingKey(WxbotError):
    """The settings in .env conflict with plaintext mode."""


class Session:
    """A simulated platform with one account. ``began``: the start, in seconds since 1970 by its clock.

    Raises ApiPortUnavailable.
    """

    def __init__(self, number: int, choice: AccountChoice, credentials: Credentials, folder: Path) -> None:
        self.number = number
        self.folder = folder
        self.clock = LeapingClock(folder / "clock")
        self.began = self.clock.now()
        try:
            self.wechat = FakeWeChat(
                self.clock,
                credentials.appid or APPID,
                credentials.secret or None,
                credentials.token or None,
                credentials.aes_key or None,
                mode=choice.mode,
                format=choice.form,
                account_kind=choice.kind,
                port=credentials.api_port,
            )
        except OSError as error:
            address = f"127.0.0.1:{credentials.api_port}"
            raise ApiPortUnavailable(f"the simulated API cannot listen on {address}: {error.strerror}") from None

    @property
    def now(self) -> float:
        """Return the seconds since the session began, by its clock."""
        return self.clock.now() - self.began

    def close(self) -> None:
        """Stop the platform. A bot may still be running."""
        self.wechat.close()


@contextmanager
def session_with(bot: BotUnderTest, choice: AccountChoice, credentials: Credentials) -> Iterator[Session]:
    """Run a session in a temporary folder. At its end stop the bot, then the platform. Raises ApiPortUnavailable."""
    with tempfile.TemporaryDirectory(prefix="wxbot-playground-") as folder:
        session = Session(1, choice.with_valid_format(), credentials, Path(folder))
        try:
            yield session
        finally:
            bot.stop()
            session.close()
