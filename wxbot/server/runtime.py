"""What runs in one process: the store, the event loop in which everything is answered, and the way wake-ups take.

Without a broker every process answers what it accepts. With one, webhook processes only accept and send hints, and
worker processes take the hints and answer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from wxbot.clock import Clock
from wxbot.conversation.dispatcher import ConversationOptions, Conversations
from wxbot.conversation.pipeline import Pipeline, PipelineOptions
from wxbot.delivery.composer import Outgoing
from wxbot.delivery.outbox import ApiDelivery, Delivery, DeliveryOptions
from wxbot.delivery.passive_outbox import PassiveDelivery, WaitingRoom
from wxbot.model.quota import ONE_FOR_EACH_PUSH, UNKNOWN_BUDGET, Budget
from wxbot.server.assembly import make_hint_reader, make_store, make_waker, read_metrics
from wxbot.server.loop_thread import LoopThread, do_nothing
from wxbot.server.plugin_setup import PluginSet
from wxbot.settings.schema import Settings
from wxbot.store.records import Arrival, ConversationKey, Lease, Receipt
from wxbot.typing_indicator.indicator import NOTE_SECONDS, TypingIndicator, TypingOptions
from wxbot.typing_indicator.rules import TypingState
from wxbot.wakeups.inprocess import InProcessWaker
from wxbot.wakeups.port import Waker
from wxbot.wechat.api.client import WeChatClient

READY_SECONDS = 2.0
STUCK_SECONDS = 30.0
"""A push that waits for its answer is let go by the clock; after so long its thread is, should the loop be stuck."""
HINT_SECONDS = 2.0
"""How long a hint on the broker may take before a sweep does its work."""


class Engine:
    """Built and started in the process that it serves, after any fork."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        plugins: PluginSet,
        outgoing: Outgoing,
        is_busy: Callable[[], bool],
    ) -> None:
        self.pid = os.getpid()
        self.store = make_store(settings, clock)
        self._settings = settings
        self._clock = clock
        self._plugins = plugins
        self._outgoing = outgoing
        self._is_busy = is_busy
        self._answers_pushes = settings.account_kind == "unverified"
        self._typing = TypingOptions(self._may_type, settings.typing_delay, settings.typing_margin)
        self._waiting_room = WaitingRoom(self.store, clock)
        self._loop = LoopThread(self._answer if self._answers else do_nothing)
        self._waker: Waker | None = None
        self._desk: Conversations | None = None
        self._far_waker = None if self._answers else make_waker(settings)
        self._hints = make_hint_reader(settings, self._adopt) if settings.broker_url and self._answers else None
        self._drain_seconds = 0.0

    @property
    def _may_type(self) -> bool:
        return self._settings.typing and not self._answers_pushes

    @property
    def _answers(self) -> bool:
        return not self._settings.broker_url or self._settings.role == "worker"

    def start(self) -> None:
        """Raises StoreUnavailable. A broker that is out stops nothing: the inbox is swept."""
        self.store.open()
        try:
            self._loop.start()
        except BaseException:
            self.store.close()
            raise
        if self._far_waker is not None:
            self._far_waker.start()
            self._waker = self._far_waker
        if self._hints is not None:
            self._hints.start()

    def stop(self, seconds: float) -> None:
        """Finish running handlers within ``seconds``, hand the rest back, close everything."""
        self._drain_seconds = seconds
        if self._hints is not None:
            self._hints.refuse_new()
            if self._desk is not None:
                self._loop.call(self._desk.refuse_new)
            self._hints.stop()
        self._loop.stop()
        if self._far_waker is not None:
            self._far_waker.close()
        self.store.close()

    def accept(self, arrival: Arrival) -> Receipt:
        """Keep the message, and have it worked if it is new and the bot's. Raises StoreUnavailable."""
        bid = None if self._desk is None else self._desk.bid()
        receipt = self.store.accept(arrival, bid)
        desk = self._desk
        if receipt.new and desk is not None and desk.works(arrival.key):
            self._loop.call(desk.acted, arrival.key, receipt.handed_over, arrival.budget)
        if receipt.new and not receipt.handed_over.until and self._waker is not None:
            self._waker.wake(arrival.key, arrival.interacted_at, receipt.claim)
        return receipt

    def passive_answer(self, arrival: Arrival, first_at: float) -> Mapping[str, Any] | None:
        """See ``WaitingRoom.answer``. Blocks for as long as WeChat waits."""
        waiting = self._waiting_room.answer(arrival.key, arrival.dedup_key, first_at or arrival.received_at)
        return self._loop.run(waiting, STUCK_SECONDS)

    def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        """Whether this message is here already. Raises StoreUnavailable."""
        return self._loop.run(self.store.seen(key, dedup_key), READY_SECONDS)

    def budget(self, key: ConversationKey) -> Budget | None:
        """What WeChat takes for this user, as far as is known. Raises StoreUnavailable."""
        return self._loop.run(self.store.budget(key), READY_SECONDS)

    def problem(self) -> str | None:
        """Prove that the loop turns and the store writes; what is wrong with the broker. Raises StoreUnavailable."""
        self._loop.run(self.store.ping(), READY_SECONDS)
        hints = self._far_waker or self._hints
        return None if hints is None else hints.problem()

    def metrics(self) -> bytes | None:
        """What Dramatiq's Prometheus middleware has counted; None if it is not in use."""
        return read_metrics(self._settings)

    def _adopt(self, key: ConversationKey, interacted_at: float) -> None:
        """Called in a thread of the broker's; waits while this process is full."""
        if self._desk is not None:
            self._loop.run(self._desk.adopt(key, interacted_at))

    # On the event loop

    async def _answer(self, stopping: asyncio.Event, started: Callable[[], None]) -> None:
        loop, settings = asyncio.get_running_loop(), self._settings
        # A new one for each loop: what an ended loop had under way would be waited for in vain.
        client = WeChatClient.from_settings(settings, self.store, self._clock)
        threads = ThreadPoolExecutor(settings.handler_threads, thread_name_prefix="wxbot-handler")
        conversations = self._conversations(client)
        pipeline = self._pipeline(client, threads, conversations)
        await client.open()
        try:
            conversations.start(pipeline)
            self._waker, self._desk = InProcessWaker(loop, conversations.wake, self._is_busy), conversations
            started()
            await stopping.wait()
            await conversations.drain(self._drain_seconds)
        finally:
            await client.close()
            threads.shutdown(wait=False, cancel_futures=True)

    def _conversations(self, client: WeChatClient) -> Conversations:
        settings = self._settings
        owner = f"{socket.gethostname()}:{self.pid}:{secrets.token_hex(4)}"
        options = ConversationOptions(
            lease_seconds=settings.lease_seconds,
            sweep_seconds=settings.sweep_seconds,
            hint_seconds=HINT_SECONDS if settings.broker_url else 0.0,
            typing_note_seconds=NOTE_SECONDS if self._may_type and settings.typing_delay == 0 else 0.0,
            max_conversations=settings.max_conversations,
        )

        def indicator(lease: Lease, state: TypingState, noted_until: float) -> TypingIndicator:
            return TypingIndicator(client, self.store, lease, self._clock, self._typing, state, noted_until)

        return Conversations(settings.appid, owner, self.store, self._clock, options, indicator)

    def _pipeline(self, client: WeChatClient, threads: ThreadPoolExecutor, conversations: Conversations) -> Pipeline:
        settings = self._settings
        options = PipelineOptions(
            handler_timeout=settings.handler_timeout,
            max_attempts=settings.max_attempts,
            retry_seconds=settings.retry_seconds,
            has_agents=not self._answers_pushes,
            hand_over_seconds=settings.hand_over_seconds,
            continue_words=frozenset(word.casefold() for word in settings.continue_words),
            hand_back_words=frozenset(word.casefold() for word in settings.hand_back_words),
            unknown_budget=ONE_FOR_EACH_PUSH if self._answers_pushes else UNKNOWN_BUDGET,
            error_text=settings.error_text,
            timeout_text=settings.timeout_text,
            plugin_settings=self._plugins.settings,
            plugin_resources=self._plugins.resources,
        )
        delivery = self._delivery(client, conversations)
        return Pipeline(self._plugins.router, client, delivery, self._outgoing, self._clock, threads, options)

    def _delivery(self, client: WeChatClient, conversations: Conversations) -> Delivery:
        options = DeliveryOptions(self._settings.text_bytes, self._settings.continue_text, self._settings.error_text)
        if not self._answers_pushes:
            return ApiDelivery(client, self.store, self._clock, options, conversations.hold)
        return PassiveDelivery(
            client, self.store, self._clock, options, conversations.hold, self._waiting_room.answered
        )
