"""Hints on RabbitMQ, through Dramatiq's own queues and pika."""

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
"""Of every connection, in seconds; an address may name its own after a ``?``."""


class RabbitmqWakeupBroker(RabbitmqBroker, WakeupBroker):
    """Dramatiq's broker with time limits. A connection belongs to the thread that has made it.

    Raises ValueError for an address that cannot be read.
    """

    def __init__(self, url: str, middleware: list[Middleware]) -> None:
        super().__init__(middleware=middleware)
        self.parameters = _parameters(url)
        self.consuming = Outage()
        self.refusing = Event()
        # Of each failed try pika tells in many lines; what matters is in ours.
        if not logging.getLogger("pika").level:
            logging.getLogger("pika").setLevel(logging.CRITICAL)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        def connect() -> Consumer:
            try:
                return super(RabbitmqWakeupBroker, self).consume(queue_name, prefetch, timeout)
            finally:
                self.disconnect()  # it has only declared the queue; the consumer has a connection of its own

        return _RabbitmqConsumer(self, connect)

    def probe(self, queue_name: str) -> int:
        """This is also when heartbeats are exchanged: pika does that only while it is asked for something."""
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
        return f"RabbitMQ cannot be reached: {error!r:.200}; does it run, and is the address right?"

    def disconnect(self) -> None:
        with suppress(Exception):
            del self.connection

    def leave(self, queue_name: str) -> None:
        self.disconnect()

    def abort(self) -> None:
        """pika has no way to do that from another thread; the missing heartbeats end the connection."""

    def close(self) -> None:
        """Dramatiq's own would use the connections of other threads, and hang where they do."""
        self.disconnect()


_EXPLANATIONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (ProbableAuthenticationError, AuthenticationError),
        "RabbitMQ refuses us; check user and password in the address",
    ),
    (
        (ProbableAccessDeniedError,),
        "RabbitMQ refuses us: {}; check the virtual host in the address, and the user's rights there",
    ),
    ((ConnectionClosedByBroker,), "RabbitMQ has closed the connection: {}"),
    ((ChannelClosedByBroker, AMQPChannelError), "RabbitMQ refuses the queue of the hints: {}"),
    ((ConnectionBlockedTimeout,), "RabbitMQ has no memory or disk left and takes nothing new"),
    ((AMQPConnectorStackTimeout, AMQPHeartbeatTimeout), "RabbitMQ did not answer in time"),
)


def _parameters(url: str) -> Any:
    try:
        parameters = pika.URLParameters(url)
        given = parse_qs(urlsplit(url).query)
    except (ValueError, TypeError, AttributeError):
        raise ValueError("the RabbitMQ address cannot be read; write amqp://USER:PASSWORD@HOST:5672/VHOST") from None
    for name, value in LIMITS.items():
        if name not in given:
            setattr(parameters, name, value)
    return parameters


class _RabbitmqConsumer(WakeupConsumer):
    """RabbitMQ takes back by itself what a lost connection held."""

    def take(self, inner: Consumer) -> MessageProxy | None:
        message = next(inner)
        self.broker.consuming.ends()
        if message is not None:
            self.taken.add(message.message_id)
        return message

    def reset(self) -> None:
        inner, self.inner = self.inner, None
        self.taken.clear()
        if inner is not None:
            connection: Any = getattr(inner, "connection", None)
            with suppress(Exception):
                inner.close()
            with suppress(Exception):  # where only the channel had failed
                connection.close()
