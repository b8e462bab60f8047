"""What the core needs from the outside world, as Protocols: a clock, a store, a waker, a channel.

The core (pipeline, conversation and what lies below them) knows these and no vendor. Adapters are in
``wxbot/backends`` (stores, wakers) and ``wxbot/wechat`` (the channel). Times are seconds since 1970 by the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wxbot.model.quota import Quota
from wxbot.store.records import (
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    DeadLetter,
    Handover,
    IncomingMessage,
    Lease,
    LeaseUpdate,
    Outcome,
    PendingMessage,
    StoredMedia,
    StoredToken,
)


class Inbox(Protocol):
    """The durable inbox: the truth about what is still to be answered, and who is answering it."""

    def accept(self, arrival: IncomingMessage, bid: ClaimRequest | None = None) -> AcceptResult:
        """Keep ``arrival`` for good, in one transaction. Blocks until durable.

        The ``bid`` is granted if the message is new and the only one, and nobody owns the conversation: that saves
        the bidder a claim, and a note before it calls Typing. Raises StoreUnavailable if nothing can be promised.
        """
        ...

    async def waiting(self, appid: str, now: float, limit: int, patience: float = 0.0) -> Sequence[ConversationKey]:
        """The account's conversations with work to do and no living owner, the longest waiting first.

        Those that had no owner since they were due only after ``patience`` seconds: a hint may be on its way.
        """
        ...

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        """Own the conversation, if it has work that is due and no living owner. Counts an attempt."""
        ...

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, LeaseUpdate]:
        """Extend those of ``leases`` that nobody has taken over; of each what is new, by key."""
        ...

    async def record_sent(
        self,
        lease: Lease,
        seq: int,
        sent: int,
        sent_at: float,
        quota: Quota | None = None,
        *,
        unsent: Sequence[Mapping[str, Any]] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Note that ``sent`` messages of the answer are out, and what is left of the ``quota``. Raises LeaseLost.

        A quota with another ``until`` than the kept one is not written: the user has acted meanwhile, and what they
        allowed is newer than what the caller counted down. ``unsent``: what is left of the message, as in ``PendingMessage``;
        ``state``: the conversation's. None leaves each of them as it is.
        """
        ...

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Store until when Typing may show, before Typing is called. Return the last interaction. Raise LeaseLost."""
        ...

    async def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        """Whether this message was accepted before, as far as is remembered."""
        ...

    async def quota(self, key: ConversationKey) -> Quota | None:
        """What may be sent to this user, as far as is known."""
        ...

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> PendingMessage | None:
        """Close one message; with ``go_on`` return the next one that is due (an attempt is counted), else release.

        Returns None when the lease was released. Raises LeaseLost.
        """
        ...

    async def purge(self, appid: str, now: float) -> int:
        """Forget some of what was kept for longer than the store's Retention; returns how many messages."""
        ...


class TokenStore(Protocol):
    """Where all processes keep the one access token of an account."""

    async def load_token(self, appid: str) -> StoredToken | None: ...

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        """True if this process may fetch now; False if another one is at it (for ``seconds`` at most), or if a token
        other than ``refused`` has been stored meanwhile."""
        ...

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        """Store a fetched token and end the fetch; None when the fetch failed."""
        ...


class MediaStore(Protocol):
    """Which files an account has uploaded lately, by their content: shared by all processes."""

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        """What was saved under ``digest``, also if it has expired."""
        ...

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        """Keep it until it expires; None forgets it. What has expired by ``now`` may be removed."""
        ...


class PassiveReplyStore(Protocol):
    """The answers that wait for WeChat to ask for them (accounts that may only answer a push)."""

    async def save_passive_reply(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        """Keep the answer to a message for those who ask. Durable. Raises LeaseLost.

        ``answer`` is a reply as ``replies.reply_to_json`` makes it, or ``{}`` for silence. False, and it is not kept,
        if ``passive_reply`` has given up on this message: then nobody will ask again. The first answer stays.
        """
        ...

    async def passive_reply(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        """The answer to a message, or None as long as there is none. With ``give_up`` and none there, there will never
        be one: it is decided in one transaction. StoredRecord for as long as the message is remembered."""
        ...


class Handovers(Protocol):
    """The users who are with human agents."""

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        """Some of the account's, those that end first before the others."""
        ...

    async def end_handover(self, key: ConversationKey) -> bool:
        """The bot has the user again; False if it had them already. Durable."""
        ...


class DeadLetters(Protocol):
    """The messages that could not be answered."""

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        """Some of the account's, the oldest first."""
        ...

    async def retry_dead_letter(self, appid: str, seq: int, now: float) -> bool:
        """Put it back at its old place in the inbox with fresh attempts; False if there is none with that number."""
        ...

    async def drop_dead_letter(self, appid: str, seq: int) -> bool:
        """Forget it and that it was seen; False if there is none with that number."""
        ...


class Store(Inbox, TokenStore, MediaStore, PassiveReplyStore, Handovers, DeadLetters, Protocol):
    """All that must outlive a process. Every method may raise StoreUnavailable.

    Seq numbers are the account's own. What belongs to one account is found by none of the others.
    """

    def open(self) -> None:
        """Connect, and create or upgrade what is kept. Raises StoreUnavailable with what to do."""
        ...

    def close(self) -> None: ...

    async def ping(self) -> None:
        """Prove that a durable write works."""
        ...
