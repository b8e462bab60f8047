"""Wake-ups between processes, on Dramatiq: who accepts a push says so, and one of the workers looks after it.

A hint is no task. The inbox is the truth, and whatever no hint has reached is found by the sweep. So everything here
gives up early and holds nobody up.
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
"""Of what a hint says. A higher one is another wxbot's: its hints are dropped, and the sweep finds their messages."""
ACTOR = "adopt"

BACKLOG = 10_000
"""Hints that wait in this process for the broker, at most."""
QUEUED = 10_000
"""Hints that wait at the broker, at most: no worker may be running, and nobody wants them all when one comes."""
STALE_SECONDS = 5.0
"""A hint that could not be handed over for so long is dropped: the sweep has found its message."""
PROBE_SECONDS = 2.0
"""How often the broker is asked whether it works."""
ANSWER_SECONDS = 4.0
"""A broker that answers no call for so long is out."""
OPEN_SECONDS = 10.0
CLOSE_SECONDS = 2.0
ABORT_SECONDS = 1.0

THREADS = 8
"""How many hints one process follows at a time, and holds while it is full."""
LOOK_MS = 300
"""How often Dramatiq's idle threads look whether they shall end."""
KINDS = 20


def queue_name(appid: str) -> str:
    """An account's queue: another account's bot could do nothing with its hints."""
    return "wxbot." + re.sub(r"[^A-Za-z0-9_-]", "_", appid)


def to_message(key: ConversationKey, interacted_at: float) -> dramatiq.Message[None]:
    said = {"v": VERSION, "appid": key.appid, "openid": key.openid, "at": interacted_at}
    return dramatiq.Message(queue_name=queue_name(key.appid), actor_name=ACTOR, args=(), kwargs=said, options={})


def read_wakeup(said: Mapping[str, object], appid: str) -> tuple[ConversationKey, float]:
    """What a message says. Raises ValueError if that is nothing we know, or for another account."""
    if said.get("v") != VERSION:
        raise ValueError(f"their version is {said.get('v')!r:.20}, ours {VERSION}")
    openid, at = said.get("openid"), said.get("at")
    if said.get("appid") != appid:
        raise ValueError("they are another account's")
    if not isinstance(openid, str) or not isinstance(at, int | float) or not math.isfinite(at):
        raise ValueError("they do not say what a hint says")
    return ConversationKey(appid, openid), float(at)


class _Hint(NamedTuple):
    key: ConversationKey
    interacted_at: float
    since: float
    """When it was left here, by the monotonic clock."""


