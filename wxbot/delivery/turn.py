"""One message being worked: what has gone out, what is left, and when it must not be interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from wxbot.delivery.deferred import Rest, rest_in, with_rest
from wxbot.model.messages import (
    AgentSessionEvent,
    AgentSwitchEvent,
    Download,
    EventMessage,
    Message,
    UnsubscribeEvent,
    message_from,
)
from wxbot.model.quota import NOTHING_LEFT, UNKNOWN_BUDGET, Budget
from wxbot.model.replies import Reply, reply_from_json, reply_to_json
from wxbot.store.records import WITH_BOT, HandOver, Lease, Outcome, Pending
from wxbot.typing_indicator.indicator import TypingIndicator

SENT_BY_BOT = "wxbot.send"
"""The MsgType of what is no message of the user's, but replies that ``bot.send`` wants sent."""

_DOUBTFUL, _HAND_OVER, _FAILURE, RUN_AGAIN = "_doubtful", "_hand_over", "_failure", "_again"
"""What else than replies is left of a message; no reply is of a kind that begins like this."""


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
    through: bool = False
    """The handler has said all it will say: from here on it is not run again."""
    unsent: list[Reply] = field(default_factory=list)
    doubtful: list[Reply] = field(default_factory=list)
    """Sent, but WeChat's answer was lost: never repeated but by an operator's command."""
    new_state: dict[str, Any] | None = None
    """What plugins know of the user now, to be kept once the handler is through; None leaves it as it was."""
    new_rest: Rest | None = None
    """What is kept for the user now; None leaves it as it was."""
    failure: str = ""
    """Why the handler failed: it is not run again but by an operator's command."""
    said: int = 0
    """How many messages it had said by then: not to be said again should it run once more."""
    _task: asyncio.Task[Any] | None = None
    _sending: bool = False
    _interrupted: bool = False

    def outcome(
        self, verdict: Literal["answered", "dead", "later", "back"], reason: str = "", retry_at: float = 0.0
    ) -> Outcome:
        """How this message ended. A lost answer makes a dead letter of it, which holds the doubtful replies too.

        What is all said and sent is not handed back: the next owner would run the handler again.
        """
        if verdict == "back" and self.through and not self.unsent:
            verdict = "answered"
        if self.failure and verdict in ("answered", "dead"):
            verdict, reason = "dead", "; ".join(dict.fromkeys(filter(None, (self.failure, reason))))
        if self.doubtful and verdict in ("answered", "dead"):
            verdict, reason = "dead", "; ".join(filter(None, (reason, "WeChat's answer to a reply was lost")))
        is_over = verdict in ("answered", "dead")
        return Outcome(
            seq=self.pending.seq,
            verdict=verdict,
            typing_until=self.indicator.state.showing_until,
            sent=self.said if is_over and self.failure else self.sent,
            sent_at=self.sent_at,
            unsent=self._left_behind() if is_over else self.to_do(),
            reason=reason,
            retry_at=retry_at,
            state={} if is_over and isinstance(self.message, UnsubscribeEvent) else self.changed_state,
            budget=self.counted_budget,
            hand_over=self.hand_over if self.through and is_over else None,
        )

    def _left_behind(self) -> tuple[Mapping[str, Any], ...]:
        """Of a dead letter: what an operator may have sent after all, and whether the handler has to run then."""
        left = [reply_to_json(reply) for reply in (*self.doubtful, *(self.unsent if self.through else ()))]
        is_open = not self.through or bool(self.failure)
        return tuple([*left, {"kind": RUN_AGAIN}] if self.doubtful and is_open else left)

    def to_do(self) -> tuple[Mapping[str, Any], ...]:
        """What is left of this message, for whoever takes it up: ``begin_turn`` reads it.

        Doubtful replies are handed on as such, and so is the hand-over that comes after the last word.
        """
        left: list[dict[str, Any]] = [{"kind": _DOUBTFUL, "reply": reply_to_json(reply)} for reply in self.doubtful]
        if self.through:
            left += [reply_to_json(reply) for reply in self.unsent]
            left += [{"kind": _HAND_OVER, **self.hand_over._asdict()}] if self.hand_over else []
            left += [{"kind": _FAILURE, "reason": self.failure, "said": self.said}] if self.failure else []
        return tuple(left)

    def fail(self, reason: str, apology: Sequence[Reply]) -> None:
        """The handler failed: it has changed nothing, but what it said is said, and the apology after it."""
        self.failure, self.said, self.through = reason, self.sent + len(self.unsent), True
        self.new_state = self.hand_over = None
        self.unsent = [*self.unsent, *apology]

    @property
    def changed_state(self) -> dict[str, Any] | None:
        """The conversation's new state, as far as it may be kept now; None leaves it as it is."""
        plugins = self.new_state if self.through else None
        if self.new_rest is None:
            return plugins
        return with_rest(self.state if plugins is None else plugins, self.new_rest)

    @property
    def counted_budget(self) -> Budget | None:
        """What is left, for the store; None if there is nothing to tell it, as of a budget that nobody knows."""
        is_known = NOTHING_LEFT.until < self.budget.until < UNKNOWN_BUDGET.until
        return self.budget if is_known and self.budget != self.pending.budget else None

    @property
    def rest(self) -> Rest:
        """What of earlier answers is kept for the user."""
        return rest_in(self.state) if self.new_rest is None else self.new_rest

    def keep(self, replies: Sequence[Reply], *, told: bool) -> None:
        """Have ``replies`` kept for the user as well; ``told``: they know of them, and how to ask for them."""
        if replies:
            self.new_rest = self.rest.plus(replies, told=told)

    def acted(self, budget: Budget | None) -> None:
        """The user has done something meanwhile: what it allows counts from now on."""
        if budget is not None and budget.until != self.budget.until:
            self.budget = budget

    @property
    def is_sent_first(self) -> bool:
        """Whether it is no message of the user's, but what ``bot.send`` was given."""
        return self.pending.fields.get("MsgType") == SENT_BY_BOT

    def said_one(self) -> None:
        """The first of ``unsent`` went out, or may have."""
        self.sent += 1
        self.unsent.pop(0)

    def spend(self, *, all_of_it: bool = False) -> None:
        """A message went out; or WeChat says that none is left."""
        self.budget = self.budget._replace(left=0 if all_of_it else max(0, self.budget.left - 1))

    def is_for_agents(self, now: float) -> bool:
        """Whether the bot must be silent, because people have the user. What is about their session is the bot's."""
        if now >= self.handed_over.until or self.hand_over is not None:  # its own last words come before that
            return False
        about_session = isinstance(self.message, AgentSessionEvent | AgentSwitchEvent | UnsubscribeEvent)
        return not self.is_sent_first and not about_session

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
    """The turn of ``pending``; what an earlier attempt left to do is taken up where it stopped."""
    left = _Left.read(pending.unsent)
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
        hand_over=left.hand_over,
        sent=pending.sent,
        unsent=left.unsent,
        doubtful=left.doubtful,
        failure=left.failure,
        said=left.said,
        through=bool(left.unsent or left.hand_over or left.failure) and not left.again,
    )


@dataclass(slots=True)
class _Left:
    """What ``Turn.to_do`` and ``Turn.outcome`` wrote down."""

    doubtful: list[Reply] = field(default_factory=list)
    unsent: list[Reply] = field(default_factory=list)
    hand_over: HandOver | None = None
    failure: str = ""
    said: int = 0
    again: bool = False
    """The handler has to run, after the replies."""

    @classmethod
    def read(cls, entries: Sequence[Mapping[str, Any]]) -> _Left:
        """Raises KeyError, TypeError, ValueError for what another version wrote."""
        left = cls()
        for entry in entries:
            kind = entry["kind"]
            if kind == _DOUBTFUL:
                left.doubtful.append(reply_from_json(entry["reply"]))
            elif kind == _HAND_OVER:
                left.hand_over = HandOver(entry["until"], entry["agent"])
            elif kind == _FAILURE:
                left.failure, left.said = str(entry["reason"]), int(entry["said"])
            elif kind == RUN_AGAIN:
                left.again = True
            else:
                left.unsent.append(reply_from_json(entry))
        return left
