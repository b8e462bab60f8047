"""Wake-ups between processes, on Dramatiq: the process that accepts a push wakes one of the workers.

A wake-up is not a task. The inbox is the source of truth, and polling finds messages whose wake-up was lost. So this
code gives up early and never blocks its callers.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import NamedTuple

import dramatiq

from wxbot.errors import StoreUnavailable
from wxbot.store.records import Claim, ConversationKey
from wxbot.wakeups.dramatiq.broker import RETRY_SECONDS, Outage, WakeupBroker

log = logging.getLogger("wxbot.wakeups")

Adopt = Callable[[ConversationKey, float], None]

VERSION = 1
"""The version of the wake-up's content. Wake-ups of another version are ignored; polling finds their messages."""
ACTOR = "adopt"

BACKLOG = 10_000
"""Maximum number of wake-ups that wait in this process for the broker."""
QUEUED = 10_000
"""Maximum number of wake-ups in the broker's queue. Without a worker the queue would grow without limit."""
STALE_SECONDS = 5.0
"""A wake-up that could not be sent for this long is dropped, because polling has found its message."""
PROBE_SECONDS = 2.0
"""Seconds between two probes of the broker."""
RESPONSE_SECONDS = 4.0
"""A broker that does not respond for this long is unavailable."""
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 2.0
ABORT_SECONDS = 1.0

THREADS = 8
"""Number of wake-ups that one process handles at a time, and holds while it has no capacity."""
STOP_CHECK_MS = 300
"""Milliseconds between two checks of Dramatiq's idle threads for whether to end."""
MOST_LOGGED_REASONS = 20


def queue_name(appid: str) -> str:
    """Return the name of the account's queue. Each account has its own, because its bot knows no other account."""
    return "wxbot." + re.sub(r"[^A-Za-z0-9_-]", "_", appid)


def to_message(key: ConversationKey, interacted_at: float) -> dramatiq.Message[None]:
    """Return the Dramatiq message of a wake-up."""
    fields = {"v": VERSION, "appid": key.appid, "openid": key.openid, "at": interacted_at}
    return dramatiq.Message(queue_name=queue_name(key.appid), actor_name=ACTOR, args=(), kwargs=fields, options={})


def read_wakeup(fields: Mapping[str, object], appid: str) -> tuple[ConversationKey, float]:
    """Return the conversation and the time of the user action. Raises ValueError for an unknown or foreign message."""
    if fields.get("v") != VERSION:
        raise ValueError(f"version {fields.get('v')!r:.20} is not supported, only {VERSION}")
    openid, at = fields.get("openid"), fields.get("at")
    if fields.get("appid") != appid:
        raise ValueError("appid of another account")
    if not isinstance(openid, str) or not isinstance(at, int | float) or not math.isfinite(at):
        raise ValueError("openid or time missing or invalid")
    return ConversationKey(appid, openid), float(at)


class _Wakeup(NamedTuple):
    key: ConversationKey
    interacted_at: float
    since: float
    """The time when the wake-up was queued in this process, by the monotonic clock."""


