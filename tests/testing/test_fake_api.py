"""Test FakeWeChat's API over real HTTP: tokens, errcodes, faults."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.testing.bot import Caller
from wxbot.testing import Allowance, FakeWeChat, ManualClock, Push, User
from wxbot.testing.rules import AccountKind

TYPING = "/cgi-bin/message/custom/typing"
SEND = "/cgi-bin/message/custom/send"


@pytest.fixture
def bot(wechat: FakeWeChat) -> Caller:
    return Caller(wechat)


@pytest.fixture
def alice(wechat: FakeWeChat) -> User:
    alice = wechat.user("alice")
    alice.says("hi")
    return alice


# -- typing and messages


def test_typing_cancel_typing_and_a_message_are_accepted(alice: User, bot: Caller, wechat: FakeWeChat) -> None:
    shown = [alice.is_shown_typing]
    assert bot.typing(alice) == 0
    shown.append(alice.is_shown_typing)
    assert bot.typing(alice, "CancelTyping") == 0
    shown.append(alice.is_shown_typing)
    assert shown == [False, True, False]
    assert bot.sends(alice, "你好 😀") == 0
    assert alice.saw == ["Typing", "CancelTyping", "你好 😀"]
    assert wechat.violations == []


def test_window_indicator_and_quota_expire_by_the_clock(alice: User, bot: Caller, clock: ManualClock) -> None:
    assert bot.typing(alice) == 0
    assert bot.typing(alice) == 45081
    clock.advance(15)
    assert not alice.is_shown_typing
    assert bot.typing(alice) == 0
    clock.advance(15)
    assert bot.typing(alice) == 45080
    assert [bot.sends(alice, str(n)) for n in range(6)] == [0, 0, 0, 0, 0, 45047]
    clock.advance(48 * 3600)
    bot.fetch()
    assert bot.sends(alice, "too late") == 45015
    assert alice.refused == [(45081, "Typing"), (45080, "Typing"), (45047, "send"), (45015, "send")]
    assert alice.saw == ["Typing", "Typing", "0", "1", "2", "3", "4"]


def test_events_do_not_open_the_window_if_the_setting_is_off(clock: ManualClock) -> None:
    with FakeWeChat(clock, events_open_window=False) as wechat:
        alice = wechat.user("alice")
        alice.enters()
        assert Caller(wechat).typing(alice) == 45080
        assert Caller(wechat).sends(alice, "Welcome") == 0
        assert Caller(wechat).typing(alice) == 0


@pytest.mark.parametrize(
    ("account_kind", "action", "sends"),
    [
        ("miniprogram", lambda user: user.enters("from-order-page"), [0, 0, 45047]),
        ("official", lambda user: user.does("CLICK", EventKey="k"), [0, 0, 0, 45047]),
        ("official", lambda user: user.does("subscribe"), [0, 0, 0, 45047]),
        ("official", lambda user: user.does("SCAN", EventKey="k"), [0, 0, 0, 45047]),
        ("official", lambda user: user.does("unsubscribe"), [45015]),
        ("unverified", lambda user: user.says("hi"), [48001]),
    ],
)
def test_each_action_allows_its_number_of_messages(
    account_kind: AccountKind, action: Callable[[User], Push], sends: list[int]
) -> None:
    with FakeWeChat(ManualClock(), account_kind=account_kind) as wechat:
        bot, alice = Caller(wechat), wechat.user("alice")
        action(alice)
        assert bot.typing(alice) == {48001: 40200, 45015: 45015}.get(sends[-1], 0)
        assert [bot.sends(alice, str(n)) for n in range(len(sends))] == sends


def test_another_quota_table_is_used() -> None:
    with FakeWeChat(ManualClock(), quota={"message": Allowance(1, 10)}) as wechat:
        bot, alice = Caller(wechat), wechat.user("alice")
        alice.says("hi")
        assert (bot.sends(alice, "1"), bot.sends(alice, "2")) == (0, 45047)


def test_violations_lists_what_a_bot_should_not_do(
    alice: User, bot: Caller, wechat: FakeWeChat, clock: ManualClock
) -> None:
    bot.typing(alice, "CancelTyping")
    clock.advance(30)
    bot.typing(alice)
    bot.typing(alice, "Sleeping")
    assert [(record.what, record.errcode) for record in wechat.violations] == [
        ("CancelTyping", 0),
        ("Typing", 45080),
        ("Sleeping", 45072),
    ]
    assert [record.what for record in wechat.needless_cancels] == ["CancelTyping"]


# -- errcodes


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("text", {"content": "x" * 2048}, 0),
        ("text", {"content": "你" * 682 + "xx"}, 0),
        ("text", {"content": "x" * 2049}, 45002),
        ("text", {"content": "你" * 683}, 45002),
        ("text", {"content": ""}, 44004),
        ("text", {}, 44004),
        ("text", {"content": 1}, 47001),
        ("text", "hello", 47001),
        ("image", {}, 40007),
        ("news", {"articles": [{}]}, 45162),
        ("transfer_customer_service", {}, 45162),
        ("sticker", {}, 40008),
    ],
)
def test_the_content_of_a_message_is_checked(alice: User, bot: Caller, kind: str, content: Any, errcode: int) -> None:
    assert bot.sends_kind(alice, kind, content) == errcode


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b"", 44002),
        (b"{", 47001),
        (b"[]", 47001),
        (b"\xff", 47001),
        (b'{"touser":"o","command":"\\u4f60"}', 40033),
        (b'{"touser":"o","command":"\\\\u4f60"}', 45072),
        (b'{"touser":"o","command":"\\u000a"}', 45072),
        (b"{}", 45072),
        (b'{"touser":"nobody","command":"Typing"}', 40003),
        (b'{"touser":["x"],"command":"Typing"}', 40003),
        (b'{"touser":"nobody","command":["Typing"]}', 45072),
    ],
)
def test_invalid_bodies_are_rejected(bot: Caller, body: bytes, errcode: int) -> None:
    assert bot.call(TYPING, body) == errcode


@pytest.mark.parametrize("body", [b'{"touser":"nobody","msgtype":"text","text":{"content":"x"}}', b'{"msgtype":{}}'])
def test_an_unknown_openid_is_rejected(bot: Caller, body: bytes) -> None:
    assert bot.call(SEND, body) == 40003


def test_the_business_endpoints_need_a_businessid(alice: User, bot: Caller) -> None:
    typing: dict[str, Any] = {"touser": alice.openid, "command": "Typing"}
    message: dict[str, Any] = {"touser": alice.openid, "msgtype": "text", "text": {"content": "x"}}
    for path, body in [("typing", typing), ("send", message)]:
        assert bot.call(f"/cgi-bin/message/custom/business/{path}", body) == 40101
        assert bot.call(f"/cgi-bin/message/custom/business/{path}", {**body, "businessid": "7"}) == 0
    assert alice.saw == ["Typing", "x"]


def test_wrong_methods_and_unknown_paths_are_rejected(bot: Caller) -> None:
    answer = bot.get(TYPING)
    assert answer["errcode"] == 43002
    assert "POST method rid: " in answer["errmsg"]
    assert bot.post("/cgi-bin/token", {})["errcode"] == 43001
    assert bot.get("/cgi-bin/nothing")["errcode"] == 40066
    assert bot.get("/cgi-bin/getcallbackip")["errcode"] == 41001
    for path in ("/cgi-bin/getcallbackip", "/cgi-bin/get_api_domain_ip"):
        assert bot.get(path, access_token=bot.fetch())["ip_list"] == ["127.0.0.1"]


# -- access tokens


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"grant_type": "password"}, 40002),
        ({"appid": ""}, 41002),
        ({"appid": "wx_other"}, 40013),
        ({"secret": ""}, 41004),
        ({"secret": "guess"}, 40125),
    ],
)
def test_a_token_call_with_wrong_credentials_is_rejected(bot: Caller, changes: dict[str, str], errcode: int) -> None:
    assert bot.classic(**changes)["errcode"] == errcode
    assert bot.stable(**changes)["errcode"] == errcode
    assert bot.wechat.token_fetches == 0


@pytest.mark.parametrize(("token", "errcode"), [("nonsense", 40014), ("12_" + "x" * 120, 40001), ("", 41001)])
def test_an_unknown_token_is_rejected(alice: User, bot: Caller, token: str, errcode: int) -> None:
    body = {"touser": alice.openid, "command": "Typing"}
    assert bot.post(TYPING, body, access_token=token)["errcode"] == errcode


def test_a_token_expires(alice: User, bot: Caller, clock: ManualClock) -> None:
    assert bot.classic()["expires_in"] == 7200
    bot.fetch()
    clock.advance(7199)
    assert bot.typing(alice) != 42001
    clock.advance(1)
    assert bot.typing(alice) == 42001


def test_a_new_classic_token_replaces_the_old_one_after_five_minutes(
    alice: User, bot: Caller, clock: ManualClock
) -> None:
    old, new = bot.fetch(), bot.fetch()
    assert old != new
    clock.advance(299)
    alice.says("still there?")
    bot.token = old
    assert bot.typing(alice) == 0
    clock.advance(1)
    assert bot.typing(alice) == 40001
    bot.token = new
    assert bot.typing(alice, "CancelTyping") == 0


def test_without_overlap_the_old_classic_token_ends_at_once(alice: User, bot: Caller, wechat: FakeWeChat) -> None:
    wechat.token_overlap = 0
    old = bot.fetch()
    bot.fetch()
    bot.token = old
    assert bot.typing(alice) == 40001


def test_the_stable_token_stays_until_five_minutes_before_its_end(alice: User, bot: Caller, clock: ManualClock) -> None:
    first = bot.stable()
    clock.advance(6899)
    assert bot.stable() == {"access_token": first["access_token"], "expires_in": 301}
    clock.advance(1)
    second = bot.stable()
    assert second["access_token"] != first["access_token"]
    assert second["expires_in"] == 7200
    alice.says("hi")
    for answer in (first, second):
        bot.token = answer["access_token"]
        assert bot.typing(alice) in (0, 45081)
    clock.advance(300)
    bot.token = first["access_token"]
    assert bot.typing(alice) == 42001


def test_classic_and_stable_tokens_are_independent(alice: User, bot: Caller, wechat: FakeWeChat) -> None:
    wechat.token_overlap = 0
    stable = bot.stable()["access_token"]
    bot.fetch()
    bot.fetch()
    assert bot.stable()["access_token"] == stable
    bot.token = stable
    assert bot.typing(alice) == 0
    assert wechat.token_fetches == 4


def test_force_refresh_replaces_the_token_at_most_every_30_seconds(
    alice: User, bot: Caller, clock: ManualClock
) -> None:
    first = bot.stable()["access_token"]
    second = bot.stable(force_refresh=True)["access_token"]
    assert first != second
    clock.advance(29)
    assert bot.stable(force_refresh=True)["access_token"] == second
    bot.token = first
    assert bot.typing(alice) == 40001
    clock.advance(1)
    assert bot.stable(force_refresh=True)["access_token"] != second


def test_force_refresh_works_20_times_a_day(bot: Caller, clock: ManualClock) -> None:
    tokens = {bot.stable()["access_token"]}
    for _ in range(25):
        tokens.add(bot.stable(force_refresh=True)["access_token"])
        clock.advance(30)
    assert len(tokens) == 21


def test_the_token_lifetime_can_be_set(bot: Caller, wechat: FakeWeChat, clock: ManualClock) -> None:
    wechat.token_lifetime = 60
    first = bot.stable()
    assert first["expires_in"] == 60
    clock.advance(29)
    assert bot.stable()["access_token"] == first["access_token"]
    clock.advance(1)
    assert bot.stable()["access_token"] != first["access_token"]


def test_a_revoked_token_is_rejected_at_once(alice: User, bot: Caller, wechat: FakeWeChat) -> None:
    bot.token = bot.stable()["access_token"]
    wechat.faults.revoke_token()
    assert bot.typing(alice) == 40001
    bot.token = bot.stable()["access_token"]
    assert bot.typing(alice) == 0


# -- faults


def test_an_injected_errcode_is_returned_the_given_number_of_times(
    alice: User, bot: Caller, wechat: FakeWeChat
) -> None:
    wechat.faults.fail("typing", times=2)
    wechat.faults.fail("typing", 45081)
    assert [bot.typing(alice) for _ in range(4)] == [-1, -1, 45081, 0]
    assert alice.saw == ["Typing"]
    assert wechat.violations == []
    wechat.faults.fail("token", 40164)
    assert bot.stable()["errcode"] == 40164


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("fault", ["http", "drop"])
def test_a_call_fails_before_or_after_processing(
    alice: User, bot: Caller, wechat: FakeWeChat, fault: str, acted: bool
) -> None:
    bot.fetch()
    if fault == "http":
        wechat.faults.http_error("send", 502, acted=acted)
        assert post_text(bot, alice)[0] == 502
        assert [record.fault[:8] for record in alice.calls] == ["http 502"]
    else:
        wechat.faults.drop("send", acted=acted)
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post_text(bot, alice)
    assert alice.saw == (["hello"] if acted else [])


def test_a_slow_answer_comes_when_the_clock_is_advanced(
    alice: User, bot: Caller, wechat: FakeWeChat, clock: ManualClock
) -> None:
    bot.fetch()
    wechat.faults.slow("typing", 7, times=1)
    answers: list[int] = []
    with in_the_background(lambda: answers.append(bot.typing(alice))):
        alice.waits_for("Typing")
        clock.advance(6)
        assert answers == []
        clock.advance(1)
    assert answers == [0]
    assert alice.calls[0].took == 7


def test_a_call_that_hangs_ends_when_the_platform_is_closed(clock: ManualClock) -> None:
    with FakeWeChat(clock) as wechat:
        bot, alice = Caller(wechat), wechat.user("alice")
        alice.says("hi")
        bot.fetch()
        wechat.faults.hang("send")
        broken: list[BaseException] = []

        def send() -> None:
            try:
                post_text(bot, alice)
            except (http.client.HTTPException, ConnectionError) as problem:
                broken.append(problem)

        with in_the_background(send):
            alice.waits_for_calls(1)
            wechat.close()
        assert len(broken) == 1
        assert alice.saw == []


def test_faults_can_be_cleared_and_need_a_known_endpoint(alice: User, bot: Caller, wechat: FakeWeChat) -> None:
    wechat.faults.hang("typing")
    wechat.faults.clear()
    assert bot.typing(alice) == 0
    with pytest.raises(ValueError, match="one of typing, send, token"):
        wechat.faults.fail("sending")  # type: ignore[arg-type]


@contextmanager
def in_the_background(work: Callable[[], Any]) -> Iterator[None]:
    """Run ``work`` in a thread during the block, and wait for it at the end."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive()


def post_text(bot: Caller, user: User) -> tuple[int, bytes]:
    token = bot.token or bot.fetch()
    body = f'{{"touser":"{user.openid}","msgtype":"text","text":{{"content":"hello"}}}}'
    return bot.exchange("POST", SEND, {"access_token": token}, body.encode())
