"""The sessions of human agents: the queue, and which agent has a session with which user.

The rules are in docs/wechat.md, "Human agents".
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from wxbot.testing.clock import Clock

SESSION_SECONDS = 30 * 60.0
"""How long an agent gets the user's messages instead of the callback URL, in seconds from the start of the session.

WeChat says "30 minutes without closing", but not from which moment it counts.
"""


@dataclass(slots=True)
class _QueuedUser:
    account: str
    messages: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    account: str
    since: float


class AgentSessions:
    """The agents' sessions and queue of one account. Call all methods with the platform's lock held."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: dict[str, _QueuedUser] = {}
        self._sessions: dict[str, _Session] = {}
        self._received: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)

    def agent_of(self, openid: str) -> str:
        """Return the account of the agent who gets this user's messages now; empty if the callback URL gets them."""
        session = self._sessions.get(openid)
        return session.account if session and self._clock.now() - session.since < SESSION_SECONDS else ""

    def is_queued(self, openid: str) -> bool:
        """Return True if the user is in the queue."""
        return openid in self._queue

    def transfer(self, openid: str, name: str, text: str, account: str) -> None:
        """Transfer a message to the user's agent, or to the queue if there is no session.

        ``account`` is the agent whom the bot chose; empty for any.
        """
        if self.agent_of(openid):
            self.receive(openid, name, text)
            return
        queued = self._queue.setdefault(openid, _QueuedUser(account))
        queued.account = account
        queued.messages.append((name, text))

    def receive(self, openid: str, name: str, text: str) -> None:
        """Give a message of the user to the agent who has the session."""
        self._received[self.agent_of(openid)].append((name, text))

    def received_by(self, account: str) -> list[tuple[str, str]]:
        """Return the messages that one agent received: the user's name and the text of each."""
        return list(self._received[account])

    def start(self, openid: str, account: str) -> None:
        """Start a session. Raises ValueError if the user has a session or was transferred to another agent."""
        queued = self._queue.get(openid)
        chosen = self.agent_of(openid) or (queued.account if queued else "")
        if self.agent_of(openid) or chosen not in ("", account):
            raise ValueError(f"{account} cannot start a session: the user is assigned to {chosen}")
        if queued:
            self._received[account] += self._queue.pop(openid).messages
        self._sessions[openid] = _Session(account, self._clock.now())

    def check(self, openid: str, account: str) -> None:
        """Raise ValueError unless this agent has a session with the user, even one older than SESSION_SECONDS."""
        session = self._sessions.get(openid)
        if session is None or session.account != account:
            raise ValueError(f"{account} has no session with this user")

    def close(self, openid: str, account: str) -> None:
        """End the session. Raises ValueError if it is another agent's."""
        self.check(openid, account)
        del self._sessions[openid]

    def switch(self, openid: str, account: str, other: str) -> None:
        """Give the session to the agent ``other``. Raises ValueError if it is not this agent's."""
        self.check(openid, account)
        self._sessions[openid] = _Session(other, self._clock.now())
