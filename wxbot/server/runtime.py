"""The runtime of one account in one process: the store, the event loop for messages, and the wake-ups.

Without a broker, every process accepts pushes and processes messages. With a broker, webhook processes accept pushes
and send wake-ups, and worker processes receive the wake-ups and process the messages.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from wxbot.conversation.dispatcher import Dispatcher
from wxbot.conversation.pipeline import Pipeline
from wxbot.delivery.channel import Channel
from wxbot.server.loop_thread import LoopThread, wait_until_stopped
from wxbot.server.passive_replies import PassiveReplyWaiter
from wxbot.store.port import Store
from wxbot.store.records import AcceptResult, ConversationKey, Found, IncomingMessage
from wxbot.wakeups.inprocess import InProcessWaker
from wxbot.wakeups.port import Waker

STORE_SECONDS = 2.0
"""Time limit of one call of the store, in seconds."""

PASSIVE_SECONDS = 30.0
"""Time limit for a thread that waits for a passive reply, in seconds. It is reached only if the event loop hangs."""


class BrokerWaker(Waker, Protocol):
    """The sender of wake-ups in a webhook process with a broker."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def problem(self) -> str | None:
        """Return why the broker is unavailable; None if it works."""
        ...


class WakeupReader(Protocol):
    """The receiver of wake-ups in a worker process."""

    def start(self) -> None: ...
    def refuse_new(self) -> None: ...
    def stop(self) -> None: ...
    def problem(self) -> str | None:
        """Return why the broker is unavailable; None if it works."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessingParts:
    """The parts that process messages on one event loop. Each event loop gets new parts."""

    channel: Channel
    threads: ThreadPoolExecutor
    """The threads of plain ``def`` handlers."""
    dispatcher: Dispatcher
    pipeline: Pipeline


class Runtime:
    """The runtime of one account. It is made and started in the process that it serves, after any fork.

    ``make_parts``: makes the parts that process messages; None in a webhook process with a broker, which has a
    ``broker_waker`` instead. ``make_reader``: makes the receiver of wake-ups, in a worker process; its argument is
    called with the conversation's key and the time of the last interaction. ``is_busy``: returns True if acknowledging
    pushes has priority over processing. ``read_metrics``: returns the counts for Prometheus; None if there are none.
    """

    def __init__(
        self,
        store: Store,
        passive_replies: PassiveReplyWaiter,
        *,
        is_busy: Callable[[], bool],
        make_parts: Callable[[], ProcessingParts] | None,
        broker_waker: BrokerWaker | None = None,
        make_reader: Callable[[Callable[[ConversationKey, float], None]], WakeupReader] | None = None,
        read_metrics: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self.pid = os.getpid()
        self.store = store
        self.metrics = read_metrics
        self._passive_replies = passive_replies
        self._is_busy = is_busy
        self._loop = LoopThread(wait_until_stopped if make_parts is None else partial(self._process, make_parts))
        self._waker: Waker | None = None
        self._dispatcher: Dispatcher | None = None
        self._broker_waker = broker_waker
        self._reader = None if make_reader is None else make_reader(self._adopt)
        self._drain_seconds = 0.0

    def start(self) -> None:
        """Open the store and start the event loop. Raises StoreUnavailable.

        A broker that is unavailable does not prevent the start, because processes also poll the inbox.
        """
        self.store.open()
        try:
            self._loop.start()
        except BaseException:
            self.store.close()
            raise
        if self._broker_waker is not None:
            self._broker_waker.start()
            self._waker = self._broker_waker
        if self._reader is not None:
            self._reader.start()

    def stop(self, seconds: float) -> None:
        """Let running handlers finish within ``seconds``, release the other messages, and close everything."""
        self._drain_seconds = seconds
        if self._reader is not None:
            self._reader.refuse_new()
            if self._dispatcher is not None:
                self._loop.call(self._dispatcher.refuse_new)
            self._reader.stop()
        self._loop.stop()
        if self._broker_waker is not None:
            self._broker_waker.close()
        self.store.close()

    def accept(self, incoming: IncomingMessage) -> AcceptResult:
        """Store the message. If it is new and for the bot, wake its conversation. Raises StoreUnavailable."""
        dispatcher = self._dispatcher
        accepted = self.store.accept(incoming, None if dispatcher is None else dispatcher.claim_request())
        if accepted.new and dispatcher is not None and dispatcher.is_active(incoming.key):
            handover = accepted.handover if accepted.handover.until else incoming.change.handover
            self._loop.call(dispatcher.on_user_action, incoming.key, replace(incoming.change, handover=handover))
        if accepted.new and not accepted.handover.until and self._waker is not None:
            self._waker.wake(incoming.key, incoming.change.interacted_at, accepted.claim)
        return accepted

    def passive_reply(self, incoming: IncomingMessage, first_at: float) -> Mapping[str, Any] | None:
        """Block until the passive reply is ready or WeChat stops waiting. See ``PassiveReplyWaiter.reply_to``."""
        waiting = self._passive_replies.reply_to(incoming.key, incoming.dedup_key, first_at or incoming.received_at)
        return self._loop.run(waiting, PASSIVE_SECONDS)

    def find(self, key: ConversationKey, dedup_key: str = "") -> Found:
        """Return the stored data of a user, and of the message with ``dedup_key``. Raises StoreUnavailable."""
        return self._loop.run(self.store.find(key, dedup_key), STORE_SECONDS)

    def problem(self) -> str | None:
        """Return the reason why the broker is unavailable; None if it works or there is none.

        Raises StoreUnavailable if the event loop does not run or the store cannot be written.
        """
        self._loop.run(self.store.ping(), STORE_SECONDS)
        broker = self._broker_waker or self._reader
        return None if broker is None else broker.problem()

    def _adopt(self, key: ConversationKey, interacted_at: float) -> None:
        """Process a conversation after a wake-up. Called in the broker's thread; blocks while this process is full."""
        if self._dispatcher is not None:
            self._loop.run(self._dispatcher.adopt(key, interacted_at))

    # On the event loop

    async def _process(
        self, make_parts: Callable[[], ProcessingParts], stopping: asyncio.Event, started: Callable[[], None]
    ) -> None:
        parts = make_parts()  # new parts for each loop, because a call that ran on an ended loop never completes
        await parts.channel.open()
        try:
            parts.dispatcher.start(parts.pipeline)
            loop = asyncio.get_running_loop()
            self._waker = InProcessWaker(loop, parts.dispatcher.wake, self._is_busy)
            self._dispatcher = parts.dispatcher
            started()
            await stopping.wait()
            await parts.dispatcher.drain(self._drain_seconds)
        finally:
            await parts.channel.close()
            parts.threads.shutdown(wait=False, cancel_futures=True)
