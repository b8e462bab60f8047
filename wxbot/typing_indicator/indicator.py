"""Shows a user that the bot is working: calls Typing and CancelTyping by the rules of ``wxbot.typing_indicator.rules``.

Best effort, and off the critical path: a failing, slow or hanging typing call never delays, reorders or breaks a reply.
On a healthy wire (an answer within ``PATIENCE``) the platform sees Typing, CancelTyping, reply, in that order.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from wxbot.clock import Clock
from wxbot.errors import (
    AccountNotAllowed,
    AlreadyTyping,
    ApiError,
    DeliveryUnknown,
    LeaseLost,
    RequestNotSent,
    StoreUnavailable,
    SystemBusy,
    TokenRefused,
    WeChatError,
)
from wxbot.store.records import Lease
from wxbot.typing_indicator import rules
from wxbot.typing_indicator.port import TypingCalls, TypingNotes
from wxbot.typing_indicator.rules import TypingState

log = logging.getLogger("wxbot.typing")

PATIENCE = 0.3
"""Seconds that a reply waits for a typing call under way, so that the two cannot overtake each other. A handler that
takes longer than this costs its reply nothing; a call that takes longer is sick, and nothing waits for it."""

PASSES = 4
"""Of the event loop, from bytes that can be read to whoever waits for them."""

LONGEST_CALL = 3.0
"""Seconds after which the channel gives up on a typing call."""

NOTE_SECONDS = rules.SHOWN + LONGEST_CALL + 2.0
"""How long a Typing may show that is called within 2 s: what is noted together with a message whose handler is about
to start, so that its first Typing needs no note of its own."""


@dataclass(slots=True)
class TypingOptions:
    """One account's choices, shared by its conversations; ``enabled`` goes off when WeChat says there is no typing."""

    enabled: bool = True
    delay: float = 0.0
    margin: float = 1.5


class _Call:
    """A typing call under way, and who waits for its answer."""

    __slots__ = ("answered", "began_at", "waiter", "written")

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at
        self.answered = False
        self.written = False
        """Whether WeChat may have got it."""
        self.waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        self.answered = True
        self.wake()

    def is_answered(self) -> bool:
        return self.answered

    def wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)


