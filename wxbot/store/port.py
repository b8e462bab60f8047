"""The port of the store: Protocols for the inbox, tokens, media, passive replies, handovers and dead letters.

The core depends on these Protocols and on no vendor. The adapters are in ``wxbot/store/sqlite`` and
``wxbot/store/redis``. All times are seconds since 1970 by the caller's clock.
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
    """The durable inbox. It is the source of truth for which messages are pending and who owns each conversation."""

    def accept(self, message: IncomingMessage, request: ClaimRequest | None = None) -> AcceptResult:
        """Store ``message`` in one transaction. Block until it is durable.

        The claim ``request`` is granted if the message is new, no other message is pending and the conversation has no
        owner. That saves the process one call of ``claim`` and one of ``save_typing``.
        Raises StoreUnavailable if the message is not durable.
        """
        ...

    async def waiting(
        self, appid: str, now: float, limit: int, grace_seconds: float = 0.0
    ) -> Sequence[ConversationKey]:
        """Return the account's conversations that have due messages and no active lease, the longest waiting first.

        A conversation that was never claimed since its message was due is returned only after ``grace_seconds``,
        because a wake-up may still claim it.
        """
        ...

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        """Claim the conversation if it has a due message and no active lease. Count an attempt for the message."""
        ...

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, LeaseUpdate]:
        """Extend each of ``leases`` that its owner still holds. Return an update for each extended lease."""
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
        """Record that ``sent`` messages of the reply were sent, and the remaining ``quota``. Raises LeaseLost.

        A quota whose ``expires_at`` differs from the stored one is not written: the user has acted since, so the stored
        quota is newer. ``unsent`` is the remaining work of the message, as in ``PendingMessage``; ``state`` is the
        conversation's state. None leaves the stored value as it is.
        """
        ...

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Store the end of the indicator. Return the time of the last interaction. Raises LeaseLost.

        It is called before Typing is sent.
        """
        ...

    async def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        """Return True if this message was accepted before and its dedup record is still stored."""
        ...

    async def quota(self, key: ConversationKey) -> Quota | None:
        """Return the quota of this user; None if it is unknown."""
        ...

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> PendingMessage | None:
        """Store the outcome of one message, then return the conversation's next message or release the lease.

        With ``go_on``, return the next message that is due and count an attempt for it. Without ``go_on``, or if no
        message is due, release the lease and return None. Raises LeaseLost.
        """
        ...

    async def purge(self, appid: str, now: float) -> int:
        """Delete some of the records that are older than the store's Retention. Return the number of messages."""
        ...


class TokenStore(Protocol):
    """The access token of an account, shared by all processes."""

    async def load_token(self, appid: str) -> StoredToken | None: ...

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        """Return True if this process may fetch a token now. It then has ``seconds`` to call ``save_token``.

        Return False if another process is fetching, or if a token other than ``refused`` was stored meanwhile.
        ``refused`` is the token that WeChat rejected.
        """
        ...

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        """Store a fetched token and end the fetch. None means that the fetch failed."""
        ...


class MediaStore(Protocol):
    """The media that an account has uploaded, by a digest of the content, shared by all processes."""

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        """Return the media that was saved under ``digest``, even if it has expired."""
        ...

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        """Store ``media`` until it expires; None deletes it. Media that expired before ``now`` may be deleted."""
        ...


class PassiveReplyStore(Protocol):
    """The passive replies of accounts that may only reply to a push. A delivery of the push fetches its reply here."""

    async def save_passive_reply(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        """Store the passive reply to a message. Durable. Raises LeaseLost.

        ``answer`` is a reply in the form of ``replies.reply_to_json``, or ``{}`` for no reply. A second reply does not
        replace the first one. Return False and store nothing if ``passive_reply`` has given up on this message.
        """
        ...

    async def passive_reply(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        """Return the passive reply to a message; None if there is none yet.

        With ``give_up``, a message without a reply never gets one. One transaction reads the reply and gives up. The
        reply is stored as long as the message's dedup record.
        """
        ...


class Handovers(Protocol):
    """The users that human agents handle now."""

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        """Return at most ``limit`` handovers of the account, sorted by their end."""
        ...

    async def end_handover(self, key: ConversationKey) -> bool:
        """Return the user to the bot. Durable. Return False if there was no handover."""
        ...


class DeadLetters(Protocol):
    """The messages whose processing failed permanently. An operator retries or drops them."""

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        """Return at most ``limit`` dead letters of the account, the oldest first."""
        ...

    async def retry_dead_letter(self, appid: str, seq: int, now: float) -> bool:
        """Put the message back at its old position in the inbox and reset its attempts. Return False if not found."""
        ...

    async def drop_dead_letter(self, appid: str, seq: int) -> bool:
        """Delete the dead letter together with its dedup record. Return False if not found."""
        ...


class Store(Inbox, TokenStore, MediaStore, PassiveReplyStore, Handovers, DeadLetters, Protocol):
    """All data that must survive a process. Every method may raise StoreUnavailable.

    Accounts are isolated: each has its own ``seq`` numbers, and no method returns another account's data.
    """

    def open(self) -> None:
        """Connect, then create or upgrade the schema. Raises StoreUnavailable with a text that says what to do."""
        ...

    def close(self) -> None: ...

    async def ping(self) -> None:
        """Check that a durable write works."""
        ...
