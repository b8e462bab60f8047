"""The human agents' side of an account: the queue, and who holds whose session (docs/wechat.md, "Human agents")."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from wxbot.testing.clock import Clock

HELD = 30 * 60.0
"""Seconds for which a session keeps the user's messages from the callback URL, counted from its beginning.

WeChat says "30 minutes without closing" and not from when.
"""


@dataclass(slots=True)
class _Waiting:
    account: str
    messages: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    account: str
    since: float


class AgentSessions:
    """The agents' side of one account. All methods are called under the platform's lock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[str, _Waiting] = {}
        self._sessions: dict[str, _Session] = {}
        self._heard: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def holder(self, openid: str) -> str:
        """The agent who gets this user's messages instead of the callback URL now; empty if there is none."""
        session = self._sessions.get(openid)
        return session.account if session and self._clock.now() - session.since < HELD else ""

    def is_waiting(self, openid: str) -> bool:
        """Whether the user is in the queue."""
        return openid in self._waiting

    def transfer(self, openid: str, name: str, what: str, account: str) -> None:
        """A message was handed over: to who holds the session, or else into the queue, for ``account`` if given."""
        if self.holder(openid):
            self.hear(openid, name, what)
            return
        waiting = self._waiting.setdefault(openid, _Waiting(account))
        waiting.account = account
        waiting.messages.append((name, what))

    def hear(self, openid: str, name: str, what: str) -> None:
        """The user wrote while an agent holds the session."""
        self._heard[self.holder(openid)].append((name, what))

    def heard_by(self, account: str) -> list[tuple[str, str]]:
        """What one agent read so far."""
        return list(self._heard[account])

    def take(self, openid: str, account: str) -> None:
        """Begin a session. Raises ValueError if the user is another agent's."""
        waiting = self._waiting.get(openid)
        chosen = self.holder(openid) or (waiting.account if waiting else "")
        if self.holder(openid) or chosen not in ("", account):
            raise ValueError(f"{account} cannot take a user who is with or waits for {chosen}")
        if waiting:
            self._heard[account] += self._waiting.pop(openid).messages
        self._sessions[openid] = _Session(account, self._clock.now())

    def check(self, openid: str, account: str) -> None:
        """Raises ValueError unless this agent has a session with the user, be it one that keeps nothing any more."""
        session = self._sessions.get(openid)
        if session is None or session.account != account:
            raise ValueError(f"{account} has no session with this user")

    def close(self, openid: str, account: str) -> None:
        """End the session. Raises ValueError if it is not this agent's."""
        self.check(openid, account)
        del self._sessions[openid]

    def hand_over(self, openid: str, account: str, other: str) -> None:
        """The session goes on with another agent. Raises ValueError if it is not this agent's."""
        self.check(openid, account)
        self._sessions[openid] = _Session(other, self._clock.now())