class TypingIndicator:
    """The indicator of one conversation, for as long as its lease is held."""

    def __init__(
        self,
        channel: TypingCalls,
        inbox: TypingNotes,
        lease: Lease,
        clock: Clock,
        options: TypingOptions,
        state: TypingState,
        noted_until: float = 0.0,
    ) -> None:
        self.state = state
        self._noted_until = noted_until
        self._channel = channel
        self._inbox = inbox
        self._lease = lease
        self._clock = clock
        self._options = options
        self._work: asyncio.Task[None] | None = None
        self._typing_call: _Call | None = None
        self._cancel: asyncio.Task[None] | None = None
        self._cancel_call: _Call | None = None
        self._nudge: asyncio.Future[None] | None = None

    # What happens in the conversation

    def start(self) -> None:
        """A handler starts. If nothing stands against it, Typing is called before the handler's first reply."""
        if self._options.enabled:
            if self._options.delay == 0 and self._due_now():
                self._typing_call = _Call(self._clock.now())
            self._work = asyncio.create_task(self._keep_showing())

    def resume(self) -> None:
        """A part of the answer is out and the handler goes on. One that ends at once causes no call."""
        if self._options.enabled:
            self._work = asyncio.create_task(self._keep_showing())

    async def pause(self) -> None:
        """A part of the answer is about to go out, which will end what shows: make no call meanwhile."""
        work, self._work = self._work, None
        if work is None:
            return
        call = self._typing_call
        try:
            if call is not None:
                await self._be_patient(call)
        finally:  # be it interrupted: nobody else knows of this work any more
            work.cancel()
            self._typing_call = None
        if call is not None and not call.answered:  # a sick call: see it gone before anything else happens
            await asyncio.wait({work})

    async def stop(self) -> None:
        """The handler is through, however it ended: CancelTyping, once in a turn, if there is something to cancel."""
        await self.pause()
        if self._cancel_call is not None or not self._options.enabled:
            return
        now = self._clock.now()
        if rules.cancel_needed(self.state, now, self._options.margin):
            self._cancel_call = _Call(now)
            self._cancel = asyncio.create_task(self._call_cancel(self._cancel_call))
            await asyncio.sleep(0)  # it is written now; the reply follows it on the wire

    @property
    def calling(self) -> bool:
        """Whether a CancelTyping still waits for its answer."""
        return self._cancel_call is not None and not self._cancel_call.answered

    async def end_turn(self) -> None:
        """Nothing of a turn goes on after it: an answer that is still missing gets the rest of ``PATIENCE``."""
        cancel, call = self._cancel, self._cancel_call
        if cancel is not None and call is not None and not call.answered:
            try:
                await self._be_patient(call)
            finally:
                cancel.cancel()
            await asyncio.wait({cancel})
        self._cancel = self._cancel_call = None
        self._noted_until = 0.0  # the record of the turn's end notes what is believed then

    def interacted(self, at: float) -> None:
        """The user acted at ``at``, maybe while a handler works: the window may be open again."""
        before, self.state = self.state, rules.interacted(self.state, at)
        if self.state is not before:
            self._look_again()

    def message_sent(self, called_at: float) -> None:
        """A message to the user, called for at ``called_at``, was accepted. Its record ends what was noted, too."""
        self.state = rules.message_sent(self.state, called_at)
        self._noted_until = 0.0

    # The work

    async def _keep_showing(self) -> None:
        first = self._clock.now() + self._options.delay
        while self._clock.now() < first:
            await self._wait_until(first)
        while self._options.enabled:
            now = self._clock.now()
            due = rules.next_typing(self.state, now, self._options.margin)
            if due is not None and due <= now:
                await self._call_typing(now)
            else:
                await self._wait_until(due)

    def _due_now(self) -> bool:
        now = self._clock.now()
        return rules.next_typing(self.state, now, self._options.margin) == now

    async def _call_typing(self, now: float) -> None:
        call = self._typing_call = self._typing_call or _Call(now)
        if not rules.must_cancel_first(self.state, now) or await self._clear_doubt(call):
            await self._note_and_call(call)
        self._typing_call = None
        call.end()

    async def _clear_doubt(self, call: _Call) -> bool:
        """Something may show that we know nothing of, and then Typing would be refused. End it; True if it has."""
        try:
            await self._channel.typing(self._lease.key.openid, "CancelTyping", permit=lambda: self._may_write(call))
        except (RequestNotSent, SystemBusy, TokenRefused, DeliveryUnknown) as error:
            log.info("typing not shown: %s", error)
            self.state = rules.typing_failed(self.state, self._clock.now())
        except WeChatError as error:
            self._note_refusal(error)
            self.state = rules.typing_refused(self.state)
        else:
            self.state = rules.doubt_cleared(self.state)
            call.written = False
            return True
        return False

    async def _note_and_call(self, call: _Call) -> None:
        before, self.state = self.state, rules.typing_called(self.state, self._clock.now(), LONGEST_CALL)
        try:
            # Noted before it is called: should this process die meanwhile, its successor does not call twice.
            if self.state.showing_until > self._noted_until:
                self.interacted(await self._inbox.save_typing(self._lease, self.state.showing_until))
        except LeaseLost:
            self.state = rules.typing_refused(before)
        except StoreUnavailable:
            self.state = rules.typing_failed(before, self._clock.now())
        except asyncio.CancelledError:
            self.state = before
            raise
        else:
            await self._say_typing(call, before)

    async def _say_typing(self, call: _Call, before: TypingState) -> None:
        try:
            self.state = await self._outcome_of_typing(call)
        except asyncio.CancelledError:
            given_up = rules.typing_given_up(self.state, before)
            self.state = rules.typing_abandoned(self.state) if call.written else given_up
            raise

    async def _outcome_of_typing(self, call: _Call) -> TypingState:
        try:
            await self._channel.typing(self._lease.key.openid, "Typing", permit=lambda: self._may_write(call))
        except (AlreadyTyping, DeliveryUnknown) as error:
            log.info("typing may be showing already: %s", error)
        except (RequestNotSent, SystemBusy, TokenRefused) as error:
            log.info("typing not shown: %s", error)
            return rules.typing_failed(self.state, self._clock.now())
        except WeChatError as error:
            self._note_refusal(error)
            return rules.typing_refused(self.state)
        return rules.typing_shows(self.state, self._clock.now())

    async def _call_cancel(self, call: _Call) -> None:
        try:
            await self._channel.typing(self._lease.key.openid, "CancelTyping", permit=lambda: self._may_write(call))
        except WeChatError as error:
            if isinstance(error, ApiError):
                self._note_refusal(error)
            else:
                log.info("typing not cancelled, it ends by itself: %s", error)
        else:
            self.state = rules.typing_cancelled(self.state)
        call.end()

    def _may_write(self, call: _Call) -> bool:
        """By the clock, is the lease still ours? What shows after it is another owner's."""
        call.written = self._lease.is_ours(self._clock.now())
        return call.written

    def _note_refusal(self, error: WeChatError) -> None:
        log.info("typing refused: %s", error)
        if isinstance(error, AccountNotAllowed):
            self._options.enabled = False

    # Waiting by the clock

    async def _wait_until(self, at: float | None) -> None:
        """Until ``at`` (None: for ever), or until there is something new to consider."""
        self._nudge = asyncio.get_running_loop().create_future()
        if at is None:
            await self._nudge
            return
        timer = self._clock.call_later(at - self._clock.now(), self._look_again)
        try:
            await self._nudge
        finally:
            timer.cancel()

    def _look_again(self) -> None:
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    async def _be_patient(self, call: _Call) -> None:
        """Wait for the answer to ``call``, ``PATIENCE`` seconds from its beginning at most."""
        left = call.began_at + PATIENCE - self._clock.now()
        if call.is_answered() or left <= 0:
            return
        timer = self._clock.call_later(left, call.wake)
        try:
            await call.waiter
        finally:
            timer.cancel()
        for _ in range(PASSES):  # were we away ourselves (a blocked loop), its answer lies at our door
            if call.is_answered():
                return
            await asyncio.sleep(0)
