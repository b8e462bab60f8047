"""The pipeline of one message: it chooses a handler, shows the typing indicator, runs the handler and sends replies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from wxbot.delivery.api_outbox import ApiOutbox
from wxbot.delivery.composer import Composer
from wxbot.delivery.outbox import Outbox, OutboxParts, SendFailed
from wxbot.delivery.passive_outbox import PassiveOutbox
from wxbot.delivery.remaining_work import RemainingWork
from wxbot.delivery.turn import Turn
from wxbot.errors import LeaseLost, PluginError, StoreUnavailable
from wxbot.model.messages import AgentSessionEvent, AgentSwitchEvent, EventMessage, Message, TextMessage, message_from
from wxbot.model.replies import Reply, TextReply
from wxbot.plugin.context import Context
from wxbot.plugin.handler_run import HandlerRun
from wxbot.plugin.router import Choice, Router, example_handler
from wxbot.settings.schema import HandlerSettings, HandoverSettings
from wxbot.store.records import WITH_BOT, Claim, ConversationRecord, Handover, Outcome, PendingMessage
from wxbot.typing_indicator.indicator import TypingIndicator

log = logging.getLogger("wxbot.pipeline")

UNREADABLE_WAIT = 60.0
"""Seconds until the next attempt of a message that this version of wxbot cannot read. During a deployment old and new
workers share the store, so a new worker, which can read the message, may claim it meanwhile."""


@dataclass(frozen=True, slots=True)
class PluginParts:
    """The router of an account's plugins, and the settings and resources of each plugin by its name."""

    router: Router
    settings: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)


