"""The port for copying one store to another, and its records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from wxbot.model.quota import Quota
from wxbot.store.records import WITH_BOT, Handover


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a store keeps it: it waits, or is a dead letter since ``died_at``, with the ``reason``.

    ``forget_at``: when the store forgets it; None as long as it waits.
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
    """What is left of an answered message until ``forget_at``, so that a redelivery is known."""

    seq: int
    openid: str
    dedup_key: str
    forget_at: float


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """What a store knows of one user. Whoever owned the conversation is not told.

    ``next_at``: when its next message may be worked; None: nothing waits. ``forget_at`` is None while something waits.
    """

    openid: str
    interacted_at: float
    typing_until: float
    state: Mapping[str, Any] = field(repr=False)
    next_at: float | None
    forget_at: float | None = None
    quota: Quota | None = None
    active_handover: Handover = WITH_BOT


StoredRecord = StoredMessage | DedupRecord | StoredConversation
Kind = Literal["waiting", "dead", "traces", "conversations"]


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """How an account stands in a store. It stays the same while nobody works it.

    ``worked``: somebody holds a living lease. ``incomplete_copy``: it was not copied here to the end. ``last_seq``: no
    message has a higher number. ``waiting``: how many messages wait.
    """

    worked: bool
    incomplete_copy: bool
    last_seq: int
    waiting: int


class BulkStore(Protocol):
    """A store as a whole, to be read out and filled in slices: for copying one to another while no bot runs.

    An account's part is half a copy from ``begin`` to ``end``. Meanwhile every method of ``Store`` that takes or gives
    a message raises IncompleteCopy, in every process. Of two copies only the one that has begun last may write. Every method
    may raise StoreUnavailable.
    """

    def open(self, *, create: bool) -> None:
        """As ``Store.open``. Without ``create`` a place where there is nothing is refused and not made."""
        ...

    def close(self) -> None: ...

    async def identity(self) -> str:
        """The same for every address of one and the same place, while anybody is asking."""
        ...

    async def accounts(self) -> Sequence[str]:
        """The appids of which something is or was kept."""
        ...

    async def standing(self, appid: str, now: float) -> AccountStatus: ...

    async def contents(self, appid: str) -> Mapping[Kind, int]:
        """How many of each kind are there. May count some twice while the store forgets others."""
        ...

    def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[StoredRecord]]:
        """All that is kept of the account, in slices and in no order. Some may come twice."""
        ...

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        """Make the account's part half a copy by the name of ``copy``, with room for numbers up to ``last_seq``.

        What an earlier half copy has left is removed. False, and nothing is changed, if there is anything else.
        """
        ...

    async def restore(self, appid: str, copy: str, kept: Sequence[StoredRecord], now: float) -> Sequence[bool]:
        """Keep all of ``kept``; of each, whether it was not there before. The order of ``seq`` stays as it is.

        Raises CopyFailed if another copy has begun.
        """
        ...

    async def end(self, appid: str, copy: str) -> None:
        """The copy is whole: bots may work it. Durable. Raises CopyFailed if another copy has begun."""
        ...
