"""One message being worked: what has gone out, what is left, and when it must not be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from wxbot.messages import (
    AgentSessionEvent,
    AgentSwitchEvent,
    Download,
    EventMessage,
    Message,
    UnsubscribeEvent,
    message_from,
)
from wxbot.ports import WITH_BOT, HandOver, Lease, Outcome, Pending
from wxbot.replies import Reply, reply_from_json, reply_to_json
from wxbot.reply_budget import NOTHING_LEFT, UNKNOWN_BUDGET, Budget
from wxbot.rest import Rest, rest_in, with_rest
from wxbot.typing_indicator import TypingIndicator

SENT_BY_BOT = "wxbot.send"
"""The MsgType of what is no message of the user's, but replies that ``bot.send`` wants sent."""


@dataclass(slots=True)
class Turn:
    """The progress of one message; ``outcome`` tells the store how it ended, whenever that is asked."""

    lease: Lease
    pending: Pending
    message: Message
    indicator: TypingIndicator
    state: dict[str, Any]
    budget: Budget
    """What WeChat still takes for this user."""
    handed_over: HandOver = WITH_BOT
    """Who has the user, as far as is known here."""
    hand_over: HandOver | None = None
    """Who is to have them after this message; None changes nothing."""
    sent: int = 0
    sent_at: float | None = None
    skip: int = 0
    """Messages of this answer that went out before this process took over, and are not sent again."""
    resumed: bool = False
    """It began with replies to send: those of an earlier attempt, or of ``bot.send``."""
    through: bool = False
    """The handler has said all it will say: from here on it is not run again."""
    unsent: list[Reply] = field(default_factory=list)
    doubtful: list[Reply] = field(default_factory=list)
    """Sent, but WeChat's answer was lost: never repeated but by an operator's command."""
    new_state: dict[str, Any] | None = None
    failure: str = ""
    """Why the handler failed, once the user has been told."""
    _task: asyncio.Task[Any] | None = None
    _sending: bool = False
    _interrupted: bool = False

    def outcome(
        self, verdict: Literal["answered", "dead", "later", "back"], reason: str = "", retry_at: float = 0.0
    ) -> Outcome:
        """How this message ended. A lost answer makes a dead letter of it, which holds just the doubtful replies.

        What is all said and sent is not handed back: the next owner would run the handler again.
        """
        if verdict == "back" and self.failure:
            verdict, reason = "dead", self.failure
        elif verdict == "back" and self.through and not self.unsent:
            verdict = "answered"
        if self.doubtful and (verdict != "back" or not self.through):
            verdict, reason = "dead", "; ".join(filter(None, (reason, "WeChat's answer to a reply was lost")))
        # Who gets a message back sends what is kept: nothing that may be on the user's screen already.
        kept = [] if verdict == "back" else list(self.doubtful)
        kept += self.unsent if self.through else []
        return Outcome(
            seq=self.pending.seq,
            verdict=verdict,
            typing_until=self.indicator.state.showing_until,
            sent=self.sent,
            sent_at=self.sent_at,
            unsent=tuple(reply_to_json(reply) for reply in kept),
            reason=reason,
            retry_at=retry_at,
            state=self.new_state if self.through else None,
            budget=self.counted_budget,
            hand_over=self.hand_over if self.through else None,
        )

    @property
    def counted_budget(self) -> Budget | None:
        """What is left, for the store; None if there is nothing to tell it, as of a budget that nobody knows."""
        is_known = NOTHING_LEFT.until < self.budget.until < UNKNOWN_BUDGET.until
        return self.budget if is_known and self.budget != self.pending.budget else None

    @property
    def rest(self) -> Rest:
        """What of an earlier answer is kept for the user."""
        return rest_in(self.state if self.new_state is None else self.new_state)

    def keep(self, rest: Rest) -> None:
        """Have ``rest`` kept in place of what was."""
        self.new_state = with_rest(self.state if self.new_state is None else self.new_state, rest)

    def spend(self, *, all_of_it: bool = False) -> None:
        """A message went out; or WeChat says that none is left."""
        self.budget = self.budget._replace(left=0 if all_of_it else max(0, self.budget.left - 1))

    def is_for_agents(self, now: float) -> bool:
        """Whether the bot must be silent, because people have the user. What is about their session is the bot's."""
        if now >= self.handed_over.until:
            return False
        is_own = self.pending.fields.get("MsgType") == SENT_BY_BOT
        return not is_own and not isinstance(self.message, AgentSessionEvent | AgentSwitchEvent | UnsubscribeEvent)

    def begin(self) -> None:
        """The current task works this turn."""
        self._task = asyncio.current_task()

    def interrupt(self) -> None:
        """Cancel the work, but not between a send and its record: that would answer the user twice."""
        if self._sending:
            self._interrupted = True
        elif self._task is not None:
            self._task.cancel()

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """A send and its record. An interruption asked for meanwhile comes afterwards."""
        self._sending = True
        try:
            yield
        finally:
            self._sending = False
            if self._interrupted:  # also after a send that failed: it is not tried again here
                self._interrupted = False
                raise asyncio.CancelledError


def begin_turn(
    lease: Lease,
    pending: Pending,
    indicator: TypingIndicator,
    state: dict[str, Any],
    unknown_budget: Budget,
    download_from: Download | None = None,
) -> Turn:
    """The turn of ``pending``; what an earlier attempt left unsent is taken up where it stopped."""
    unsent = [reply_from_json(value) for value in pending.unsent]
    message = message_from(lease.key.appid, pending.fields, pending.received_at, download_from)
    if isinstance(message, EventMessage) and unknown_budget == UNKNOWN_BUDGET:
        unknown_budget = NOTHING_LEFT  # they have never done what allows an answer
    return Turn(
        lease,
        pending,
        message,
        indicator,
        state,
        budget=pending.budget or unknown_budget,
        handed_over=pending.handed_over,
        sent=pending.sent,
        unsent=unsent,
        resumed=bool(unsent),
        through=bool(unsent),
    )
