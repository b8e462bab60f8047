"""What the core needs from the outside world, as Protocols: a clock, a store, a waker, a channel.

The core (pipeline, conversation and what lies below them) knows these and no vendor. Adapters are in
``wxbot/backends`` (stores, wakers) and ``wxbot/wechat`` (the channel). Times are seconds since 1970 by the clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from wxbot.model.media import Media
from wxbot.model.quota import Budget
from wxbot.model.replies import Reply


class ConversationKey(NamedTuple):
    """One user of one account: the unit of order, of leases and of the typing indicator."""

    appid: str
    openid: str


class HandOver(NamedTuple):
    """A user is with human agents until ``until`` (seconds since 1970; 0: with the bot). ``agent``: a certain one."""

    until: float
    agent: str = ""


WITH_BOT = HandOver(0.0)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What ``Inbox.accept`` makes durable: a push that was verified, decrypted and parsed, or replies to be sent.

    ``budget``: what the user's deed allows to be sent; None leaves what was known. ``hand_over``: who has the user from
    now on; None changes nothing. ``for_agents``: while the user is handed over, this one is theirs and not kept for the
    bot. ``unsent``: replies to be sent in their turn, without a handler (``bot.send``).
    """

    key: ConversationKey
    dedup_key: str
    fields: Mapping[str, Any]
    received_at: float
    interacted_at: float
    """When the user acted: never later than ``received_at`` (see ``wxbot.typing_rules``)."""
    budget: Budget | None = None
    hand_over: HandOver | None = None
    for_agents: bool = False
    unsent: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Lease:
    """The right to work one conversation until ``expires_at``; ``fence`` grows with every change of owner.

    ``margin``: seconds before ``expires_at`` from which on its owner no longer relies on it (``wxbot.conversation``).
    """

    key: ConversationKey
    owner: str
    fence: int
    expires_at: float
    margin: float = 0.0

    def is_ours(self, now: float) -> bool:
        """Whether its owner may rely on it at ``now``. If not, only the store knows whose the conversation is."""
        return now < self.expires_at - self.margin


@dataclass(frozen=True, slots=True)
class Pending:
    """The next message of a conversation.

    ``attempts`` counts this one too; ``sent`` messages of the answer went out before. ``unsent`` is what an earlier
    attempt left to do (``turn.to_do``), such as replies of a handler that is through: it is not run again.
    ``budget`` (None: not known) and ``handed_over`` are the conversation's, at the moment this message was given out.
    """

    seq: int
    fields: Mapping[str, Any]
    received_at: float
    attempts: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] = ()
    budget: Budget | None = None
    handed_over: HandOver = WITH_BOT


class News(NamedTuple):
    """What an owner learns while it works: when the user acted last, who has them, and what may be sent to them."""

    interacted_at: float
    handed_over: HandOver = WITH_BOT
    budget: Budget | None = None


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
    """What became of a push: ``new`` if it was not here before, and the ``claim`` if the bid was granted.

    ``first_at``: when its first delivery was accepted. ``handed_over``: the agents have the user, so one that is
    ``for_agents`` is theirs: it was noted as seen, and the bot will not answer it.
    """

    new: bool
    claim: Claim | None = None
    first_at: float = 0.0
    handed_over: HandOver = WITH_BOT


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
    budget: Budget | None = None
    """What is left after this message, or None to leave it as it is (see ``Inbox.record_sent``)."""
    hand_over: HandOver | None = None
    """Who has the user from now on, or None to leave it as it is."""


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
    """How long a store keeps what is no longer worked, in seconds (wxbot.settings.schema has the meaning of each)."""

    dedup_seconds: float = 86_400.0
    dead_letter_seconds: float = 2_592_000.0
    state_seconds: float = 31_536_000.0


class TypingNotes(Protocol):
    """Where it is noted that Typing may show, for whoever takes over."""

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        """Note, before Typing is called, until when it may show; returns the last interaction. Raises LeaseLost."""
        ...


