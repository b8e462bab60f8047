"""Who is answering whom: owns conversations by lease, works their messages in order, gives them back.

The inbox in the store is the truth and a wake-up only a hint: what no hint reached (another process died, the hint was
lost) is found by the sweep.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from wxbot.clock import Clock, pause
from wxbot.conversation.conversation import LEASE_MARGIN, RENEWALS_PER_LEASE, Conversation
from wxbot.conversation.pipeline import Pipeline
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.model.quota import Quota
from wxbot.store.port import Inbox
from wxbot.store.records import Claim, ClaimRequest, ConversationKey, Handover, Lease, Outcome, PendingMessage
from wxbot.store.retry import retry_until_stored
from wxbot.typing_indicator.indicator import TypingIndicator
from wxbot.typing_indicator.rules import TypingState

log = logging.getLogger("wxbot.conversation")

GRACE_SECONDS = 0.5
"""After an outage of the store all leases have run out. So long, beyond a renewal, their owners come first."""

HAND_BACK_SECONDS = 10.0
"""Longest wait at the end for a store that takes nothing back: the leases run out by themselves."""

PURGE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class DispatcherOptions:
    """What a deployment chooses about owning conversations (wxbot.settings.schema has the meaning of each)."""

    lease_seconds: float = 8.0
    poll_seconds: float = 1.0
    wakeup_seconds: float = 0.0
    """How long a wake-up may be on its way before the sweep does its work."""
    typing_note_seconds: float = 0.0
    max_conversations: int = 10_000


class Dispatcher:
    """All conversations of one process. Lives on the event loop's thread."""

    def __init__(
        self,
        appid: str,
        owner: str,
        inbox: Inbox,
        clock: Clock,
        options: DispatcherOptions,
        make_indicator: Callable[[Lease, TypingState, float], TypingIndicator],
    ) -> None:
        self._appid = appid
        self._owner = owner
        self._inbox = inbox
        self._clock = clock
        self._options = options
        self._make_indicator = make_indicator
        self._pipeline: Pipeline | None = None
        self._active: dict[ConversationKey, Conversation] = {}
        self._unrecorded: list[tuple[Lease, Outcome]] = []
        self._upkeep: list[asyncio.Task[None]] = []
        self._draining = False
        self._out_at = float("-inf")
        self._room = asyncio.Event()
        """Set when a conversation ends, and for good when this process takes nothing new."""
        self._purged_at = clock.now()

    def start(self, pipeline: Pipeline) -> None:
        """Begin to look after the inbox."""
        self._pipeline = pipeline
        self._upkeep = [
            asyncio.create_task(self._every(self._options.poll_seconds, self._sweep)),
            asyncio.create_task(self._every(self._options.lease_seconds / RENEWALS_PER_LEASE, self._renew)),
        ]

    def bid(self) -> ClaimRequest | None:
        """What to ask for with a push: its conversation, unless this process takes nothing new. Callable anywhere."""
        if self._draining or len(self._active) >= self._options.max_conversations:
            return None
        return ClaimRequest(self._owner, self._options.lease_seconds, self._options.typing_note_seconds)

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """There may be news for ``key``: its user acted at ``interacted_at``. ``claim``: it is ours already."""
        conversation = self._active.get(key)
        if conversation is None:
            self._begin(key, claim)
            return
        conversation.again, conversation.granted = True, claim or conversation.granted
        if conversation.indicator is not None:
            conversation.indicator.interacted(interacted_at)

    def works(self, key: ConversationKey) -> bool:
        """Whether the conversation is worked here. Callable anywhere."""
        return key in self._active

    def on_user_action(self, key: ConversationKey, active_handover: Handover, quota: Quota | None) -> None:
        """The user has done something while, maybe, an earlier message of theirs is being worked."""
        if conversation := self._active.get(key):
            conversation.on_user_action(active_handover, quota)

    async def adopt(self, key: ConversationKey, interacted_at: float) -> None:
        """Make ``key`` ours if it has work and no living owner. Waits while this process is full."""
        while not self._draining and len(self._active) >= self._options.max_conversations and key not in self._active:
            self._room.clear()
            await self._room.wait()
        self.wake(key, interacted_at)
        if conversation := self._active.get(key):
            await conversation.decided.wait()

    async def hold(self, lease: Lease) -> None:
        """Make sure that ``lease`` is still ours before something is sent. Raises LeaseLost, StoreUnavailable."""
        if lease.is_ours(self._clock.now()):
            return
        # We were away (a stopped process, a blocked event loop, a store outage): somebody else may have taken over.
        log.warning("a lease ran out while its conversation was worked; asking the store")
        await self._renew()
        if not lease.is_ours(self._clock.now()):
            raise LeaseLost("the lease ran out and another process took over this conversation")

    async def drain(self, seconds: float) -> None:
        """Take nothing new, finish within ``seconds`` what is running, hand the rest back to the store."""
        self.refuse_new()
        tasks = self._tasks()
        if tasks:
            log.info("finishing %d conversations, %g s at most", len(tasks), seconds)
            deadline = asyncio.create_task(pause(self._clock, seconds))
            finished = asyncio.create_task(asyncio.wait(tasks))
            await asyncio.wait({deadline, finished}, return_when=asyncio.FIRST_COMPLETED)
            deadline.cancel()
            finished.cancel()
        for conversation in list(self._active.values()):
            conversation.interrupt()
        if remaining := self._tasks():
            log.info("handing back %d conversations", len(remaining))
            await asyncio.wait(remaining, timeout=HAND_BACK_SECONDS)
        for task in self._upkeep:
            task.cancel()
        await asyncio.gather(*self._upkeep, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._record_late()

    def refuse_new(self) -> None:
        """Take nothing new from now on."""
        self._draining = True
        self._room.set()

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [conversation.task for conversation in self._active.values() if conversation.task is not None]

    # Work

    def _begin(self, key: ConversationKey, claim: Claim | None = None) -> None:
        if claim is None and (self._draining or len(self._active) >= self._options.max_conversations):
            return  # it stays in the inbox, and the sweep finds it
        conversation = self._active[key] = Conversation()
        conversation.granted = claim
        conversation.task = asyncio.create_task(self._run(key, conversation))

    async def _run(self, key: ConversationKey, conversation: Conversation) -> None:
        try:
            await self._own(key, conversation)
        except LeaseLost as error:
            log.warning("left a conversation to its new owner: %s", error)
        except StoreUnavailable as error:
            log.error("left a conversation until the store is back: %s", error)
            if left := conversation.unrecorded():
                self._unrecorded.append(left)
        except asyncio.CancelledError:
            if not (self._draining or conversation.lost):
                raise
        except Exception:
            log.exception("a conversation failed; its lease runs out and it is tried again")
        finally:
            del self._active[key]
            conversation.decided.set()
            self._room.set()
            if conversation.again:
                self._begin(key, conversation.granted)

    async def _own(self, key: ConversationKey, conversation: Conversation) -> None:
        claim, conversation.granted, conversation.again = conversation.granted, None, False
        if claim is None or self._clock.now() >= claim.lease.expires_at:  # it waited for too long: maybe no more ours
            claim = await self._inbox.claim(key, self._owner, self._clock.now(), self._options.lease_seconds)
        conversation.decided.set()
        if claim is None:
            return
        conversation.lease = claim.lease
        claim.lease.margin = min(LEASE_MARGIN, self._options.lease_seconds / RENEWALS_PER_LEASE)
        shown = TypingState(claim.interacted_at, claim.typing_until, uncertain=True)
        conversation.indicator = self._make_indicator(claim.lease, shown, claim.noted_until)
        state, pending = claim.state, claim.pending
        while True:
            outcome = await self._work(conversation, claim.lease, pending, state)
            state = state if outcome.state is None else outcome.state
            conversation.outcome, conversation.again, conversation.granted = outcome, False, None
            following = await self._settle(claim.lease, outcome)
            conversation.outcome = None
            if following is None:
                return
            pending = following

    async def _work(
        self, conversation: Conversation, lease: Lease, pending: PendingMessage, state: dict[str, Any]
    ) -> Outcome:
        assert self._pipeline is not None  # noqa: S101 - set by start(), before anything can be claimed
        assert conversation.indicator is not None  # noqa: S101 - made with the lease
        try:
            turn = conversation.turn = self._pipeline.begin(lease, pending, conversation.indicator, state)
        except (KeyError, TypeError, ValueError) as error:  # written by another version of wxbot
            return self._pipeline.unreadable(pending, error, conversation.indicator.state.showing_until)
        try:
            outcome = turn.outcome("released") if self._draining else await self._pipeline.answer(turn)
        except asyncio.CancelledError:
            if not self._draining or conversation.lost:
                raise
            outcome = turn.outcome("released")
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception as error:  # a fault of ours: keep the message, do not try it for ever
            log.exception("a message could not be worked")
            outcome = turn.outcome("dead", f"wxbot failed: {error!r}")
        conversation.turn, conversation.outcome = None, outcome  # how it ended is known: nothing to interrupt
        await turn.indicator.end_turn()
        # Only now is it known whether CancelTyping has ended what showed.
        return replace(outcome, typing_until=turn.indicator.state.showing_until)

    async def _settle(self, lease: Lease, outcome: Outcome) -> PendingMessage | None:
        return await retry_until_stored(
            self._clock,
            lambda: self._inbox.settle(lease, outcome, self._clock.now(), go_on=not self._draining),
        )

    # Upkeep

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except StoreUnavailable as error:
                log.error("the store is out: %s", error)
                self._out_at = self._clock.now()
            except Exception:
                log.exception("upkeep of the conversations failed")
            await pause(self._clock, seconds)

    async def _sweep(self) -> None:
        """Take up what nobody works: forgotten hints, the conversations of a dead process, tries that are due."""
        await self._record_late()
        now = self._clock.now()
        free = self._options.max_conversations - len(self._active)
        if free > 0 and not self._draining and not self._owners_come_first(now):
            for key in await self._inbox.waiting(self._appid, now, free, self._options.wakeup_seconds):
                if key not in self._active:
                    self._begin(key)
        if now - self._purged_at >= PURGE_SECONDS:
            self._purged_at = now
            while await self._inbox.purge(self._appid, now):
                await pause(self._clock, 0.0)  # a slice at a time: acknowledgments go in between

    def _owners_come_first(self, now: float) -> bool:
        renewal = self._options.lease_seconds / RENEWALS_PER_LEASE
        return 0 <= now - self._out_at < self._options.poll_seconds + renewal + GRACE_SECONDS

    async def _record_late(self) -> None:
        """Record what an outage has kept from the store, and release the conversation."""
        for late in list(self._unrecorded):
            lease, outcome = late
            with suppress(LeaseLost):
                await self._inbox.settle(lease, outcome, self._clock.now(), go_on=False)
            self._unrecorded.remove(late)

    async def _renew(self) -> None:
        """Extend our leases, learn of interactions that came in through other processes, drop what is lost.

        Only what is worked, or still to be recorded, is renewed: a lease that nobody here knows of must run out.
        """
        now = self._clock.now()
        working = {c.lease.key: c for c in self._active.values() if c.lease is not None}
        leases = [*(c.lease for c in working.values() if c.lease), *(lease for lease, _ in self._unrecorded)]
        if not leases:
            return
        held = await self._inbox.renew(leases, now, self._options.lease_seconds)
        for key, conversation in working.items():
            if key in held:
                conversation.renewed(now + self._options.lease_seconds, held[key])
            elif conversation.turn is not None:
                conversation.lose()
