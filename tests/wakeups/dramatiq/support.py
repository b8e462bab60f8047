"""Helpers for both ends of the wake-ups, and a listener. Every wait is for an event and has a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from tests.servers.processes import wait_until
from wxbot.server.assembly import make_broker
from wxbot.store.records import ConversationKey
from wxbot.wakeups.dramatiq.waker import THREADS, DramatiqWaker, WakeupReader, queue_name

APPID = "wx0123456789abcdef"
QUEUE = queue_name(APPID)
SOON = 10.0
"""Seconds, far more than any successful operation takes."""


class Server(Protocol):
    """A broker's server that a test controls."""

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Listener:
    """Records the conversations that a reader adopts. While full, ``adopt`` blocks as in a process without capacity."""

    def __init__(self) -> None:
        self.received: list[ConversationKey] = []
        self.times: dict[str, float] = {}
        self._changed = threading.Condition()
        self._full = False

    def adopt(self, key: ConversationKey, interacted_at: float) -> None:
        with self._changed:
            self.received.append(key)
            self.times[key.openid] = interacted_at
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._full, 60)

    @property
    def users(self) -> set[str]:
        with self._changed:
            return {key.openid for key in self.received}

    def fills_up(self) -> None:
        self._full = True

    def has_room(self) -> None:
        with self._changed:
            self._full = False
            self._changed.notify_all()

    def receives(self, *openids: str, seconds: float = SOON) -> None:
        """Wait until all of them were received, in any order and number."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: set(openids) <= {key.openid for key in self.received}, seconds)
            assert arrived, f"received {len(self.received)}, not {set(openids) - {key.openid for key in self.received}}"

    def receives_in_all(self, n: int, seconds: float = SOON) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= n, seconds), f"received only {self.received}"


@contextmanager
def reading(url: str, listener: Listener, threads: int = THREADS) -> Iterator[WakeupReader]:
    reader = WakeupReader(make_broker(url), APPID, listener.adopt, threads)
    reader.start()
    try:
        yield reader
    finally:
        reader.refuse_new()
        listener.has_room()
        reader.stop()


@contextmanager
def waking(url: str) -> Iterator[DramatiqWaker]:
    waker = DramatiqWaker(make_broker(url), APPID)
    waker.start()
    try:
        yield waker
    finally:
        waker.close()


def wake(waker: DramatiqWaker, *openids: str) -> None:
    for openid in openids:
        waker.wake(ConversationKey(APPID, openid), 1.5)


def users(n: int) -> list[str]:
    return [f"user {i}" for i in range(n)]


def queued(url: str) -> int:
    """Return the number of wake-ups in the broker. With Redis it includes unacknowledged ones."""
    broker = make_broker(url)
    broker.declare_queue(QUEUE)
    try:
        return broker.probe(QUEUE)
    finally:
        broker.disconnect()
        broker.close()


def flush_wakeups(url: str) -> None:
    """Delete the wake-ups that another test left in a shared server."""
    broker = make_broker(url)
    with suppress(Exception):
        broker.flush(QUEUE)
    broker.disconnect()
    broker.close()


def waits_for(problem: Callable[[], str | None], wanted: bool, seconds: float = SOON) -> str:
    """Wait until there is a problem, or none if not ``wanted``. Return its text."""
    wait_until(lambda: (problem() is not None) == wanted, f"a problem: {wanted}", seconds)
    return problem() or ""
