"""``python -m wxbot playground``: the page, the console, the demo, or a transcript."""

from __future__ import annotations

import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
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
from wxbot.playground.transcript import MAX_BYTES, BadTranscript, Transcript, read
from wxbot.playground.world import (
    AccountChoice,
    BotDidNotAnswer,
    Credentials,
    ForeignBot,
    OwnBot,
    PlayedBot,
    World,
    switch,
)
from wxbot.testing.envelope import Format, Mode
from wxbot.testing.rules import AccountKind

Say = Callable[[str], None]


class CannotSimulate(WxbotError):
    """What was asked for on the command line does not go; the text says what to do instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page listens. ``port`` 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class PlaygroundOptions:
    """The options of ``playground``, as they were given."""

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
    def has_verdict(self) -> bool:
        """Whether somebody waits to hear if all went as it should."""
        return self.demo or self.transcript is not None

    @property
    def plugin_folders(self) -> str:
        found = ",".join(folder for folder in ("plugins", "examples/plugins") if Path(folder).is_dir())
        return self.folders or found


_FOR_THE_PAGE = {"port", "host"}
_FOR_A_TARGET = {"appid", "secret", "token", "aes_key", "api_port"}
_IN_THE_TRANSCRIPT = {"account_kind", "mode", "form"}
_WAYS = {
    "demo": {"folders", "target", *_FOR_THE_PAGE, *_FOR_A_TARGET, *_IN_THE_TRANSCRIPT},
    "console": {"account_kind", "target", *_FOR_THE_PAGE, *_FOR_A_TARGET},
    "transcript": {*_FOR_THE_PAGE, *_IN_THE_TRANSCRIPT},
}
"""Each way to play other than on the page, and the options that mean nothing there."""


def _refuse_what_does_nothing(asked: PlaygroundOptions) -> None:
    """Raises UsageError for options that would silently be ignored."""
    context = click.get_current_context()
    names = {option.name: option.opts[0] for option in context.command.params}
    given = {name for name in names if context.get_parameter_source(str(name)) is ParameterSource.COMMANDLINE}
    ways = [way for way in _WAYS if way in given]
    if len(ways) > 1:
        raise click.UsageError(" and ".join(names[way] for way in ways) + " exclude each other")
    useless = given & (_WAYS[ways[0]] if ways else set())
    if not asked.target:
        useless |= given & _FOR_A_TARGET
    if asked.target and "folders" in given:
        useless.add("folders")
    if useless:
        what = ", ".join(sorted(names[name] for name in useless))
        beside = names[ways[0]] if ways and useless & _WAYS[ways[0]] else "--target" if asked.target else ""
        raise click.UsageError(f"{what} means nothing " + (f"beside {beside}" if beside else "without --target"))


def open_playground(asked: PlaygroundOptions, say: Say, written: Iterable[str]) -> bool:
    """Do what was asked for, to the end; whether all went as it should. ``written``: the lines for the console.

    Raises click.UsageError, WxbotError.
    """
    _refuse_what_does_nothing(asked)
    if asked.demo:
        return play_demo(say)
    if asked.console:
        open_console(say, written, asked.plugin_folders, asked.mode, asked.form)
        return True
    bot = bot_to_play_with(asked.target, asked.plugin_folders)
    credentials = checked(Credentials(asked.appid, asked.secret, asked.token, asked.aes_key, asked.api_port))
    if asked.transcript is not None:
        return play_transcript(say, bot, asked.transcript, credentials)
    choice = AccountChoice(asked.account_kind, asked.mode, asked.form)
    open_page(say, bot, choice, credentials, Place(asked.host, asked.port))
    return True


def bot_to_play_with(target: str, plugin_folders: str) -> PlayedBot:
    """The bot at ``target``, a callback URL; without one our own with these plugins. Raises CannotSimulate."""
    if not target:
        return OwnBot(plugin_folders)
    try:
        address = urlsplit(target)
        is_address = (
            address.scheme in ("http", "https") and address.port != 0 and _HOST.fullmatch(address.hostname or "")
        )
    except ValueError:  # brackets, or a port that is none
        is_address = None
    if not is_address:
        raise CannotSimulate(f"--target {target} is no callback URL; one looks like http://127.0.0.1:8000/wechat")
    return ForeignBot(target)


_HOST = re.compile(r"(?:[\w-]{1,63}\.)*[\w-]{1,63}\.?|[0-9a-fA-F:.]+(?:%\w+)?")
_WORD = re.compile(r"[!-~]+")
_AES_KEY = re.compile(r"[A-Za-z0-9+/]{43}")


def checked(given: Credentials) -> Credentials:
    """``given``, if a platform can have such credentials. Raises CannotSimulate."""
    for name, value in (("--appid", given.appid), ("--secret", given.secret), ("--token", given.token)):
        if value and not _WORD.fullmatch(value):
            raise CannotSimulate(f"{name} must be of letters, digits and signs, without spaces")
    if given.aes_key and not _AES_KEY.fullmatch(given.aes_key):
        raise CannotSimulate("--aes-key must be the EncodingAESKey: 43 characters of A-Z, a-z, 0-9, + and /")
    return given


def open_page(say: Say, bot: PlayedBot, choice: AccountChoice, credentials: Credentials, place: Place) -> None:
    """Serve the page until this process is told to stop. Raises WxbotError if bot or page cannot start."""
    key = "" if is_loopback(place.host) else new_key()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxbot-playground-")))
        playground = Playground(bot, choice, credentials, folder)
        stack.callback(playground.close)
        try:
            server = stack.enter_context(PageServer(playground, place.host, place.port, key))
        except OSError as error:
            raise CannotSimulate(f"the page cannot listen at {place.host}:{place.port}: {error.strerror}") from None
        _tell_credentials(say, bot, playground.scene.world, credentials)
        _start(say, playground)
        say(f"A WeChat on your desk: {_address(place.host, server.port, key)}")
        if key:
            say("Whoever has this address may use the page. It is plain HTTP: not for a network you do not trust.")
        say("Open it in a browser. Ctrl-C ends it.")
        threading.Event().wait()


def _start(say: Say, playground: Playground) -> None:
    try:
        playground.start()
    except BotDidNotAnswer as error:
        say(f"For now {error}")


def _address(host: str, port: int, key: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - what was asked for; an address to open needs a name
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?key={key}" if key else "")


def _tell_credentials(say: Say, bot: PlayedBot, world: World, given: Credentials) -> None:
    """How the bot at the target must be set up. What was made up is nobody's secret; what was given may be one."""
    if not bot.target:
        return
    known = {given.secret, given.token, given.aes_key} - {""}
    say(f"The bot at {bot.target} must be set up like this (the names are wxbot's):")
    for name, value in world.wechat.settings().items():
        say(f"  {name}=" + ("(as you gave it)" if value in known else value))


