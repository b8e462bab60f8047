"""The one place where the parts are put together: start, stop, and the desk that the webhook hands pushes to."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from flask import Flask

from wxbot.backends.inprocess import InProcessWaker
from wxbot.backends.sqlite import SqliteStore
from wxbot.clock import SystemClock
from wxbot.config import Settings
from wxbot.conversation import ConversationOptions, Conversations
from wxbot.errors import StoreUnavailable, WxbotError
from wxbot.pipeline import Pipeline, PipelineOptions
from wxbot.plugin import Plugin
from wxbot.plugin_setup import PluginSet, load_plugins
from wxbot.ports import Arrival, Clock, ConversationKey, Lease, Store
from wxbot.typing_indicator import NOTE_SECONDS, TypingIndicator, TypingOptions
from wxbot.typing_rules import TypingState
from wxbot.web import create_app
from wxbot.wechat.callback import Callback, single_values
from wxbot.wechat.client import WeChatClient

log = logging.getLogger("wxbot.bot")

READY_SECONDS = 2.0
START_SECONDS = 10.0
RESTART_SECONDS = 1.0
BUSY_PUSHES = 2
"""Pushes being received at the same moment from which on acknowledging comes first (wxbot/backends/inprocess.py)."""


def open_store(settings: Settings) -> Store:
    """The store at ``settings.store_url``, not opened yet."""
    path = Path(settings.store_url.removeprefix("sqlite:///"))
    return SqliteStore(path, full_sync=settings.sqlite_synchronous == "full")


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
        self.clock = clock or SystemClock()
        self.plugins = load_plugins(settings, plugins)
        self._callback = make_callback(settings)
        self._starting = threading.Lock()
        self._engine: _Engine | None = None
        self._stopped = False
        self._receiving: deque[None] = deque()  # one for each push being received: its ends are thread-safe

    def wsgi(self) -> Flask:
        """The application for gunicorn."""
        return create_app(self, self.settings.callback_path, self.settings.max_body_bytes)

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
            self._running().ping()
        except WxbotError as error:
            log.error("not ready: %s", error)
            return "the message store is unavailable"
        return None

    def _is_busy(self) -> bool:
        return len(self._receiving) >= BUSY_PUSHES

    def _running(self) -> _Engine:
        engine = self._engine
        if engine is not None and engine.pid == os.getpid():
            return engine
        with self._starting:
            if self._stopped:  # a push that came while the process ends: WeChat delivers it again
                raise StoreUnavailable("the bot is stopping")
            if self._engine is None or self._engine.pid != os.getpid():
                engine = _Engine(self.settings, self.clock, self.plugins, self._is_busy)
                engine.start()
                self._engine = engine
                atexit.register(self.stop)
            return self._engine


def _new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where there is one: a tenth less processor time for each message (docs/performance.md)."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Engine:
    """What runs in one process: the store, and one thread with the event loop in which everything is answered."""

    def __init__(self, settings: Settings, clock: Clock, plugins: PluginSet, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self.pid = os.getpid()
        self.store = open_store(settings)
        self._settings = settings
        self._clock = clock
        self._plugins = plugins
        self._client = WeChatClient.from_settings(settings, self.store, clock)
        self._typing = TypingOptions(settings.typing, settings.typing_delay, settings.typing_margin)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waker: InProcessWaker | None = None
        self._desk: Conversations | None = None
        self._stopping: asyncio.Event | None = None
        self._drain_seconds = 0.0
        self._stop_requested = False
        self._thread = threading.Thread(target=self._run, name="wxbot-loop", daemon=True)
        self._started: Future[None] = Future()

    def start(self) -> None:
        self.store.open()
        self._thread.start()
        try:
            self._started.result(START_SECONDS)
        except BaseException:
            self.store.close()
            raise

    def stop(self, seconds: float) -> None:
        self._drain_seconds, self._stop_requested = seconds, True
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):  # the loop has just ended by itself
                self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self.store.close()

    def accept(self, arrival: Arrival) -> bool:
        """Keep the message and have it worked; False if it was here before. Raises StoreUnavailable."""
        bid = None if self._desk is None else self._desk.bid()
        receipt = self.store.accept(arrival, bid)
        if receipt.new and self._waker is not None:
            self._waker.wake(arrival.key, arrival.interacted_at, receipt.claim)
        return receipt.new

    def ping(self) -> None:
        """Prove that the loop turns and the store writes. Raises StoreUnavailable."""
        assert self._loop is not None  # noqa: S101 - set before start() returns
        answer = asyncio.run_coroutine_threadsafe(self.store.ping(), self._loop)
        try:
            answer.result(READY_SECONDS)
        except TimeoutError:
            answer.cancel()
            raise StoreUnavailable(f"no answer within {READY_SECONDS} seconds") from None

    def _run(self) -> None:
        while not self._stop_requested:
            try:
                with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                    runner.run(self._live())
                return
            except BaseException as error:
                if not self._started.done():
                    self._started.set_exception(error)
                    return
                # Something called sys.exit() in a task of its own, say. The leases it held run out by themselves.
                log.critical("the event loop ended, starting another", exc_info=error)
                time.sleep(RESTART_SECONDS)

    async def _live(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        settings = self._settings
        threads = ThreadPoolExecutor(settings.handler_threads, thread_name_prefix="wxbot-handler")
        conversations = self._conversations()
        pipeline = self._pipeline(threads, conversations)
        await self._client.open()
        try:
            conversations.start(pipeline)
            self._waker, self._desk = InProcessWaker(self._loop, conversations.wake, self._is_busy), conversations
            if not self._started.done():
                self._started.set_result(None)
            await self._stopping.wait()
            await conversations.drain(self._drain_seconds)
        finally:
            await self._client.close()
            threads.shutdown(wait=False, cancel_futures=True)

    def _conversations(self) -> Conversations:
        settings = self._settings
        owner = f"{socket.gethostname()}:{self.pid}:{secrets.token_hex(4)}"
        options = ConversationOptions(
            lease_seconds=settings.lease_seconds,
            sweep_seconds=settings.sweep_seconds,
            typing_note_seconds=NOTE_SECONDS if settings.typing and settings.typing_delay == 0 else 0.0,
            max_conversations=settings.max_conversations,
            dedup_seconds=settings.dedup_seconds,
            dead_letter_seconds=settings.dead_letter_seconds,
        )
        return Conversations(settings.appid, owner, self.store, self._clock, options, self._indicator)

    def _indicator(self, lease: Lease, state: TypingState, noted_until: float) -> TypingIndicator:
        return TypingIndicator(self._client, self.store, lease, self._clock, self._typing, state, noted_until)

    def _pipeline(self, threads: ThreadPoolExecutor, conversations: Conversations) -> Pipeline:
        settings = self._settings
        options = PipelineOptions(
            handler_timeout=settings.handler_timeout,
            max_attempts=settings.max_attempts,
            retry_seconds=settings.retry_seconds,
            text_bytes=settings.text_bytes,
            error_text=settings.error_text,
            timeout_text=settings.timeout_text,
            plugin_settings=self._plugins.settings,
            plugin_resources=self._plugins.resources,
        )
        return Pipeline(
            self._plugins.router, self._client, self.store, self._clock, threads, options, conversations.hold
        )
