"""Wake-ups on RabbitMQ, through Dramatiq's own queues and pika."""

from __future__ import annotations

import logging
from contextlib import suppress
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika  # type: ignore[import-untyped]
from dramatiq import Consumer, MessageProxy, Middleware
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import BrokerConnectionError
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    AMQPChannelError,
    AMQPHeartbeatTimeout,
    AuthenticationError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from wxbot.wakeups.dramatiq.broker import Outage, WakeupBroker, WakeupConsumer

LIMITS = {
    "socket_timeout": 2.0,
    "stack_timeout": 4.0,
    "blocked_connection_timeout": 3.0,
    "heartbeat": 10,
    "connection_attempts": 1,
}
"""The time limits of every connection, in seconds. An address may override them after a ``?``."""


class RabbitmqWakeupBroker(RabbitmqBroker, WakeupBroker):
    """Dramatiq's RabbitMQ broker with time limits. A connection belongs to the thread that opened it.

    Raises ValueError for an invalid address.
    """

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        super().__init__(middleware=middleware)
        self.parameters = _parameters(url)
        self.consuming = Outage()
        self.refusing = Event()
        # pika logs many lines for each failed attempt. The log line of Outage has the important facts.
        if not logging.getLogger("pika").level:
            logging.getLogger("pika").setLevel(logging.CRITICAL)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        def connect() -> Consumer:
            try:
                return super(RabbitmqWakeupBroker, self).consume(queue_name, prefetch, timeout)
            finally:
                self.disconnect()  # this connection only declared the queue; the consumer has its own

        return _RabbitmqConsumer(self, connect)

    def probe(self, queue_name: str) -> int:
        """Return the number of queued messages. pika also exchanges heartbeats only during such calls."""
        try:
            return int(self.get_queue_message_counts(queue_name)[0])
        except Exception:
            self.disconnect()
            raise

    def explain(self, error: Exception) -> str:
        while isinstance(error, BrokerConnectionError) and isinstance(error.message, Exception):
            error = error.message
        for kinds, sentence in _EXPLANATIONS:
            if isinstance(error, kinds):
                return sentence.format(getattr(error, "reply_text", None) or repr(error)[:200])
        return f"RabbitMQ cannot be reached: {error!r:.200}; check that it runs and that the address is right"

    def disconnect(self) -> None:
        with suppress(Exception):
            del self.connection

    def leave(self, queue_name: str) -> None:
        self.disconnect()

    def abort(self) -> None:
        """Do nothing. pika cannot interrupt another thread; missing heartbeats end the connection."""

    def close(self) -> None:
        """Close the connection of this thread. Dramatiq's method would use other threads' connections and may hang."""
        self.disconnect()


_EXPLANATIONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (ProbableAuthenticationError, AuthenticationError),
        "RabbitMQ denied access; check user and password in the address",
    ),
    (
        (ProbableAccessDeniedError,),
        "RabbitMQ denied access: {}; check the virtual host in the address, and the user's permissions there",
    ),
    ((ConnectionClosedByBroker,), "RabbitMQ closed the connection: {}"),
    ((ChannelClosedByBroker, AMQPChannelError), "RabbitMQ rejected the queue of the wake-ups: {}"),
    ((ConnectionBlockedTimeout,), "RabbitMQ has no memory or disk space left and rejects messages"),
    ((AMQPConnectorStackTimeout, AMQPHeartbeatTimeout), "RabbitMQ did not answer in time"),
)


def _parameters(url: str) -> Any:
    try:
        parameters = pika.URLParameters(url)
        given = parse_qs(urlsplit(url).query)
    except (ValueError, TypeError, AttributeError):
        raise ValueError("the RabbitMQ address is invalid; write amqp://USER:PASSWORD@HOST:5672/VHOST") from None
    for name, value in LIMITS.items():
        if name not in given:
            setattr(parameters, name, value)
    return parameters


class _RabbitmqConsumer(WakeupConsumer):
    """A consumer of wake-ups. RabbitMQ itself requeues the messages of a lost connection."""

    def fetch(self, inner: Consumer) -> MessageProxy | None:
        message = next(inner)
        self.broker.consuming.ends()
        if message is not None:
            self.unsettled.add(message.message_id)
        return message

    def reset(self) -> None:
        inner, self.inner = self.inner, None
        self.unsettled.clear()
        if inner is not None:
            connection: Any = getattr(inner, "connection", None)
            with suppress(Exception):
                inner.close()
            with suppress(Exception):  # still open if only the channel failed
                connection.close()
