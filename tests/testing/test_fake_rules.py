"""Test WeChat's rules for the window, the typing indicator and the quota, without HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.testing.rules import Allowance, UserStatus, action_of, allowances_of, is_interaction

NOW = 1_700_000_000.0
MESSAGE = Allowance(5, 48 * 3600.0)


def after_a_message() -> UserStatus:
    status = UserStatus()
    status.user_acts(NOW, MESSAGE, interaction=True)
    return status


@pytest.mark.parametrize(("later", "errcode"), [(0, 0), (29.999, 0), (30, 45080), (31, 45080)])
def test_the_window_is_open_for_less_than_30_seconds(later: float, errcode: int) -> None:
    assert after_a_message().typing(NOW + later, "Typing") == errcode
    assert after_a_message().typing(NOW + later, "CancelTyping") == errcode


@pytest.mark.parametrize(("later", "errcode"), [(0, 45081), (14.999, 45081), (15, 0), (29, 0)])
def test_the_indicator_shows_for_less_than_15_seconds(later: float, errcode: int) -> None:
    status = after_a_message()
    assert status.typing(NOW, "Typing") == 0
    assert status.shows_typing(NOW + later) is (errcode == 45081)
    assert status.typing(NOW + later, "Typing") == errcode


def test_a_rejected_typing_does_not_extend_the_first() -> None:
    status = after_a_message()
    status.typing(NOW, "Typing")
    assert status.typing(NOW + 14, "Typing") == 45081
    assert not status.shows_typing(NOW + 15)


def test_the_indicator_may_show_after_the_window_has_closed() -> None:
    status = after_a_message()
    status.typing(NOW + 29, "Typing")
    assert status.shows_typing(NOW + 43)
    assert status.typing(NOW + 31, "CancelTyping") == 45080
    assert status.shows_typing(NOW + 43)


def test_cancel_typing_ends_the_indicator_and_typing_may_follow_at_once() -> None:
    status = after_a_message()
    status.typing(NOW, "Typing")
    assert status.typing(NOW + 1, "CancelTyping") == 0
    assert not status.shows_typing(NOW + 1)
    assert status.typing(NOW + 1, "Typing") == 0


def test_cancel_typing_with_nothing_showing_is_accepted() -> None:
    assert after_a_message().typing(NOW, "CancelTyping") == 0


def test_a_message_to_the_user_ends_the_indicator_and_opens_the_window_again() -> None:
    status = after_a_message()
    status.typing(NOW, "Typing")
    assert status.send(NOW + 29) == 0
    assert not status.shows_typing(NOW + 29)
    assert status.typing(NOW + 58, "Typing") == 0
    assert status.typing(NOW + 59.5, "CancelTyping") == 45080


def test_a_user_who_never_wrote_cannot_be_reached() -> None:
    assert UserStatus().send(NOW) == 45015
    assert UserStatus().typing(NOW, "Typing") == 45015


def test_a_message_allows_five_messages_in_48_hours() -> None:
    status = after_a_message()
    assert [status.send(NOW + 1) for _ in range(6)] == [0, 0, 0, 0, 0, 45047]
    assert status.typing(NOW + 2, "Typing") == 45047
    assert status.send(NOW + 48 * 3600) == 45015
    status.user_acts(NOW + 60, MESSAGE, interaction=True)
    assert status.send(NOW + 60 + 48 * 3600 - 0.5) == 0


def test_the_allowance_of_the_latest_action_replaces_the_one_before() -> None:
    status = after_a_message()
    status.user_acts(NOW + 1, allowances_of("miniprogram")["enter"], interaction=True)
    assert [status.send(NOW + 2) for _ in range(3)] == [0, 0, 45047]
    assert status.send(NOW + 61) == 45015


def test_a_user_who_unsubscribed_cannot_be_reached() -> None:
    status = after_a_message()
    status.typing(NOW, "Typing")
    status.user_leaves()
    assert status.send(NOW) == status.typing(NOW, "Typing") == 45015
    assert not status.shows_typing(NOW)


def test_an_unknown_command_is_rejected_first() -> None:
    assert UserStatus().typing(NOW, "typing") == 45072
    assert UserStatus().typing(NOW, None) == 45072


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"MsgType": "text"}, "message"),
        ({"MsgType": "image"}, "message"),
        ({"MsgType": "text", "bizmsgmenuid": "101"}, "menu"),
        ({"MsgType": "event", "Event": "user_enter_tempsession"}, "enter"),
        ({"MsgType": "event", "Event": "CLICK"}, "menu"),
        ({"MsgType": "event", "Event": "scancode_waitmsg"}, "menu"),
        ({"MsgType": "event", "Event": "VIEW"}, ""),
        ({"MsgType": "event", "Event": "subscribe"}, "subscribe"),
        ({"MsgType": "event", "Event": "SCAN"}, "scan"),
        ({"MsgType": "event", "Event": "LOCATION"}, ""),
    ],
)
def test_each_push_has_its_action_of_the_quota_table(fields: dict[str, str], action: str) -> None:
    assert action_of(fields) == action


def test_events_open_the_window_only_if_the_setting_is_on() -> None:
    click = {"MsgType": "event", "Event": "CLICK"}
    assert is_interaction(click, events_count=True)
    assert not is_interaction(click, events_count=False)
    assert not is_interaction({"MsgType": "event", "Event": "LOCATION"}, events_count=True)
    assert is_interaction({"MsgType": "text"}, events_count=False)


@dataclass
class History:
    """A second record of all actions, with which a property test checks the rules independently."""

    status: UserStatus = field(default_factory=UserStatus)
    now: float = NOW
    heard: list[float] = field(default_factory=list)
    talked: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def step(self, action: str) -> None:
        getattr(self, action)()

    def user_writes(self) -> None:
        self.status.user_acts(self.now, MESSAGE, interaction=True)
        self.heard.append(self.now)
        self.talked.append(self.now)
        self.sent.clear()

    def bot_sends(self) -> None:
        if self.status.send(self.now) == 0:
            self.sent.append(self.now)
            self.talked.append(self.now)
            self.ended.append(self.now)
            assert len(self.sent) <= 5
            assert self.now - self.heard[-1] < MESSAGE.seconds

    def typing(self) -> None:
        if self.status.typing(self.now, "Typing") == 0:
            assert self.now - self.talked[-1] < 30
            assert (
                not self.shown or self.now - self.shown[-1] >= 15 or (self.ended and self.ended[-1] >= self.shown[-1])
            )
            self.shown.append(self.now)

    def cancels(self) -> None:
        if self.status.typing(self.now, "CancelTyping") == 0:
            self.ended.append(self.now)


USER_ACTIONS = st.sampled_from(["user_writes", "bot_sends", "typing", "cancels"])


@given(st.lists(st.tuples(st.floats(0, 40), USER_ACTIONS), max_size=60))
def test_no_sequence_of_actions_breaks_the_rules(steps: list[tuple[float, str]]) -> None:
    history = History()
    for pause, action in steps:
        history.now += pause
        history.step(action)
        if history.status.shows_typing(history.now):
            assert history.now - history.shown[-1] < 15
