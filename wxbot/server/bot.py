"""The bot of one account: start, stop, receive pushes, send proactive messages."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping

from wxbot.clock import Clock
from wxbot.conversation.intake import Intake
from wxbot.errors import StoreUnavailable, WxbotError
from wxbot.model.replies import Reply, TextReply, reply_from_json
from wxbot.server.plugin_setup import PluginSet
from wxbot.server.runtime import Runtime
from wxbot.server.send_api import SendApi
from wxbot.store.records import Handover, IncomingMessage
from wxbot.wechat.push.answer import passive_fields, transfer_fields
from wxbot.wechat.push.callback import Callback, PassiveAnswer, Push, single_values
from wxbot.wechat.push.cloud_callback import CloudCallback

log = logging.getLogger("wxbot.bot")

BUSY_PUSHES = 2
"""From this many pushes being received at the same moment, acknowledging comes first (wxbot/wakeups/inprocess.py)."""


class Bot:
    """The bot of one account, made by ``wxbot.server.assembly``. ``start`` it after gunicorn has forked.

    ``callback_path``: where WeChat's pushes arrive; None on a worker. ``passive_text``: the passive reply while a
    handler has none yet; None for an account that replies through the API. ``names_agent``: a transfer may name an
    agent. ``drain_seconds``: how long ``stop`` waits for running handlers by default. ``max_body_bytes``: the limit
    of a request body.
    """

    def __init__(
        self,
        *,
        appid: str,
        clock: Clock,
        plugins: PluginSet,
        callback: Callback | CloudCallback,
        intake: Intake,
        send_api: SendApi,
        make_runtime: Callable[[Callable[[], bool]], Runtime],
        callback_path: str | None,
        passive_text: str | None,
        names_agent: bool,
        drain_seconds: float,
        max_body_bytes: int,
    ) -> None:
        self.appid = appid
        self.clock = clock
        self.plugins = plugins
        self.send_api = send_api
        self.callback_path = callback_path
        self.max_body_bytes = max_body_bytes
        self._callback = callback
        self._intake = intake
        self._make_runtime = make_runtime
        self._passive_text = passive_text
        self._names_agent = names_agent
        self.drain_seconds = drain_seconds
        self._starting = threading.Lock()
        self._runtime: Runtime | None = None
        self._stopped = False
        self._receiving: deque[None] = deque()  # one entry for each push being received; append and pop are thread-safe

    def start(self) -> None:
        """Open the store and start the event-loop thread, once per process. Raises StoreUnavailable.

        A concurrent ``stop`` wins; ``start`` may be called again after it.
        """
        with self._starting:
            self._stopped = False
        self._running()

    def stop(self, seconds: float | None = None) -> None:
        """Finish running handlers within ``seconds`` (default ``drain_seconds``), release the rest, close."""
        with self._starting:
            runtime, self._runtime, self._stopped = self._runtime, None, True
        if runtime is not None:
            atexit.unregister(self.stop)
            runtime.stop(self.drain_seconds if seconds is None else seconds)

    # WeChat's pushes

    def verify(self, query: list[tuple[str, str]]) -> str:
        """Return the echostr of a valid URL verification. Raises InvalidPush."""
        return self._callback.verify(single_values(query))

    def receive(self, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> PassiveAnswer | None:
        """Store a push, and return the answer to it; None stands for ``success``. ``headers`` have lower-case names.

        When this returns, the message is durable. Raises InvalidPush, StoreUnavailable, ReplyNotReady.
        """
        self._receiving.append(None)
        try:
            now = self.clock.now()
            push = self._callback.open(single_values(query), body, now, now, headers)
            if push is None:
                log.info("push without a user acknowledged")
                return None
            arrival = self._intake.message_of(push.fields, push.dedup_key, push.interacted_at, self.clock.now())
            receipt = self._running().accept(arrival)
        finally:
            self._receiving.pop()
        if not receipt.new:
            log.info("redelivered push acknowledged and not processed again")
        if receipt.active_handover.until:
            log.info("message transferred to human agents")
            return self._transfer(push, receipt.active_handover)
        if self._passive_text is None:
            return None
        return self._passive_answer(push, arrival, receipt.first_at, self._passive_text)

    def _transfer(self, push: Push, to: Handover) -> PassiveAnswer:
        agent = to.agent if self._names_agent else ""
        return self._callback.answer(push, transfer_fields(push.fields, now := self.clock.now(), agent), now)

    def _passive_answer(
        self, push: Push, arrival: IncomingMessage, first_at: float, pending_text: str
    ) -> PassiveAnswer | None:
        answer = self._running().passive_reply(arrival, first_at)
        if answer == {}:
            return None
        reply = TextReply(pending_text) if answer is None else reply_from_json(answer)
        now = self.clock.now()
        return self._callback.answer(push, passive_fields(push.fields, reply, now), now)

    # Proactive messages

    async def send(self, openid: str, reply: str | Reply, *, key: str = "") -> str:
        """Send ``reply`` to a user without a message from them, in order with the bot's replies. Return its id.

        When this returns, the message is durable and will be sent; if WeChat then refuses it, it becomes a dead letter.
        Of several calls with the same ``key`` only the first counts. Raises InvalidReply for a reply that this account
        cannot send, SendNotAllowed outside of WeChat's time limit and quota, StoreUnavailable.
        Source of the limits: docs/wechat.md, section "Allowances".
        """
        chosen = TextReply(reply) if isinstance(reply, str) else reply
        return await asyncio.to_thread(lambda: self.send_api.send(self._running(), openid, chosen, key))

    def send_for(self, authorization: str, idempotency_key: str, body: bytes) -> str:
        """Store a message from another system, and return its id. ``body`` is what WeChat's own send call takes.

        Raises InvalidRequest (401, 404, 400), InvalidReply, SendNotAllowed, StoreUnavailable.
        """
        openid, reply = self.send_api.read(authorization, body)
        return self.send_api.send(self._running(), openid, reply, idempotency_key)

    # For load balancers

    def problem(self) -> str | None:
        """Return why this process should get no pushes now; None if it should."""
        try:
            problem = self._running().problem()
        except WxbotError as error:
            log.error("not ready: %s", error)
            return "the message store is unavailable"
        if problem:
            log.error("not ready: %s", problem)
        return problem and "the broker is unavailable; messages are kept and answered a moment later"

    def metrics(self) -> bytes | None:
        """Return the counts of Dramatiq's Prometheus middleware; None if it is not in use."""
        return self._running().metrics()

    def _is_busy(self) -> bool:
        return len(self._receiving) >= BUSY_PUSHES

    def _running(self) -> Runtime:
        runtime = self._runtime
        if runtime is not None and runtime.pid == os.getpid():
            return runtime
        with self._starting:
            if self._stopped:  # the process is ending or could not start: WeChat delivers the push again
                raise StoreUnavailable("the bot is not running: it is stopping, or could not start")
            if self._runtime is None or self._runtime.pid != os.getpid():
                runtime = self._make_runtime(self._is_busy)
                runtime.start()
                self._runtime = runtime
                atexit.register(self.stop)
            return self._runtime
