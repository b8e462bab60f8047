"""The port for copying one store to another, and its records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wxbot.store.records import ConversationRecord


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in a store: pending, or a dead letter since ``died_at`` with its ``reason``.

    ``forget_at`` is the time when the store deletes it; None while it is pending.
    """

    seq: int
    openid: str
    dedup_key: str
    fields: Mapping[str, Any] = field(repr=False)
    received_at: float
    attempts: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    died_at: float | None = None
    reason: str = ""
    forget_at: float | None = None


@dataclass(frozen=True, slots=True)
class DedupRecord:
    """The record of a processed message, stored until ``forget_at`` so that a redelivery is recognized."""

    seq: int
    openid: str
    dedup_key: str
    forget_at: float


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """The stored data of one user. Leases are not copied.

    ``next_at`` is the time from which its next message may be processed; None if no message is pending. ``forget_at``
    is None while a message is pending.
    """

    openid: str
    record: ConversationRecord
    next_at: float | None
    forget_at: float | None = None


StoredRecord = StoredMessage | DedupRecord | StoredConversation
Kind = Literal["waiting", "dead", "dedup", "conversations"]


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The status of an account in a store. It does not change while no bot processes the account.

    ``has_active_lease``: a bot processes the account. ``incomplete_copy``: a copy of the account into this store has
    not finished. ``last_seq``: the highest number of a message. ``waiting``: the number of pending messages.
    """

    has_active_lease: bool
    incomplete_copy: bool
    last_seq: int
    waiting: int


class BulkStore(Protocol):
    """A store that is read and filled in slices, to copy one store to another while no bot runs.

    An account is an incomplete copy from ``begin`` to ``end``. Meanwhile every method of ``Store`` that accepts or
    returns a message raises IncompleteCopy, in every process. If two copies run, only the one that began last may
    write. Every method may raise StoreUnavailable.
    """

    def open(self, *, create: bool) -> None:
        """Open as ``Store.open`` does. Without ``create``, raise StoreUnavailable if there is no store yet."""
        ...

    def close(self) -> None: ...

    async def identity(self) -> str:
        """Return an identifier of the store. It is the same for every address of one store, for about a minute."""
        ...

    async def accounts(self) -> Sequence[str]:
        """Return the appids of the accounts that have or had data in this store."""
        ...

    async def status(self, appid: str, now: float) -> AccountStatus: ...

    async def contents(self, appid: str) -> Mapping[Kind, int]:
        """Return the number of records of each kind. Some may be counted twice while the store deletes others."""
        ...

    def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield all records of the account, in slices and in no order. Some may be yielded twice."""
        ...

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        """Mark the account as an incomplete copy named ``copy``, with room for message numbers up to ``last_seq``.

        The records of an earlier incomplete copy are deleted. If there are any other records, return False and change
        nothing.
        """
        ...

    async def restore(self, appid: str, copy: str, records: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        """Store ``records``. Return for each of them whether it is new. The order of the messages stays as it is.

        Raises CopyFailed if another copy has begun.
        """
        ...

    async def end(self, appid: str, copy: str) -> None:
        """Mark the copy as complete: bots may process the account. Durable. Raises CopyFailed if another copy began."""
        ...
