"""Both ends of the hints, and an ear for what arrives. Every wait is for something that is told, with a limit."""

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
"""Seconds: far more than anything takes that works."""


class Server(Protocol):
    """What a broker's server is to a test."""

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Ear:
    """Hears what a reader adopts. While ``full`` is set, ``adopt`` blocks, as it does in a process without room."""

    def __init__(self) -> None:
        self.heard: list[ConversationKey] = []
        self.times: dict[str, float] = {}
        self._changed = threading.Condition()
        self._full = False

    def adopt(self, key: ConversationKey, interacted_at: float) -> None:
        with self._changed:
            self.heard.append(key)
            self.times[key.openid] = interacted_at
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._full, 60)

    @property
    def users(self) -> set[str]:
        with self._changed:
            return {key.openid for key in self.heard}

    def fills_up(self) -> None:
        self._full = True

    def has_room(self) -> None:
        with self._changed:
            self._full = False
            self._changed.notify_all()

    def hears(self, *openids: str, seconds: float = SOON) -> None:
        """Wait until all of them were heard, in any order, however often."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: set(openids) <= {key.openid for key in self.heard}, seconds)
            assert arrived, f"heard {len(self.heard)}, not {set(openids) - {key.openid for key in self.heard}}"

    def hears_in_all(self, n: int, seconds: float = SOON) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= n, seconds), f"heard only {self.heard}"


@contextmanager
def reading(url: str, ear: Ear, threads: int = THREADS) -> Iterator[WakeupReader]:
    reader = WakeupReader(make_broker(url), APPID, ear.adopt, threads)
    reader.start()
    try:
        yield reader
    finally:
        reader.refuse_new()
        ear.has_room()
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
    """How many hints are at the broker: waiting, and with Redis also those that somebody works on."""
    broker = make_broker(url)
    broker.declare_queue(QUEUE)
    try:
        return broker.probe(QUEUE)
    finally:
        broker.disconnect()
        broker.close()


def forget_hints(url: str) -> None:
    """Those that another test has left in a server that both use."""
    broker = make_broker(url)
    with suppress(Exception):
        broker.flush(QUEUE)
    broker.disconnect()
    broker.close()


def waits_for(told: Callable[[], str | None], wanted: bool, seconds: float = SOON) -> str:
    """Until there is a problem, or none; its text."""
    wait_until(lambda: (told() is not None) == wanted, f"a problem: {wanted}", seconds)
    return told() or ""
