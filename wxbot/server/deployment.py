"""A deployment: all accounts of one process, with one bot for each account.

Each bot has its own event loop, connection to the store, access token and plugins. The bots share the process and its
settings.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from wxbot.errors import StoreUnavailable
from wxbot.logs import account_in_logs
from wxbot.server.bot import Bot

log = logging.getLogger("wxbot.deployment")


class Deployment:
    """A deployment, made by ``wxbot.server.assembly``. ``bots`` are by account name; a single account is named "".

    Call ``start`` after gunicorn has forked.
    """

    def __init__(self, bots: Mapping[str, Bot]) -> None:
        self.bots = bots
        self.max_body_bytes = next(iter(bots.values())).max_body_bytes
        self._bot_starting = threading.Lock()
        self._start_request: object | None = None  # set by ``start``, removed by ``stop``

    def start(self) -> None:
        """Start every bot, once per process. Raises StoreUnavailable; then no bot runs until the next call.

        If ``stop`` is called at the same time, the bots do not start.
        """
        self._start_request = object()
        self._start(self._start_request)

    def start_again(self) -> bool:
        """Start the bots again after ``start`` has failed, unless ``stop`` was called since.

        Return False if ``stop`` was called. Raises StoreUnavailable.
        """
        request = self._start_request
        if request is not None:
            self._start(request)
        return request is not None

    def stop(self, seconds: float | None = None) -> None:
        """Stop: let running handlers finish within ``seconds`` (default ``drain_seconds``), release other messages.

        All bots stop at the same time. A ``start`` in another thread ends with StoreUnavailable.
        """
        self._start_request = None
        with self._bot_starting:
            pass  # wait until the bot that is starting has started, so that it can be stopped
        self._stop(list(self.bots), seconds)

    def problem(self) -> str | None:
        """Return the first reason why this process should get no pushes now; None if it can accept them."""
        for name, bot in self.bots.items():
            with account_in_logs(name):
                problem = bot.problem()
            if problem is not None:
                return f"{name}: {problem}" if name else problem
        return None

    def metrics(self) -> bytes | None:
        """Return the counts of Dramatiq's Prometheus middleware for the whole process; None if it is not in use."""
        return next(iter(self.bots.values())).metrics()

    def _start(self, request: object) -> None:
        try:
            for name, bot in self.bots.items():
                with _account_in_errors(name), self._bot_starting:
                    if self._start_request is not request:
                        raise StoreUnavailable("the bot was stopped while it started")
                    bot.start()
        except BaseException:
            if self._start_request is request:  # a later ``start`` or ``stop`` must not be undone
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
        with account_in_logs(name):
            try:
                self.bots[name].stop(seconds)
            except Exception:
                if not name:
                    raise
                log.exception("bot of this account failed to stop, stopping the others")


@contextmanager
def _account_in_errors(name: str) -> Iterator[None]:
    """Add the account's name to log lines and to the text of StoreUnavailable."""
    with account_in_logs(name):
        try:
            yield
        except StoreUnavailable as error:
            if not name:
                raise
            raise StoreUnavailable(f"[{name}] {error}") from error
