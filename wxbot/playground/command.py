"""The command ``python -m wxbot playground``: the page, the console, the demo, or a transcript."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from wxbot.errors import WxbotError
from wxbot.playground.console import open_console
from wxbot.playground.demo import play as play_demo
from wxbot.playground.page.access import is_loopback, new_key
from wxbot.playground.page.playground import Playground
from wxbot.playground.page.server import PageServer
from wxbot.playground.replay.player import play
from wxbot.playground.session import (
    AccountChoice,
    BotDidNotAnswer,
    BotUnderTest,
    Credentials,
    ExternalBot,
    LocalBot,
    Session,
    session_with,
    switch_mode,
)
from wxbot.playground.transcript import MAX_BYTES, BadTranscript, Transcript, read
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.rules import AccountKind

Say = Callable[[str], None]

DRAIN_SECONDS = 5
"""Drain time in seconds. Shorter than usual, because the user of the page waits for the restart."""


class PlaygroundError(WxbotError):
    """The command cannot run with these options. The text says what to change."""


@dataclass(frozen=True, slots=True)
class PageAddress:
    """The address of the page. ``port`` 0 means any free port."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class PlaygroundOptions:
    """The options of the command ``playground``."""

    console: bool
    demo: bool
    transcript: Path | None
    folders: str | None
    account_kind: AccountKind
    mode: Mode
    form: Format
    port: int
    host: str
    target: str
    appid: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    api_port: int

    @property
    def has_result(self) -> bool:
        """Return True if the command reports success or failure."""
        return self.demo or self.transcript is not None

    @property
    def plugin_folders(self) -> str:
        found = ",".join(folder for folder in ("plugins", "examples/plugins") if Path(folder).is_dir())
        return self.folders or found


_PAGE_OPTIONS = {"port", "host"}
_TARGET_OPTIONS = {"appid", "secret", "token", "aes_key", "api_port"}
_ACCOUNT_OPTIONS = {"account_kind", "mode", "form"}
_IGNORED_OPTIONS = {
    "demo": {"folders", "target", *_PAGE_OPTIONS, *_TARGET_OPTIONS, *_ACCOUNT_OPTIONS},
    "console": {"account_kind", "target", *_PAGE_OPTIONS, *_TARGET_OPTIONS},
    "transcript": {*_PAGE_OPTIONS, *_ACCOUNT_OPTIONS},
}
"""The options that have no effect with --demo, --console and --play."""


def _check_options(asked: PlaygroundOptions) -> None:
    """Raise UsageError for options that exclude each other or have no effect."""
    context = click.get_current_context()
    names = {option.name: option.opts[0] for option in context.command.params}
    given = {name for name in names if context.get_parameter_source(str(name)) is ParameterSource.COMMANDLINE}
    modes = [mode for mode in _IGNORED_OPTIONS if mode in given]
    if len(modes) > 1:
        raise click.UsageError(" and ".join(names[mode] for mode in modes) + " cannot be used together")
    useless = given & (_IGNORED_OPTIONS[modes[0]] if modes else set())
    if not asked.target:
        useless |= given & _TARGET_OPTIONS
    if asked.target and "folders" in given:
        useless.add("folders")
    if useless:
        what = ", ".join(sorted(names[name] for name in useless))
        beside = (
            names[modes[0]] if modes and useless & _IGNORED_OPTIONS[modes[0]] else "--target" if asked.target else ""
        )
        raise click.UsageError(f"{what} has no effect " + (f"with {beside}" if beside else "without --target"))


def open_playground(asked: PlaygroundOptions, say: Say, lines: Iterable[str]) -> bool:
    """Run the command. Return True on success. ``lines``: the input of the console.

    Raises click.UsageError, WxbotError.
    """
    _check_options(asked)
    if asked.demo:
        return play_demo(say)
    if asked.console:
        open_console(say, lines, asked.plugin_folders, asked.mode, asked.form)
        return True
    bot = bot_for(asked.target, asked.plugin_folders)
    credentials = checked(Credentials(asked.appid, asked.secret, asked.token, asked.aes_key, asked.api_port))
    if asked.transcript is not None:
        return play_transcript(say, bot, asked.transcript, credentials)
    choice = AccountChoice(asked.account_kind, asked.mode, asked.form)
    open_page(say, bot, choice, credentials, PageAddress(asked.host, asked.port))
    return True