class DramatiqWaker:
    """wxbot.wakeups.port.Waker for whichever process reads the account's hints. Open it after gunicorn has forked.

    One thread talks to the broker, and nobody else waits for it. A claim cannot travel: where hints do, no bid goes
    with a push. The broker is the waker's own, and closed with it.
    """

    def __init__(self, broker: WakeupBroker, appid: str) -> None:
        self._broker = broker
        self._queue_name = queue_name(appid)
        self._hints: SimpleQueue[_Hint | None] = SimpleQueue()  # None means stop
        self._outage = Outage()
        self._thread: Thread | None = None
        self._proved = Event()
        """Set once the first probe is through, whatever came of it."""
        self._closing = Event()
        self._probe_at = 0.0
        self._asked_at: float | None = None
        self._crowded = False
        self._overflowing = False

    def start(self) -> None:
        """Begin to hand over hints; with a broker that is out, as soon as it is back."""
        self._broker.declare_queue(self._queue_name)
        self._thread = Thread(target=self._run, name="wxbot-waker", daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Start, and see that the broker takes hints. Raises StoreUnavailable with what to do."""
        self.start()
        self._proved.wait(OPEN_SECONDS)
        problem = self.problem()
        if problem is not None:
            self.close(0.0)
            raise StoreUnavailable(f"hints cannot be sent to the workers (WXBOT_BROKER_URL): {problem}")

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Hand over what is left, within ``seconds`` and only to a broker that works; then let go of everything."""
        self._hints.put(None)
        if self._trouble() is not None:
            self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(seconds)
            self._closing.set()
            _abort(self._broker, [thread])
        self._broker.close()

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """From any thread; returns at once and raises nothing."""
        if self._hints.qsize() < BACKLOG:
            self._hints.put(_Hint(key, interacted_at, time.monotonic()))
        elif not self._overflowing:
            self._overflowing = True
            log.error("no more hints are kept: %d wait for their broker, and the sweep finds the messages", BACKLOG)

    def problem(self) -> str | None:
        """Why the broker takes no hints now; None if it does. Costs nothing, and is at most PROBE_SECONDS old."""
        return self._trouble() or (None if self._proved.is_set() else "the broker was not reached yet")

    def _trouble(self) -> str | None:
        asked_at = self._asked_at
        if asked_at is not None and time.monotonic() - asked_at > ANSWER_SECONDS:
            return "the broker gives no answer"
        return self._outage.problem

    def _run(self) -> None:
        try:
            self._probe()
            self._proved.set()
            while (hint := self._next()) is not None:
                self._handover(hint)
            if not self._closing.is_set():
                self._broker.leave(self._queue_name)
        finally:
            self._broker.disconnect()

    def _next(self) -> _Hint | None:
        """The next hint, or None at the end. Meanwhile the broker is probed now and then."""
        while not self._closing.is_set():
            if time.monotonic() >= self._probe_at:
                self._probe()
            with suppress(Empty):
                return self._hints.get(timeout=max(0.0, self._probe_at - time.monotonic()))
        return None

    def _handover(self, hint: _Hint) -> None:
        message = to_message(hint.key, hint.interacted_at)
        while not self._crowded and time.monotonic() - hint.since < STALE_SECONDS:
            if self._try(lambda: self._broker.enqueue(message)) or self._closing.wait(RETRY_SECONDS):
                return

    def _probe(self) -> None:
        works = self._try(self._count)
        self._overflowing = self._overflowing and not self._hints.empty()
        self._probe_at = time.monotonic() + (PROBE_SECONDS if works else RETRY_SECONDS)

    def _count(self) -> None:
        queued = self._broker.probe(self._queue_name)
        if queued >= QUEUED and not self._crowded:
            log.error("no more hints are sent: %d wait at their broker and nobody reads them", queued)
        self._crowded = queued >= QUEUED

    def _try(self, call: Callable[[], object]) -> bool:
        self._asked_at = time.monotonic()
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is must not end the thread
            if not self._closing.is_set():
                self._outage.begins(self._broker.explain(error))
            return False
        finally:
            self._asked_at = None
        self._outage.ends()
        return True


class WakeupReader:
    """Follows the account's hints: has ``adopt`` look after each conversation they name.

    ``adopt`` may block, and should while the process has no room: a process follows ``threads`` hints at a time and
    takes no more from the broker, so others can have them. Start it after gunicorn has forked, and once. The broker
    is the reader's own, and closed with it.
    """

    def __init__(self, broker: WakeupBroker, appid: str, adopt: Adopt, threads: int = THREADS) -> None:
        self._broker = broker
        self._appid = appid
        self._adopt = adopt
        self._told: set[str] = set()
        self._queue_name = queue_name(appid)
        dramatiq.actor(actor_name=ACTOR, queue_name=self._queue_name, broker=broker)(self._follow)
        # Nothing here ever delays a message; a consumer for those that are would look all the time.
        broker.delay_queues.clear()
        queues = {self._queue_name}
        self._worker = dramatiq.Worker(broker, queues=queues, worker_threads=threads, worker_timeout=LOOK_MS)
        self._worker.queue_prefetch = threads

    def start(self) -> None:
        """Begin to follow hints; with a broker that is out, as soon as it is back."""
        self._broker.emit_after("process_boot")
        self._worker.start()

    def refuse_new(self) -> None:
        """Take no more hints. What is not followed by now goes back to the broker, even if ``adopt`` returns."""
        self._broker.refusing.set()

    def stop(self, seconds: float = CLOSE_SECONDS) -> None:
        """End, within ``seconds`` and a little; what was fetched and not followed goes back if the broker works."""
        self.refuse_new()
        stopping = Thread(target=self._end, args=(seconds,), name="wxbot-hints-stop", daemon=True)
        stopping.start()
        stopping.join(seconds)
        _abort(self._broker, [stopping, *self._worker.consumers.values(), *self._worker.workers])
        self._broker.close()

    def problem(self) -> str | None:
        """Why no hints are heard now; None if they are."""
        return self._broker.consuming.problem

    def _end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds / 3
        for thread in self._worker.workers:
            thread.stop()
        for thread in self._worker.workers:  # Dramatiq itself does not wait for all where there are many
            thread.join(max(0.0, deadline - time.monotonic()))
        self._worker.stop(int(seconds / 3 * 1000))  # milliseconds: for who is left, and once more for the consumer
        if self.problem() is None:
            self._broker.leave(self._queue_name)

    def _follow(self, *rest: object, **said: object) -> None:
        try:
            key, interacted_at = read_wakeup(said, self._appid)
        except ValueError as error:
            self._drop(str(error))
            return
        try:
            self._adopt(key, interacted_at)
        except Exception:
            if not self._broker.refusing.is_set():
                log.exception("a hint could not be followed; the sweep finds its message")

    def _drop(self, reason: str) -> None:
        """Of every kind only the first is told: while versions change, there are many."""
        if reason not in self._told and len(self._told) < KINDS:
            self._told.add(reason)
            log.info("hints are dropped, the sweep finds their messages: %s", reason)


def _abort(broker: WakeupBroker, threads: Sequence[Thread]) -> None:
    """Make an end of what still waits for a broker that hangs, as far as that can be done."""
    limit = time.monotonic() + ABORT_SECONDS
    while any(thread.is_alive() for thread in threads) and time.monotonic() < limit:
        broker.abort()  # and again, because the next thing they do may be to connect
        for thread in threads:
            thread.join(0.02)
