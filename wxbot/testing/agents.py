"""A human agent, as a test plays them (docs/wechat.md, "Human agents")."""

from __future__ import annotations

from wxbot.testing.push import Push
from wxbot.testing.running import RunningPlatform
from wxbot.testing.user import User


class Agent:
    """A human agent. ``FakeWeChat.agent`` makes them; their deeds return the Push that reports them to the bot.

    All methods raise ValueError for a user who is another agent's.
    """

    def __init__(self, running: RunningPlatform, account: str) -> None:
        self.account = account
        self._running = running
        self._sessions = running.platform.agent_sessions

    def __repr__(self) -> str:
        return f"<Agent {self.account}>"

    def takes(self, user: User) -> Push:
        """Begin a session with ``user``, from the queue or not: for 30 min the messages come here only."""
        with self._running.record_log.changed:
            self._sessions.take(user.openid, self.account)
            return self._running.report(user.openid, "kf_create_session", {"KfAccount": self.account})

    def says(self, user: User, text: str) -> None:
        """Write to ``user``: takes nothing from the quota and opens the 30 s window as every message does."""
        with self._running.record_log.changed:
            self._sessions.check(user.openid, self.account)
            self._running.platform.agent_says(user.openid, text)

    def closes(self, user: User, close_type: str = "") -> Push:
        """End the session; Mini Programs also tell a ``close_type``."""
        with self._running.record_log.changed:
            self._sessions.close(user.openid, self.account)
            more = {"CloseType": close_type} if close_type else {}
            return self._running.report(user.openid, "kf_close_session", {"KfAccount": self.account, **more})

    def hands_to(self, user: User, other: Agent) -> Push:
        """Let another agent go on with the session."""
        with self._running.record_log.changed:
            self._sessions.hand_over(user.openid, self.account, other.account)
            accounts = {"FromKfAccount": self.account, "ToKfAccount": other.account}
            return self._running.report(user.openid, "kf_switch_session", accounts)

    @property
    def saw(self) -> list[tuple[str, str]]:
        """Name of the user and text (or short form) of each message that came here, transferred ones included."""
        with self._running.record_log.changed:
            return self._sessions.heard_by(self.account)
