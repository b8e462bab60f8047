"""The records that a store accepts and returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from wxbot.model.quota import Quota


class ConversationKey(NamedTuple):
    """One user of one account. Order, leases and the typing indicator are per conversation."""

    appid: str
    openid: str


class Handover(NamedTuple):
    """A handover: human agents handle a user until ``until`` (seconds since 1970; 0: the bot handles the user).

    ``agent`` is the account of one agent; empty means any agent.
    """

    until: float
    agent: str = ""


WITH_BOT = Handover(0.0)


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message for ``Inbox.accept``: a verified, decrypted and parsed push, or a proactive message (``bot.send``).

    ``quota`` is the quota that the user action allows; None leaves the stored quota as it is.
    ``handover`` begins or ends a handover; None changes nothing.
    ``for_agents``: the bot does not process this message if a handover is active.
    ``unsent`` are replies to send without running a handler (``bot.send``).
    """

    key: ConversationKey
    dedup_key: str
    fields: Mapping[str, Any]
    received_at: float
    interacted_at: float
    """The time of the user action. It is never later than ``received_at`` (see ``wxbot.typing_indicator.rules``)."""
    quota: Quota | None = None
    handover: Handover | None = None
    for_agents: bool = False
    unsent: tuple[Mapping[str, Any], ...] = ()


@dataclass(slots=True)
class Lease:
    """The right to process one conversation until ``expires_at``. ``fence`` grows with every change of owner.

    ``margin``: the owner stops relying on the lease this many seconds before ``expires_at`` (``wxbot.conversation``).
    """

    key: ConversationKey
    owner: str
    fence: int
    expires_at: float
    margin: float = 0.0

    def is_ours(self, now: float) -> bool:
        """Return True if the owner may rely on the lease at ``now``. If False, only the store knows the owner."""
        return now < self.expires_at - self.margin


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """The next message of a conversation.

    ``attempts`` includes the current attempt. ``sent`` is the number of messages that earlier attempts sent.
    ``unsent`` is the work that an earlier attempt left (``Turn.remaining_work``), for example the replies of a handler
    that has finished and is not run again. ``quota`` (None: unknown) and ``active_handover`` belong to the
    conversation, at the moment when this message was returned.
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
    """The conversation's last interaction, handover and quota, returned to the owner when it renews its lease."""

    interacted_at: float
    active_handover: Handover = WITH_BOT
    quota: Quota | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A process's request to claim the conversation together with the message that it accepts.

    ``typing_seconds``: record that the indicator may show for this long, because the handler is about to start. 0
    records nothing.
    """

    owner: str
    lease_seconds: float
    typing_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease, the first message to process and the stored data of the conversation.

    ``noted_until``: a Typing whose effect ends before this time is already recorded and needs no ``save_typing``.
    """

    lease: Lease
    pending: PendingMessage
    interacted_at: float
    typing_until: float
    state: dict[str, Any]
    noted_until: float = 0.0


class AcceptResult(NamedTuple):
    """The result of ``Inbox.accept``. ``new``: the message was not accepted before.

    ``claim`` is set if the claim request was granted. ``first_at`` is the time when the first delivery was accepted.
    ``active_handover`` is set if agents handle the user and the message is ``for_agents``: then only its dedup key was
    stored, and the bot does not process it.
    """

    new: bool
    claim: Claim | None = None
    first_at: float = 0.0
    active_handover: Handover = WITH_BOT


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one message.

    ``done``: delete its content. ``dead``: store it as a dead letter with ``reason``. ``retry``: process it again at
    ``retry_at``, before any later message of this user. ``released``: the next owner may process it immediately, and
    this attempt is not counted.
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
    """The new state of the conversation; None leaves it as it is."""
    quota: Quota | None = None
    """The remaining quota after this message; None leaves it as it is (see ``Inbox.record_sent``)."""
    handover: Handover | None = None
    """The handover that begins or ends now; None changes nothing."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message whose processing failed permanently, stored with the reason until an operator retries or drops it."""

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
    """An access token, shared by all processes. The repr does not contain the value."""

    value: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, slots=True)
class Retention:
    """The retention of records after processing, in seconds (``wxbot.settings.schema`` describes each)."""

    dedup_seconds: float = 86_400.0
    dead_letter_seconds: float = 2_592_000.0
    state_seconds: float = 31_536_000.0


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """Media that WeChat has under ``media_id``. It must not be used from ``expires_at`` on."""

    media_id: str
    expires_at: float
