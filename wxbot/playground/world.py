"""A world to play in: the platform with one account, its clock, and the bot in front of it."""

from __future__ import annotations

import os
import re
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
"""Longer than usual: the clock leaps ahead of a process that is renewing its lease."""
DRAIN_SECONDS = 5
"""Shorter than usual: somebody waits at the page for the bot to start again."""


@dataclass(frozen=True, slots=True)
class AccountChoice:
    """What the account is and how it pushes."""

    kind: AccountKind = "miniprogram"
    mode: Mode = "safe"
    form: Format = "json"

    @property
    def forms(self) -> tuple[Format, ...]:
        """The formats this kind of account may choose from."""
        return ("json", "xml") if self.kind == "miniprogram" else ("xml",)

    def made_possible(self) -> AccountChoice:
        """The same with a format that the kind of account has."""
        return self if self.form in self.forms else AccountChoice(self.kind, self.mode, self.forms[0])


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a bot that is not ours was set up with; what is empty is made up. ``api_port``: 0 takes a free one."""

    appid: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    api_port: int = 0


_TROUBLE = re.compile(r"^(?:\S+ \S+ (?:ERROR|CRITICAL) |Traceback )", re.MULTILINE)

BotState = Literal["starting", "up", "down"]


class PlayedBot(Protocol):
    """The bot that is played with. ``target``: the address it was given; empty for one that we run."""

    target: str
    plugins: str

    @property
    def is_up(self) -> bool:
        """Whether it answers, as far as is known."""
        ...

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        """Have it answer this platform, with nothing of another one left. Raises WxbotError."""
        ...

    def restart(self, wechat: FakeWeChat) -> None:
        """Start it again with what it keeps, by the settings of ``wechat`` as they are now. Raises WxbotError."""
        ...

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """End it, if it is ours; what it has begun it may finish within ``patience`` seconds."""
        ...

    def log(self, after: int) -> tuple[str, int]:
        """What it logged from the byte ``after`` on, in whole lines, and where that ends."""
        ...

    def troubles(self) -> int:
        """How many errors and tracebacks it has logged."""
        ...


class OwnBot:
    """``gunicorn wsgi:app`` in this folder with the plugins of ``plugins``, folders separated by commas."""

    target = ""

    def __init__(self, plugins: str) -> None:
        self.plugins = plugins
        self._process: BotProcess | None = None
        self._kept: dict[str, str] = {}
        self._log_file = Path(os.devnull)
        self._looked = 0
        self._troubles = 0

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.is_running

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        self._log_file = folder / "bot.log"
        self._looked = self._troubles = 0
        self._kept = {
            "WXBOT_STORE_URL": f"sqlite:///{folder / 'wxbot.db'}",
            "WXBOT_PLUGIN_FOLDERS": self.plugins,
            "WXBOT_CALLBACK_PATH": CALLBACK_PATH,
            "WXBOT_CLOCK_FILE": str(clock.file),
            "WXBOT_LEASE_SECONDS": str(LEASE_SECONDS),
            "WXBOT_DRAIN_SECONDS": os.environ.get("WXBOT_DRAIN_SECONDS", str(DRAIN_SECONDS)),
            "WXBOT_ACCOUNT_KIND": wechat.platform.account.kind,
            "WXBOT_CLOUD_CALL": "off",
            "WXBOT_BROKER_URL": "",
            "WXBOT_ROLE": "webhook",
        }
        self.restart(wechat)

    def restart(self, wechat: FakeWeChat) -> None:
        settings = {**self._kept, **wechat.settings()}
        _refuse_a_key_in_the_way(wechat.mode)
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
            read = log.read(MOST_LOG)
        if len(read) == MOST_LOG:
            read = read[: read.rfind(b"\n") + 1] or read
        return read.decode(errors="replace"), max(0, after) + len(read)

    def troubles(self) -> int:
        text, self._looked = self.log(self._looked)
        self._troubles += len(_TROUBLE.findall(text))
        return self._troubles


MOST_LOG = 256 * 1024
"""Bytes of the log that are read at once."""


class ForeignBot:
    """A bot written with anything, at ``target``, the callback URL it listens at."""

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
        """It is not ours."""

    def log(self, after: int) -> tuple[str, int]:
        return "", 0

    def troubles(self) -> int:
        return 0


class BotDidNotAnswer(WxbotError):
    """The bot that was given does not answer the request with which WeChat verifies a callback URL."""


def _why_not_verified(wechat: FakeWeChat) -> str:
    try:
        problem = wechat.why_not_verified()
    except aiohttp.ClientConnectorCertificateError as error:
        return f"has a certificate that is not trusted here ({error.certificate_error})"
    except (OSError, TimeoutError, aiohttp.ClientConnectionError) as error:
        return f"cannot be reached ({type(error).__name__}): is the bot running?"
    except (aiohttp.ClientError, ValueError) as error:
        return f"answers no HTTP that can be read ({type(error).__name__})"
    return f"was asked with a GET, as WeChat does to verify a callback URL, and {problem}" if problem else ""


def _refuse_a_key_in_the_way(mode: Mode) -> None:
    """A bot that has a key takes nothing but encrypted pushes, and .env would give it one. Raises ConflictingKey."""
    if mode == "plain" and dotenv_values(".env").get("WXBOT_AES_KEY"):
        raise ConflictingKey(
            "plaintext mode cannot be tried here: .env sets WXBOT_AES_KEY, and with a key the bot believes nothing but "
            "encrypted pushes. Take that line out of .env for as long as you try it."
        )


def needs_another_key(before: Mode, after: Mode) -> bool:
    """Whether a bot must be set up anew for this change: with a key it believes encrypted pushes only."""
    return (before == "plain") != (after == "plain")


def switch(bot: PlayedBot, wechat: FakeWeChat, mode: Mode, form: Format) -> None:
    """Push in this mode and format from now on; the bot is started again if it needs another key for that.

    Raises WxbotError if it does not start so; then all is as it was.
    """
    before = wechat.mode, wechat.format
    wechat.mode, wechat.format = mode, form
    if not needs_another_key(before[0], mode):
        return
    try:
        bot.restart(wechat)
    except WxbotError:
        wechat.mode, wechat.format = before
        raise


class NoPlaceForTheApi(WxbotError):
    """The port for the fake API is taken."""


class ConflictingKey(WxbotError):
    """The settings here keep the bot from being tried in plaintext mode."""


class World:
    """One platform with one account, from its beginning on. ``began``: seconds since 1970 by its clock.

    Raises NoPlaceForTheApi.
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
            place = f"port {credentials.api_port} of 127.0.0.1"
            raise NoPlaceForTheApi(f"the fake API cannot listen at {place}: {error.strerror}") from None

    @property
    def now(self) -> float:
        """Seconds since the world began, by its clock."""
        return self.clock.now() - self.began

    def close(self) -> None:
        """End the platform. The bot may still be there."""
        self.wechat.close()
