"""A bot in a container of WeChat Cloud Hosting: calls go through the sidecar, pushes come from the internal network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stories.support import Log, advance_until_seen, asks, replies
from wxbot import Context, ImageReply, Message, Plugin, TextMessage
from wxbot.server.assembly import make_bot
from wxbot.server.bot import Bot
from wxbot.settings.environment import load_settings
from wxbot.testing import FakeCloud, FakeWeChat, ManualClock, User, serve
from wxbot.testing.media import SAMPLE_IMAGE


def plugin() -> Plugin:
    plugin = Plugin("test")

    @plugin.text("picture")
    async def picture(ctx: Context) -> ImageReply:
        return ImageReply(SAMPLE_IMAGE)

    @plugin.image
    async def image(ctx: Context) -> str:
        return f"{len((await ctx.message.download()).content)} bytes"  # type: ignore[attr-defined]

    @plugin.hands_over
    def wants_agent(message: Message) -> bool:
        return isinstance(message, TextMessage) and message.text == "wants_agent"

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"answer to {ctx.text}"

    return plugin


@pytest.fixture(params=["json", "xml"])
def wechat(request: pytest.FixtureRequest, clock: ManualClock) -> Iterator[FakeWeChat]:
    with FakeWeChat(clock, mode="cloud", format=request.param) as wechat:
        yield wechat
        assert wechat.violations == []


@pytest.fixture(params=["open", "token"])
def cloud(request: pytest.FixtureRequest, wechat: FakeWeChat) -> Iterator[FakeCloud]:
    with FakeCloud(wechat, token_mode=request.param == "token") as cloud:
        yield cloud


def bot_of(cloud: FakeCloud, wechat: FakeWeChat, store: Path, clock: ManualClock, **choices: Any) -> Bot:
    given: dict[str, Any] = {
        name.removeprefix("WXBOT_").lower(): value for name, value in cloud.settings(wechat).items()
    }
    given |= {"store_url": f"sqlite:///{store}", "lease_seconds": 3600, **choices}
    return make_bot(load_settings(env_file=None, **given), plugins=[plugin()], clock=clock)


@pytest.fixture
def bot(cloud: FakeCloud, wechat: FakeWeChat, tmp_path: Path, clock: ManualClock) -> Iterator[Bot]:
    bot = bot_of(cloud, wechat, tmp_path / "wxbot.db", clock)
    with serve(bot) as address:
        wechat.callback_url = address
        yield bot


def test_a_message_is_answered_with_typing_and_without_any_secret(
    alice: User, wechat: FakeWeChat, cloud: FakeCloud, bot: Bot
) -> None:
    assert not {"WXBOT_SECRET", "WXBOT_TOKEN"} & {*cloud.settings(wechat)}
    asks(alice, "hi", "answer to hi")
    assert alice.saw == ["Typing", "CancelTyping", "answer to hi"]
    assert wechat.token_fetches == 0


def test_images_are_received_and_sent(alice: User, bot: Bot) -> None:
    alice.sends_image(SAMPLE_IMAGE).wait()
    alice.waits_for(f"{len(SAMPLE_IMAGE)} bytes")
    asks(alice, "picture", "[image image.jpg]")


def test_the_consoles_path_check_succeeds(wechat: FakeWeChat, bot: Bot) -> None:
    assert wechat.probe()


def test_a_transfer_to_agents_is_answered_in_plaintext(alice: User, bot: Bot) -> None:
    push = alice.says("wants_agent")
    assert push.wait().outcome == "success"
    assert alice.is_queued


def test_a_request_without_the_documented_header_is_refused(
    alice: User, wechat: FakeWeChat, log: Log, bot: Bot
) -> None:
    body = wechat.envelope({"ToUserName": "gh", "FromUserName": alice.openid, "MsgType": "text"}, mode="plain")[1]
    status, _ = wechat.push_raw({}, body)
    assert status == 403
    log.waits_for("X-WX-SOURCE")
    status, _ = wechat.push_raw({}, body, {"X-WX-SOURCES": "wx_client"})
    assert status == 403


def test_a_call_that_the_console_does_not_list_is_explained(alice: User, log: Log, cloud: FakeCloud, bot: Bot) -> None:
    cloud.paths.discard("/cgi-bin/message/custom/typing")
    asks(alice, "hi", "answer to hi")
    log.waits_for("85107")
    assert alice.saw == ["answer to hi"]


def test_a_call_is_retried_until_the_sidecar_is_ready(
    alice: User, clock: ManualClock, log: Log, cloud: FakeCloud, bot: Bot
) -> None:
    if cloud.token_mode:
        pytest.skip("the token is in the file")
    cloud.ready = False
    alice.says("hi").wait()
    log.waits_for("send failed, retrying: seconds=0.5")
    cloud.ready = True
    advance_until_seen(clock, alice, "answer to hi")


def test_either_spelling_of_the_error_is_read(
    alice: User, wechat: FakeWeChat, log: Log, cloud: FakeCloud, bot: Bot
) -> None:
    cloud.spelling = "errCode"
    asks(alice, "hi", "answer to hi")
    wechat.faults.fail("send", 45047)
    alice.says("again").wait()
    log.waits_for("45047")


def test_a_new_token_in_the_file_is_used(alice: User, cloud: FakeCloud, bot: Bot) -> None:
    if not cloud.token_mode:
        pytest.skip("there is no token")
    asks(alice, "hi", "answer to hi")
    cloud.rotate_token(revoke=True)
    asks(alice, "again", "answer to again")


def test_two_accounts_share_one_environment(clock: ManualClock, tmp_path: Path) -> None:
    """Check that each call names the second account, and that the headers of pushes identify the account."""
    with (
        FakeWeChat(clock, appid="wx1111111111111111", mode="cloud") as owner,
        FakeWeChat(clock, appid="wx2222222222222222", mode="cloud") as guest,
        FakeCloud(owner, guest) as cloud,
    ):
        bots = {
            wechat: bot_of(cloud, wechat, tmp_path / "wxbot.db", clock, cloud_from_appid=wechat is guest)
            for wechat in (owner, guest)
        }
        with serve(bots[owner]) as first, serve(bots[guest]) as second:
            owner.callback_url, guest.callback_url = first, second
            for wechat in (owner, guest):
                alice = wechat.user("alice")
                asks(alice, "hi", "answer to hi")
                assert replies(alice) == ["answer to hi"]
            guest.callback_url = first
            bob = guest.user("bob")
            push = bob.says("hi")
            bob.waits_for_pushes(1)
            assert push.attempts[0].status == 403
