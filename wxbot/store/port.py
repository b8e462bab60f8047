"""The port of the store: Protocols for the inbox, passive replies, shared values and operators.

The core depends on these Protocols and on no vendor. The adapters are in ``wxbot/store/sqlite`` and
``wxbot/store/redis``. All times are seconds since 1970 by the caller's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from wxbot.store.records import (
    AcceptResult,
    Claim,
    ClaimRequest,
    ConversationKey,
    ConversationRecord,
    DeadLetter,
    Found,
    Handover,
    IncomingMessage,
    Lease,
    Outcome,
    Progress,
    SharedValue,
)


class Inbox(Protocol):
    """The durable inbox. It is the source of truth for which messages are pending and who owns each conversation."""

    def accept(self, message: IncomingMessage, request: ClaimRequest | None = None) -> AcceptResult:
        """Store ``message`` in one transaction. Block until it is durable.

        The claim ``request`` is granted if the message is new, no other message is pending and the conversation has no
        owner. That saves the process a ``claim``, and a ``checkpoint`` before its first Typing.
        Raises StoreUnavailable if the message is not durable.
        """
        ...

    async def waiting(
        self, appid: str, now: float, limit: int, grace_seconds: float = 0.0
    ) -> Sequence[ConversationKey]:
        """Return the account's conversations that have due messages and no active lease, the longest waiting first.

        A conversation without an owner is returned only ``grace_seconds`` after its message became due, because a
        wake-up may still claim it.
        """
        ...

    async def claim(self, key: ConversationKey, owner: str, now: float, lease_seconds: float) -> Claim | None:
        """Claim the conversation if it has a due message and no active lease. Count an attempt for the message."""
        ...

    async def renew(
        self, leases: Sequence[Lease], now: float, lease_seconds: float
    ) -> Mapping[ConversationKey, ConversationRecord]:
        """Extend each of ``leases`` that its owner still holds. Return their conversations, without the state."""
        ...

    async def checkpoint(
        self, lease: Lease, change: ConversationRecord, progress: Progress | None = None
    ) -> ConversationRecord:
        """Store a ``change`` while a message is processed. Return the conversation, without the state.

        With ``progress`` (after a message was sent) the change is durable. Without it (before Typing is called) the
        change only has to survive this process. Raises LeaseLost.
        """
        ...

    async def complete(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Claim | None:
        """Store the outcome of one message, then return the conversation's next message or release the lease.

        With ``go_on``, after the status ``done`` or ``dead``, return a claim of the next pending message with the same
        ``lease``, and count an attempt for it. Otherwise, or if no message is pending, release the lease and return
        None. Raises LeaseLost.
        """
        ...

    async def find(self, key: ConversationKey, dedup_key: str = "") -> Found:
        """Return the stored data of a user, and of the message with ``dedup_key``."""
        ...

    async def purge(self, appid: str, now: float) -> int:
        """Delete some of the records whose retention time is over. Return the number of messages among them."""
        ...


class PassiveReplies(Protocol):
    """The passive replies of accounts that may only reply to a push. A delivery finds its reply with ``Inbox.find``."""

    async def save_reply(self, lease: Lease, seq: int, reply: Mapping[str, Any]) -> bool:
        """Store the passive reply to a message. Durable. Raises LeaseLost.

        ``reply`` has the form of ``replies.reply_to_json``, or is ``{}`` for no reply. A second reply does not replace
        the first one. Return False and store nothing if ``give_up`` was called for this message.
        """
        ...

    async def give_up(self, key: ConversationKey, dedup_key: str) -> Mapping[str, Any] | None:
        """Return the passive reply. If there is none, ``save_reply`` can store none any more. One transaction. Durable.

        The reply is stored as long as the message's dedup record.
        """
        ...


class SharedValues(Protocol):
    """The access token (``TOKEN``) and the media ids of an account, by name, shared by all processes."""

    async def get(self, appid: str, name: str) -> SharedValue | None:
        """Return the value, even if it has expired."""
        ...

    async def put(self, appid: str, name: str, value: SharedValue | None, now: float) -> None:
        """Store ``value`` and release the lock. A media id that has expired at ``now`` is deleted instead.

        None only releases the lock, because no value could be fetched.
        """
        ...

    async def lock(self, appid: str, name: str, now: float, seconds: float, *, outdated: str | None) -> bool:
        """Return True if this process may fetch a new value now. It then has ``seconds`` to call ``put``.

        Return False if another process is fetching, or if a value other than ``outdated`` was stored meanwhile.
        """
        ...


TOKEN = "token"  # noqa: S105 - a name
"""The name of the access token in ``SharedValues``. It is the only value with a lock."""


class Operators(Protocol):
    """The records that an operator sees and changes: handovers to human agents, and dead letters."""

    async def handovers(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, Handover]]:
        """Return at most ``limit`` handovers of the account, sorted by their end."""
        ...

    async def end_handover(self, key: ConversationKey) -> bool:
        """Return the user to the bot. Durable. Return False if there was no handover."""
        ...

    async def dead_letters(self, appid: str, limit: int) -> Sequence[DeadLetter]:
        """Return at most ``limit`` dead letters of the account, the oldest first."""
        ...

    async def remove_dead_letter(self, appid: str, seq: int, retry_at: float | None = None) -> bool:
        """Delete the dead letter together with its dedup record. Return False if not found.

        With ``retry_at``, put the message back at its old position in the inbox instead, and reset its attempts.
        """
        ...


class Store(Inbox, PassiveReplies, SharedValues, Operators, Protocol):
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
