"""The bot of one account: it starts, stops, receives pushes and sends proactive messages."""

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
from wxbot.wechat.push.callback import Callback, Push, PushResponse, single_values
from wxbot.wechat.push.cloud_callback import CloudCallback
from wxbot.wechat.push.response import passive_fields, transfer_fields

log = logging.getLogger("wxbot.bot")

BUSY_PUSHES = 2
"""Number of pushes in progress from which acknowledging has priority over processing (wxbot/wakeups/inprocess.py)."""


class Bot:
    """The bot of one account, made by ``wxbot.server.assembly``. Call ``start`` after gunicorn has forked.

    ``callback_path``: the path of WeChat's pushes; None on a worker. ``pending_text``: the passive reply if the
    handler's reply is not ready in time; None for an account that replies through the API. ``names_agent``: True if a
    transfer to human agents may name an agent. ``drain_seconds``: the default time for running handlers in ``stop``.
    ``max_body_bytes``: the maximum size of a request body.
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
        pending_text: str | None,
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
        self._pending_text = pending_text
        self._names_agent = names_agent
        self.drain_seconds = drain_seconds
        self._starting = threading.Lock()
        self._runtime: Runtime | None = None
        self._stopped = False
        self._receiving: deque[None] = deque()  # one entry for each push being received; append and pop are thread-safe

    def start(self) -> None:
        """Open the store and start the event-loop thread, once per process. Raises StoreUnavailable.

        If ``stop`` is called at the same time, the bot does not start. ``start`` may be called again after ``stop``.
        """
        with self._starting:
            self._stopped = False
        self._started_runtime()

    def stop(self, seconds: float | None = None) -> None:
        """Stop: let running handlers finish within ``seconds`` (default ``drain_seconds``), release other messages."""
        with self._starting:
            runtime, self._runtime, self._stopped = self._runtime, None, True
        if runtime is not None:
            atexit.unregister(self.stop)
            runtime.stop(self.drain_seconds if seconds is None else seconds)

    # WeChat's pushes

    def verify(self, query: list[tuple[str, str]]) -> str:
        """Return the echostr of a valid URL verification. Raises InvalidPush."""
        return self._callback.verify(single_values(query))

    def receive(self, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> PushResponse | None:
        """Store a push, and return the response body; None means ``success``. ``headers`` have lower-case names.

        The message is durable when this returns. Raises InvalidPush, StoreUnavailable, ReplyNotReady.
        """
        self._receiving.append(None)
        try:
            now = self.clock.now()
            push = self._callback.open(single_values(query), body, now, now, headers)
            if push is None:
                log.info("push without a user acknowledged")
                return None
            incoming = self._intake.message_of(push.fields, push.dedup_key, push.interacted_at, self.clock.now())
            accepted = self._started_runtime().accept(incoming)
        finally:
            self._receiving.pop()
        if not accepted.new:
            log.info("redelivered push acknowledged and not processed again")
        if accepted.handover.until:
            log.info("message transferred to human agents")
            return self._transfer(push, accepted.handover)
        if self._pending_text is None:
            return None
        return self._passive_answer(push, incoming, accepted.first_at, self._pending_text)

    def _transfer(self, push: Push, handover: Handover) -> PushResponse:
        agent = handover.agent if self._names_agent else ""
        return self._callback.make_response(push, transfer_fields(push.fields, now := self.clock.now(), agent), now)

    def _passive_answer(
        self, push: Push, incoming: IncomingMessage, first_at: float, pending_text: str
    ) -> PushResponse | None:
        stored = self._started_runtime().passive_reply(incoming, first_at)
        if stored == {}:  # the handler has finished without a reply
            return None
        reply = TextReply(pending_text) if stored is None else reply_from_json(stored)
        now = self.clock.now()
        return self._callback.make_response(push, passive_fields(push.fields, reply, now), now)

    # Proactive messages

    async def send(self, openid: str, reply: str | Reply, *, key: str = "") -> str:
        """Send a proactive message to a user, in order with the bot's replies to this user. Return its id.

        The message is durable when this returns, and is sent later. If WeChat refuses it, it becomes a dead letter.
        ``key``: an idempotency key; a second call with the same key sends nothing. Raises InvalidReply for a reply that
        this account cannot send, SendNotAllowed outside of WeChat's time limit and quota, StoreUnavailable.
        Source of the limits: docs/wechat.md, section "Quota".
        """
        message = TextReply(reply) if isinstance(reply, str) else reply
        return await asyncio.to_thread(lambda: self.send_api.send(self._started_runtime, openid, message, key))

    def send_for(self, authorization: str, idempotency_key: str, body: bytes) -> str:
        """Store a message from another system, and return its id. ``body``: the JSON body of WeChat's own send call.

        Raises InvalidRequest (401, 404, 400), InvalidReply, SendNotAllowed, StoreUnavailable.
        """
        openid, reply = self.send_api.read(authorization, body)
        return self.send_api.send(self._started_runtime, openid, reply, idempotency_key)

    # For load balancers

    def problem(self) -> str | None:
        """Return the reason why this process should get no pushes now; None if it can accept them."""
        try:
            problem = self._started_runtime().problem()
        except WxbotError as error:
            log.error("not ready: %s", error)
            return "the message store is unavailable"
        if problem:
            log.error("not ready: %s", problem)
        return problem and "the broker is unavailable; messages are stored and answered a few seconds later"

    def metrics(self) -> bytes | None:
        """Return the counts of Dramatiq's Prometheus middleware; None if it is not in use."""
        return self._started_runtime().metrics()

    def _is_busy(self) -> bool:
        return len(self._receiving) >= BUSY_PUSHES

    def _started_runtime(self) -> Runtime:
        """Return the runtime of this process, and start it if necessary. Raises StoreUnavailable after ``stop``."""
        runtime = self._runtime
        if runtime is not None and runtime.pid == os.getpid():
            return runtime
        with self._starting:
            if self._stopped:  # WeChat will redeliver the push
                raise StoreUnavailable("the bot is not running: it is stopping, or it could not start")
            if self._runtime is None or self._runtime.pid != os.getpid():
                runtime = self._make_runtime(self._is_busy)
                runtime.start()
                self._runtime = runtime
                atexit.register(self.stop)
            return self._runtime
