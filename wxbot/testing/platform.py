"""The platform behind the API: the users, their status, and the user actions that change it. No HTTP here."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from wxbot.testing import rules
from wxbot.testing.agent_sessions import AgentSessions
from wxbot.testing.clock import Clock
from wxbot.testing.errcodes import Refused
from wxbot.testing.exchange import Redactor
from wxbot.testing.faults import Faults
from wxbot.testing.media import LIMITS, MediaKind, MediaStore, StoredFile, refusal_of
from wxbot.testing.passive import TRANSFER, TransferOfEvent, agent_of, check_answer, describe_answer
from wxbot.testing.records import Kind, Record, RecordLog, short_form
from wxbot.testing.rules import AccountKind, Quota, UserStatus
from wxbot.testing.tokens import Tokens

NOTICES = {
    "miniprogram": "该小程序客服暂时无法提供服务，请稍后再试",
    "official": "该公众号暂时无法提供服务，请稍后再试",
    "unverified": "该公众号暂时无法提供服务，请稍后再试",
}


@dataclass(frozen=True, slots=True)
class Account:
    """The settings of the account in WeChat's console. ``original_id``: its ``gh_…`` name."""

    appid: str
    secret: str
    original_id: str
    kind: AccountKind


class Platform:
    """All state of one account. Its lock is ``record_log.changed``."""

    def __init__(self, clock: Clock, account: Account, quota: Quota | None, events_open_window: bool) -> None:
        self.clock = clock
        self.account = account
        self.record_log = RecordLog(clock)
        self.tokens = Tokens(clock)
        self.faults = Faults(self._revoke)
        self.media = MediaStore(clock)
        self.agent_sessions = AgentSessions(clock)
        self.mini_program_uploads: set[str] = {"image"}
        self.origin = ""
        self.names: dict[str, str] = {}
        self.redactor = Redactor([account.secret])
        self._quota = quota if quota is not None else rules.allowances_of(account.kind)
        self._events_open_window = events_open_window
        self._statuses: dict[str, UserStatus] = {}
        self._msg_ids = itertools.count(
            (1 << 54) + secrets.randbelow(1 << 60)
        )  # greater than 2**53, so that a JSON parser that uses doubles would change it

    def add_user(self, name: str, openid: str) -> None:
        """Add a user with this openid."""
        with self.record_log.changed:
            self.names[openid] = name
            self._statuses[openid] = UserStatus()

    def knows(self, openid: str) -> bool:
        """Return True if there is a user with this openid."""
        return openid in self._statuses

    def shows_typing(self, openid: str) -> bool:
        """Return True if the user sees the typing indicator now."""
        return self._statuses[openid].shows_typing(self.clock.now())

    def status_of(self, openid: str) -> UserStatus:
        """Return a copy of the user's status."""
        with self.record_log.changed:
            return replace(self._statuses[openid])

    def typing_left(self, openid: str) -> float:
        """Return the seconds until the indicator ends by itself; 0 or less if it is not showing."""
        return self._statuses[openid].typing_since + rules.SHOWING - self.clock.now()

    def user_acts(self, openid: str, msg_type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Process a user action now. Return the fields of the push that reports it."""
        with self.record_log.changed:
            now = self.clock.now()
            push = self._push_fields(openid, msg_type, fields, now)
            self._apply(openid, push, now)
            self.record("user", describe_push(push), openid, body=push)
            return push

    def typing(self, openid: str, command: object) -> tuple[int, bool]:
        """Process a typing call. Return its errcode, and True if it is a needless CancelTyping."""
        status = self._statuses[openid]
        now = self.clock.now()
        shown = status.shows_typing(now)
        errcode = status.typing(now, command)
        return errcode, errcode == 0 and command == "CancelTyping" and not shown

    def send(self, openid: str) -> int:
        """Process a message to the user. Return its errcode."""
        return self._statuses[openid].send(self.clock.now())

    @property
    def uploadable(self) -> set[str]:
        """Return the kinds of file that this account may upload."""
        return self.mini_program_uploads if self.account.kind == "miniprogram" else set(LIMITS)

    def upload(self, kind: str, filename: str, content: bytes) -> StoredFile:
        """Store a file that the bot uploads. Raises Refused. ``kind`` must be in ``uploadable``."""
        if errcode := refusal_of(kind, content):
            raise Refused(errcode)
        media = self.media.add(cast(MediaKind, kind), content, filename)
        self.media.uploads.append(media)
        return media

    def answered_passively(self, push: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Process a passive reply: send it to the user, or transfer the user's message to the human agents."""
        openid = str(push["FromUserName"])
        with self.record_log.changed:
            is_message = fields["MsgType"] != TRANSFER
            if is_message and self.knows(openid):
                self._statuses[openid].message_received(self.clock.now())
            if not is_message:
                self.agent_sessions.transfer(
                    openid, self.names.get(openid, ""), self.describe_push(push), agent_of(fields)
                )
            what = describe_answer(fields, self.media.name_of)
            self.record("passive", what, openid, errcode=0 if is_message else None, body=fields)

    def check_passive(self, push: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Raise Malformed unless this is a valid passive reply to this push. Record the transfer of an event."""
        with self.record_log.changed:
            try:
                check_answer(fields, push, self.account.kind, self.media)
            except TransferOfEvent as problem:
                openid = str(push["FromUserName"])
                self.record("passive", f"[{TRANSFER}]", openid, outcome=f"refused ({problem})", body=fields)
                raise

    # -- human agents

    def agent_receives(self, push: Mapping[str, Any]) -> bool:
        """Give the message to the user's agent and return True; return False if the bot gets it."""
        openid = str(push["FromUserName"])
        with self.record_log.changed:
            if push["MsgType"] == "event" or not self.agent_sessions.agent_of(openid):
                return False
            self.agent_sessions.receive(openid, self.names[openid], self.describe_push(push))
            return True

    def agent_says(self, openid: str, text: str) -> None:
        """Send an agent's text to the user."""
        with self.record_log.changed:
            self._statuses[openid].message_received(self.clock.now())
            self.record("agent", text, openid, errcode=0)

    def report(self, openid: str, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Record an event about a user that is not a user action. Return the fields of the push that reports it."""
        with self.record_log.changed:
            push = self._push_fields(openid, "event", {"Event": event, **fields}, self.clock.now())
            self.record("agent", describe_push(push), openid, body=push)
            return push

    def describe_push(self, push: Mapping[str, Any]) -> str:
        """Return the text of a push, or a short form of it with the name of its file."""
        return describe_push(push, self.media.name_of)

    def gives_up(self, openid: str) -> None:
        """Show the user the notice that the service is unavailable, because every delivery attempt failed."""
        self.record("notice", f"[{NOTICES[self.account.kind]}]", openid, errcode=0)

    def record(self, kind: Kind, what: str, openid: str = "", **more: Any) -> None:
        """Add a record with the current time."""
        name = self.names.get(openid, "")
        self.record_log.add(Record(at=self.clock.now(), kind=kind, what=what, openid=openid, name=name, **more))

    def _push_fields(self, openid: str, msg_type: str, fields: Mapping[str, Any], now: float) -> dict[str, Any]:
        head = {"ToUserName": self.account.original_id, "FromUserName": openid}
        push: dict[str, Any] = {**head, "CreateTime": int(now), "MsgType": msg_type, **fields}
        if msg_type != "event":
            push.setdefault("MsgId", next(self._msg_ids))
        return push

    def _apply(self, openid: str, push: Mapping[str, Any], now: float) -> None:
        status = self._statuses[openid]
        if str(push.get("Event", "")).lower() == "unsubscribe":
            status.user_leaves()
            return
        allowance = self._quota.get(rules.action_of(push))
        status.user_acts(now, allowance, rules.is_interaction(push, self._events_open_window))

    def _revoke(self) -> None:
        with self.record_log.changed:
            self.tokens.revoke()


def describe_push(fields: Mapping[str, Any], name_of: Callable[[str], str] = str) -> str:
    """Return the text of a push, or a short form of it."""
    kind = str(fields.get("MsgType", ""))
    if kind == "text":
        return str(fields.get("Content", ""))
    return short_form(str(fields.get("Event", "")) if kind == "event" else kind, fields, name_of)
