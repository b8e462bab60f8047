"""The context that a handler gets: the message, its user, and the ways to reply."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wxbot.errors import PluginError
from wxbot.model.messages import (
    Message,
    TextMessage,
)
from wxbot.model.quota import UNKNOWN_QUOTA, Quota


@dataclass(frozen=True, slots=True)
class RequestedHandover:
    """What a handler asked for with ``ctx.hand_over``."""

    agent: str
    seconds: float | None


@dataclass(slots=True)
class Context:
    """One message and everything a handler may know about it."""

    message: Message
    plugin: str
    state: dict[str, Any] = field(default_factory=dict)
    """This plugin's memory of this user: JSON values, kept with the answer in one transaction."""
    settings: Any = None
    """The plugin's settings, an instance of the class given to ``Plugin(settings=…)``."""
    resource: Any = None
    """What the plugin's ``setup`` returned."""
    attempt: int = 1
    """1, or more if this message was begun before and the process died."""
    _match: re.Match[str] | None = field(default=None, repr=False)
    _get_wechatpy: Callable[[], Any] | None = field(default=None, repr=False)
    _get_quota: Callable[[], Quota] | None = field(default=None, repr=False)
    _requested_handover: RequestedHandover | None = field(default=None, repr=False)

    def hand_over(self, agent: str = "", *, seconds: float | None = None) -> None:
        """Leave this user to human agents: from this answer on the bot is silent.

        The user's *next* message goes to the agents, and so does every one until ``kf_close_session``, the end of
        ``seconds`` (by default ``WXBOT_HANDOVER_SECONDS``) or a word of ``WXBOT_RESUME_WORDS``; this one has been
        acknowledged already. Where the message itself must reach them, declare a rule: ``@plugin.hands_over``.
        ``agent``: a certain one (kf_account; Official Accounts only). Raises PluginError for nonsense.
        """
        if seconds is not None and not seconds > 0:
            raise PluginError(f"plugin {self.plugin!r}: ctx.hand_over takes seconds above 0, not {seconds!r}")
        self._requested_handover = RequestedHandover(agent, seconds)

    @property
    def quota(self) -> Quota:
        """How many messages WeChat still takes for this user (``left``), and until when (seconds since 1970)."""
        return UNKNOWN_QUOTA if self._get_quota is None else self._get_quota()

    @property
    def openid(self) -> str:
        """The user."""
        return self.message.openid

    @property
    def text(self) -> str:
        """The text as written; empty for other kinds."""
        return self.message.text if isinstance(self.message, TextMessage) else ""

    @property
    def match(self) -> re.Match[str]:
        """The match of the handler's pattern. Raises PluginError in a handler that was registered without one."""
        if self._match is None:
            raise PluginError(f"plugin {self.plugin!r} reads ctx.match in a handler that has no compiled pattern")
        return self._match

    @property
    def log(self) -> logging.Logger:
        """The plugin's own logger."""
        return logging.getLogger(f"wxbot.plugins.{self.plugin}")

    @property
    def wechatpy(self) -> Any:
        """wechatpy's client for the rest of WeChat's API, on the bot's own token, with a timeout.

        It blocks: use it in a plain ``def`` handler or through ``asyncio.to_thread``.
        """
        if self._get_wechatpy is None:
            raise PluginError("ctx.wechatpy needs a running bot")
        return self._get_wechatpy()