class DramatiqWaker:
    """A ``wxbot.wakeups.port.Waker`` for the workers of an account. Open it after gunicorn has forked.

    One thread uses the broker, and no other thread waits for it. A claim cannot be sent to another process, so no claim
    is requested with a push. The waker owns the broker and closes it.
    """

    def __init__(self, broker: WakeupBroker, appid: str) -> None:
        self._broker = broker
        self._queue_name = queue_name(appid)
        self._wakeups: SimpleQueue[_Wakeup | None] = SimpleQueue()  # None stops the thread
        self._outage = Outage()
        self._thread: Thread | None = None
        self._probed = Event()
        """Set after the first probe, also if it failed."""
        self._closing = Event()
        self._probe_at = 0.0
        self._asked_at: float | None = None
        self._queue_full = False
        self._backlog_full = False

    def start(self) -> None:
        """Start to send wake-ups. If the broker is unavailable, sending starts when it is available."""
        self._broker.declare_queue(self._queue_name)
        self._thread = Thread(target=self._run, name="wxbot-waker", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Start, and check that the broker accepts wake-ups. Raises StoreUnavailable."""
        self.start()
        self._probed.wait(OPEN_SECONDS)
        problem = self.problem()
        if problem is not None:
            self.close(0.0)
            raise StoreUnavailable(f"wake-ups cannot be sent to the workers (WXBOT_BROKER_URL): {problem}")

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send the remaining wake-ups for at most ``seconds``, if the broker is available. Then close the broker."""
        self._wakeups.put(None)
        if self._current_problem() is not None:
            self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(seconds)
            self._closing.set()
            _abort(self._broker, [thread])
        self._broker.close()

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """Queue a wake-up and return immediately. Raises nothing. Can be called in any thread."""
        if self._wakeups.qsize() < BACKLOG:
            self._wakeups.put(_Wakeup(key, interacted_at, time.monotonic()))
        elif not self._backlog_full:
            self._backlog_full = True
            log.error("wake-ups dropped, too many wait for the broker; polling finds the messages: waiting=%d", BACKLOG)

    def problem(self) -> str | None:
        """Return why the broker accepts no wake-ups; None if it does. The result is at most PROBE_SECONDS old."""
        return self._current_problem() or (None if self._probed.is_set() else "the broker has not responded yet")

    def _current_problem(self) -> str | None:
        asked_at = self._asked_at
        if asked_at is not None and time.monotonic() - asked_at > RESPONSE_SECONDS:
            return "the broker does not respond"
        return self._outage.problem

    def _run(self) -> None:
        try:
            self._probe()
            self._probed.set()
            while (wakeup := self._next()) is not None:
                self._send(wakeup)
            if not self._closing.is_set():
                self._broker.leave(self._queue_name)
        finally:
            self._broker.disconnect()

    def _next(self) -> _Wakeup | None:
        """Return the next wake-up; None to stop. Probe the broker while waiting."""
        while not self._closing.is_set():
            if time.monotonic() >= self._probe_at:
                self._probe()
            with suppress(Empty):
                return self._wakeups.get(timeout=max(0.0, self._probe_at - time.monotonic()))
        return None

    def _send(self, wakeup: _Wakeup) -> None:
        message = to_message(wakeup.key, wakeup.interacted_at)
        while not self._queue_full and time.monotonic() - wakeup.since < STALE_SECONDS:
            if self._try(lambda: self._broker.enqueue(message)) or self._closing.wait(RETRY_SECONDS):
                return

    def _probe(self) -> None:
        is_available = self._try(self._count)
        self._backlog_full = self._backlog_full and not self._wakeups.empty()
        self._probe_at = time.monotonic() + (PROBE_SECONDS if is_available else RETRY_SECONDS)

    def _count(self) -> None:
        queued = self._broker.probe(self._queue_name)
        if queued >= QUEUED and not self._queue_full:
            log.error("wake-ups not sent, too many are queued and no worker fetches them: queued=%d", queued)
        self._queue_full = queued >= QUEUED

    def _try(self, call: Callable[[], object]) -> bool:
        self._asked_at = time.monotonic()
        try:
            call()
        except Exception as error:  # noqa: BLE001 - no error may end the thread
            if not self._closing.is_set():
                self._outage.begins(self._broker.explain(error))
            return False
        finally:
            self._asked_at = None
        self._outage.ends()
        return True


class WakeupReader:
    """A reader that fetches the account's wake-ups and calls ``adopt`` for the conversation of each.

    ``adopt`` should block while the process has no capacity: a process handles ``threads`` wake-ups at a time and
    fetches no more from the broker, so other processes get them. Start the reader once, after gunicorn has forked. It
    owns the broker and closes it.
    """

    def __init__(self, broker: WakeupBroker, appid: str, adopt: Adopt, threads: int = THREADS) -> None:
        self._broker = broker
        self._appid = appid
        self._adopt = adopt
        self._logged_reasons: set[str] = set()
        self._queue_name = queue_name(appid)
        dramatiq.actor(actor_name=ACTOR, queue_name=self._queue_name, broker=broker)(self._handle)
        # No message here is ever delayed, and a consumer of the delay queue would poll all the time.
        broker.delay_queues.clear()
        queues = {self._queue_name}
        self._worker = dramatiq.Worker(broker, queues=queues, worker_threads=threads, worker_timeout=STOP_CHECK_MS)
        self._worker.queue_prefetch = threads

    def start(self) -> None:
        """Start to fetch wake-ups. If the broker is unavailable, fetching starts when it is available."""
        self._broker.emit_after("process_boot")
        self._worker.start()

    def refuse_new(self) -> None:
        """Fetch no more wake-ups. Unfinished ones go back to the queue, even if ``adopt`` returns later."""
        self._broker.refusing.set()

    def stop(self, seconds: float = CLOSE_SECONDS) -> None:
        """Stop in about ``seconds``. Unfinished wake-ups go back to the queue if the broker is available."""
        self.refuse_new()
        stopping = Thread(target=self._end, args=(seconds,), name="wxbot-wakeups-stop", daemon=True)
        stopping.start()
        stopping.join(seconds)
        _abort(self._broker, [stopping, *self._worker.consumers.values(), *self._worker.workers])
        self._broker.close()

    def problem(self) -> str | None:
        """Return why no wake-ups are fetched now; None if they are."""
        return self._broker.consuming.problem

    def _end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds / 3
        for thread in self._worker.workers:
            thread.stop()
        for thread in self._worker.workers:  # with many threads, Dramatiq does not wait for all of them
            thread.join(max(0.0, deadline - time.monotonic()))
        self._worker.stop(int(seconds / 3 * 1000))  # in milliseconds, once for the workers and once for the consumer
        if self.problem() is None:
            self._broker.leave(self._queue_name)

    def _handle(self, *args: object, **fields: object) -> None:
        try:
            key, interacted_at = read_wakeup(fields, self._appid)
        except ValueError as error:
            self._ignore(str(error))
            return
        try:
            self._adopt(key, interacted_at)
        except Exception:
            if not self._broker.refusing.is_set():
                log.exception("wake-up failed, polling finds its message")

    def _ignore(self, reason: str) -> None:
        """Log the first message of each reason. There may be many while the version of wxbot changes."""
        if reason not in self._logged_reasons and len(self._logged_reasons) < MOST_LOGGED_REASONS:
            self._logged_reasons.add(reason)
            log.info("wake-ups ignored, polling finds their messages: reason=%s", reason)


def _abort(broker: WakeupBroker, threads: Sequence[Thread]) -> None:
    """Interrupt threads that still wait for a broker that does not respond, if possible."""
    limit = time.monotonic() + ABORT_SECONDS
    while any(thread.is_alive() for thread in threads) and time.monotonic() < limit:
        broker.abort()  # repeated, because a thread may connect again
        for thread in threads:
            thread.join(0.02)