def bot_for(target: str, plugin_folders: str) -> BotUnderTest:
    """Return the external bot at the callback URL ``target``, or a local bot if it is empty. Raises PlaygroundError."""
    if not target:
        return LocalBot(
            plugin_folders, {"WXBOT_DRAIN_SECONDS": os.environ.get("WXBOT_DRAIN_SECONDS", str(DRAIN_SECONDS))}
        )
    try:
        address = urlsplit(target)
        is_address = (
            address.scheme in ("http", "https") and address.port != 0 and _HOST.fullmatch(address.hostname or "")
        )
    except ValueError:  # invalid brackets or port
        is_address = None
    if not is_address:
        raise PlaygroundError(f"--target {target} is not a callback URL: use one like http://127.0.0.1:8000/wechat")
    return ExternalBot(target)


_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|[0-9a-fA-F:.]+(?:%\w+)?")
_WORD = re.compile(r"[!-~]+")
_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")


def checked(given: Credentials) -> Credentials:
    """Return ``given`` if the credentials are valid. Raises PlaygroundError."""
    for name, value in (("--appid", given.appid), ("--secret", given.secret), ("--token", given.token)):
        if value and not _WORD.fullmatch(value):
            raise PlaygroundError(f"{name} must contain only printable ASCII characters, without spaces")
    if given.aes_key and not _AES_KEY.fullmatch(given.aes_key):
        raise PlaygroundError("--aes-key must be the EncodingAESKey: 43 characters of A-Z, a-z, 0-9, + and /")
    return given


def open_page(
    say: Say, bot: BotUnderTest, choice: AccountChoice, credentials: Credentials, address: PageAddress
) -> None:
    """Serve the page until the process is stopped. Raises WxbotError if the bot or the page cannot start."""
    key = "" if is_loopback(address.host) else new_key()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxbot-playground-")))
        playground = Playground(bot, choice, credentials, folder)
        stack.callback(playground.close)
        try:
            server = stack.enter_context(PageServer(playground, address.host, address.port, key))
        except OSError as error:
            raise PlaygroundError(
                f"the page cannot listen on {address.host}:{address.port}: {error.strerror}"
            ) from None
        _print_credentials(say, bot, playground.view.session, credentials)
        _start(say, playground)
        say(f"Local WeChat simulator (Playground): {_url(address.host, server.port, key)}")
        if key:
            say("Anyone with this URL can use the page. It is plain HTTP: do not use it on an untrusted network.")
        say("Open it in a browser. Press Ctrl-C to stop.")
        threading.Event().wait()


def _start(say: Say, playground: Playground) -> None:
    try:
        playground.start()
    except BotDidNotAnswer as error:
        say(f"The bot is not ready: {error}")


def _url(host: str, port: int, key: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - chosen by the user; a browser needs a host name
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?key={key}" if key else "")


def _print_credentials(say: Say, bot: BotUnderTest, session: Session, given: Credentials) -> None:
    """Print the settings that the external bot needs. Generated values are shown, given ones may be secret."""
    if not bot.target:
        return
    known = {given.secret, given.token, given.aes_key} - {""}
    say(f"Configure the bot at {bot.target} with these settings (names as in wxbot):")
    for name, value in session.wechat.settings().items():
        say(f"  {name}=" + ("(as given)" if value in known else value))


def play_transcript(say: Say, bot: BotUnderTest, file: Path, credentials: Credentials) -> bool:
    """Replay the transcript in ``file`` and print the result. Return True if the replies match.

    Raises BadTranscript, WxbotError if the bot does not start.
    """
    transcript = _read_file(file)
    choice = AccountChoice(transcript.account_kind, transcript.mode, transcript.format)
    with session_with(bot, choice, credentials) as session:
        _print_credentials(say, bot, session, credentials)
        bot.serve(session.wechat, session.clock, session.folder)
        wechat = session.wechat
        problems = play(
            transcript,
            wechat,
            session.clock.advance,
            switch_mode=lambda mode: switch_mode(bot, wechat, mode, wechat.format),
        )
    return _print_result(say, file, transcript, problems)


def _read_file(file: Path) -> Transcript:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadTranscript(str(file), 1, f"the file is larger than {MAX_BYTES >> 20} MB")
        return read(file.read_text("utf-8-sig"), str(file))
    except OSError as error:
        raise PlaygroundError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadTranscript(str(file), 1, "the file is not UTF-8: save it as UTF-8") from None


def _print_result(say: Say, file: Path, transcript: Transcript, problems: Iterable[str]) -> bool:
    differences = list(problems)
    if not differences:
        say(f"{file}: PASS: {len(transcript.steps)} steps")
        return True
    say(f"{file}: FAIL: replies differ")
    for problem in differences:
        say(problem)
    return False
