"""What the core needs from the outside world, as Protocols: a clock, a store, a waker, a channel.

The core (pipeline, conversation and what lies below them) knows these and no vendor. Adapters are in
``wxbot/backends`` (stores, wakers) and ``wxbot/wechat`` (the channel). Times are seconds since 1970 by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from wxbot.messages import Reply


class Timer(Protocol):
    """A call that was asked for later and can still be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time as the bot sees it: real in production, turned by hand in tests."""

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run ``callback`` on the running event loop in ``delay`` seconds. Call from the loop's own thread."""
        ...


class ConversationKey(NamedTuple):
    """One user of one account: the unit of order, of leases and of the typing indicator."""

    appid: str
    openid: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A push that was verified, decrypted and parsed: what ``Inbox.accept`` makes durable."""

    key: ConversationKey
    dedup_key: str
    fields: Mapping[str, Any]
    received_at: float
    interacted_at: float
    """When the user acted: never later than ``received_at`` (see ``wxbot.typing_rules``)."""


@dataclass(slots=True)
class Lease:
    """The right to work one conversation until ``expires_at``; ``fence`` grows with every change of owner."""

    key: ConversationKey
    owner: str
    fence: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Pending:
    """The next message of a conversation.

    ``attempts`` counts this one too; ``sent`` messages of the answer went out before. ``unsent`` are replies (as
    ``messages.reply_to_json`` makes them) of a handler that is through: they are sent and it is not run again.
    """

    seq: int
    fields: Mapping[str, Any]
    received_at: float
    attempts: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Bid:
    """What a process asks for with a push it accepts: the conversation itself, if nobody works it.

    ``typing_seconds``: note that Typing may show for so long, because the handler is about to start (0: it is not).
    """

    owner: str
    lease_seconds: float
    typing_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease, the first message to work and what the store knows of the conversation.

    ``noted_until``: a Typing that ends before then need not be noted again before it is called.
    """

    lease: Lease
    pending: Pending
    interacted_at: float
    typing_until: float
    state: dict[str, Any]
    noted_until: float = 0.0


class Receipt(NamedTuple):
    """What became of a push: ``new`` if it was not here before, and the ``claim`` if the bid was granted."""

    new: bool
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work on one message ended.

    ``answered``: done, forget it. ``dead``: keep it as a dead letter with ``reason``. ``later``: try again at
    ``retry_at`` and let nothing of this user overtake it. ``back``: not finished here, free for the next owner at
    once, without counting the attempt.
    """

    seq: int
    verdict: Literal["answered", "dead", "later", "back"]
    typing_until: float = 0.0
    sent: int = 0
    sent_at: float | None = None
    unsent: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    retry_at: float = 0.0
    state: dict[str, Any] | None = None
    """The conversation's new state, or None to leave it as it is."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be answered, kept with the reason until someone retries or drops it."""

    seq: int
    key: ConversationKey
    fields: Mapping[str, Any] = field(repr=False)
    received_at: float
    died_at: float
    attempts: int
    sent: int
    reason: str
    unsent: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """An access token shared by every process. The value never shows in a repr."""

    value: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a store keeps what is no longer worked, in seconds (wxbot.config has the meaning of each)."""

    dedup_seconds: float = 86_400.0
    dead_letter_seconds: float = 2_592_000.0
    state_seconds: float = 31_536_000.0


class Inbox(Protocol):
    """The durable inbox: the truth about what is still to be answered, and who is answering it."""

    def accept(self, arrival: Arrival, bid: Bid | None = None) -> Receipt:
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

    async def renew(self, leases: Sequence[Lease], now: float, lease_seconds: float) -> Mapping[ConversationKey, float]:
        """Extend those of ``leases`` that nobody has taken over; of each the last interaction, by key."""
        ...

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Note, before Typing is called, until when it may show; returns the last interaction. Raises LeaseLost."""
        ...

    async def record_sent(self, lease: Lease, seq: int, sent: int, sent_at: float) -> None:
        """Note that ``sent`` messages of the answer are out. Raises LeaseLost."""
        ...

    async def settle(self, lease: Lease, outcome: Outcome, now: float, *, go_on: bool) -> Pending | None:
        """Close one message; with ``go_on`` return the next one that is due (an attempt is counted), else release.

        Returns None when the lease was released. Raises LeaseLost.
        """
        ...

    async def purge(self, appid: str, now: float) -> int:
        """Forget some of what was kept for longer than the store's Retention; returns how many messages."""
        ...


class TokenShelf(Protocol):
    """Where all processes keep the one access token of an account."""

    async def load_token(self, appid: str) -> StoredToken | None: ...

    async def begin_token_fetch(self, appid: str, refused: str | None, now: float, seconds: float) -> bool:
        """True if this process may fetch now; False if another one is at it (for ``seconds`` at most), or if a token
        other than ``refused`` has been stored meanwhile."""
        ...

    async def save_token(self, appid: str, token: StoredToken | None) -> None:
        """Store a fetched token and end the fetch; None when the fetch failed."""
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


class Store(Inbox, TokenShelf, DeadLetters, Protocol):
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


class Waker(Protocol):
    """Carries the hint "this conversation has news". A lost or doubled hint loses nothing: the inbox is swept."""

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """``claim`` is the conversation itself, where it was granted to this process with the push."""
        ...


TypingCommand = Literal["Typing", "CancelTyping"]


class Channel(Protocol):
    """The way to the user: WeChat's customer-service API. Every call raises only WeChatError."""

    async def send(self, openid: str, reply: Reply) -> None: ...

    async def typing(self, openid: str, command: TypingCommand) -> None: ...

    def wechatpy(self) -> Any:
        """wechatpy's own client on the same token."""
        ...
