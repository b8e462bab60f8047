"""The pipeline of one message: it chooses a handler, shows the typing indicator, runs the handler and sends replies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from wxbot.clock import Clock
from wxbot.conversation.handler_run import HandlerRun
from wxbot.delivery.channel import Channel
from wxbot.delivery.composer import Composer
from wxbot.delivery.deferred import DeferredReplies
from wxbot.delivery.outbox import Outbox, SendFailed
from wxbot.delivery.turn import Turn, begin_turn
from wxbot.errors import LeaseLost, PluginError, StoreUnavailable
from wxbot.model.messages import AgentSessionEvent, AgentSwitchEvent, EventMessage, Message, TextMessage
from wxbot.model.quota import UNKNOWN_QUOTA, Quota
from wxbot.model.replies import Reply
from wxbot.plugin.context import Context
from wxbot.plugin.router import Choice, Router
from wxbot.store.records import WITH_BOT, Handover, Lease, Outcome, PendingMessage
from wxbot.typing_indicator.indicator import TypingIndicator

log = logging.getLogger("wxbot.pipeline")

UNREADABLE_WAIT = 60.0
"""Seconds until the next attempt of a message that this version of wxbot cannot read. During a deployment old and new
workers share the store, so a new worker, which can read the message, may claim it meanwhile."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """The settings of a pipeline (wxbot.settings.schema describes each)."""

    handler_timeout: float = 120.0
    max_attempts: int = 3
    retry_seconds: float = 5.0
    has_agents: bool = True
    handover_seconds: float = 1800.0
    continue_words: frozenset[str] = frozenset()
    resume_words: frozenset[str] = frozenset()
    unknown_quota: Quota = UNKNOWN_QUOTA
    error_text: str = ""
    timeout_text: str = ""
    plugin_settings: Mapping[str, Any] = field(default_factory=dict)
    plugin_resources: Mapping[str, Any] = field(default_factory=dict)


class Pipeline:
    """The pipeline of one account. It processes one turn at a time for each user."""

    def __init__(
        self,
        router: Router,
        channel: Channel,
        outbox: Outbox,
        composer: Composer,
        clock: Clock,
        threads: Executor,
        options: PipelineOptions,
    ) -> None:
        self._router = router
        self._channel = channel
        self._outbox = outbox
        self._composer = composer
        self._clock = clock
        self._threads = threads
        self._options = options

    def begin(self, lease: Lease, pending: PendingMessage, indicator: TypingIndicator, state: dict[str, Any]) -> Turn:
        """Return the turn of ``pending``. Raises KeyError, TypeError, ValueError if another version wrote it."""
        return begin_turn(lease, pending, indicator, state, self._options.unknown_quota, self._channel.download)

    async def answer(self, turn: Turn) -> Outcome:
        """Process ``turn`` and return its outcome. Raises only LeaseLost, StoreUnavailable and CancelledError."""
        turn.begin()
        try:
            if turn.inbox_message.attempts > self._options.max_attempts:
                reason = f"given up after {turn.inbox_message.attempts - 1} attempts that did not finish"
                return turn.outcome("dead", reason)
            self._end_handover(turn)
            if turn.is_for_agents(self._clock.now()):
                return self._leave_to_agents(turn)
            if turn.handler_done:  # an earlier attempt ran the handler, and only its replies remain
                await self._outbox.deliver(turn)
            elif self._asks_for_deferred(turn):
                turn.pending, turn.handler_done, turn.new_deferred = turn.deferred.in_order(), True, DeferredReplies()
                await self._outbox.deliver(turn)
            else:
                await self._outbox.begin(turn)
                await self._handle(turn)
        except SendFailed as failure:
            return self._after_failed_send(turn, failure)
        except _HandlerFailed as failure:
            return turn.outcome("dead", str(failure))
        finally:
            still_ours = turn.lease.is_ours(self._clock.now())
            await (turn.indicator.stop() if still_ours else turn.indicator.pause())
        return turn.outcome("done")

    def unreadable(self, pending: PendingMessage, error: Exception, typing_until: float) -> Outcome:
        """Return the outcome of a message that this version cannot read: retry, because another version may read it.

        Each try counts as an attempt. The version that can read the message needs one of the attempts as well.
        ``typing_until``: until when the indicator may show, as far as is known.
        """
        attempt, max_attempts = pending.attempts, self._options.max_attempts
        log.warning("stored message cannot be read: attempt=%d of=%d error=%r", attempt, max_attempts, error)
        return Outcome(
            seq=pending.seq,
            status="retry" if attempt < max_attempts else "dead",
            typing_until=typing_until,
            sent=pending.sent,
            unsent=pending.unsent,
            reason=f"the stored message cannot be read: {error!r}",
            retry_at=self._clock.now() + UNREADABLE_WAIT,
        )

    # Human agents

    def _end_handover(self, turn: Turn) -> None:
        """End a handover that began after this message was accepted, if this message ends handovers."""
        message = turn.message
        is_close_event = isinstance(message, AgentSessionEvent) and message.event == "kf_close_session"
        if turn.requested_handover is not None:  # an earlier attempt has decided
            return
        if is_close_event or _is_one_of(message, self._options.resume_words):
            turn.requested_handover = turn.active_handover = WITH_BOT

    def _leave_to_agents(self, turn: Turn) -> Outcome:
        """Return a dead letter for a message that the agents do not see, because it was accepted before the handover.

        An event is done, because it needs no reply.
        """
        log.info("message not processed, the user is with human agents: type=%s", type(turn.message).__name__)
        if isinstance(turn.message, EventMessage):
            return turn.outcome("done")
        return turn.outcome(
            "dead", "not answered: the user was handed over to human agents, who have not seen this message"
        )

    # Route and handle

    async def _handle(self, turn: Turn) -> None:
        try:
            choice = self._router.choose(lambda plugin: self._context(turn, plugin))
        except BaseException as error:  # the router awaits nothing, so a plugin raised it
            log.exception("plugin failed during the choice of a handler")
            reason = _one_line(f"a plugin failed during the choice of a handler: {error!r}")
            await self._outbox.finish_with_failure(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        if choice is None:
            if not isinstance(turn.message, AgentSessionEvent | AgentSwitchEvent):  # wxbot itself handles these
                example = _example_handler(turn.message)
                log.info("no handler for %s; add one, for example:\n%s", type(turn.message).__name__, example)
            turn.handler_done = True
            await self._outbox.deliver(turn)
            return
        turn.already_sent = turn.sent
        await self._run(turn, choice)

    async def _run(self, turn: Turn, choice: Choice) -> None:
        handler, limit = choice.handler, self._options.handler_timeout
        run = HandlerRun(handler, choice.context, self._threads, self._clock, limit)
        try:
            await self._follow(turn, run, choice.context)
        except TimeoutError:
            log.warning("handler timed out: handler=%s seconds=%g", handler.name, limit)
            reason = f"handler {handler.name} timed out after {limit:g} seconds"
            await self._outbox.finish_with_failure(turn, self._options.timeout_text, reason)
            raise _HandlerFailed(reason) from None
        except (SendFailed, LeaseLost, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("handler failed: handler=%s", handler.name)
            reason = _one_line(f"handler {handler.name} failed: {error!r}")
            await self._outbox.finish_with_failure(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        finally:
            await run.close()

    async def _follow(self, turn: Turn, run: HandlerRun, context: Context) -> None:
        """Send the handler's replies one by one, each as soon as the handler returns or yields it."""
        state_before = _state_json(context)
        if turn.quota.at(self._clock.now()) > 0:  # WeChat's conditions for Typing are those for sending
            turn.indicator.start()
        while not turn.handler_done:
            step = await run.next()
            if step.last:
                _save_state(turn, context, state_before)
                turn.requested_handover = self._handover_requested_by(context) or turn.requested_handover
            messages = await self._messages(turn, step.reply, run.ai)
            turn.pending, turn.handler_done = [*turn.pending, *messages], step.last
            await self._outbox.deliver(turn)

    def _handover_requested_by(self, context: Context) -> Handover | None:
        requested = context._requested_handover  # noqa: SLF001 - not a part of the plugin API
        if requested is None:
            return None
        if not self._options.has_agents:
            raise PluginError(
                f"plugin {context.plugin!r}: ctx.hand_over is impossible, an unverified account has no agents"
            )
        seconds = self._options.handover_seconds if requested.seconds is None else requested.seconds
        log.info("handler hands its user over to human agents: plugin=%s seconds=%g", context.plugin, seconds)
        return Handover(self._clock.now() + seconds, requested.agent)

    async def _messages(self, turn: Turn, reply: Reply | None, ai: bool | None) -> list[Reply]:
        """Return the messages for ``reply`` without those that an earlier attempt sent."""
        if reply is None:
            return []
        if reply.media:
            loop = asyncio.get_running_loop()
            messages = await loop.run_in_executor(self._threads, self._composer.messages, reply, ai)
            for message in messages:
                await self._channel.prepare(message)  # upload now, while the indicator still shows
        else:
            messages = self._composer.messages(reply, ai)
        skipped = min(turn.already_sent, len(messages))
        turn.already_sent -= skipped
        return messages[skipped:]

    def _context(self, turn: Turn, plugin: str) -> Context:
        stored = turn.state.get(plugin)
        state = json.loads(json.dumps(stored)) if stored else {}  # a copy: a handler that fails must change nothing
        return Context(
            message=turn.message,
            plugin=plugin,
            state=state,
            settings=self._options.plugin_settings.get(plugin),
            resource=self._options.plugin_resources.get(plugin),
            attempt=turn.inbox_message.attempts,
            _get_quota=lambda: Quota(turn.quota.at(self._clock.now()), turn.quota.expires_at),
            _get_wechatpy=self._channel.wechatpy,
        )

    def _asks_for_deferred(self, turn: Turn) -> bool:
        return _is_one_of(turn.message, self._options.continue_words) and any(turn.deferred)

    def _after_failed_send(self, turn: Turn, failure: SendFailed) -> Outcome:
        attempt = turn.inbox_message.attempts
        if failure.final or attempt >= self._options.max_attempts:
            log.warning("sending failed, storing a dead letter: %s", failure)
            return turn.outcome("dead", str(failure))
        wait = self._options.retry_seconds * 2 ** (attempt - 1)
        log.warning("sending failed, retrying: seconds=%g error=%s", wait, failure)
        return turn.outcome("retry", str(failure), retry_at=self._clock.now() + wait)


