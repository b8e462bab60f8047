"""Test the indicator that a user sees, with the whole bot and FakeWeChat."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.typing_indicator.stage import SlowHandler, Stage
from wxbot.clock import pause
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.testing import ManualClock

Play = Callable[..., Stage]


def slow_plugin(clock: ManualClock, seconds: float = 0.0, answer: str | None = "answer") -> Plugin:
    """Return a plugin whose handler takes ``seconds`` for every message."""
    return SlowHandler(clock, seconds, answer).plugin


def typing_at(stage: Stage) -> list[tuple[float, str]]:
    """Return the typing calls with their times, in seconds since Alice first wrote."""
    start = stage.alice.timeline[0].at
    return [(record.at - start, record.what) for record in stage.alice.calls if record.kind == "typing"]


# -- quick and slow replies


def test_a_quick_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_a_reply_after_8_seconds(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 8))
    stage.alice.says("hi").wait()
    stage.alice.waits_until_typing()
    stage.advance(7.75)
    assert stage.alice.is_shown_typing
    stage.advance(0.25)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (8, "CancelTyping")]
    assert stage.wechat.violations == []


def test_a_reply_after_20_seconds_renews_typing_once(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 20))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (20, "CancelTyping")]
    assert stage.wechat.violations == []


def test_a_reply_after_40_seconds_is_sent_after_the_window_closed(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 40))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(15)
    assert not stage.alice.is_shown_typing
    stage.advance(10)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]
    assert stage.wechat.violations == []


def test_a_reply_at_the_end_of_the_window_needs_no_cancel(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 28.5))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(13.5)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert stage.wechat.violations == []


def test_a_plain_function_causes_typing_too(play: Play) -> None:
    plugin = Plugin("plain")

    @plugin.fallback
    def answer(ctx: Context) -> str:
        return f"You said {ctx.text}."

    stage = play(plugin)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("You said hi.")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "You said hi."]
    assert stage.wechat.violations == []


# -- the window opens again


def test_a_second_message_opens_the_window_for_the_first_handler(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 40))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(10)
    stage.alice.says("still there?").wait()
    stage.advance(5)
    stage.alice.waits_for("Typing", times=3)
    stage.advance(10)
    stage.alice.waits_for("answer")
    stage.alice.waits_for("Typing", times=4)
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (30, "Typing"), (40, "CancelTyping"), (40, "Typing")]
    stage.advance(15)
    stage.alice.waits_for("Typing", times=5)
    stage.advance(25)
    stage.alice.waits_for("answer", times=2)
    stage.stop_when_idle()
    assert stage.alice.saw == [
        *("Typing", "Typing", "Typing", "CancelTyping", "answer"),
        *("Typing", "Typing", "answer"),
    ]
    assert stage.wechat.violations == []


def test_a_message_after_the_window_closed_opens_it_at_once(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 40, None))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(20)
    assert not stage.alice.is_shown_typing
    stage.alice.says("still there?").wait()
    stage.alice.waits_for("Typing", times=3)
    stage.advance(5)
    stage.alice.waits_for("CancelTyping")
    stage.alice.waits_for("Typing", times=4)
    stage.advance(15)
    stage.alice.waits_for("Typing", times=5)
    stage.advance(25)
    stage.stop_when_idle()
    assert typing_at(stage)[2:] == [(35, "Typing"), (40, "CancelTyping"), (40, "Typing"), (55, "Typing")]
    assert stage.wechat.violations == []


def test_a_redelivered_push_does_not_open_the_window(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 50))
    push = stage.alice.says("hi")
    push.wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(10)
    assert push.redeliver().wait().outcome == "success"
    stage.advance(5)
    stage.advance(5)
    assert push.redeliver().wait().outcome == "success"
    stage.advance(15)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]
    assert stage.wechat.violations == []


def test_a_late_push_counts_from_its_create_time(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 20))
    stage.wechat.hold()
    push = stage.alice.says("hi")
    clock.advance(14)
    stage.wechat.release()
    push.wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "answer"]
    assert stage.wechat.violations == []


def test_a_push_after_the_window_closed_causes_no_call(play: Play, clock: ManualClock) -> None:
    handler = SlowHandler(clock, 10)
    stage = play(handler.plugin)
    stage.wechat.hold()
    push = stage.alice.says("hi")
    clock.advance(29)
    stage.wechat.release()
    push.wait()
    handler.waits_for_start()
    stage.advance(10)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["answer"]
    assert stage.wechat.violations == []


def test_sent_parts_end_the_indicator_and_open_the_window(play: Play, clock: ManualClock) -> None:
    plugin = Plugin("teller")

    @plugin.fallback
    async def tell(ctx: Context) -> AsyncIterator[str]:
        for part in ("one", "two", "three"):
            await pause(clock, 20)
            yield part
        await pause(clock, 5)

    stage = play(plugin)
    stage.alice.says("hi").wait()
    for n, part in enumerate(("one", "two", "three")):
        stage.alice.waits_for("Typing", times=2 * n + 1)
        stage.advance(15)
        stage.alice.waits_for("Typing", times=2 * n + 2)
        stage.advance(5)
        stage.alice.waits_for(part)
    stage.alice.waits_for("Typing", times=7)
    stage.advance(5)
    stage.alice.waits_for("CancelTyping")
    stage.stop_when_idle()
    assert stage.alice.saw == [
        *("Typing", "Typing", "one"),
        *("Typing", "Typing", "two"),
        *("Typing", "Typing", "three"),
        *("Typing", "CancelTyping"),
    ]
    assert [at for at, what in typing_at(stage) if what == "Typing"] == [0, 15, 20, 35, 40, 55, 60]
    assert stage.wechat.violations == []


def test_parts_without_a_pause_cause_one_typing(play: Play) -> None:
    plugin = Plugin("teller")

    @plugin.fallback
    async def tell(ctx: Context) -> AsyncIterator[str]:
        for part in ("one", "two", "three"):
            yield part

    stage = play(plugin)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("three")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "one", "two", "three"]
    assert stage.wechat.violations == []


# -- handlers without a reply


def test_the_indicator_ends_without_a_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 5, None))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(5)
    stage.alice.waits_until_typing(shown=False)
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_failed_handler_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    plugin = Plugin("broken")

    @plugin.fallback
    async def fail(ctx: Context) -> str:
        await pause(clock, 5)
        raise RuntimeError("no")

    stage = play(plugin, error_text="Sorry.")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(5)
    stage.alice.waits_for("Sorry.")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "Sorry."]
    assert stage.wechat.violations == []


def test_a_failed_handler_without_an_error_text_ends_the_indicator(play: Play) -> None:
    plugin = Plugin("broken")

    @plugin.fallback
    async def fail(ctx: Context) -> str:
        raise RuntimeError("no")

    stage = play(plugin, error_text="")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("CancelTyping")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_timed_out_handler_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 100), handler_timeout=20, timeout_text="Too slow.")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(15)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(5)
    stage.alice.waits_for("Too slow.")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "Typing", "CancelTyping", "Too slow."]
    assert stage.wechat.violations == []


def test_a_message_without_a_handler_causes_no_typing(play: Play) -> None:
    stage = play(Plugin("idle"))
    stage.alice.says("hi").wait()
    stage.waits_until_idle()
    stage.stop_when_idle()
    assert stage.alice.saw == []
    assert stage.alice.calls == []


def test_a_stopped_bot_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 100))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(5)
    stage.bot.stop(0)
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


# -- settings


def test_a_reply_within_the_delay_causes_no_typing(play: Play, clock: ManualClock) -> None:
    handler = SlowHandler(clock, 1)
    stage = play(handler.plugin, typing_delay=2)
    stage.alice.says("hi").wait()
    handler.waits_for_start()
    stage.advance(1)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["answer"]
    assert stage.wechat.violations == []


def test_typing_can_be_disabled(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock), typing=False)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert [record.what for record in stage.alice.calls] == ["answer"]


# -- a failing typing endpoint


def test_a_failed_typing_call_is_retried(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 5))
    stage.wechat.faults.fail("typing", -1)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(2)
    stage.alice.waits_for("Typing")
    stage.advance(3)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (2, "Typing"), (5, "CancelTyping")]
    assert stage.wechat.violations == []


@pytest.mark.parametrize("acted", [False, True])
def test_after_http_500_the_indicator_is_treated_as_showing(play: Play, clock: ManualClock, acted: bool) -> None:
    stage = play(slow_plugin(clock, 20, None))
    stage.wechat.faults.http_error("typing", 500, acted=acted)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(15)
    stage.alice.waits_for_calls(2)
    stage.advance(5)
    stage.alice.waits_for("CancelTyping")
    stage.stop_when_idle()
    assert stage.alice.saw == [*(["Typing"] if acted else []), "Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_broken_connection_does_not_affect_the_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 5))
    stage.wechat.faults.drop("typing", acted=True)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_a_slow_typing_endpoint_delays_a_quick_reply_by_the_maximum_delay_only(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock))
    stage.wechat.faults.slow("typing", 2.0)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    assert stage.alice.saw == ["Typing"]
    clock.advance(0.3125)
    stage.alice.waits_for("answer")
    assert stage.alice.timeline[-1].at - stage.alice.timeline[0].at <= 0.3125
    clock.advance(0.3125)
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


@pytest.mark.parametrize("acted", [False, True])
def test_a_hanging_typing_endpoint_does_not_delay_the_reply(play: Play, clock: ManualClock, acted: bool) -> None:
    stage = play(slow_plugin(clock, 1))
    stage.wechat.faults.hang("typing", times=1, acted=acted)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    clock.advance(1)
    stage.alice.waits_for("answer")
    stage.waits_until_idle()
    stage.alice.says("again").wait()
    stage.alice.waits_for("Typing", times=1 + acted)
    stage.advance(1)
    stage.alice.waits_for("answer", times=2)
    stage.stop_when_idle()
    typing = ["Typing"] if acted else []
    assert stage.alice.saw[-3:] == ["Typing", "CancelTyping", "answer"]
    # The first Typing may be late, so the indicator is cancelled before the second one.
    assert stage.alice.saw[:-3] == [*typing, "CancelTyping", "answer", "CancelTyping"]
    assert [record.what for record in stage.wechat.violations] == ["CancelTyping"] * (1 if acted else 2)


def test_a_hanging_cancel_does_not_delay_the_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 2))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.waits_until_idle()
    stage.wechat.faults.hang("typing", times=1)
    clock.advance(2)
    stage.alice.waits_for("answer")
    assert stage.alice.saw == ["Typing", "answer"]
    stage.alice.says("again").wait()
    clock.advance(0.3125)
    stage.alice.waits_for("Typing", times=2)
    stage.advance(2)
    stage.alice.waits_for("answer", times=2)
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "answer", "Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_an_account_without_typing_gets_one_call(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock))
    stage.wechat.faults.fail("typing", 40200, times=None)
    bob = stage.wechat.user("bob")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.alice.says("again").wait()
    bob.says("hi").wait()
    stage.alice.waits_for("answer", times=2)
    bob.waits_for("answer")
    stage.stop_when_idle()
    assert [record.what for record in stage.alice.calls] == ["Typing", "answer", "answer"]
    assert [record.what for record in bob.calls] == ["answer"]
    assert stage.wechat.violations == []


def test_an_account_configured_as_verified_by_mistake_gets_40200(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock), account_kind="unverified", taken_for="official")
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(2)
    stage.alice.says("again").wait()
    stage.alice.waits_for_calls(3)
    stage.stop_when_idle()
    assert stage.alice.refused == [(40200, "Typing"), (48001, "send"), (48001, "send")]


def test_45081_is_no_error(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 16))
    stage.wechat.faults.fail("typing", 45081)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(15)
    stage.alice.waits_for("Typing")
    stage.advance(1)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (16, "CancelTyping")]
    assert stage.wechat.violations == []


def test_45080_causes_one_call_only(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 20))
    stage.wechat.faults.fail("typing", 45080)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(15)
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert stage.alice.saw == ["answer"]
    assert stage.alice.refused == [(45080, "Typing")]
    assert stage.wechat.violations == []
