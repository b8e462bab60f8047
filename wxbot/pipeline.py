"""One message: route ▶ typing ▶ handler ▶ send."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from wxbot.errors import AnswerLost, LeaseLost, PluginError, StoreUnavailable, WeChatError
from wxbot.firmly import firmly
from wxbot.handler_run import HandlerRun
from wxbot.messages import EventMessage, Message, Reply, TextReply
from wxbot.plugin import Context
from wxbot.ports import Channel, Clock, Inbox, Lease, Outcome, Pending, Permit
from wxbot.router import Choice, Router
from wxbot.splitting import split_text
from wxbot.time_limit import pause
from wxbot.turn import Turn

log = logging.getLogger("wxbot.pipeline")

SEND_PAUSES = (0.5, 1.0, 2.0)
"""Seconds between the tries of a send that did not reach WeChat or found it busy."""

UNREADABLE_WAIT = 60.0
"""Seconds until a message is looked at again that this version of wxbot cannot read. During a deploy old and new
workers share the store: a new one, which can read it, takes it meanwhile."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What a deployment chooses about answering (wxbot.config has the meaning of each)."""

    handler_timeout: float = 120.0
    max_attempts: int = 3
    retry_seconds: float = 5.0
    text_bytes: int = 2000
    error_text: str = ""
    timeout_text: str = ""
    plugin_settings: Mapping[str, Any] = field(default_factory=dict)
    plugin_resources: Mapping[str, Any] = field(default_factory=dict)


