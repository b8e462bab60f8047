"""Test the quota: the allowance of each user action, and the parser of WXBOT_QUOTA."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wxbot.model.accounts import ACCOUNTS
from wxbot.model.quota import Allowance, Quota, allowance_for, parse_allowances
from wxbot.model.user_actions import USER_ACTIONS

TWO_DAYS = 48 * 3600.0


@pytest.mark.parametrize(
    ("fields", "account", "allowed"),
    [
        ({"MsgType": "text"}, "miniprogram", (5, TWO_DAYS)),
        ({"MsgType": "image"}, "miniprogram", (5, TWO_DAYS)),
        ({"MsgType": "event", "Event": "user_enter_tempsession"}, "miniprogram", (2, 60)),
        ({"MsgType": "text"}, "official", (5, TWO_DAYS)),
        ({"MsgType": "text", "bizmsgmenuid": "101"}, "official", (3, 60)),
        ({"MsgType": "text", "bizmsgmenuid": ""}, "official", (5, TWO_DAYS)),
        ({"MsgType": "Event", "Event": "CLICK"}, "official", (3, 60)),
        ({"MsgType": "event", "Event": "scancode_waitmsg"}, "official", (3, 60)),
        ({"MsgType": "event", "Event": "subscribe"}, "official", (3, 60)),
        ({"MsgType": "event", "Event": "SCAN"}, "official", (3, 60)),
        ({"MsgType": "event", "Event": "VIEW"}, "official", None),
        ({"MsgType": "event", "Event": "LOCATION"}, "official", None),
        ({"MsgType": "event", "Event": "unsubscribe"}, "official", None),
        ({"MsgType": "text"}, "unverified", None),
    ],
)
def test_a_user_action_sets_its_allowance(
    fields: dict[str, str], account: str, allowed: tuple[int, float] | None
) -> None:
    assert allowance_for(fields, ACCOUNTS[account].allowances) == allowed


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("message=20/48h", {"message": Allowance(20, TWO_DAYS)}),
        (" message = 5 / 2d ,enter=1/1m, ", {"message": Allowance(5, TWO_DAYS), "enter": Allowance(1, 60)}),
        ("scan=3/90s", {"scan": Allowance(3, 90)}),
        ("", {}),
    ],
)
def test_a_table_is_parsed(text: str, table: dict[str, Allowance]) -> None:
    assert parse_allowances(text) == table


@pytest.mark.parametrize(
    "row", ["message", "message=5", "message=5/48", "pay=5/48h", "message=-1/48h", "message=5/48h/2"]
)
def test_an_invalid_row_is_named(row: str) -> None:
    with pytest.raises(ValueError, match="is not a valid quota") as caught:
        parse_allowances(f"enter=2/1m, {row}")
    assert repr(row) in str(caught.value)


@given(st.sampled_from(USER_ACTIONS), st.integers(0, 9999), st.integers(0, 999_999), st.sampled_from("smhd"))
def test_every_valid_row_is_parsed(action: str, messages: int, time: int, unit: str) -> None:
    seconds = time * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    assert parse_allowances(f"{action}={messages}/{time}{unit}") == {action: Allowance(messages, seconds)}


def test_a_quota_expires() -> None:
    quota = Quota(3, 100.0)
    assert [quota.at(now) for now in (99.9, 100.0, 101.0)] == [3, 0, 0]
