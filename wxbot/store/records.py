"""The records that a store takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from wxbot.model.quota import Quota


class ConversationKey(NamedTuple):
    """One user of one account: the unit of order, of leases and of the typing indicator."""

    appid: str
    openid: str


class Handover(NamedTuple):
    """A user is with human agents until ``until`` (seconds since 1970; 0: with the bot). ``agent``: a certain one."""

    until: float
    agent: str = ""


WITH_BOT = Handover(0.0)


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """What ``Inbox.accept`` makes durable: a push that was verified, decrypted and parsed, or replies to be sent.

    ``quota``: what the user's deed allows to be sent; None leaves what was known. ``hand_over``: who has the user from
    now on; None changes nothing. ``for_agents``: while the user is handed over, this one is theirs and not kept for the
    bot. ``unsent``: replies to be sent in their turn, without a handler (``bot.send``).
    """

    key: ConversationKey
    dedup_key: str
    fields: Mapping[str, Any]
    received_at: float
    interacted_at: float
    """When the user acted: never later than ``received_at`` (see ``wxbot.typing_indicator.rules``)."""
    quota: Quota | None = None
    handover: Handover | None = None
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
class PendingMessage:
    """The next message of a conversation.

    ``attempts`` counts this one too; ``sent`` messages of the answer went out before. ``unsent`` is what an earlier
    attempt left to do (``turn.to_do``), such as replies of a handler that is through: it is not run again.
    ``quota`` (None: not known) and ``active_handover`` are the conversation's, at the moment this message was given out.
    """

    seq: int
    fields: Mapping[str, Any]
    received_at: float
    attempts: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] = ()
    quota: Quota | None = None
    active_handover: Handover = WITH_BOT


class LeaseUpdate(NamedTuple):
    """What an owner learns while it works: when the user acted last, who has them, and what may be sent to them."""

    interacted_at: float
    active_handover: Handover = WITH_BOT
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
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
    pending: PendingMessage
    interacted_at: float
    typing_until: float
    state: dict[str, Any]
    noted_until: float = 0.0


class AcceptResult(NamedTuple):
    """What became of a push: ``new`` if it was not here before, and the ``claim`` if the bid was granted.

    ``first_at``: when its first delivery was accepted. ``active_handover``: the agents have the user, so one that is
    ``for_agents`` is theirs: it was noted as seen, and the bot will not answer it.
    """

    new: bool
    claim: Claim | None = None
    first_at: float = 0.0
    active_handover: Handover = WITH_BOT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work on one message ended.

    ``answered``: done, forget it. ``dead``: keep it as a dead letter with ``reason``. ``later``: try again at
    ``retry_at`` and let nothing of this user overtake it. ``back``: not finished here, free for the next owner at
    once, without counting the attempt.
    """

    seq: int
    status: Literal["done", "dead", "retry", "released"]
    typing_until: float = 0.0
    sent: int = 0
    sent_at: float | None = None
    unsent: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    retry_at: float = 0.0
    state: dict[str, Any] | None = None
    """The conversation's new state, or None to leave it as it is."""
    quota: Quota | None = None
    """What is left after this message, or None to leave it as it is (see ``Inbox.record_sent``)."""
    handover: Handover | None = None
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


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A file that WeChat has under ``media_id``; not to be relied on from ``expires_at`` on."""

    media_id: str
    expires_at: float
