"""A bot for one account: start, stop, and the desk that the webhook hands pushes to."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import logging
import os
import secrets
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask

from wxbot.clock import Clock
from wxbot.delivery.turn import SENT_BY_BOT
from wxbot.errors import PushRefused, ReplyRefused, StoreUnavailable, WxbotError
from wxbot.model.messages import message_from
from wxbot.model.quota import NOTHING_LEFT, Budget, allowance_for
from wxbot.model.replies import Reply, TextReply, reply_from_json, reply_to_json
from wxbot.plugin.plugin import Plugin
from wxbot.server.assembly import callback_for, make_clock, make_outgoing
from wxbot.server.plugin_setup import load_plugins
from wxbot.server.runtime import Engine
from wxbot.server.send_api import LONGEST_KEY, _check_budget, _dedup_key, _is_name, _unique
from wxbot.server.web import Door, create_app
from wxbot.settings.schema import Settings
from wxbot.store.records import WITH_BOT, Arrival, ConversationKey, HandOver
from wxbot.wechat.api.send_body import reply_from_body
from wxbot.wechat.push.answer import passive_fields, transfer_fields
from wxbot.wechat.push.callback import PassiveAnswer, Push, single_values
from wxbot.wechat.push.crypto import same

log = logging.getLogger("wxbot.bot")

BUSY_PUSHES = 2
"""Pushes being received at the same moment from which on acknowledging comes first (wxbot/wakeups/inprocess.py)."""


class Bot:
    """One account's bot. Building it checks everything and touches nothing; ``start`` it after gunicorn has forked.

    ``plugins`` replaces those in the plugin folders. Raises ConfigError, PluginError.
    """

    def __init__(
        self, settings: Settings, *, plugins: Sequence[Plugin] | None = None, clock: Clock | None = None
    ) -> None:
        self.settings = settings
        self.clock = clock or make_clock(settings)
        self.plugins = load_plugins(settings, plugins)
        self._callback = callback_for(settings)
        self._outgoing = make_outgoing(settings)
        self._quota = settings.allowances
        self._hand_back_words = frozenset(word.casefold() for word in settings.hand_back_words)
        self._starting = threading.Lock()
        self._engine: Engine | None = None
        self._stopped = False
        self._deeds = itertools.count()
        self._receiving: deque[None] = deque()  # one for each push being received: its ends are thread-safe

    def wsgi(self) -> Flask:
        """The application for gunicorn."""
        return create_app(self, [self.door("/send")], self.settings.max_body_bytes)

    def door(self, send_path: str) -> Door:
        """This account's addresses; a worker has none."""
        if self.settings.role == "worker":
            return Door(self, None)
        return Door(self, self.settings.callback_path, send_path if self.settings.send_key else None)

    def start(self) -> None:
        """Open the store and start the event-loop thread, once per process. Raises StoreUnavailable.

        A ``stop`` meanwhile wins; ``start`` may be called again after it.
        """
        with self._starting:
            self._stopped = False
        self._running()

    def stop(self, seconds: float | None = None) -> None:
        """Finish running handlers within ``seconds`` (by default ``drain_seconds``), hand back the rest, close."""
        with self._starting:
            engine, self._engine, self._stopped = self._engine, None, True
        if engine is not None:
            atexit.unregister(self.stop)
            engine.stop(self.settings.drain_seconds if seconds is None else seconds)

    # WeChat's pushes

    def verify(self, query: list[tuple[str, str]]) -> str:
        """See ``wxbot.server.web.Desk``."""
        return self._callback.verify(single_values(query))

    def receive(self, query: list[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> PassiveAnswer | None:
        """See ``wxbot.server.web.Desk``. When this returns, the message will be answered, whatever happens."""
        self._receiving.append(None)
        try:
            now = self.clock.now()
            push = self._callback.open(single_values(query), body, now, now, headers)
            if push is None:
                log.info("acknowledged a push that names no user")
                return None
            arrival = self._arrival(push)
            receipt = self._running().accept(arrival)
        finally:
            self._receiving.pop()
        if not receipt.new:
            log.info("a redelivered push was acknowledged and not answered again")
        if receipt.handed_over.until:
            log.info("a message was passed on to human agents")
            return self._transfer(push, receipt.handed_over)
        return self._passive_answer(push, arrival, receipt.first_at) if self._answers_pushes else None

    @property
    def _answers_pushes(self) -> bool:
        return self.settings.account_kind == "unverified"

    def _arrival(self, push: Push) -> Arrival:
        now, fields = self.clock.now(), push.fields
        is_event = fields["MsgType"].lower() == "event"
        return Arrival(
            ConversationKey(self.settings.appid, fields["FromUserName"]),
            push.dedup_key,
            fields,
            now,
            push.interacted_at,
            budget=self._budget_after(fields, push.interacted_at or now),
            hand_over=self._hand_over_by_event(fields, now) if is_event else self._hand_over_by_message(fields, now),
            for_agents=not is_event and not self._answers_pushes,
        )

    def _budget_after(self, fields: Mapping[str, Any], acted_at: float) -> Budget | None:
        if str(fields.get("Event", "")).lower() == "unsubscribe":
            return None if self._answers_pushes else NOTHING_LEFT
        allowance = allowance_for(fields, self._quota)
        if allowance is None:
            return None
        # What is counted down is told apart by its end, and two deeds may be of the same moment.
        return Budget(allowance.messages, acted_at + allowance.seconds + next(self._deeds) % 1000 * 1e-6)

    def _hand_over_by_event(self, fields: Mapping[str, Any], now: float) -> HandOver | None:
        """The agents' own tool tells who has the user."""
        event = str(fields["Event"]).lower()
        if event in ("kf_close_session", "unsubscribe"):
            return WITH_BOT
        if event in ("kf_create_session", "kf_switch_session"):
            agent = str(fields.get("KfAccount") or fields.get("ToKfAccount") or "")
            return HandOver(now + self.settings.hand_over_seconds, agent)
        return None

    def _hand_over_by_message(self, fields: Mapping[str, Any], now: float) -> HandOver | None:
        if self._answers_pushes:
            return None
        if str(fields.get("Content", "")).strip().casefold() in self._hand_back_words:
            return WITH_BOT
        agent = self.plugins.router.agent_for(message_from(self.settings.appid, fields, now))
        if agent is None:
            return None
        log.info("a rule leaves a user to human agents for %g s", self.settings.hand_over_seconds)
        return HandOver(now + self.settings.hand_over_seconds, agent)

    def _transfer(self, push: Push, to: HandOver) -> PassiveAnswer:
        agent = to.agent if self.settings.account_kind == "official" else ""  # nobody else can choose
        return self._callback.answer(push, transfer_fields(push.fields, now := self.clock.now(), agent), now)

    def _passive_answer(self, push: Push, arrival: Arrival, first_at: float) -> PassiveAnswer | None:
        answer = self._running().passive_answer(arrival, first_at)
        if answer == {}:
            return None
        reply = TextReply(self.settings.wait_text) if answer is None else reply_from_json(answer)
        now = self.clock.now()
        return self._callback.answer(push, passive_fields(push.fields, reply, now), now)

    # Sending first

    async def send(self, openid: str, reply: str | Reply, *, key: str = "") -> str:
        """Send ``reply`` to a user without being asked, in its turn among the bot's own answers.

        When this returns, the message is kept and will be sent; what WeChat then refuses becomes a dead letter. Of
        several calls with the same ``key`` only the first counts. Returns the name it was kept under. Raises
        ReplyRefused for what this account cannot send, NotNow outside of WeChat's time and quota, StoreUnavailable.
        Source of the limits: docs/wechat.md, section "Quota".
        """
        return await asyncio.to_thread(self._send, openid, TextReply(reply) if isinstance(reply, str) else reply, key)

    def send_for(self, authorization: str, idempotency_key: str, body: bytes) -> str:
        """See ``wxbot.server.web.Desk``. ``body`` is what WeChat's own send call takes."""
        key = self.settings.send_key
        if key is None:
            raise PushRefused("sending is off: set WXBOT_SEND_KEY", 404)
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not same(given.strip(), key.get_secret_value()):
            raise PushRefused("the key is wrong: send Authorization: Bearer with WXBOT_SEND_KEY", 401)
        try:
            fields = json.loads(body, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            raise PushRefused("the body is not JSON") from None
        if not isinstance(fields, dict):
            raise PushRefused("the body is JSON, but not an object")
        openid, reply = reply_from_body(fields)
        return self._send(openid, reply, idempotency_key)

    def _send(self, openid: str, reply: Reply, key: str) -> str:
        if not (_is_name(openid) and openid):
            raise ReplyRefused("touser is no openid")
        if not _is_name(key):
            raise ReplyRefused(f"the idempotency key has more than {LONGEST_KEY} characters, or strange ones")
        if not isinstance(reply, Reply):
            raise ReplyRefused(f"{type(reply).__name__} is neither a text nor a reply such as ImageReply")
        if self._answers_pushes:
            raise ReplyRefused("this account (WXBOT_ACCOUNT_KIND=unverified) cannot send first: it answers pushes only")
        messages = self._outgoing.messages(reply)
        if not messages:
            raise ReplyRefused("the text is empty")
        engine, now = self._running(), self.clock.now()
        user = ConversationKey(self.settings.appid, openid)
        kept_as = key or secrets.token_hex(8)
        if not (key and engine.seen(user, _dedup_key(key))):  # whoever asks again must not hear that it is too late
            _check_budget(engine.budget(user), now)
        fields = {"MsgType": SENT_BY_BOT, "FromUserName": openid, "ToUserName": "", "CreateTime": int(now)}
        unsent = tuple(reply_to_json(message) for message in messages)
        receipt = engine.accept(Arrival(user, _dedup_key(kept_as), fields, now, 0.0, unsent=unsent))
        if not receipt.new:
            log.info("a message with the same idempotency key is here already")
        return kept_as

    # For load balancers

    def problem(self) -> str | None:
        """See ``wxbot.server.web.House``."""
        try:
            problem = self._running().problem()
        except WxbotError as error:
            log.error("not ready: %s", error)
            return "the message store is unavailable"
        if problem:
            log.error("not ready: %s", problem)
        return problem and "the broker is unavailable; messages are kept and answered a moment later"

    def metrics(self) -> bytes | None:
        """See ``wxbot.server.web.House``."""
        return self._running().metrics()

    def _is_busy(self) -> bool:
        return len(self._receiving) >= BUSY_PUSHES

    def _running(self) -> Engine:
        engine = self._engine
        if engine is not None and engine.pid == os.getpid():
            return engine
        with self._starting:
            if self._stopped:  # a push that came while the process ends or cannot start: WeChat delivers it again
                raise StoreUnavailable("the bot is not running: it is stopping, or could not start")
            if self._engine is None or self._engine.pid != os.getpid():
                engine = Engine(self.settings, self.clock, self.plugins, self._outgoing, self._is_busy)
                engine.start()
                self._engine = engine
                atexit.register(self.stop)
            return self._engine