class SendFailed(Exception):
    """A reply could not be sent; ``error`` says why, ``final`` whether trying again is pointless."""

    def __init__(self, error: WeChatError, *, final: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.final = final


class Pipeline:
    """Answers messages, one turn at a time for each user."""

    def __init__(
        self,
        router: Router,
        channel: Channel,
        inbox: Inbox,
        clock: Clock,
        threads: Executor,
        options: PipelineOptions,
        hold: Callable[[Lease], Any],
    ) -> None:
        self._router = router
        self._channel = channel
        self._inbox = inbox
        self._clock = clock
        self._threads = threads
        self._options = options
        self._hold = hold

    async def answer(self, turn: Turn) -> Outcome:
        """Work ``turn`` to its end and say how it ended. Raises LeaseLost, StoreUnavailable and CancelledError only."""
        turn.begin()
        try:
            if turn.pending.attempts > self._options.max_attempts:
                return turn.outcome("dead", f"given up: begun {turn.pending.attempts - 1} times without an end")
            if turn.through:  # an earlier attempt has run the handler; only its replies are left to send
                await self._send_unsent(turn)
            else:
                await self._handle(turn)
                _forget_leaver(turn)
        except SendFailed as failure:
            return self._after_failed_send(turn, failure)
        except _HandlerFailed as failure:
            return turn.outcome("dead", str(failure))
        finally:
            still_ours = turn.lease.is_ours(self._clock.now())
            await (turn.indicator.stop() if still_ours else turn.indicator.pause())
        return turn.outcome("answered")

    def unreadable(self, pending: Pending, error: Exception, typing_until: float) -> Outcome:
        """What becomes of a message that cannot be read: another version of wxbot may be able to, so not dead at once.

        Each look at it is an attempt, and who can read it in the end needs one too. ``typing_until``: Typing may show
        for so long, as far as is known.
        """
        attempt, most = pending.attempts, self._options.max_attempts
        log.warning("a stored message cannot be read, attempt %d of %d: %r", attempt, most, error)
        return Outcome(
            seq=pending.seq,
            verdict="later" if attempt < most else "dead",
            typing_until=typing_until,
            sent=pending.sent,
            unsent=pending.unsent,
            reason=f"the stored message cannot be read: {error!r}",
            retry_at=self._clock.now() + UNREADABLE_WAIT,
        )

    # Route and handle

    async def _handle(self, turn: Turn) -> None:
        try:
            choice = self._router.choose(lambda plugin: self._context(turn, plugin))
        except BaseException as error:  # nothing is awaited in there, so whatever it is comes from a plugin
            log.exception("a plugin failed while the handler was chosen")
            reason = _one_line(f"a plugin failed while the handler was chosen: {error!r}")
            await self._tell(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        if choice is None:
            log.info("nobody handles %s; a handler for it:\n%s", type(turn.message).__name__, _to_write(turn.message))
            turn.through = True
            return
        turn.skip = turn.sent
        await self._run(turn, choice)

    async def _run(self, turn: Turn, choice: Choice) -> None:
        handler, limit = choice.handler, self._options.handler_timeout
        run = HandlerRun(handler, choice.context, self._threads, self._clock, limit)
        try:
            await self._follow(turn, run, choice.context)
        except TimeoutError:
            log.warning("handler %s took longer than %g seconds", handler.name, limit)
            reason = f"handler {handler.name} took longer than {limit:g} seconds"
            await self._tell(turn, self._options.timeout_text, reason)
            raise _HandlerFailed(reason) from None
        except (SendFailed, LeaseLost, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("handler %s failed", handler.name)
            reason = _one_line(f"handler {handler.name} failed: {error!r}")
            await self._tell(turn, self._options.error_text, reason)
            raise _HandlerFailed(reason) from None
        finally:
            await run.close()

    async def _follow(self, turn: Turn, run: HandlerRun, context: Context) -> None:
        """Send what the handler says, while it says it."""
        state_before = _written(context)
        turn.indicator.start()
        while not turn.through:
            step = await run.next()
            if step.last:
                _keep_state(turn, context, state_before)
            turn.unsent, turn.through = self._parts(turn, step.reply), step.last
            await self._hold(turn.lease)  # else what shows now is another owner's
            await (turn.indicator.stop() if step.last else turn.indicator.pause())
            await self._send_unsent(turn)
            if not step.last:
                turn.indicator.resume()

    def _context(self, turn: Turn, plugin: str) -> Context:
        kept = turn.state.get(plugin)
        return Context(
            message=turn.message,
            plugin=plugin,
            state=json.loads(json.dumps(kept)) if kept else {},  # a failing handler must not have changed it
            settings=self._options.plugin_settings.get(plugin),
            resource=self._options.plugin_resources.get(plugin),
            attempt=turn.pending.attempts,
            get_wechatpy=self._channel.wechatpy,
        )

    async def _tell(self, turn: Turn, text: str, reason: str) -> None:
        """Say what went wrong. Not a part of the answer, so it is not counted as one, and tried only once."""
        await self._hold(turn.lease)
        await turn.indicator.stop()
        if not text:
            return
        with turn.uninterrupted():
            await self._hold(turn.lease)
            called_at = self._clock.now()
            try:
                await self._channel.send(turn.lease.key.openid, TextReply(text), permit=self._permit(turn.lease))
            except WeChatError as error:
                log.warning("the user could not be told that the handler failed: %s", error)
            else:
                turn.sent_at = called_at
                turn.indicator.message_sent(called_at)
            turn.failure = reason

    # Send

    def _parts(self, turn: Turn, reply: Reply | None) -> list[Reply]:
        """The messages that ``reply`` takes, without those that went out before this process took over."""
        if reply is None:
            return []
        text = reply.text.encode(errors="replace").decode()  # half an emoji cannot be sent
        parts = [TextReply(part) for part in split_text(text, self._options.text_bytes) if part.strip()]
        skipped = min(turn.skip, len(parts))
        turn.skip -= skipped
        return list(parts[skipped:])

    async def _send_unsent(self, turn: Turn) -> None:
        while turn.unsent:
            await self._send_patiently(turn, turn.unsent[0])

    async def _send_patiently(self, turn: Turn, part: Reply) -> None:
        for wait in (*SEND_PAUSES, None):
            try:
                with turn.uninterrupted():
                    await self._send_once(turn, part)
            except WeChatError as error:
                if not error.retryable or wait is None:
                    raise SendFailed(error, final=not error.retryable) from None
                log.info("send again in %g s: %s", wait, error)
                await pause(self._clock, wait)
            else:
                return

    async def _send_once(self, turn: Turn, part: Reply) -> None:
        await self._hold(turn.lease)
        called_at = self._clock.now()
        try:
            await self._channel.send(turn.lease.key.openid, part, permit=self._permit(turn.lease))
        except AnswerLost as error:
            # It may be on the user's screen: sending it again could say it twice.
            log.warning("a reply may not have arrived and is kept as a dead letter: %s", error)
            turn.doubtful.append(part)
        else:
            turn.sent_at = called_at
            turn.indicator.message_sent(called_at)
        turn.sent += 1
        turn.unsent.pop(0)
        # The last one is recorded by settling the turn, in the same moment and in one transaction.
        if turn.unsent or not turn.through or turn.indicator.calling:
            at = turn.sent_at or 0.0
            await firmly(self._clock, lambda: self._inbox.record_sent(turn.lease, turn.pending.seq, turn.sent, at))

    def _permit(self, lease: Lease) -> Permit:
        """A send may wait, and the process be stopped meanwhile: by the clock, is ``lease`` ours when it is written?

        A refused send has not reached WeChat, so it is tried again, and ``hold`` asks the store first.
        """
        return lambda: lease.is_ours(self._clock.now())

    def _after_failed_send(self, turn: Turn, failure: SendFailed) -> Outcome:
        attempt = turn.pending.attempts
        if failure.final or turn.doubtful or attempt >= self._options.max_attempts:
            log.warning("not sent, kept as a dead letter: %s", failure)
            return turn.outcome("dead", str(failure))
        wait = self._options.retry_seconds * 2 ** (attempt - 1)
        log.warning("not sent, next try in %g s: %s", wait, failure)
        return turn.outcome("later", str(failure), retry_at=self._clock.now() + wait)


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


def _forget_leaver(turn: Turn) -> None:
    """WeChat demands that what is known of a user goes when they unsubscribe (docs/wechat.md, Messages and events)."""
    if isinstance(turn.message, EventMessage) and turn.message.event == "unsubscribe":
        turn.new_state = {}


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


def _to_write(message: Message) -> str:
    decorators = {
        "TextMessage": "@plugin.text()",
        "ImageMessage": "@plugin.image",
        "MiniProgramPageMessage": "@plugin.mini_program_page",
        "EventMessage": f"@plugin.event({getattr(message, 'event', '')!r})",
    }
    decorator = decorators.get(type(message).__name__, "@plugin.fallback")
    return f"{decorator}\nasync def answer(ctx: Context) -> str:\n    return ..."
