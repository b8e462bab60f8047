"""A bot for one account: start, stop, and the desk that the webhook hands pushes to."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Sequence

from flask import Flask

from wxbot.backends.choice import make_clock
from wxbot.config import Settings
from wxbot.engine import Engine
from wxbot.errors import StoreUnavailable, WxbotError
from wxbot.plugin import Plugin
from wxbot.plugin_setup import load_plugins
from wxbot.ports import Arrival, Clock, ConversationKey
from wxbot.web import create_app
from wxbot.wechat.callback import Callback, single_values

log = logging.getLogger("wxbot.bot")

BUSY_PUSHES = 2
"""Pushes being received at the same moment from which on acknowledging comes first (wxbot/backends/inprocess.py)."""


def make_callback(settings: Settings) -> Callback:
    """What verifies and opens the account's pushes."""
    return Callback(
        appid=settings.appid,
        token=settings.token.get_secret_value(),
        aes_key=settings.aes_key.get_secret_value() if settings.aes_key else None,
        previous_aes_key=settings.previous_aes_key.get_secret_value() if settings.previous_aes_key else None,
        max_skew_seconds=settings.max_skew_seconds,
    )


class Bot:
    """One account's bot. Building it checks everything and touches nothing; ``start`` it after gunicorn has forked.

    ``plugins`` replaces those in the plugin folders. Raises ConfigError, PluginError.
    """

    def __init__(
        self, settings: Settings, *, plugins: Sequence[Plugin] | None = None, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or make_clock(settings)
        self.plugins = load_plugins(settings, plugins)
        self._callback = make_callback(settings)
        self._starting = threading.Lock()
        self._engine: Engine | None = None
        self._stopped = False
        self._receiving: deque[None] = deque()  # one for each push being received: its ends are thread-safe

    def wsgi(self) -> Flask:
        """The application for gunicorn."""
        path = None if self.settings.role == "worker" else self.settings.callback_path
        return create_app(self, path, self.settings.max_body_bytes)

    def start(self) -> None:
        """Open the store and start the event-loop thread, once per process. Raises StoreUnavailable."""
        self._stopped = False
        self._running()

    def stop(self, seconds: float | None = None) -> None:
        """Finish running handlers within ``seconds`` (by default ``drain_seconds``), hand back the rest, close."""
        with self._starting:
            engine, self._engine, self._stopped = self._engine, None, True
        if engine is not None:
            atexit.unregister(self.stop)
            engine.stop(self.settings.drain_seconds if seconds is None else seconds)

    def verify(self, query: list[tuple[str, str]]) -> str:
        """See ``wxbot.web.Desk``."""
        return self._callback.verify(single_values(query))

    def receive(self, query: list[tuple[str, str]], body: bytes) -> None:
        """See ``wxbot.web.Desk``. When this returns, the message will be answered, whatever happens."""
        self._receiving.append(None)
        try:
            self._take(query, body)
        finally:
            self._receiving.pop()

    def _take(self, query: list[tuple[str, str]], body: bytes) -> None:
        now = self.clock.now()
        push = self._callback.open(single_values(query), body, now, now)
        if push is None:
            log.info("acknowledged a push that names no user")
            return
        key = ConversationKey(self.settings.appid, push.fields["FromUserName"])
        engine = self._running()
        arrival = Arrival(key, push.dedup_key, push.fields, now, push.interacted_at)
        if not engine.accept(arrival):
            log.info("a redelivered push was acknowledged and not answered again")

    def problem(self) -> str | None:
        """See ``wxbot.web.Desk``."""
        try:
            problem = self._running().problem()
        except WxbotError as error:
            log.error("not ready: %s", error)
            return "the message store is unavailable"
        if problem:
            log.error("not ready: %s", problem)
        return problem and "the broker is unavailable; messages are kept and answered a moment later"

    def metrics(self) -> bytes | None:
        """See ``wxbot.web.Desk``."""
        return self._running().metrics()

    def _is_busy(self) -> bool:
        return len(self._receiving) >= BUSY_PUSHES

    def _running(self) -> Engine:
        engine = self._engine
        if engine is not None and engine.pid == os.getpid():
            return engine
        with self._starting:
            if self._stopped:  # a push that came while the process ends: WeChat delivers it again
                raise StoreUnavailable("the bot is stopping")
            if self._engine is None or self._engine.pid != os.getpid():
                engine = Engine(self.settings, self.clock, self.plugins, self._is_busy)
                engine.start()
                self._engine = engine
                atexit.register(self.stop)
            return self._engine
