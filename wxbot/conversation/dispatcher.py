"""The dispatcher: it starts conversations, renews their leases, and releases them at the end.

The inbox in the store is the source of truth, and a wake-up is only a notification. A poll finds the messages that no
wake-up reached, because a wake-up was lost or another process died.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from wxbot.clock import Clock, pause, time_limit
from wxbot.conversation.conversation import RENEWALS_PER_LEASE, Conversation, ConversationParts
from wxbot.conversation.pipeline import Pipeline
from wxbot.errors import LeaseLost, StoreUnavailable
from wxbot.settings.schema import DispatcherSettings
from wxbot.store.port import Inbox
from wxbot.store.records import Claim, ClaimRequest, ConversationKey, ConversationRecord, Lease, Outcome
from wxbot.typing_indicator.indicator import TypingParts

log = logging.getLogger("wxbot.conversation")

GRACE_SECONDS = 0.5
"""After a store outage all leases have expired. During a grace period only their previous owners may renew them. The
grace period lasts for one poll, one renewal and these seconds."""

RELEASE_TIMEOUT = 10.0
"""Maximum seconds that a stopping process waits for the store to release its conversations. After that they expire."""

PURGE_SECONDS = 600.0
"""Seconds between two purges of expired records."""


class Dispatcher:
    """The owner of all conversations of one process. It runs in the event loop's thread.

    ``wakeup_seconds``: time that a wake-up may take to arrive. A poll leaves newer messages to their wake-ups.
    """

    def __init__(
        self,
        appid: str,
        owner: str,
        inbox: Inbox,
        clock: Clock,
        settings: DispatcherSettings,
        typing: TypingParts,
        wakeup_seconds: float = 0.0,
    ) -> None:
        self._appid = appid
        self._inbox = inbox
        self._clock = clock
        self._settings = settings
        self._wakeup_seconds = wakeup_seconds
        self._parts = ConversationParts(owner, settings.lease_seconds, inbox, clock, typing)
        self._active: dict[ConversationKey, Conversation] = {}
        self._unrecorded: list[tuple[Lease, Outcome]] = []
        self._background: list[asyncio.Task[None]] = []
        self._unavailable_at = float("-inf")
        self._capacity = asyncio.Event()
        """An event that is set when a conversation ends, and when this process begins to accept nothing new."""
        self._purged_at = clock.now()

    def start(self, pipeline: Pipeline) -> None:
        """Start to poll the inbox and to renew leases."""
        self._parts.pipeline = pipeline
        self._background = [
            asyncio.create_task(self._every(self._settings.poll_seconds, self._poll)),
            asyncio.create_task(self._every(self._settings.lease_seconds / RENEWALS_PER_LEASE, self._renew)),
        ]

    def claim_request(self) -> ClaimRequest | None:
        """Return the claim request for a push that is being accepted; None if this process accepts nothing new.

        May be called from any thread.
        """
        if self._parts.draining or self._is_full():
            return None
        return ClaimRequest(self._parts.owner, self._settings.lease_seconds, self._parts.typing.note_seconds)

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """Process new messages of ``key``, whose user acted at ``interacted_at``. ``claim``: the claim, if granted."""
        conversation = self._active.get(key)
        if conversation is None:
            self._begin(key, claim)
        else:
            conversation.wake(interacted_at, claim)

    def is_active(self, key: ConversationKey) -> bool:
        """Return True if this process is processing the conversation. May be called from any thread."""
        return key in self._active

    def on_user_action(self, key: ConversationKey, change: ConversationRecord) -> None:
        """Apply a user action, in case an earlier message of the user is being processed."""
        if conversation := self._active.get(key):
            conversation.on_user_action(change)

    async def adopt(self, key: ConversationKey, interacted_at: float) -> None:
        """Claim ``key`` if it has a due message and no active lease. Wait while this process is full."""
        while not self._parts.draining and self._is_full() and key not in self._active:
            self._capacity.clear()
            await self._capacity.wait()
        self.wake(key, interacted_at)
        if conversation := self._active.get(key):
            await conversation.claim_decided.wait()

    async def check_lease(self, lease: Lease) -> None:
        """Check before a send that this process still owns ``lease``. Raises LeaseLost, StoreUnavailable."""
        if lease.is_active(self._clock.now()):
            return
        # This process was paused, its event loop was blocked, or the store was unavailable, so another process may have
        # taken over.
        log.warning("lease expired during processing, checking ownership")
        await self._renew()
        if not lease.is_active(self._clock.now()):
            raise LeaseLost("the lease expired and another process took over this conversation")

    async def drain(self, seconds: float) -> None:
        """Accept nothing new, let running handlers finish within ``seconds``, and release the other conversations."""
        self.refuse_new()
        await self._finish_running(seconds)
        for conversation in list(self._active.values()):
            conversation.interrupt()
        if remaining := self._tasks():
            log.info("releasing conversations: count=%d", len(remaining))
            await asyncio.wait(remaining, timeout=RELEASE_TIMEOUT)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        with suppress(StoreUnavailable):
            await self._record_late()

    def refuse_new(self) -> None:
        """Accept no new conversation or message from now on."""
        self._parts.draining = True
        self._capacity.set()

    async def _finish_running(self, seconds: float) -> None:
        tasks = self._tasks()
        if not tasks:
            return
        log.info("finishing conversations: count=%d max_seconds=%g", len(tasks), seconds)
        with suppress(TimeoutError):
            async with time_limit(self._clock, seconds):
                await asyncio.wait(tasks)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [conversation.task for conversation in self._active.values() if conversation.task is not None]

    def _is_full(self) -> bool:
        return len(self._active) >= self._settings.max_conversations

    # Conversations

    def _begin(self, key: ConversationKey, claim: Claim | None = None) -> None:
        if claim is None and (self._parts.draining or self._is_full()):
            return  # the message stays in the inbox, and a poll finds it
        conversation = self._active[key] = Conversation(key, self._parts, claim)
        conversation.task = asyncio.create_task(self._run(key, conversation))

    async def _run(self, key: ConversationKey, conversation: Conversation) -> None:
        try:
            await conversation.process()
        except LeaseLost as error:
            log.warning("conversation left to its new owner: %s", error)
        except StoreUnavailable as error:
            log.error("conversation left until the store is available: %s", error)
            if unrecorded := conversation.unrecorded():
                self._unrecorded.append(unrecorded)
        except asyncio.CancelledError:
            if not (self._parts.draining or conversation.lost):
                raise
        except Exception:
            log.exception("conversation failed, it is retried after its lease expires")
        finally:
            del self._active[key]
            conversation.claim_decided.set()
            self._capacity.set()
            if conversation.is_woken:
                self._begin(key, conversation.next_claim)

    # Background tasks

    async def _every(self, seconds: float, task: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await task()
            except StoreUnavailable as error:
                log.error("store unavailable: %s", error)
                self._unavailable_at = self._clock.now()
            except Exception:
                log.exception("background task of the dispatcher failed")
            await pause(self._clock, seconds)

    async def _poll(self) -> None:
        """Begin conversations without an active lease, after a lost wake-up, the end of an owner or a due retry."""
        await self._record_late()
        now = self._clock.now()
        free = self._settings.max_conversations - len(self._active)
        if free > 0 and not self._parts.draining and not self._in_grace_period(now):
            for key in await self._inbox.waiting(self._appid, now, free, self._wakeup_seconds):
                if key not in self._active:
                    self._begin(key)
        if now - self._purged_at >= PURGE_SECONDS:
            self._purged_at = now
            while await self._inbox.purge(self._appid, now):
                await pause(self._clock, 0.0)  # purge in slices, so that pushes can be accepted in between

    def _in_grace_period(self, now: float) -> bool:
        renewal = self._settings.lease_seconds / RENEWALS_PER_LEASE
        return 0 <= now - self._unavailable_at < self._settings.poll_seconds + renewal + GRACE_SECONDS

    async def _record_late(self) -> None:
        """Store the outcomes that could not be stored during an outage, and release their conversations."""
        for late in list(self._unrecorded):
            lease, outcome = late
            with suppress(LeaseLost):
                await self._inbox.complete(lease, outcome, self._clock.now(), go_on=False)
            self._unrecorded.remove(late)

    async def _renew(self) -> None:
        """Renew the leases, apply user actions that other processes received, and stop lost conversations.

        Only the leases of active conversations and of outcomes still to be stored are renewed. Any other lease must
        expire, because no task of this process uses it.
        """
        now = self._clock.now()
        owned = {c.lease.key: c for c in self._active.values() if c.lease is not None}
        leases = [*(c.lease for c in owned.values() if c.lease), *(lease for lease, _ in self._unrecorded)]
        if not leases:
            return
        renewed = await self._inbox.renew(leases, now, self._settings.lease_seconds)
        for key, conversation in owned.items():
            if key in renewed:
                conversation.on_renewed(now + self._settings.lease_seconds, renewed[key])
            else:
                conversation.lose()
