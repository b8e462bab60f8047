"""All accounts of one process: a bot for each, behind one HTTP entrance.

Nothing of one account reaches another: each bot has its own event loop, connection to the store, access token and
plugins. They share the process, its settings and its addresses.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from flask import Flask, request

from wxbot.clock import Clock
from wxbot.errors import ConfigError, PluginError, StoreUnavailable
from wxbot.logs import speak_of, speaking_of
from wxbot.plugin.plugin import Plugin
from wxbot.server.bot import Bot
from wxbot.server.plugin_setup import misspelt_everywhere
from wxbot.server.web import SEND_PATH, Door, create_app
from wxbot.settings.schema import Settings

log = logging.getLogger("wxbot.deployment")

__all__ = ["SEND_PATH", "Deployment", "problems_of"]


class Deployment:
    """The bots of ``accounts`` (``wxbot.settings.accounts_file.load_accounts``), by name; a single one is named "".

    Building it checks everything and touches nothing; ``start`` it after gunicorn has forked. ``plugins`` replaces, by
    account, those in the plugin folders. Raises ConfigError with the problems of all accounts, PluginError.
    """

    def __init__(
        self,
        accounts: Mapping[str, Settings],
        *,
        plugins: Mapping[str, Sequence[Plugin]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        given = plugins or {}
        self.bots: Mapping[str, Bot] = _make_bots(accounts, given, clock)
        self._max_body_bytes = next(iter(accounts.values())).max_body_bytes
        self._doors = {name: _door(name, bot) for name, bot in self.bots.items()}
        self._one_at_a_time = threading.Lock()
        self._wanted: object | None = None  # made by ``start``, and gone when it is stopped

    def wsgi(self) -> Flask:
        """The application for gunicorn: ``/wechat/<name>`` and ``/send/<name>``; for a single account without names."""
        app = create_app(self, self._doors.values(), self._max_body_bytes)
        if "" not in self.bots:
            _tell_accounts_apart(app, self._doors)
        return app

    def start(self) -> None:
        """Start every bot, once per process. Raises StoreUnavailable; none runs then, until it is called again.

        A ``stop`` meanwhile wins.
        """
        self._wanted = object()
        self._start(self._wanted)

    def start_again(self) -> bool:
        """Try again what ``start`` failed in, unless ``stop`` was called since. Whether the bots are to run."""
        wanted = self._wanted
        if wanted is not None:
            self._start(wanted)
        return wanted is not None

    def stop(self, seconds: float | None = None) -> None:
        """Finish running handlers within ``seconds`` (by default ``drain_seconds``), hand back the rest, close.

        All bots at the same time. What is starting them in another thread gives up.
        """
        self._wanted = None
        with self._one_at_a_time:
            pass  # the bot that is being started is there now, to be stopped
        self._stop(list(self.bots), seconds)

    def problem(self) -> str | None:
        """See ``wxbot.server.web.House``: of the first account that has one."""
        for name, bot in self.bots.items():
            with speaking_of(name):
                problem = bot.problem()
            if problem is not None:
                return f"{name}: {problem}" if name else problem
        return None

    def metrics(self) -> bytes | None:
        """See ``wxbot.server.web.House``. What was counted is the process's, so any bot knows it."""
        return next(iter(self.bots.values())).metrics()

    def _start(self, wanted: object) -> None:
        try:
            for name, bot in self.bots.items():
                with _named(name), self._one_at_a_time:
                    if self._wanted is not wanted:
                        raise StoreUnavailable("the bot was stopped while it started")
                    bot.start()
        except BaseException:
            if self._wanted is wanted:  # else whoever stopped or started it since decides
                self._stop(list(self.bots), 0.0)
            raise

    def _stop(self, names: Sequence[str], seconds: float | None) -> None:
        threads = [
            threading.Thread(target=self._stop_one, args=(name, seconds), name="wxbot-stop") for name in names[1:]
        ]
        for thread in threads:
            thread.start()
        for name in names[:1]:
            self._stop_one(name, seconds)
        for thread in threads:
            thread.join()

    def _stop_one(self, name: str, seconds: float | None) -> None:
        with speaking_of(name):
            try:
                self.bots[name].stop(seconds)
            except Exception:
                if not name:
                    raise
                log.exception("this account's bot could not be stopped in order")  # and the others are


def _make_bots(
    accounts: Mapping[str, Settings], plugins: Mapping[str, Sequence[Plugin]], clock: Clock | None
) -> dict[str, Bot]:
    """Raises ConfigError, PluginError."""
    if not accounts:
        raise ConfigError(["there is no account"])
    bots: dict[str, Bot] = {}
    problems: list[str] = []
    for name, settings in accounts.items():
        own = settings.of_account(name) if name else settings
        try:
            bots[name] = Bot(own, plugins=plugins.get(name), clock=clock)
        except (ConfigError, PluginError) as error:
            if not name:
                raise
            problems += problems_of(own, error)
    if len(bots) == len(accounts) and "" not in accounts:
        problems += misspelt_everywhere(bot.plugins for bot in bots.values())
    if problems:
        raise ConfigError(problems)
    return bots


def problems_of(settings: Settings, error: ConfigError | PluginError) -> list[str]:
    """What is wrong with one account of several, with its name in front and by the keys of its section."""
    told = error.problems if isinstance(error, ConfigError) else [str(error)]
    return [_by_key(f"[{settings.account}] {problem}", settings) for problem in told]


def _by_key(problem: str, settings: Settings) -> str:
    """``problem`` with the keys of the account's section in place of the variables that it does not use."""
    for name, key in settings.written.items():
        problem = re.sub(rf"\bWXBOT_{name.upper()}\b", key, problem)
    return problem


def _door(name: str, bot: Bot) -> Door:
    return bot.door(f"{SEND_PATH}/{name}" if name else SEND_PATH)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Lines, and a store that is unavailable, say whose they are."""
    with speaking_of(name):
        try:
            yield
        except StoreUnavailable as error:
            if not name:
                raise
            raise StoreUnavailable(f"[{name}] {error}") from error


def _tell_accounts_apart(app: Flask, doors: Mapping[str, Door]) -> None:
    """Everything that is logged for a request says whose address it came to."""
    names = {path: name for name, door in doors.items() for path in (door.callback_path, door.send_path) if path}

    @app.before_request
    def enter() -> None:
        speak_of(names.get(request.path, ""))

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        speak_of("")  # the thread takes the next request
