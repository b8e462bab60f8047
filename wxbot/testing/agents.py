"""A human agent, controlled by a test (docs/wechat.md, "Human agents")."""

from __future__ import annotations

from wxbot.testing.push import Push
from wxbot.testing.running import RunningPlatform
from wxbot.testing.user import User


class Agent:
    """A human agent. ``FakeWeChat.agent`` creates it. A method that returns a Push reports an event to the bot.

    All methods raise ValueError for a user who has a session with another agent.
    """

    def __init__(self, running: RunningPlatform, account: str) -> None:
        self.account = account
        self._running = running
        self._sessions = running.platform.agent_sessions

    def __repr__(self) -> str:
        return f"<Agent {self.account}>"

    def takes(self, user: User) -> Push:
        """Start a session with ``user``, who may be in the queue. For 30 minutes only the agent gets their messages."""
        with self._running.record_log.changed:
            self._sessions.start(user.openid, self.account)
            return self._running.report(user.openid, "kf_create_session", {"KfAccount": self.account})

    def says(self, user: User, text: str) -> None:
        """Send a text to ``user``. It does not count against the quota, and it opens the 30-second window."""
        with self._running.record_log.changed:
            self._sessions.check(user.openid, self.account)
            self._running.platform.agent_says(user.openid, text)

    def closes(self, user: User, close_type: str = "") -> Push:
        """End the session. The event of a Mini Program also has a ``close_type``."""
        with self._running.record_log.changed:
            self._sessions.close(user.openid, self.account)
            more = {"CloseType": close_type} if close_type else {}
            return self._running.report(user.openid, "kf_close_session", {"KfAccount": self.account, **more})

    def hands_to(self, user: User, other: Agent) -> Push:
        """Switch the session to another agent."""
        with self._running.record_log.changed:
            self._sessions.switch(user.openid, self.account, other.account)
            accounts = {"FromKfAccount": self.account, "ToKfAccount": other.account}
            return self._running.report(user.openid, "kf_switch_session", accounts)

    @property
    def saw(self) -> list[tuple[str, str]]:
        """Return the messages that the agent got, transferred ones included: user name, and text or short form."""
        with self._running.record_log.changed:
            return self._sessions.received_by(self.account)
