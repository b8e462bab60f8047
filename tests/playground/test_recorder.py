"""The recorder: user and agent actions and seen items become steps, with control steps between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.playground.support import TYPED, parrot, session
from wxbot import Context, ImageReply, MenuReply, Plugin
from wxbot.playground.replay import recorder as module
from wxbot.playground.replay.recorder import Recorder
from wxbot.playground.transcript import (
    Clicks,
    ClicksMenuItem,
    Closes,
    Does,
    Enters,
    Follows,
    Forward,
    HandsOver,
    Hold,
    Leaves,
    Matches,
    Redeliver,
    Says,
    Scans,
    Sees,
    Sends,
    SendsCard,
    SendsLink,
    SendsLocation,
    SendsPicture,
    SendsShortVideo,
    SendsVideo,
    SendsVoice,
    Step,
    Takes,
    Views,
    Waits,
    Writes,
)
from wxbot.testing import SAMPLE_IMAGE, FakeWeChat, Push, User


def test_a_conversation_of_two_users_is_recorded(tmp_path: Path) -> None:
    with session(tmp_path / "db") as (wechat, clock):
        recorder = Recorder(wechat)
        amy, bob = wechat.user("amy"), wechat.user("bob b")
        amy.says("a").wait()
        amy.waits_for("a")
        bob.says("b").wait()
        bob.waits_for("b")
        recorder.note(Forward(31))
        clock.advance(31)
        amy.says("story")
        amy.waits_for("two")
        transcript = recorder.transcript()
        recorder.close()
        amy.says("unheard").wait()
        assert recorder.transcript() == transcript
    assert (transcript.account_kind, transcript.mode, transcript.format) == ("miniprogram", "safe", "json")
    assert transcript.steps == (
        Says("amy", "a"),
        Sees("amy", (*TYPED, "a")),
        Says("bob b", "b"),
        Sees("bob b", (*TYPED, "b")),
        Forward(31),
        Says("amy", "story"),
        Sees("amy", ("Typing", "one", "Typing", "two")),
    )


LINK = {"Title": "A", "Description": "b", "Url": "c"}
FROM = {"SessionFrom": ""}
MINI_PROGRAM_USER_ACTIONS: list[tuple[Callable[[User], Push], Step]] = [
    (lambda user: user.says(" a\n"), Says("u", " a\n")),
    (lambda user: user.enters(), Enters("u")),
    (lambda user: user.enters("shop"), Enters("u", "shop")),
    (lambda user: user.sends_image(), SendsPicture("u")),
    (lambda user: user.sends_image(b"cat"), SendsPicture("u", b"cat")),
    (lambda user: user.sends_mini_program_page("Shoes", page_path="p/1"), SendsCard("u", "Shoes", "p/1")),
    (lambda user: user.sends_mini_program_page("Shoes", "wx9"), SendsCard("u", "Shoes", "pages/index", "wx9")),
    (lambda user: user.does("CLICK", EventKey="k"), Does("u", "CLICK", {"EventKey": "k"})),
    (lambda user: user.sends("link", Title="A", Description="b", Url="c"), Sends("u", "link", LINK)),
    (lambda user: user.does("other", of={"a": [1, (2,), b"x"]}), Does("u", "other", {"of": {"a": [1, [2], "b'x'"]}})),
    (lambda user: user.sends("text", Content="a", more=1), Sends("u", "text", {"Content": "a", "more": 1})),
    (lambda user: user.sends("image", PicUrl="x"), Sends("u", "image", {"PicUrl": "x"})),
    (
        lambda user: user.sends("text", Content="a", bizmsgmenuid="1"),
        Sends("u", "text", {"Content": "a", "bizmsgmenuid": "1"}),
    ),
]
OFFICIAL_USER_ACTIONS: list[tuple[Callable[[User], Push], Step]] = [
    (lambda user: user.sends_voice(), SendsVoice("u")),
    (lambda user: user.sends_voice(b"#!AMR other", "speex"), SendsVoice("u", b"#!AMR other", "speex")),
    (lambda user: user.sends_video(), SendsVideo("u")),
    (lambda user: user.sends_video(SAMPLE_IMAGE), SendsVideo("u", SAMPLE_IMAGE)),
    (lambda user: user.sends_short_video(), SendsShortVideo("u")),
    (lambda user: user.sends_location(39.9, 116, label="北京"), SendsLocation("u", 39.9, 116.0, "北京")),
    (lambda user: user.sends_link("A", "b", "http://c"), SendsLink("u", "A", "b", "http://c")),
    (lambda user: user.follows(), Follows("u")),
    (lambda user: user.follows("7", "t"), Follows("u", "7", "t")),
    (lambda user: user.leaves(), Leaves("u")),
    (lambda user: user.scans("7"), Scans("u", "7")),
    (lambda user: user.clicks("k"), Clicks("u", "k")),
    (lambda user: user.does("CLICK", EventKey="k", n=1), Does("u", "CLICK", {"EventKey": "k", "n": 1})),
    (lambda user: user.does("user_enter_tempsession", SessionFrom=""), Does("u", "user_enter_tempsession", FROM)),
    (lambda user: user.views("http://c"), Views("u", "http://c")),
    (lambda user: user.views("http://c", "3"), Views("u", "http://c", "3")),
    (lambda user: user.does("subscribe", more=1), Does("u", "subscribe", {"more": 1})),
    (lambda user: user.does("SCAN"), Does("u", "SCAN")),
    (lambda user: user.sends("location", Label="x"), Sends("u", "location", {"Label": "x"})),
]


@pytest.mark.parametrize(("act", "step"), MINI_PROGRAM_USER_ACTIONS)
def test_actions_at_a_mini_program(act: Callable[[User], Push], step: Step, tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False) as (wechat, _):
        recorder = Recorder(wechat)
        act(wechat.user("u"))
        assert recorder.transcript().steps == (step,)


@pytest.mark.parametrize(("act", "step"), OFFICIAL_USER_ACTIONS)
def test_actions_at_an_official_account(act: Callable[[User], Push], step: Step, tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False, account_kind="official", format="xml") as (wechat, _):
        recorder = Recorder(wechat)
        act(wechat.user("u"))
        assert recorder.transcript().steps == (step,)


def test_a_menu_click_is_recorded(tmp_path: Path) -> None:
    with session(tmp_path / "db", asking(), account_kind="official", format="xml") as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        amy.says("ask")
        amy.waits_for("[msgmenu Well?]")
        amy.clicks_menu_item("Yes")
        amy.waits_for("Yes!")
        steps = recorder.transcript().steps
    assert [step for step in steps if not isinstance(step, Sees)] == [Says("amy", "ask"), ClicksMenuItem("amy", "Yes")]


def asking() -> Plugin:
    plugin = Plugin("asking")

    @plugin.text("ask")
    async def ask(ctx: Context) -> MenuReply:
        return MenuReply("Well?", [("1", "Yes"), ("2", "No")])

    @plugin.fallback
    async def answer(ctx: Context) -> str:
        return f"{ctx.text}!"

    return plugin


def test_a_media_id_is_recorded_as_a_pattern(tmp_path: Path) -> None:
    plugin = Plugin("painter")

    @plugin.text("paint")
    async def paint(ctx: Context) -> ImageReply:
        return ImageReply(SAMPLE_IMAGE)

    with session(tmp_path / "db", plugin) as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        amy.says("paint")
        amy.waits_for(lambda saw: saw.startswith("[image"))
        last = recorder.transcript().steps[-1]
        seen = amy.saw[-1]
    assert isinstance(last, Sees)
    pattern = last.things[-1]
    assert pattern == (Matches(r"^\[image [A-Za-z0-9_-]{64}\]$") if len(seen) > 60 else seen)


def test_a_text_that_looks_like_media_is_recorded_as_text(tmp_path: Path) -> None:
    text = f"[image {'a' * 64}]"
    with session(tmp_path / "db") as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        amy.says(text)
        amy.waits_for(text)
        assert recorder.transcript().steps[-1] == Sees("amy", (*TYPED, text))


def test_agent_sessions_are_recorded(tmp_path: Path) -> None:
    with session(tmp_path / "db") as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        first, second = wechat.agent("kf1"), wechat.agent("kf2")
        recorder.note(Takes("kf1", "amy"))
        first.takes(amy).wait()
        first.says(amy, "hello")
        first.hands_to(amy, second).wait()
        amy.says("to the agent")
        second.says(amy, "bye")
        second.closes(amy, "TIMEOUT").wait()
        wechat.report(amy, "kf_other").wait()
        assert recorder.transcript().steps == (
            Takes("kf1", "amy"),
            Writes("kf1", "hello", "amy"),
            Sees("amy", ("hello",)),
            HandsOver("kf1", "amy", "kf2"),
            Says("amy", "to the agent"),
            Writes("kf2", "bye", "amy"),
            Sees("amy", ("bye",)),
            Closes("kf2", "amy", "TIMEOUT"),
        )


def test_a_redelivery_is_recorded_with_its_push(tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False) as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        recorder.note(Hold())
        first, second = amy.says("a"), amy.says("b")
        recorder.note_redelivery(first)
        recorder.note_redelivery(second)
        assert recorder.transcript().steps[3:] == (Redeliver("amy", 1), Redeliver("amy"))


def test_a_redelivery_of_an_unrecorded_push_is_skipped(tmp_path: Path) -> None:
    with session(tmp_path / "db", bot=False) as (wechat, _):
        push = wechat.user("amy").says("a")
        recorder = Recorder(wechat)
        recorder.note_redelivery(push)
        assert recorder.transcript().steps == ()


def test_refused_calls_are_not_recorded(tmp_path: Path) -> None:
    with session(tmp_path / "db") as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        wechat.faults.fail("typing", 45080, times=None)
        amy.says("a")
        amy.waits_for("a")
        assert recorder.transcript().steps == (Says("amy", "a"), Sees("amy", ("a",)))


def test_a_slow_reply_is_recorded_with_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with session(tmp_path / "db", bot=False) as (wechat, _):
        recorder, amy, agent = Recorder(wechat), wechat.user("amy"), wechat.agent("kf1")
        agent.takes(amy)
        withins = []
        for took in (4.0, 6.0, 50.0):
            recorder.note(Hold())
            now[0] += took
            wechat.platform.gives_up(amy.openid)
            last = recorder.transcript().steps[-1]
            withins.append(last.within if isinstance(last, Sees) else None)
    assert withins == [None, None, 150.0]


def test_a_pause_while_the_bot_works_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot works in the pause without visible results, and a replay without the pause would be too early."""
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with session(tmp_path / "db", bot=False) as (wechat, _):
        recorder, amy = Recorder(wechat), wechat.user("amy")
        for pause in (0.5, 3.0, 4.0):
            amy.says("a")
            now[0] += pause
        wechat.platform.answered_passively(amy.pushes[-1].fields, {"MsgType": "text", "Content": "b"})
        now[0] += 5
        amy.says("a")
        steps = recorder.transcript().steps
    says = Says("amy", "a")
    assert steps == (says, says, Waits(3.0), says, Sees("amy", ("b",)), says)


def test_cloud_mode_cannot_be_recorded() -> None:
    with FakeWeChat(mode="cloud") as wechat, pytest.raises(ValueError, match="container"):
        Recorder(wechat)


def test_a_closed_recorder_stops_listening(tmp_path: Path) -> None:
    with session(tmp_path / "db", parrot()) as (wechat, _):
        before = len(wechat.record_log.listeners)
        recorder = Recorder(wechat)
        recorder.close()
        recorder.close()
        assert len(wechat.record_log.listeners) == before
