"""One message: route ▶ typing ▶ handler ▶ send."""

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
"""Seconds until a message is looked at again that this version of wxbot cannot read. During a deploy old and new
workers share the store: a new one, which can read it, takes it meanwhile."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What a deployment chooses about answering (wxbot.settings.schema has the meaning of each)."""

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
    """Answers messages, one turn at a time for each user."""

    def __init__(
        self,
        router: Router,
        channel: Channel,
        delivery: Outbox,
        outgoing: Composer,
        clock: Clock,
        threads: Executor,
        options: PipelineOptions,
    ) -> None:
        self._router = router
        self._channel = channel
        self._delivery = delivery
        self._outgoing = outgoing
        self._clock = clock
        self._threads = threads
        self._options = options

    def begin(self, lease: Lease, pending: PendingMessage, indicator: TypingIndicator, state: dict[str, Any]) -> Turn:
        """The turn of ``pending``. Raises KeyError, TypeError, ValueError for what another version wrote."""
        return begin_turn(lease, pending, indicator, state, self._options.unknown_quota, self._channel.download)

    async def answer(self, turn: Turn) -> Outcome:
        """Work ``turn`` to its end and say how it ended. Raises LeaseLost, StoreUnavailable and CancelledError only."""
        turn.begin()
        try:
            if turn.inbox_message.attempts > self._options.max_attempts:
                return turn.outcome("dead", f"given up: begun {turn.inbox_message.attempts - 1} times without an end")
            self._let_back(turn)
            if turn.is_for_agents(self._clock.now()):
                return self._leave_to_agents(turn)
            if turn.handler_done:  # an earlier attempt has run the handler; only its replies are left to send
                await self._delivery.deliver(turn)
            elif self._asks_for_rest(turn):
                turn.pending, turn.handler_done, turn.new_deferred = turn.deferred.in_order(), True, DeferredReplies()
                await self._delivery.deliver(turn)
            else:
                await self._delivery.begin(turn)
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
        """What becomes of a message that cannot be read: another version of wxbot may be able to, so not dead at once.

        Each look at it is an attempt, and who can read it in the end needs one too. ``typing_until``: Typing may show
        for so long, as far as is known.
        """
        attempt, most = pending.attempts, self._options.max_attempts
        log.warning("a stored message cannot be read, attempt %d of %d: %r", attempt, most, error)
        return Outcome(
            seq=pending.seq,
            status="retry" if attempt < most else "dead",
            typing_until=typing_until,
            sent=pending.sent,
            unsent=pending.unsent,
            reason=f"the stored message cannot be read: {error!r}",
            retry_at=self._clock.now() + UNREADABLE_WAIT,
        )

    # Human agents

    def _let_back(self, turn: Turn) -> None:
        """The end of a hand-over that had not begun when this message came in."""
        message = turn.message
        closes = isinstance(message, AgentSessionEvent) and message.event == "kf_close_session"
        if turn.requested_handover is not None:  # an earlier attempt has come further
            return
        if closes or _says(message, self._options.resume_words):
            turn.requested_handover = turn.active_handover = WITH_BOT

    def _leave_to_agents(self, turn: Turn) -> Outcome:
        """It came in before they had the user, so it was acknowledged, and they do not see it: somebody should know."""
        log.info("left to human agents: %s", type(turn.message).__name__)
        if isinstance(turn.message, EventMessage):
            return turn.outcome("done")
        return turn.outcome("dead", "not answered: by then the user was with human agents, who have not seen it")

    # Route and handle

    async def _handle(self, turn: Turn) -> None:
        try:
            choice = self._router.choose(lambda plugin: self._context(turn, plugin))
        except BaseException as error:  # nothing is awaited in there, so whatever it is comes from a plugin
            log.exception("a plugin failed while the handler was chosen")
            reason = _one_line(f"a plugin failed while the handler was chosen: {error!r}")
            await self._delivery.tell(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        if choice is None:
            if not isinstance(turn.message, AgentSessionEvent | AgentSwitchEvent):  # wxbot itself handles these
                log.info(
                    "nobody handles %s; a handler for it:\n%s", type(turn.message).__name__, _to_write(turn.message)
                )
            turn.handler_done = True
            await self._delivery.deliver(turn)
            return
        turn.already_sent = turn.sent
        await self._run(turn, choice)

    async def _run(self, turn: Turn, choice: Choice) -> None:
        handler, limit = choice.handler, self._options.handler_timeout
        run = HandlerRun(handler, choice.context, self._threads, self._clock, limit)
        try:
            await self._follow(turn, run, choice.context)
        except TimeoutError:
            log.warning("handler %s took longer than %g seconds", handler.name, limit)
            reason = f"handler {handler.name} took longer than {limit:g} seconds"
            await self._delivery.tell(turn, self._options.timeout_text, reason)
            raise _HandlerFailed(reason) from None
        except (SendFailed, LeaseLost, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("handler %s failed", handler.name)
            reason = _one_line(f"handler {handler.name} failed: {error!r}")
            await self._delivery.tell(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        finally:
            await run.close()

    async def _follow(self, turn: Turn, run: HandlerRun, context: Context) -> None:
        """Send what the handler says, while it says it."""
        state_before = _written(context)
        if turn.quota.at(self._clock.now()) > 0:  # who may not be written to may not be shown Typing either
            turn.indicator.start()
        while not turn.handler_done:
            step = await run.next()
            if step.last:
                _keep_state(turn, context, state_before)
                turn.requested_handover = self._handover_requested_by(context) or turn.requested_handover
            messages = await self._messages(turn, step.reply, run.ai)
            turn.pending, turn.handler_done = [*turn.pending, *messages], step.last
            await self._delivery.deliver(turn)

    def _handover_requested_by(self, context: Context) -> Handover | None:
        wanted = context._requested_handover  # noqa: SLF001 - plugin code has no use for it
        if wanted is None:
            return None
        if not self._options.has_agents:
            raise PluginError(f"plugin {context.plugin!r}: an unverified account has no human agents to hand over to")
        seconds = self._options.handover_seconds if wanted.seconds is None else wanted.seconds
        log.info("a handler of plugin %r leaves its user to human agents for %g s", context.plugin, seconds)
        return Handover(self._clock.now() + seconds, wanted.agent)

    async def _messages(self, turn: Turn, reply: Reply | None, ai: bool | None) -> list[Reply]:
        """The messages that ``reply`` takes, without those that went out before this process took over."""
        if reply is None:
            return []
        if reply.media:
            loop = asyncio.get_running_loop()
            messages = await loop.run_in_executor(self._threads, self._outgoing.messages, reply, ai)
            for message in messages:
                await self._channel.prepare(message)  # while Typing still shows
        else:
            messages = self._outgoing.messages(reply, ai)
        skipped = min(turn.already_sent, len(messages))
        turn.already_sent -= skipped
        return messages[skipped:]

    def _context(self, turn: Turn, plugin: str) -> Context:
        kept = turn.state.get(plugin)
        return Context(
            message=turn.message,
            plugin=plugin,
            state=json.loads(json.dumps(kept)) if kept else {},  # a failing handler must not have changed it
            settings=self._options.plugin_settings.get(plugin),
            resource=self._options.plugin_resources.get(plugin),
            attempt=turn.inbox_message.attempts,
            _get_quota=lambda: Quota(turn.quota.at(self._clock.now()), turn.quota.expires_at),
            _get_wechatpy=self._channel.wechatpy,
        )

    def _asks_for_rest(self, turn: Turn) -> bool:
        return _says(turn.message, self._options.continue_words) and any(turn.deferred)

    def _after_failed_send(self, turn: Turn, failure: SendFailed) -> Outcome:
        attempt = turn.inbox_message.attempts
        if failure.final or attempt >= self._options.max_attempts:
            log.warning("not sent, kept as a dead letter: %s", failure)
            return turn.outcome("dead", str(failure))
        wait = self._options.retry_seconds * 2 ** (attempt - 1)
        log.warning("not sent, next try in %g s: %s", wait, failure)
        return turn.outcome("retry", str(failure), retry_at=self._clock.now() + wait)


class _HandlerFailed(Exception):
    """The handler did not come to an end; the user has been told."""


def _written(context: Context) -> str:
    return json.dumps(context.state, ensure_ascii=False) if context.state else "{}"


def _keep_state(turn: Turn, context: Context, before: str) -> None:
    """Note what the handler changed. Raises PluginError if it cannot be kept as JSON."""
    try:
        after = _written(context)
        after.encode()  # half an emoji (a lone surrogate) is JSON, but cannot be stored
    except (TypeError, ValueError) as error:
        raise PluginError(f"plugin {context.plugin!r} put something into ctx.state that is not JSON: {error}") from None
    if after != before:
        turn.new_state = {**turn.state, context.plugin: json.loads(after)}
        if after == "{}":
            del turn.new_state[context.plugin]


def _says(message: Message, words: frozenset[str]) -> bool:
    return isinstance(message, TextMessage) and message.text.strip().casefold() in words


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _to_write(message: Message) -> str:
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
