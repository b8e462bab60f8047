"""All accounts of one process: one bot for each account.

Accounts are separate: each bot has its own event loop, connection to the store, access token and plugins. They share
the process and its settings.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from wxbot.errors import StoreUnavailable
from wxbot.logs import speaking_of
from wxbot.server.bot import Bot

log = logging.getLogger("wxbot.deployment")


class Deployment:
    """The bots of all accounts, by name; a single account is named "". Made by ``wxbot.server.assembly``.

    ``start`` it after gunicorn has forked.
    """

    def __init__(self, bots: Mapping[str, Bot]) -> None:
        self.bots = bots
        self.max_body_bytes = next(iter(bots.values())).max_body_bytes
        self._one_at_a_time = threading.Lock()
        self._wanted: object | None = None  # set by ``start``, removed by ``stop``

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
        """Return why this process should get no pushes now; None if it should. The first problem counts."""
        for name, bot in self.bots.items():
            with speaking_of(name):
                problem = bot.problem()
            if problem is not None:
                return f"{name}: {problem}" if name else problem
        return None

    def metrics(self) -> bytes | None:
        """Return the counts of Dramatiq's Prometheus middleware, which are the process's; None if it is not in use."""
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
