"""The platform behind the API: users, their standing, and the deeds that change it. No HTTP here."""

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
    """The account as it is set up in WeChat's console; ``original_id`` is its ``gh_…`` name."""

    appid: str
    secret: str
    original_id: str
    kind: AccountKind


class Platform:
    """All state of one account. Its lock is ``memory.changed``; every public method takes it."""

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
        self._standings: dict[str, UserStatus] = {}
        self._msg_ids = itertools.count((1 << 54) + secrets.randbelow(1 << 60))  # beyond what a double can hold

    def add_user(self, name: str, openid: str) -> None:
        """Make the openid known."""
        with self.record_log.changed:
            self.names[openid] = name
            self._standings[openid] = UserStatus()

    def knows(self, openid: str) -> bool:
        return openid in self._standings

    def shows_typing(self, openid: str) -> bool:
        """Whether the indicator shows to this user now."""
        return self._standings[openid].shows_typing(self.clock.now())

    def status_of(self, openid: str) -> UserStatus:
        """How the user stands with the account now: a copy."""
        with self.record_log.changed:
            return replace(self._standings[openid])

    def typing_left(self, openid: str) -> float:
        """Seconds until the indicator ends by itself; 0 or less if none shows."""
        return self._standings[openid].typing_since + rules.SHOWING - self.clock.now()

    def user_acts(self, openid: str, msg_type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The user does something now: the fields of the push that reports it."""
        with self.record_log.changed:
            now = self.clock.now()
            push = self._push_fields(openid, msg_type, fields, now)
            self._take_note(openid, push, now)
            self.record("user", describe_push(push), openid, body=push)
            return push

    def typing(self, openid: str, command: object) -> tuple[int, bool]:
        """The errcode of a typing call, and whether it cancelled nothing."""
        standing = self._standings[openid]
        now = self.clock.now()
        shown = standing.shows_typing(now)
        errcode = standing.typing(now, command)
        return errcode, errcode == 0 and command == "CancelTyping" and not shown

    def send(self, openid: str) -> int:
        """The errcode of a message to the user."""
        return self._standings[openid].send(self.clock.now())

    @property
    def uploadable(self) -> set[str]:
        """The kinds of file this account may upload."""
        return self.mini_program_uploads if self.account.kind == "miniprogram" else set(LIMITS)

    def upload(self, kind: str, filename: str, content: bytes) -> StoredFile:
        """Keep a file of the bot's. Raises Refused. ``kind`` is one there is."""
        if errcode := refusal_of(kind, content):
            raise Refused(errcode)
        media = self.media.add(cast(MediaKind, kind), content, filename)
        self.media.uploads.append(media)
        return media

    def answered_passively(self, push: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """A passive answer came; all but a transfer to a human agent is a message to the user."""
        openid = str(push["FromUserName"])
        with self.record_log.changed:
            is_message = fields["MsgType"] != TRANSFER
            if is_message and self.knows(openid):
                self._standings[openid].reached(self.clock.now())
            if not is_message:
                self.agent_sessions.transfer(
                    openid, self.names.get(openid, ""), self.describe_push(push), agent_of(fields)
                )
            what = describe_answer(fields, self.media.name_of)
            self.record("passive", what, openid, errcode=0 if is_message else None, body=fields)

    def check_passive(self, push: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        """Raises Malformed if this is no passive answer to this push; to transfer an event is also a violation."""
        with self.record_log.changed:
            try:
                check_answer(fields, push, self.account.kind, self.media)
            except TransferOfEvent as problem:
                openid = str(push["FromUserName"])
                self.record("passive", f"[{TRANSFER}]", openid, outcome=f"refused ({problem})", body=fields)
                raise

    # -- human agents

    def agent_hears(self, push: Mapping[str, Any]) -> bool:
        """Whether an agent holds the session and gets this message of the user's instead of the bot."""
        openid = str(push["FromUserName"])
        with self.record_log.changed:
            if push["MsgType"] == "event" or not self.agent_sessions.holder(openid):
                return False
            self.agent_sessions.hear(openid, self.names[openid], self.describe_push(push))
            return True

    def agent_says(self, openid: str, text: str) -> None:
        """An agent writes to the user."""
        with self.record_log.changed:
            self._standings[openid].reached(self.clock.now())
            self.record("agent", text, openid, errcode=0)

    def report(self, openid: str, event: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Something concerns a user without being their deed: the fields of the push that reports it."""
        with self.record_log.changed:
            push = self._push_fields(openid, "event", {"Event": event, **fields}, self.clock.now())
            self.record("agent", describe_push(push), openid, body=push)
            return push

    def describe_push(self, push: Mapping[str, Any]) -> str:
        """The text of a push or a short form, with the name of its file if it has one."""
        return describe_push(push, self.media.name_of)

    def gives_up(self, openid: str) -> None:
        """No attempt to deliver was answered as it should: the user is told so."""
        self.record("notice", f"[{NOTICES[self.account.kind]}]", openid, errcode=0)

    def record(self, kind: Kind, what: str, openid: str = "", **more: Any) -> None:
        """Remember what happened now."""
        name = self.names.get(openid, "")
        self.record_log.add(Record(at=self.clock.now(), kind=kind, what=what, openid=openid, name=name, **more))

    def _push_fields(self, openid: str, msg_type: str, fields: Mapping[str, Any], now: float) -> dict[str, Any]:
        head = {"ToUserName": self.account.original_id, "FromUserName": openid}
        push: dict[str, Any] = {**head, "CreateTime": int(now), "MsgType": msg_type, **fields}
        if msg_type != "event":
            push.setdefault("MsgId", next(self._msg_ids))
        return push

    def _take_note(self, openid: str, push: Mapping[str, Any], now: float) -> None:
        standing = self._standings[openid]
        if str(push.get("Event", "")).lower() == "unsubscribe":
            standing.user_leaves()
            return
        allowance = self._quota.get(rules.action_of(push))
        standing.user_acts(now, allowance, rules.is_interaction(push, self._events_open_window))

    def _revoke(self) -> None:
        with self.record_log.changed:
            self.tokens.revoke()


def describe_push(fields: Mapping[str, Any], name_of: Callable[[str], str] = str) -> str:
    """The text of a push, or a short form."""
    kind = str(fields.get("MsgType", ""))
    if kind == "text":
        return str(fields.get("Content", ""))
    return short_form(str(fields.get("Event", "")) if kind == "event" else kind, fields, name_of)
