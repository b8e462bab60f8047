"""Dramatiq's brokers as wxbot needs them: a hint may be lost, and a broker that is out must harm nothing else.

Dramatiq's queues, messages, scripts and threads are used as they are, so its dashboard and every other tool that knows
them shows what goes on. What is replaced is how a failure is met. Dramatiq expects that it ends the process, or repeats
without end; here whoever meets one notes it, pauses, and goes on where it was.
"""

from __future__ import annotations

import logging
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from threading import Event
from typing import TYPE_CHECKING

from dramatiq import Broker, Consumer, MessageProxy, Middleware
from dramatiq.errors import DecodeError

if TYPE_CHECKING:
    from dramatiq.worker import ConsumerThread, WorkerThread

log = logging.getLogger("wxbot.wakeups")

RETRY_SECONDS = 0.5
"""Between two tries while the broker is out."""
PAUSE_SECONDS = 0.02
"""Between two looks of a consumer that takes nothing new any more."""


class Outage:
    """Whether the broker works for one thread of ours. The log hears of a change, and of nothing in between."""

    def __init__(self) -> None:
        self.problem: str | None = None

    def begins(self, problem: str) -> None:
        """It failed. Only the first failure is told."""
        if self.problem is None:
            log.error("the broker of the hints is out, the sweep finds the messages: %s", problem)
        self.problem = problem

    def ends(self) -> None:
        """It works."""
        if self.problem is not None:
            self.problem = None
            log.warning("the broker of the hints is back")


class WakeupBroker(Broker):
    """A broker of Dramatiq's that can also be asked whether it works, and given up.

    ``consuming`` is the outage as the consumer sees it. Once ``refusing`` is set, consumers take nothing new, and what
    was not done by then goes back to its queue.
    """

    consuming: Outage
    refusing: Event

    @abstractmethod
    def probe(self, queue_name: str) -> int:
        """Prove that a message would be taken now, in the calling thread; how many wait. Raises whatever is wrong."""

    @abstractmethod
    def explain(self, error: Exception) -> str:
        """What is wrong, and what to do, for the person who runs the bot. Holds no password."""

    @abstractmethod
    def disconnect(self) -> None:
        """Let go of the connection that the calling thread has. Raises nothing."""

    @abstractmethod
    def leave(self, queue_name: str) -> None:
        """Tell the broker that this process ends, in the calling thread. Raises nothing."""

    @abstractmethod
    def abort(self) -> None:
        """End what other threads wait for, as far as that can be done: the broker hangs and we have to go."""


class WakeupConsumer(Consumer):
    """A consumer that outlives every failure of its broker: Dramatiq's thread around it sees none.

    That thread would pause for three seconds at each, and some kinds would end it for good. An acknowledgment that
    fails would hold a worker thread, and with it the end of the process, until the broker is back.
    """

    def __init__(self, broker: WakeupBroker, connect: Callable[[], Consumer]) -> None:
        self.broker = broker
        self.inner: Consumer | None = None
        self.taken: set[str] = set()
        """Messages that were handed out by ``inner`` and are neither acknowledged nor put back."""
        self._connect = connect

    @abstractmethod
    def take(self, inner: Consumer) -> MessageProxy | None:
        """The next message, or None after a short wait. Ends the outage when the broker has answered."""

    def __next__(self) -> MessageProxy | None:
        if self.broker.refusing.is_set():
            time.sleep(PAUSE_SECONDS)
            return None
        try:
            self.inner = self.inner or self._connect()
            return self.take(self.inner)
        except DecodeError:
            log.warning("the queue of the hints holds something that Dramatiq cannot read")
        except Exception as error:  # noqa: BLE001 - whatever it is must not end the thread
            if not self.broker.refusing.is_set():
                self.broker.consuming.begins(self.broker.explain(error))
            self.reset()
            self.broker.refusing.wait(RETRY_SECONDS)
        return None

    def reset(self) -> None:
        """The broker has failed: what belongs to the lost connection is forgotten."""

    def ack(self, message: MessageProxy) -> None:
        """Raises nothing. What is not acknowledged comes again, and a doubled hint does no harm."""
        if self.broker.refusing.is_set():
            self._settle(message, lambda inner: inner.requeue([message]))
        else:
            self._settle(message, lambda inner: inner.ack(message))

    def nack(self, message: MessageProxy) -> None:
        """To the dead letters, for what no actor here can read. Raises nothing."""
        self._settle(message, lambda inner: inner.nack(message))

    def _settle(self, message: MessageProxy, call: Callable[[Consumer], None]) -> None:
        inner = self.inner
        if inner is None or message.message_id not in self.taken:
            return  # it came over a connection that is gone, and its number may mean another message by now
        try:
            call(inner)
        except Exception as error:  # noqa: BLE001 - the consumer's thread meets the same failure and tells of it
            self.not_settled(message, error)
        finally:
            self.taken.discard(message.message_id)

    def not_settled(self, message: MessageProxy, error: Exception) -> None:
        """The broker still counts it as ours."""
        log.debug("a hint could not be acknowledged: %s", error)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Raises nothing."""
        with suppress(Exception):
            if self.inner is not None:
                self.inner.requeue(messages)

    def close(self) -> None:
        """Raises nothing."""
        self.reset()


class ThreadNames(Middleware):
    """Dramatiq's threads get names that say whose they are."""

    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None:
        thread.name = "wxbot-hints"

    def after_worker_thread_boot(self, broker: Broker, thread: WorkerThread) -> None:
        thread.name = "wxbot-hint"


def middleware() -> list[Middleware]:
    """What goes along with every hint: nothing but counting, where ``prometheus_client`` is installed.

    None of Dramatiq's default middleware does a hint any good:

    - AgeLimit makes dead letters of what is late, and compares the clocks of two machines for it.
    - TimeLimit interrupts who takes long, and taking long is how a full process holds hints off.
    - ShutdownNotifications interrupts too. Nobody is interrupted between a send and its record.
    - Callbacks and Pipelines run what a message asks for. Hints ask for nothing.
    - Retries repeats what failed through the delay queue. The sweep has found the message before that.
    """
    counting = _counting()
    return [ThreadNames(), *([] if counting is None else [counting])]


def metrics() -> bytes | None:
    """What Dramatiq's middleware has counted in all processes of this machine, for Prometheus.

    None without ``prometheus_client``. All processes share the folder ``PROMETHEUS_MULTIPROC_DIR``, or Dramatiq's own
    below the folder for temporary files; whoever starts the processes has to empty it first.
    """
    if _counting() is None:
        return None
    from dramatiq.middleware.prometheus import DB_PATH
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=DB_PATH)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _counting() -> Middleware | None:
    if find_spec("prometheus_client") is None:
        return None
    # Dramatiq would overwrite where the rest of the process counts.
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        os.environ.setdefault("dramatiq_prom_db", folder)
    from dramatiq.middleware.prometheus import Prometheus

    return Prometheus()