def play_transcript(say: Say, bot: PlayedBot, file: Path, credentials: Credentials) -> bool:
    """Play the transcript in ``file`` and say how it went: whether the bot answered as it stands there.

    Raises BadTranscript, WxbotError if the bot does not start.
    """
    transcript = _read_file(file)
    choice = AccountChoice(transcript.account_kind, transcript.mode, transcript.format)
    with _world(bot, choice, credentials) as world:
        _tell_credentials(say, bot, world, credentials)
        bot.serve(world.wechat, world.clock, world.folder)
        wechat = world.wechat
        problems = play(
            transcript,
            wechat,
            world.clock.advance,
            switch_mode=lambda mode: switch(bot, wechat, mode, wechat.format),
        )
    return _tell_verdict(say, file, transcript, problems)


def _read_file(file: Path) -> Transcript:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadTranscript(str(file), 1, f"the file has more than {MAX_BYTES >> 20} MB")
        return read(file.read_text("utf-8-sig"), str(file))
    except OSError as error:
        raise CannotSimulate(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadTranscript(str(file), 1, "this is not UTF-8: save it as UTF-8") from None


@contextmanager
def _world(bot: PlayedBot, choice: AccountChoice, credentials: Credentials) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="wxbot-playground-") as folder:
        world = World(1, choice.made_possible(), credentials, Path(folder))
        try:
            yield world
        finally:
            bot.stop()
            world.close()


def _tell_verdict(say: Say, file: Path, transcript: Transcript, problems: Iterable[str]) -> bool:
    told = list(problems)
    if not told:
        say(f"{file}: the bot answered as it stands there, {len(transcript.steps)} steps.")
        return True
    say(f"{file}: the bot answered otherwise:")
    for problem in told:
        say(problem)
    return False
