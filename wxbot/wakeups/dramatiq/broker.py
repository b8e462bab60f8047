"""The base of the Dramatiq brokers. A wake-up may be lost, and an unavailable broker must not harm anything else.

Dramatiq's queues, messages, scripts and threads are used unchanged, so its dashboard and other tools work with them.
Only the handling of failures is replaced. After a failure Dramatiq ends the process or retries without end. This code
logs the failure, pauses and continues.
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
"""Pause between two attempts while the broker is unavailable."""
PAUSE_SECONDS = 0.02
"""Pause of a consumer that fetches no new wake-ups, before it checks again."""


class Outage:
    """The state of the broker for one thread. Only changes are logged."""

    def __init__(self) -> None:
        self.problem: str | None = None

    def begins(self, problem: str) -> None:
        """Record a failure. Log it if the broker was available before."""
        if self.problem is None:
            log.error("broker unavailable, polling finds the messages: error=%s", problem)
        self.problem = problem

    def ends(self) -> None:
        """Record that the broker works. Log it if the broker was unavailable before."""
        if self.problem is not None:
            self.problem = None
            log.warning("broker available again")


class WakeupBroker(Broker):
    """A Dramatiq broker that can also be probed and aborted.

    ``consuming`` is the state of the broker for the consumer. After ``refusing`` is set, consumers fetch no new
    wake-ups, and unfinished ones go back to the queue.
    """

    consuming: Outage
    refusing: Event

    @abstractmethod
    def probe(self, queue_name: str) -> int:
        """Check that the broker accepts messages now. Return the number of queued messages.

        Uses the connection of the calling thread. Raises every error of the broker.
        """

    @abstractmethod
    def explain(self, error: Exception) -> str:
        """Return an error text for the operator: what is wrong and what to do. It contains no password."""

    @abstractmethod
    def disconnect(self) -> None:
        """Close the connection of the calling thread. Raises nothing."""

    @abstractmethod
    def leave(self, queue_name: str) -> None:
        """Tell the broker that this process ends. Uses the connection of the calling thread. Raises nothing."""

    @abstractmethod
    def abort(self) -> None:
        """Interrupt the calls of other threads if possible, because the broker hangs and the process must end."""


class WakeupConsumer(Consumer):
    """A consumer that hides every failure of its broker from Dramatiq's consumer thread.

    That thread would pause for three seconds after each failure, and some errors would end it. A failed acknowledgment
    would block a worker thread, and with it the end of the process, until the broker is available again.
    """

    def __init__(self, broker: WakeupBroker, connect: Callable[[], Consumer]) -> None:
        self.broker = broker
        self.inner: Consumer | None = None
        self.unsettled: set[str] = set()
        """The ids of messages that ``inner`` fetched and that are neither acknowledged nor requeued."""
        self._connect = connect

    @abstractmethod
    def fetch(self, inner: Consumer) -> MessageProxy | None:
        """Return the next message, or None after a short wait. End the outage when the broker responds."""

    def __next__(self) -> MessageProxy | None:
        if self.broker.refusing.is_set():
            time.sleep(PAUSE_SECONDS)
            return None
        try:
            self.inner = self.inner or self._connect()
            return self.fetch(self.inner)
        except DecodeError:
            log.warning("wake-up queue contains a message that Dramatiq cannot read")
        except Exception as error:  # noqa: BLE001 - no error may end the thread
            if not self.broker.refusing.is_set():
                self.broker.consuming.begins(self.broker.explain(error))
            self.reset()
            self.broker.refusing.wait(RETRY_SECONDS)
        return None

    def reset(self) -> None:
        """Drop the state of the lost connection after a failure of the broker."""

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge the message. Raises nothing: without it the wake-up is repeated, which does no harm."""
        if self.broker.refusing.is_set():
            self._settle(message, lambda inner: inner.requeue([message]))
        else:
            self._settle(message, lambda inner: inner.ack(message))

    def nack(self, message: MessageProxy) -> None:
        """Move a message that no actor can read to the dead letters. Raises nothing."""
        self._settle(message, lambda inner: inner.nack(message))

    def _settle(self, message: MessageProxy, call: Callable[[Consumer], None]) -> None:
        inner = self.inner
        if inner is None or message.message_id not in self.unsettled:
            return  # its connection is lost, and its number may now belong to another message
        try:
            call(inner)
        except Exception as error:  # noqa: BLE001 - the consumer's thread gets the same error and logs it
            self.on_settle_failed(message, error)
        finally:
            self.unsettled.discard(message.message_id)

    def on_settle_failed(self, message: MessageProxy, error: Exception) -> None:
        """Handle a failed acknowledgment. The broker still assigns the message to this process."""
        log.debug("wake-up not acknowledged: error=%s", error)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Requeue the messages. Raises nothing."""
        with suppress(Exception):
            if self.inner is not None:
                self.inner.requeue(messages)

    def close(self) -> None:
        """Close the consumer. Raises nothing."""
        self.reset()


class ThreadNames(Middleware):
    """A middleware that names Dramatiq's threads."""

    def after_consumer_thread_boot(self, broker: Broker, thread: ConsumerThread) -> None:
        thread.name = "wxbot-wakeups"

    def after_worker_thread_boot(self, broker: Broker, thread: WorkerThread) -> None:
        thread.name = "wxbot-wakeup"


def middleware() -> list[Middleware]:
    """Return the middleware: thread names, and metrics if ``prometheus_client`` is installed.

    None of Dramatiq's default middleware is used, because each is useless or harmful for wake-ups:

    - AgeLimit turns late messages into dead letters, and compares the clocks of two machines for that.
    - TimeLimit interrupts actors that take long. A full process blocks in the actor on purpose.
    - ShutdownNotifications interrupts actors. Processing must not be interrupted between a send and its record.
    - Callbacks and Pipelines run follow-up messages. Wake-ups have none.
    - Retries repeats failed messages through the delay queue. Polling finds the message before that.
    """
    counting = _counting()
    return [ThreadNames(), *([] if counting is None else [counting])]


def metrics() -> bytes | None:
    """Return the metrics of Dramatiq's middleware from all processes of this machine, in Prometheus's text format.

    Return None without ``prometheus_client``. All processes share the folder ``PROMETHEUS_MULTIPROC_DIR``, or
    Dramatiq's own folder below the folder for temporary files. It must be emptied before the processes start.
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
    # Otherwise Dramatiq would overwrite the folder in which the rest of the process counts.
    if folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        os.environ.setdefault("dramatiq_prom_db", folder)
    from dramatiq.middleware.prometheus import Prometheus

    return Prometheus()