class _HandlerFailed(Exception):
    """The handler failed, and the error text was sent to the user."""


def _state_json(context: Context) -> str:
    return json.dumps(context.state, ensure_ascii=False) if context.state else "{}"


def _save_state(turn: Turn, context: Context, before: str) -> None:
    """Copy the state that the handler changed into the turn. Raises PluginError if it is not JSON."""
    try:
        after = _state_json(context)
        after.encode()  # a lone surrogate (half an emoji) is valid JSON but cannot be stored
    except (TypeError, ValueError) as error:
        raise PluginError(f"plugin {context.plugin!r} put a value into ctx.state that is not JSON: {error}") from None
    if after != before:
        turn.new_state = {**turn.state, context.plugin: json.loads(after)}
        if after == "{}":
            del turn.new_state[context.plugin]


def _is_one_of(message: Message, words: frozenset[str]) -> bool:
    return isinstance(message, TextMessage) and message.text.strip().casefold() in words


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _example_handler(message: Message) -> str:
    """Return the source of a handler for messages such as ``message``."""
    decorators = {
        "TextMessage": "@plugin.text()",
        "ImageMessage": "@plugin.image",
        "VoiceMessage": "@plugin.voice",
        "VideoMessage": "@plugin.video",
        "ShortVideoMessage": "@plugin.video",
        "LocationMessage": "@plugin.location",
        "LinkMessage": "@plugin.link",
        "MiniProgramPageMessage": "@plugin.mini_program_page",
    }
    fallback = f"@plugin.event({message.event!r})" if isinstance(message, EventMessage) else "@plugin.fallback"
    decorator = decorators.get(type(message).__name__, fallback)
    return f"{decorator}\nasync def answer(ctx: Context) -> str:\n    return ..."