class Pipeline:
    """The pipeline of one account. It processes one turn at a time for each user."""

    def __init__(
        self,
        plugins: PluginParts,
        outbox_parts: OutboxParts,
        composer: Composer,
        threads: Executor,
        settings: HandlerSettings,
        handover: HandoverSettings,
    ) -> None:
        self._plugins = plugins
        self._outbox_parts = outbox_parts
        self._account = outbox_parts.account
        self._channel = outbox_parts.channel
        self._clock = outbox_parts.clock
        self._composer = composer
        self._threads = threads
        self._settings = settings
        self._handover = handover

    def begin(self, claim: Claim, indicator: TypingIndicator) -> Outbox:
        """Return the outbox of the claimed message, which continues where an earlier attempt stopped.

        Raises KeyError, TypeError, ValueError if another version of wxbot wrote the message.
        """
        lease, message, record = claim.lease, claim.message, claim.conversation
        work = RemainingWork.read(message.unsent)
        turn = Turn(
            lease,
            message,
            message_from(lease.key.appid, message.fields, message.received_at, self._channel.download),
            record.state or {},
            handover=record.handover or WITH_BOT,
            requested_handover=work.handover,
        )
        outbox = PassiveOutbox if self._account.is_passive else ApiOutbox
        return outbox(self._outbox_parts, turn, indicator, work, record.quota)

    async def process(self, outbox: Outbox) -> Outcome:
        """Process a turn and return its outcome. Raises only LeaseLost, StoreUnavailable and CancelledError."""
        turn, attempts = outbox.turn, outbox.turn.inbox_message.attempts
        try:
            if attempts > self._settings.max_attempts:
                return outbox.outcome("dead", f"given up after {attempts - 1} attempts that did not finish")
            self._end_handover(turn)
            if turn.is_for_agents(self._clock.now()):
                return self._leave_to_agents(outbox)
            asks_for_deferred = _is_one_of(turn.message, self._outbox_parts.settings.continue_words)
            if outbox.is_closed or (asks_for_deferred and outbox.add_deferred()):
                await outbox.finish()  # only replies remain, of an earlier attempt or message
            else:
                await outbox.begin()
                await self._handle(outbox)
        except SendFailed as failure:
            return self._after_failed_send(outbox, failure)
        finally:
            still_ours = turn.lease.is_active(self._clock.now())
            await (outbox.indicator.stop() if still_ours else outbox.indicator.pause())
        return outbox.outcome("done")

    def unreadable(self, pending: PendingMessage, error: Exception, typing_until: float) -> Outcome:
        """Return the outcome of a message that this version cannot read: retry, because another version may read it.

        Each try counts as an attempt. The version that can read the message needs one of the attempts as well.
        ``typing_until``: until when the indicator may show, as far as is known.
        """
        attempt, max_attempts = pending.attempts, self._settings.max_attempts
        log.warning("stored message cannot be read: attempt=%d of=%d error=%r", attempt, max_attempts, error)
        return Outcome(
            seq=pending.seq,
            status="retry" if attempt < max_attempts else "dead",
            change=ConversationRecord(typing_until=typing_until),
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
        if is_close_event or _is_one_of(message, self._handover.resume_words):
            turn.requested_handover = turn.handover = WITH_BOT

    def _leave_to_agents(self, outbox: Outbox) -> Outcome:
        """Return a dead letter for a message that the agents do not see, because it was accepted before the handover.

        An event is done, because it needs no reply.
        """
        message = outbox.turn.message
        log.info("message not processed, the user is with human agents: type=%s", type(message).__name__)
        if isinstance(message, EventMessage):
            return outbox.outcome("done")
        return outbox.outcome(
            "dead", "not answered: the user was handed over to human agents, who have not seen this message"
        )

    # Route and handle

    async def _handle(self, outbox: Outbox) -> None:
        turn = outbox.turn
        try:
            choice = self._plugins.router.choose(lambda plugin: self._context(outbox, plugin))
        except BaseException as error:  # the router awaits nothing, so a plugin raised it
            log.exception("plugin failed during the choice of a handler")
            await self._fail(outbox, f"a plugin failed during the choice of a handler: {error!r}")
            return
        if choice is not None:
            await self._run(outbox, choice)
            return
        if not isinstance(turn.message, AgentSessionEvent | AgentSwitchEvent):  # wxbot itself handles these
            log.info(
                "no handler for %s; add one, for example:\n%s",
                type(turn.message).__name__,
                example_handler(turn.message),
            )
        await outbox.finish()

    async def _run(self, outbox: Outbox, choice: Choice) -> None:
        handler, limit = choice.handler, self._settings.timeout
        run = HandlerRun(handler, choice.context, self._threads, self._clock, limit)
        try:
            await self._follow(outbox, run, choice.context)
        except TimeoutError:
            log.warning("handler timed out: handler=%s seconds=%g", handler.name, limit)
            reason = f"handler {handler.name} timed out after {limit:g} seconds"
            await self._fail(outbox, reason, self._settings.timeout_text)
        except (SendFailed, LeaseLost, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("handler failed: handler=%s", handler.name)
            await self._fail(outbox, f"handler {handler.name} failed: {error!r}")
        finally:
            await run.close()

    async def _follow(self, outbox: Outbox, run: HandlerRun, context: Context) -> None:
        """Send the handler's replies one by one, each as soon as the handler returns or yields it."""
        state_before = context.state_json()
        if outbox.quota.remaining > 0:  # WeChat's conditions for Typing are those for sending
            outbox.indicator.start()
        while True:
            step = await run.next()
            if step.last:
                break
            outbox.add(await self._messages(step.reply, run.ai))
            await outbox.send_ready()
        outbox.turn.save_state(context.plugin, state_before, context.state_json())
        outbox.turn.requested_handover = self._handover_requested_by(context) or outbox.turn.requested_handover
        outbox.add(await self._messages(step.reply, run.ai))
        await outbox.finish()

    async def _fail(self, outbox: Outbox, reason: str, text: str | None = None) -> None:
        """Tell the user that the handler failed; the message becomes a dead letter with ``reason``."""
        apology = self._settings.error_text if text is None else text
        await outbox.fail(" ".join(reason.split())[:500], [TextReply(apology)] if apology else [])

    def _handover_requested_by(self, context: Context) -> Handover | None:
        requested = context._requested_handover  # noqa: SLF001 - not a part of the plugin API
        if requested is None:
            return None
        if self._account.is_passive:
            raise PluginError(
                f"plugin {context.plugin!r}: ctx.hand_over is impossible, an unverified account has no agents"
            )
        seconds = self._handover.seconds if requested.seconds is None else requested.seconds
        log.info("handler hands its user over to human agents: plugin=%s seconds=%g", context.plugin, seconds)
        return Handover(self._clock.now() + seconds, requested.agent)

    async def _messages(self, reply: Reply | None, ai: bool | None) -> list[Reply]:
        """Return the messages for ``reply``. Its files are read and uploaded."""
        if reply is None:
            return []
        if not reply.media:
            return self._composer.messages(reply, ai)
        loop = asyncio.get_running_loop()
        messages = await loop.run_in_executor(self._threads, self._composer.messages, reply, ai)
        for message in messages:
            await self._channel.prepare(message)  # upload now, while the indicator still shows
        return messages

    def _context(self, outbox: Outbox, plugin: str) -> Context:
        turn = outbox.turn
        stored = turn.state.get(plugin)
        return Context(
            message=turn.message,
            plugin=plugin,
            state=json.loads(json.dumps(stored)) if stored else {},  # a copy: a handler that fails must change nothing
            settings=self._plugins.settings.get(plugin),
            resource=self._plugins.resources.get(plugin),
            attempt=turn.inbox_message.attempts,
            _get_quota=lambda: outbox.quota,
            _get_wechatpy=self._channel.wechatpy,
        )

    def _after_failed_send(self, outbox: Outbox, failure: SendFailed) -> Outcome:
        turn = outbox.turn
        attempt = turn.inbox_message.attempts
        if failure.final or attempt >= self._settings.max_attempts:
            log.warning("sending failed, storing a dead letter: number=%d error=%s", turn.inbox_message.seq, failure)
            return outbox.outcome("dead", str(failure))
        wait = self._settings.retry_seconds * 2 ** (attempt - 1)
        log.warning("sending failed, retrying: seconds=%g error=%s", wait, failure)
        return outbox.outcome("retry", str(failure), retry_at=self._clock.now() + wait)


def _is_one_of(message: Message, words: frozenset[str]) -> bool:
    return isinstance(message, TextMessage) and message.text.strip().casefold() in words
