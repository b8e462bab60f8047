"""The records that a store accepts and returns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from wxbot.model.quota import Quota

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""Return a value as compact JSON, which is the format in all stores."""


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
class ConversationRecord:
    """The stored data of one user, or a change of them.

    In a change, None leaves the stored value as it is, and ``interacted_at`` is stored only if it is later. Only the
    owner of the conversation changes ``typing_until`` and ``state``. ``renew`` does not read ``state``: it is None.
    """

    interacted_at: float = 0.0
    """The time of the last message from or to the user."""
    typing_until: float | None = None
    """The time until which the typing indicator may show."""
    quota: Quota | None = None
    """The messages that WeChat still accepts; None: unknown."""
    handover: Handover | None = None
    state: Mapping[str, Any] | None = field(default=None, repr=False)
    """The plugins' state and the deferred replies, as JSON values."""

    def after_user_action(self, change: ConversationRecord) -> ConversationRecord:
        """Return the stored record after a user action, which replaces the quota."""
        return ConversationRecord(
            max(self.interacted_at, change.interacted_at),
            self.typing_until,
            change.quota or self.quota,
            change.handover or self.handover,
            self.state,
        )

    def after_processing(self, change: ConversationRecord) -> ConversationRecord:
        """Return the stored record after a change by the owner of the conversation.

        A quota that ends at another time than the stored one is ignored: the user has acted since it was counted.
        """
        is_current = self.quota is None or change.quota is None or self.quota.expires_at == change.quota.expires_at
        return ConversationRecord(
            max(self.interacted_at, change.interacted_at),
            self.typing_until if change.typing_until is None else change.typing_until,
            (change.quota or self.quota) if is_current else self.quota,
            change.handover or self.handover,
            self.state if change.state is None else change.state,
        )


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A message for ``Inbox.accept``: a verified, decrypted and parsed push, or a proactive message (``bot.send``).

    ``change``: the last interaction, the quota and the handover that the user action sets.
    ``for_agents``: the bot does not process this message if a handover is active.
    ``unsent`` are replies to send without running a handler (``bot.send``).
    """

    key: ConversationKey
    dedup_key: str
    fields: Mapping[str, Any]
    received_at: float
    change: ConversationRecord
    for_agents: bool = False
    unsent: tuple[Mapping[str, Any], ...] = ()

    def is_for_agents(self, handover: Handover | None) -> bool:
        """Return True if human agents reply to this message, because ``handover`` is active."""
        return self.for_agents and handover is not None and self.received_at < handover.until


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

    def is_active(self, now: float) -> bool:
        """Return True if the owner may rely on the lease at ``now``. If False, only the store knows the owner."""
        return now < self.expires_at - self.margin


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """The next message of a conversation.

    ``attempts`` includes the current attempt. ``sent`` is the number of messages that earlier attempts sent.
    ``unsent`` is the work that an earlier attempt left (``wxbot.delivery.remaining_work``), for example the replies of
    a handler that has finished and is not run again.
    """

    seq: int
    fields: Mapping[str, Any]
    received_at: float
    attempts: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] = ()


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
    """A lease, the next message to process and the stored record of the conversation.

    ``noted_until``: a Typing whose effect ends before this time is already recorded and needs no ``checkpoint``.
    """

    lease: Lease
    message: PendingMessage
    conversation: ConversationRecord
    noted_until: float = 0.0


class AcceptResult(NamedTuple):
    """The result of ``Inbox.accept``. ``new``: the message was not accepted before.

    ``claim`` is set if the claim request was granted. ``first_at`` is the time when the first delivery was accepted.
    ``handover`` is set if agents handle the user and the message is ``for_agents``: then only its dedup key was
    stored, and the bot does not process it.
    """

    new: bool
    claim: Claim | None = None
    first_at: float = 0.0
    handover: Handover = WITH_BOT


class Progress(NamedTuple):
    """The progress of a message: how many messages were sent. ``unsent`` as in ``PendingMessage``; None: unchanged."""

    seq: int
    sent: int
    unsent: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one message.

    ``done``: delete its content. ``dead``: store it as a dead letter with ``reason``. ``retry``: process it again at
    ``retry_at``, before any later message of this user. ``released``: the next owner may process it immediately, and
    this attempt is not counted.
    """

    seq: int
    status: Literal["done", "dead", "retry", "released"]
    change: ConversationRecord = field(default_factory=ConversationRecord)
    sent: int = 0
    unsent: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    retry_at: float = 0.0


class Found(NamedTuple):
    """The stored data of one user, and of one of their messages.

    ``conversation`` is None for an unknown user. ``is_known``: the message was accepted before, and its dedup record is
    still stored. ``reply`` is its passive reply; None if there is none yet.
    """

    conversation: ConversationRecord | None
    is_known: bool
    reply: Mapping[str, Any] | None


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
class SharedValue:
    """A value that all processes of an account share, such as its access token. The repr does not contain it.

    It must not be used from ``expires_at`` on.
    """

    value: str = field(repr=False)
    expires_at: float
