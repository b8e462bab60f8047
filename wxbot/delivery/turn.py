"""The turn: one message while it is processed, with the state and the handover of its conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wxbot.model.messages import AgentSessionEvent, AgentSwitchEvent, Message, UnsubscribeEvent
from wxbot.store.records import WITH_BOT, Handover, Lease, PendingMessage

SENT_BY_BOT = "wxbot.send"
"""The MsgType of a proactive message (``bot.send``), which is in the inbox without a message from the user."""


@dataclass(slots=True)
class Turn:
    """One message while it is processed: its lease, the conversation's state and its handover.

    The replies of the turn are in its outbox (``wxbot.delivery.outbox``).
    """

    lease: Lease
    inbox_message: PendingMessage
    message: Message
    state: Mapping[str, Any]
    """The stored state of the conversation: the plugins' state and the deferred replies."""
    new_state: dict[str, Any] | None = None
    """The plugins' new state, stored when the handler is done; None leaves the stored state as it is."""
    handover: Handover = WITH_BOT
    """The handover that is in force now, as far as this process knows."""
    requested_handover: Handover | None = None
    """The handover that begins after this message; None changes nothing."""

    @property
    def is_proactive(self) -> bool:
        """Return True if this is a proactive message (``bot.send``), not a message from the user."""
        return self.inbox_message.fields.get("MsgType") == SENT_BY_BOT

    def save_state(self, plugin: str, before: str, after: str) -> None:
        """Note the state of a plugin as JSON, if the handler changed it."""
        if after != before:
            changed = {plugin: json.loads(after)} if after != "{}" else {}
            others = {name: value for name, value in self.state.items() if name != plugin}
            self.new_state = {**others, **changed}

    def is_for_agents(self, now: float) -> bool:
        """Return True if a human agent handles this user. Agent-session events are still processed by the bot.

        A handler that requests a handover still sends its own replies.
        """
        if now >= self.handover.until or self.requested_handover is not None:
            return False
        about_session = isinstance(self.message, AgentSessionEvent | AgentSwitchEvent | UnsubscribeEvent)
        return not self.is_proactive and not about_session
