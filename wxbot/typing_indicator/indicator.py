"""The typing indicator of a conversation: it calls Typing and CancelTyping by ``wxbot.typing_indicator.rules``.

It is best effort: a failing, slow or hanging typing call never reorders or breaks a reply, and delays it by at most
``MAX_REPLY_DELAY``. If WeChat responds within that time, it gets Typing, CancelTyping, reply, in this order.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from wxbot.clock import Clock, Signal
from wxbot.errors import (
    AccountNotAllowed,
    AlreadyTyping,
    DeliveryUnknown,
    LeaseLost,
    RequestNotSent,
    StoreUnavailable,
    SystemBusy,
    TokenRefused,
    WeChatError,
)
from wxbot.settings.schema import TypingSettings
from wxbot.store.port import Inbox
from wxbot.store.records import Claim, ConversationRecord
from wxbot.typing_indicator import rules
from wxbot.typing_indicator.port import TypingCalls, TypingCommand
from wxbot.typing_indicator.rules import TypingState

log = logging.getLogger("wxbot.typing")

MAX_REPLY_DELAY = 0.3
"""Maximum seconds, from the beginning of a typing call, that a reply waits for the response, so that WeChat gets the
typing call first. After a handler that takes longer, the reply does not wait. A call that takes longer is treated as
failing."""

RESPONSE_ITERATIONS = 4
"""Event-loop iterations needed to deliver a response that is already in the socket buffer."""

CALL_TIMEOUT = 3.0
"""Seconds after which the channel abandons a typing call."""

NOTE_SECONDS = rules.SHOWN + CALL_TIMEOUT + 2.0
"""Seconds for which the indicator may show if Typing is called within 2 seconds. This time is stored together with a
new message whose handler starts soon, so that its first Typing needs no write of its own."""


@dataclass(slots=True)
class TypingParts:
    """The parts that all indicators of one account share.

    ``enabled`` becomes False when WeChat reports that the account has no typing call.
    """

    channel: TypingCalls
    inbox: Inbox
    clock: Clock
    settings: TypingSettings
    enabled: bool

    @property
    def note_seconds(self) -> float:
        """Return the seconds of the indicator that are recorded together with a new message; 0 for none."""
        return NOTE_SECONDS if self.enabled and self.settings.delay == 0 else 0.0


class _Call(Signal):
    """A typing call in progress, which is set when the response has arrived."""

    __slots__ = ("began_at", "task", "written")

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.began_at = clock.now()
        self.task: asyncio.Task[None] | None = None
        self.written = False
        """True if WeChat may have received the call."""


class TypingIndicator:
    """The indicator of one conversation during the lease of ``claim``."""

    def __init__(self, parts: TypingParts, claim: Claim) -> None:
        record = claim.conversation
        self.state = TypingState(record.interacted_at, record.typing_until or 0.0, uncertain=True)
        self._noted_until = claim.noted_until
        self._parts = parts
        self._clock = parts.clock
        self._margin = parts.settings.margin
        self._lease = claim.lease
        self._showing: asyncio.Task[None] | None = None
        """The task that makes all calls of Typing while a handler works."""
        self._typing: _Call | None = None
        self._cancelling: _Call | None = None
        self._changed = Signal(self._clock)

    # Events of the conversation

    def start(self) -> None:
        """Show the indicator, because a handler starts. If Typing is due, it is called before the first reply."""
        now = self._clock.now()
        is_due = rules.next_typing(self.state, now, self._margin) == now
        if self._parts.enabled and self._parts.settings.delay == 0 and is_due:
            self._typing = _Call(self._clock)
        self.resume()

    def resume(self) -> None:
        """Show the indicator again, because a reply was sent and the handler goes on.

        If the handler ends immediately, there is no call.
        """
        if self._parts.enabled:
            self._showing = asyncio.create_task(self._keep_showing())

    async def pause(self) -> None:
        """Make no calls until ``resume``, because a reply will be sent, which ends the indicator."""
        task, self._showing = self._showing, None
        if task is None:
            return
        call = self._typing
        try:
            if call is not None:
                await self._wait_for_answer(call)
        finally:  # also if interrupted, because nothing else refers to the task any more
            task.cancel()
            self._typing = None
        if call is not None and not call.is_set():  # a failing call must end before anything else happens
            await asyncio.wait({task})

    async def stop(self) -> None:
        """Hide the indicator, because the handler ended. CancelTyping is called once in a turn, and only if needed."""
        await self.pause()
        if self._cancelling is not None or not self._parts.enabled:
            return
        if rules.cancel_needed(self.state, self._clock.now(), self._margin):
            call = self._cancelling = _Call(self._clock)
            call.task = asyncio.create_task(self._call_cancel(call))
            await asyncio.sleep(0)  # the call is written now, so WeChat gets it before the reply
            if not call.written:  # it opens a connection, from which WeChat may read it after the reply
                await self._wait_for_answer(call)

    @property
    def is_cancelling(self) -> bool:
        """Return True if a CancelTyping waits for its response."""
        return self._cancelling is not None and not self._cancelling.is_set()

    async def end_turn(self) -> None:
        """End all calls of the turn. Wait for a response to CancelTyping, within its ``MAX_REPLY_DELAY``."""
        call, self._cancelling = self._cancelling, None
        self._noted_until = 0.0  # the outcome of the turn stores the assumed state
        if call is not None and call.task is not None and not call.is_set():
            try:
                await self._wait_for_answer(call)
            finally:
                call.task.cancel()
            await asyncio.wait({call.task})

    def interacted(self, at: float) -> None:
        """Note that the user acted at ``at``. A running handler may show the indicator again."""
        before, self.state = self.state, rules.interacted(self.state, at)
        if self.state is not before:
            self._changed.set()

    def message_sent(self, called_at: float) -> None:
        """Note that WeChat accepted a message sent at ``called_at``. Its stored record replaces ``typing_until``."""
        self.state = rules.message_sent(self.state, called_at)
        self._noted_until = 0.0

    # Calls

    async def _keep_showing(self) -> None:
        first = self._clock.now() + self._parts.settings.delay
        while self._clock.now() < first:
            await self._wait_until(first)
        while self._parts.enabled:
            now = self._clock.now()
            due = rules.next_typing(self.state, now, self._margin)
            if due is not None and due <= now:
                await self._call_typing(now)
            else:
                await self._wait_until(due)

    async def _call_typing(self, now: float) -> None:
        call = self._typing = self._typing or _Call(self._clock)
        if not rules.must_cancel_first(self.state, now) or await self._cancel_uncertain(call):
            await self._record_and_call(call)
        self._typing = None
        call.set()

    async def _cancel_uncertain(self, call: _Call) -> bool:
        """Call CancelTyping, because Typing would be refused if the indicator is showing. Return True on success."""
        answer = await self._request(call, "CancelTyping")
        if answer == "done":
            self.state = rules.uncertainty_resolved(self.state)
            call.written = False
        elif answer == "refused":
            self.state = rules.typing_refused(self.state)
        else:
            self.state = rules.typing_failed(self.state, self._clock.now())
        return answer == "done"

    async def _record_and_call(self, call: _Call) -> None:
        before, self.state = self.state, rules.typing_called(self.state, self._clock.now(), CALL_TIMEOUT)
        try:
            # Recorded before the call: if this process dies meanwhile, the next owner does not call Typing again.
            if self.state.showing_until > self._noted_until:
                note = ConversationRecord(typing_until=self.state.showing_until)
                self.interacted((await self._parts.inbox.checkpoint(self._lease, note)).interacted_at)
        except LeaseLost:
            self.state = rules.typing_refused(before)
        except StoreUnavailable:
            self.state = rules.typing_failed(before, self._clock.now())
        except asyncio.CancelledError:
            self.state = before
            raise
        else:
            await self._call_recorded(call, before)

    async def _call_recorded(self, call: _Call, before: TypingState) -> None:
        try:
            answer = await self._request(call, "Typing")
        except asyncio.CancelledError:
            not_written = rules.typing_not_written(self.state, before)
            self.state = rules.typing_abandoned(self.state) if call.written else not_written
            raise
        if answer in ("done", "unknown"):  # also if its response was lost, or it is showing already
            self.state = rules.typing_shown(self.state, self._clock.now())
        elif answer == "refused":
            self.state = rules.typing_refused(self.state)
        else:
            self.state = rules.typing_failed(self.state, self._clock.now())

    async def _call_cancel(self, call: _Call) -> None:
        if await self._request(call, "CancelTyping") == "done":
            self.state = rules.typing_cancelled(self.state)
        call.set()

    async def _request(self, call: _Call, command: TypingCommand) -> Literal["done", "unknown", "failed", "refused"]:
        """Make a typing call and return its result.

        "unknown": the indicator may be showing. "failed": for a temporary reason. "refused": until the user acts again,
        or for good.
        """
        try:
            await self._parts.channel.typing(self._lease.key.openid, command, permit=lambda: self._permit(call))
        except (AlreadyTyping, DeliveryUnknown) as error:
            log.info("typing call unconfirmed: command=%s error=%s", command, error)
            return "unknown"
        except (RequestNotSent, SystemBusy, TokenRefused) as error:
            log.info("typing call failed: command=%s error=%s", command, error)
            return "failed"
        except WeChatError as error:
            log.info("typing call refused: command=%s error=%s", command, error)
            if isinstance(error, AccountNotAllowed):
                self._parts.enabled = False
            return "refused"
        return "done"

    def _permit(self, call: _Call) -> bool:
        """Return True and mark ``call`` as written if the lease is active, else another owner may have the user."""
        call.written = self._lease.is_active(self._clock.now())
        return call.written

    # Waiting

    async def _wait_until(self, at: float | None) -> None:
        """Wait until ``at`` (None: without a limit) or until the user acts."""
        self._changed = Signal(self._clock)
        await self._changed.wait(None if at is None else at - self._clock.now())

    async def _wait_for_answer(self, call: _Call) -> None:
        """Wait for the response to ``call``, at most until ``MAX_REPLY_DELAY`` seconds after its beginning."""
        left = call.began_at + MAX_REPLY_DELAY - self._clock.now()
        if left <= 0:
            return
        await call.wait(left)
        for _ in range(RESPONSE_ITERATIONS):  # if the event loop was blocked, it may be in the socket buffer
            if call.is_set():
                return
            await asyncio.sleep(0)
