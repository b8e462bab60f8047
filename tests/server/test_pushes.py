"""Pushes are accepted and answered in every encryption mode and data format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import Webhook, running_webhook
from wxbot.testing.envelope import Format, Mode

MODES: tuple[Mode, ...] = ("plain", "compatible", "safe")
FORMATS: tuple[Format, ...] = ("json", "xml")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", MODES)
def test_a_text_is_accepted_and_answered(mode: Mode, form: Format, tmp_path: Path) -> None:
    with running_webhook(tmp_path, mode, form) as webhook:
        assert webhook.wechat.verify()
        user = webhook.wechat.user("alice")
        attempt = user.says("你好 😀 ]]> & <b>").wait()
        assert (attempt.outcome, attempt.status, attempt.body) == ("success", 200, "success")
        user.waits_for("got TextMessage 你好 😀 ]]> & <b>")


@pytest.mark.parametrize("content_type", ["text/xml", "application/json", "application/octet-stream", ""])
@pytest.mark.parametrize("form", FORMATS)
def test_the_format_is_detected_from_the_body(form: Format, content_type: str, tmp_path: Path) -> None:
    with running_webhook(tmp_path, "safe", form) as webhook:
        user = webhook.wechat.user("alice")
        user.says("first").wait()
        user.waits_for("got TextMessage first")
        query, body = webhook.wechat.envelope(text_of(user.openid))
        assert webhook.wechat.push_raw(query, body, {"Content-Type": content_type}) == (200, b"success")
        user.waits_for("got TextMessage hi")


def test_a_redelivered_push_is_answered_once(webhook: Webhook) -> None:
    user = webhook.wechat.user("alice")
    push = user.says("once")
    push.wait()
    push.redeliver().wait()
    user.says("then").wait()
    user.waits_for("got TextMessage then")
    assert [seen for seen in user.saw if seen.startswith("got")] == [
        "got TextMessage once",
        "got TextMessage then",
    ]


def test_unknown_message_types_reach_the_fallback(webhook: Webhook) -> None:
    user = webhook.wechat.user("alice")
    assert user.sends("hologram", Depth="3").wait().outcome == "success"
    user.waits_for("got hologram")


def test_unhandled_events_are_acknowledged_and_not_answered(webhook: Webhook) -> None:
    user = webhook.wechat.user("alice")
    assert user.does("wxa_media_check", trace_id="t").wait().outcome == "success"
    user.says("hi").wait()
    user.waits_for("got TextMessage hi")
    assert webhook.handled == ["TextMessage"]


def test_a_push_without_a_user_is_acknowledged(webhook: Webhook) -> None:
    query, body = webhook.wechat.envelope({"InfoType": "component_verify_ticket", "CreateTime": 1})
    assert webhook.wechat.push_raw(query, body) == (200, b"success")
    assert webhook.stored_messages() == 0


def test_the_previous_aes_key_is_accepted(tmp_path: Path) -> None:
    with running_webhook(tmp_path) as old:
        old_keys = old.wechat.keys
    with running_webhook(
        tmp_path, previous_aes_key=old_keys.aes_key, appid=old_keys.appid, token=old_keys.token
    ) as webhook:
        user = webhook.wechat.user("alice")
        query, body = webhook.wechat.envelope(text_of(user.openid), keys=old_keys)
        assert webhook.wechat.push_raw(query, body) == (200, b"success")


def test_healthz_and_readyz_return_ok(webhook: Webhook) -> None:
    address = webhook.wechat.callback_url.removesuffix("/wechat")
    for path in ("/healthz", "/readyz"):
        webhook.wechat.callback_url = address + path
        assert webhook.wechat.push_raw({}, b"", method="GET") == (200, b"ok")


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
