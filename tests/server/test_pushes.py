"""What WeChat sends comes in, in every mode and format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import Door, open_door
from wxbot.testing.envelope import Format, Mode

MODES: tuple[Mode, ...] = ("plain", "compatible", "safe")
FORMATS: tuple[Format, ...] = ("json", "xml")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_a_text_comes_in_and_is_answered(mode: Mode, form: Format, tmp_path: Path) -> None:
    with open_door(tmp_path, mode, form) as door:
        assert door.wechat.verify()
        user = door.wechat.user("alice")
        attempt = user.says("你好 😀 ]]> & <b>").wait()
        assert (attempt.outcome, attempt.status, attempt.body) == ("success", 200, "success")
        user.waits_for("heard TextMessage 你好 😀 ]]> & <b>")


@pytest.mark.parametrize("content_type", ["text/xml", "application/json", "application/octet-stream", ""])
@pytest.mark.parametrize("form", FORMATS)
def test_the_format_is_told_by_the_body_and_not_by_the_content_type(
    form: Format, content_type: str, tmp_path: Path
) -> None:
    with open_door(tmp_path, "safe", form) as door:
        user = door.wechat.user("alice")
        user.says("first").wait()
        user.waits_for("heard TextMessage first")
        query, body = door.wechat.envelope(text_of(user.openid))
        assert door.wechat.push_raw(query, body, {"Content-Type": content_type}) == (200, b"success")
        user.waits_for("heard TextMessage hi")


def test_a_push_that_comes_twice_is_acknowledged_twice_and_answered_once(door: Door) -> None:
    user = door.wechat.user("alice")
    push = user.says("once")
    push.wait()
    push.redeliver().wait()
    user.says("then").wait()
    user.waits_for("heard TextMessage then")
    assert [seen for seen in user.saw if seen.startswith("heard")] == [
        "heard TextMessage once",
        "heard TextMessage then",
    ]


def test_kinds_nobody_knows_are_acknowledged_and_reach_the_fallback(door: Door) -> None:
    user = door.wechat.user("alice")
    assert user.sends("hologram", Depth="3").wait().outcome == "success"
    user.waits_for("heard hologram")


def test_events_nobody_handles_are_acknowledged_and_not_answered(door: Door) -> None:
    user = door.wechat.user("alice")
    assert user.does("wxa_media_check", trace_id="t").wait().outcome == "success"
    user.says("hi").wait()
    user.waits_for("heard TextMessage hi")
    assert door.handled == ["TextMessage"]


def test_a_notice_that_names_no_user_is_acknowledged(door: Door) -> None:
    query, body = door.wechat.envelope({"InfoType": "component_verify_ticket", "CreateTime": 1})
    assert door.wechat.push_raw(query, body) == (200, b"success")
    assert door.kept() == 0


def test_the_previous_key_is_accepted_while_the_key_is_changed(tmp_path: Path) -> None:
    with open_door(tmp_path) as old:
        old_keys = old.wechat.keys
    with open_door(tmp_path, previous_aes_key=old_keys.aes_key, appid=old_keys.appid, token=old_keys.token) as door:
        user = door.wechat.user("alice")
        query, body = door.wechat.envelope(text_of(user.openid), keys=old_keys)
        assert door.wechat.push_raw(query, body) == (200, b"success")


def test_the_process_says_that_it_lives_and_that_it_is_ready(door: Door) -> None:
    address = door.wechat.callback_url.removesuffix("/wechat")
    for path in ("/healthz", "/readyz"):
        door.wechat.callback_url = address + path
        assert door.wechat.push_raw({}, b"", method="GET") == (200, b"ok")


def text_of(openid: str, **changed: object) -> dict[str, object]:
    message: dict[str, object] = {
        "ToUserName": "gh_0123456789ab",
        "FromUserName": openid,
        "CreateTime": 1_700_000_000,
        "MsgType": "text",
        "Content": "hi",
        "MsgId": 42,
    }
    return message | changed