class Inbox(TypingNotes, Protocol):
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

    async def renew(self, leases: Sequence[Lease], now: float, lease_seconds: float) -> Mapping[ConversationKey, News]:
        """Extend those of ``leases`` that nobody has taken over; of each what is new, by key."""
        ...

    async def record_sent(
        self,
        lease: Lease,
        seq: int,
        sent: int,
        sent_at: float,
        budget: Budget | None = None,
        *,
        unsent: Sequence[Mapping[str, Any]] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Note that ``sent`` messages of the answer are out, and what is left of the ``budget``. Raises LeaseLost.

        A budget with another ``until`` than the kept one is not written: the user has acted meanwhile, and what they
        allowed is newer than what the caller counted down. ``unsent``: what is left of the message, as in ``Pending``;
        ``state``: the conversation's. None leaves each of them as it is.
        """
        ...

    async def seen(self, key: ConversationKey, dedup_key: str) -> bool:
        """Whether this message was accepted before, as far as is remembered."""
        ...

    async def budget(self, key: ConversationKey) -> Budget | None:
        """What may be sent to this user, as far as is known."""
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


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file that WeChat has under ``media_id``; not to be relied on from ``expires_at`` on."""

    media_id: str
    expires_at: float


class MediaShelf(Protocol):
    """Which files an account has uploaded lately, by their content: shared by all processes."""

    async def load_media(self, appid: str, digest: str) -> StoredMedia | None:
        """What was saved under ``digest``, also if it has expired."""
        ...

    async def save_media(self, appid: str, digest: str, media: StoredMedia | None, now: float) -> None:
        """Keep it until it expires; None forgets it. What has expired by ``now`` may be removed."""
        ...


class PassiveShelf(Protocol):
    """The answers that wait for WeChat to ask for them (accounts that may only answer a push)."""

    async def answer_passively(self, lease: Lease, seq: int, answer: Mapping[str, Any]) -> bool:
        """Keep the answer to a message for those who ask. Durable. Raises LeaseLost.

        ``answer`` is a reply as ``replies.reply_to_json`` makes it, or ``{}`` for silence. False, and it is not kept,
        if ``passive_answer`` has given up on this message: then nobody will ask again. The first answer stays.
        """
        ...

    async def passive_answer(
        self, key: ConversationKey, dedup_key: str, *, give_up: bool = False
    ) -> Mapping[str, Any] | None:
        """The answer to a message, or None as long as there is none. With ``give_up`` and none there, there will never
        be one: it is decided in one transaction. Kept for as long as the message is remembered."""
        ...


class HandOvers(Protocol):
    """The users who are with human agents."""

    async def hand_overs(self, appid: str, now: float, limit: int) -> Sequence[tuple[ConversationKey, HandOver]]:
        """Some of the account's, those that end first before the others."""
        ...

    async def hand_back(self, key: ConversationKey) -> bool:
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


class Store(Inbox, TokenShelf, MediaShelf, PassiveShelf, HandOvers, DeadLetters, Protocol):
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


@dataclass(frozen=True, slots=True)
class KeptMessage:
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
class Trace:
    """What is left of an answered message until ``forget_at``, so that a redelivery is known."""

    seq: int
    openid: str
    dedup_key: str
    forget_at: float


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """What a store knows of one user. Whoever owned the conversation is not told.

    ``next_at``: when its next message may be worked; None: nothing waits. ``forget_at`` is None while something waits.
    """

    openid: str
    interacted_at: float
    typing_until: float
    state: Mapping[str, Any] = field(repr=False)
    next_at: float | None
    forget_at: float | None = None
    budget: Budget | None = None
    handed_over: HandOver = WITH_BOT


Kept = KeptMessage | Trace | KeptConversation
Kind = Literal["waiting", "dead", "traces", "conversations"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands in a store. It stays the same while nobody works it.

    ``worked``: somebody holds a living lease. ``half_copy``: it was not copied here to the end. ``last_seq``: no
    message has a higher number. ``waiting``: how many messages wait.
    """

    worked: bool
    half_copy: bool
    last_seq: int
    waiting: int


class Bulk(Protocol):
    """A store as a whole, to be read out and filled in slices: for copying one to another while no bot runs.

    An account's part is half a copy from ``begin`` to ``end``. Meanwhile every method of ``Store`` that takes or gives
    a message raises HalfCopy, in every process. Of two copies only the one that has begun last may write. Every method
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

    async def standing(self, appid: str, now: float) -> Standing: ...

    async def contents(self, appid: str) -> Mapping[Kind, int]:
        """How many of each kind are there. May count some twice while the store forgets others."""
        ...

    def export(self, appid: str, now: Callable[[], float]) -> AsyncIterator[Sequence[Kept]]:
        """All that is kept of the account, in slices and in no order. Some may come twice."""
        ...

    async def begin(self, appid: str, copy: str, last_seq: int) -> bool:
        """Make the account's part half a copy by the name of ``copy``, with room for numbers up to ``last_seq``.

        What an earlier half copy has left is removed. False, and nothing is changed, if there is anything else.
        """
        ...

    async def restore(self, appid: str, copy: str, kept: Sequence[Kept], now: float) -> Sequence[bool]:
        """Keep all of ``kept``; of each, whether it was not there before. The order of ``seq`` stays as it is.

        Raises CopyFailed if another copy has begun.
        """
        ...

    async def end(self, appid: str, copy: str) -> None:
        """The copy is whole: bots may work it. Durable. Raises CopyFailed if another copy has begun."""
        ...


class Waker(Protocol):
    """Carries the hint "this conversation has news". A lost or doubled hint loses nothing: the inbox is swept."""

    def wake(self, key: ConversationKey, interacted_at: float, claim: Claim | None = None) -> None:
        """``claim`` is the conversation itself, where it was granted to this process with the push."""
        ...


TypingCommand = Literal["Typing", "CancelTyping"]


Permit = Callable[[], bool]
"""Whether a call may still be made. Asked again and again, so it must be quick; it must not raise."""


class TypingCalls(Protocol):
    """Switches the indicator at WeChat. See ``Channel``."""

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit) -> None: ...


class Channel(TypingCalls, Protocol):
    """The way to the user: WeChat's customer-service API. Every call raises only WeChatError.

    A call may wait for a token or a connection, or its whole process be stopped, until somebody else answers the user.
    So ``permit`` is asked directly before each request of the call is written, with no suspension in between. If it
    says no, nothing is written, and the call raises NotReached.
    """

    async def send(self, openid: str, reply: Reply, *, permit: Permit) -> None:
        """Its media have been read (``wxbot.model.media``); what WeChat does not have of them is uploaded first."""
        ...

    async def prepare(self, reply: Reply) -> None:
        """Do ahead what takes long: upload the media of ``reply``. Best effort; raises nothing."""
        ...

    async def uploaded(self, reply: Reply) -> Reply:
        """``reply`` with media ids in place of files, for an answer that is not sent but given to a push."""
        ...

    async def download(self, media_id: str) -> Media:
        """The file a user sent."""
        ...

    def wechatpy(self) -> Any:
        """wechatpy's own client on the same token."""
        ...
