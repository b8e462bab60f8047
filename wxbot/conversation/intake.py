"""The intake: it turns the fields of a push into the record that the store accepts."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import Any

from wxbot.model.messages import message_from
from wxbot.model.quota import NOTHING_LEFT, Allowances, Quota, allowance_for
from wxbot.plugin.router import Router
from wxbot.settings.schema import HandoverSettings
from wxbot.store.records import WITH_BOT, ConversationKey, ConversationRecord, Handover, IncomingMessage

log = logging.getLogger("wxbot.intake")


class Intake:
    """The intake of one account. It decides how many messages a user action allows, and if human agents handle a user.

    ``allowances``: the quota of each user action. ``is_passive``: the account sends only passive replies.
    """

    def __init__(
        self,
        appid: str,
        router: Router,
        allowances: Allowances,
        handover: HandoverSettings,
        *,
        is_passive: bool,
    ) -> None:
        self._appid = appid
        self._router = router
        self._allowances = allowances
        self._handover = handover
        self._is_passive = is_passive
        self._numbers = itertools.count()

    def message_of(
        self, fields: Mapping[str, Any], dedup_key: str, interacted_at: float, now: float
    ) -> IncomingMessage:
        """Return the record for a push with ``fields``. Times are seconds since 1970."""
        is_event = fields["MsgType"].lower() == "event"
        return IncomingMessage(
            ConversationKey(self._appid, fields["FromUserName"]),
            dedup_key,
            fields,
            now,
            ConversationRecord(
                interacted_at,
                quota=self._quota_after(fields, interacted_at or now),
                handover=self._handover_by_event(fields, now) if is_event else self._handover_by_message(fields, now),
            ),
            for_agents=not is_event and not self._is_passive,
        )

    def _quota_after(self, fields: Mapping[str, Any], acted_at: float) -> Quota | None:
        if str(fields.get("Event", "")).lower() == "unsubscribe":
            return None if self._is_passive else NOTHING_LEFT
        allowance = allowance_for(fields, self._allowances)
        if allowance is None:
            return None
        # The end identifies a quota in the store, so two actions that happen at the same moment get different ends.
        return Quota(allowance.messages, acted_at + allowance.seconds + next(self._numbers) % 1000 * 1e-6)

    def _handover_by_event(self, fields: Mapping[str, Any], now: float) -> Handover | None:
        """Return the handover after an event of an agent session; None if the event changes nothing."""
        event = str(fields["Event"]).lower()
        if event in ("kf_close_session", "unsubscribe"):
            return WITH_BOT
        if event in ("kf_create_session", "kf_switch_session"):
            agent = str(fields.get("KfAccount") or fields.get("ToKfAccount") or "")
            return Handover(now + self._handover.seconds, agent)
        return None

    def _handover_by_message(self, fields: Mapping[str, Any], now: float) -> Handover | None:
        if self._is_passive:
            return None
        if str(fields.get("Content", "")).strip().casefold() in self._handover.resume_words:
            return WITH_BOT
        agent = self._router.agent_for(message_from(self._appid, fields, now))
        if agent is None:
            return None
        log.info("a hands_over rule hands a user over to human agents: seconds=%g", self._handover.seconds)
        return Handover(now + self._handover.seconds, agent)
