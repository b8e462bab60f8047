"""The platform behind the API: users, their standing, and the deeds that change it. No HTTP here."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wxbot.testing import rules
from wxbot.testing.clock import Clock
from wxbot.testing.faults import Faults
from wxbot.testing.records import Kind, Memory, Record, short_form
from wxbot.testing.rules import AccountKind, Quota, Standing
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
        self.memory = Memory(clock)
        self.tokens = Tokens(clock)
        self.faults = Faults(self._revoke)
        self.names: dict[str, str] = {}
        self._quota = quota if quota is not None else rules.quota_of(account.kind)
        self._events_open_window = events_open_window
        self._standings: dict[str, Standing] = {}
        self._msg_ids = itertools.count((1 << 54) + secrets.randbelow(1 << 60))  # beyond what a double can hold

    def add_user(self, name: str, openid: str) -> None:
        """Make the openid known."""
        with self.memory.changed:
            self.names[openid] = name
            self._standings[openid] = Standing()

    def knows(self, openid: str) -> bool:
        return openid in self._standings

    def shows_typing(self, openid: str) -> bool:
        """Whether the indicator shows to this user now."""
        return self._standings[openid].shows_typing(self.clock.now())

    def typing_left(self, openid: str) -> float:
        """Seconds until the indicator ends by itself; 0 or less if none shows."""
        return self._standings[openid].typing_since + rules.SHOWING - self.clock.now()

    def user_acts(self, openid: str, msg_type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The user does something now: the fields of the push that reports it."""
        with self.memory.changed:
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

    def answered_passively(self, openid: str, fields: Mapping[str, Any]) -> None:
        """A passive answer came; all but a transfer to a human agent is a message to the user."""
        kind = str(fields["MsgType"])
        with self.memory.changed:
            is_message = kind != "transfer_customer_service"
            if is_message and self.knows(openid):
                self._standings[openid].reached(self.clock.now())
            what = str(fields.get("Content", "")) if kind == "text" else short_form(kind, fields)
            self.record("passive", what, openid, errcode=0 if is_message else None, body=fields)

    def gives_up(self, openid: str) -> None:
        """No attempt to deliver was answered as it should: the user is told so."""
        self.record("notice", f"[{NOTICES[self.account.kind]}]", openid, errcode=0)

    def record(self, kind: Kind, what: str, openid: str = "", **more: Any) -> None:
        """Remember what happened now."""
        name = self.names.get(openid, "")
        self.memory.add(Record(at=self.clock.now(), kind=kind, what=what, openid=openid, name=name, **more))

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
        with self.memory.changed:
            self.tokens.revoke()


def describe_push(fields: Mapping[str, Any]) -> str:
    """The text of a push, or a short form."""
    kind = str(fields.get("MsgType", ""))
    if kind == "text":
        return str(fields.get("Content", ""))
    return short_form(str(fields.get("Event", "")) if kind == "event" else kind, fields)
