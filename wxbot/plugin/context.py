"""The context of a handler: the message, its user, the plugin's state, and the handover to human agents."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wxbot.errors import PluginError
from wxbot.model.messages import Message, TextMessage
from wxbot.model.quota import UNKNOWN_QUOTA, Quota


@dataclass(frozen=True, slots=True)
class RequestedHandover:
    """A handover that a handler requested with ``ctx.hand_over``. ``seconds`` is None for the default length."""

    agent: str
    seconds: float | None


@dataclass(slots=True)
class Context:
    """The argument of a handler: one message and the data and calls that belong to it."""

    message: Message
    plugin: str
    state: dict[str, Any] = field(default_factory=dict)
    """This plugin's state for this user: JSON values, stored in one transaction with the end of the reply."""
    settings: Any = None
    """The plugin's settings, an instance of the class given to ``Plugin(settings=…)``."""
    resource: Any = None
    """The value that the plugin's ``setup`` returned."""
    attempt: int = 1
    """1 for the first attempt; more if an earlier attempt did not finish, for example because its process died."""
    _match: re.Match[str] | None = field(default=None, repr=False)
    _get_wechatpy: Callable[[], Any] | None = field(default=None, repr=False)
    _get_quota: Callable[[], Quota] | None = field(default=None, repr=False)
    _requested_handover: RequestedHandover | None = field(default=None, repr=False)

    def hand_over(self, agent: str = "", *, seconds: float | None = None) -> None:
        """Hand this user over to human agents after this reply.

        The user's *next* messages go to the agents, not to the bot. The handover ends with the event
        ``kf_close_session``, after ``seconds`` (default: ``WXBOT_HANDOVER_SECONDS``), or when the user sends a word of
        ``WXBOT_RESUME_WORDS``. The agents do not see this message, because it was acknowledged already; if they must
        see it, declare a rule with ``@plugin.hands_over``. ``agent``: hand over to this agent (kf_account; Official
        Accounts only). Raises PluginError if ``seconds`` is not above 0.
        """
        if seconds is not None and not seconds > 0:
            raise PluginError(f"plugin {self.plugin!r}: ctx.hand_over: seconds must be above 0, not {seconds!r}")
        self._requested_handover = RequestedHandover(agent, seconds)

    def state_json(self) -> str:
        """Return ``state`` as JSON. Raises PluginError if it contains a value that is not JSON."""
        try:
            text = json.dumps(self.state or {}, ensure_ascii=False)
            text.encode()  # a lone surrogate (half an emoji) is valid JSON but cannot be stored
        except (TypeError, ValueError) as error:
            raise PluginError(f"plugin {self.plugin!r} put a value into ctx.state that is not JSON: {error}") from None
        return text

    @property
    def quota(self) -> Quota:
        """Return the number of messages that WeChat still accepts, and the end of that time (seconds since 1970)."""
        return UNKNOWN_QUOTA if self._get_quota is None else self._get_quota()

    @property
    def openid(self) -> str:
        """Return the user's openid."""
        return self.message.openid

    @property
    def text(self) -> str:
        """Return the text as the user wrote it; "" if the message is no text."""
        return self.message.text if isinstance(self.message, TextMessage) else ""

    @property
    def match(self) -> re.Match[str]:
        """Return the match of the handler's pattern. Raises PluginError if the handler has no pattern."""
        if self._match is None:
            raise PluginError(f"plugin {self.plugin!r} reads ctx.match in a handler that has no compiled pattern")
        return self._match

    @property
    def log(self) -> logging.Logger:
        """Return the plugin's logger, ``wxbot.plugins.<name>``."""
        return logging.getLogger(f"wxbot.plugins.{self.plugin}")

    @property
    def wechatpy(self) -> Any:
        """Return a wechatpy client for all other calls of WeChat's API. It uses the bot's access token.

        Its calls have a timeout. They block, so use them in a plain ``def`` handler or through ``asyncio.to_thread``.
        Raises PluginError outside of a running bot.
        """
        if self._get_wechatpy is None:
            raise PluginError("ctx.wechatpy needs a running bot")
        return self._get_wechatpy()
