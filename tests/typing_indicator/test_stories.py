"""Test the indicator that a user sees, with the whole bot and FakeWeChat."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest

from tests.typing_indicator.stage import TEST_TIMEOUT, Stage, slow_plugin
from wxbot.clock import pause
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.testing import ManualClock

Play = Callable[..., Stage]


def typing_at(stage: Stage) -> list[tuple[float, str]]:
    """Return the typing calls with their times, in seconds since Alice first wrote."""
    start = stage.alice.timeline[0].at
    return [(record.at - start, record.what) for record in stage.alice.calls if record.kind == "typing"]


# -- quick and slow replies


def test_a_quick_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.ends("Typing", "CancelTyping", "answer")


def test_a_reply_after_20_seconds_renews_typing_once(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 20))
    stage.alice_writes_and_typing_is_renewed()
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.ends("Typing", "Typing", "CancelTyping", "answer")
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (20, "CancelTyping")]


def test_a_reply_after_40_seconds_is_sent_after_the_window_closed(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 40))
    stage.alice_writes_and_typing_is_renewed()
    stage.advance(15)
    assert not stage.alice.is_shown_typing
    stage.advance(10)
    stage.alice.waits_for("answer")
    stage.ends("Typing", "Typing", "answer")
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]


def test_a_plain_function_causes_typing_too(play: Play) -> None:
    plugin = Plugin("plain")

    @plugin.fallback
    def answer(ctx: Context) -> str:
        return f"You said {ctx.text}."

    stage = play(plugin)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("You said hi.")
    stage.ends("Typing", "CancelTyping", "You said hi.")


# -- the window opens again


def test_a_second_message_opens_the_window_for_the_first_handler(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 40))
    stage.alice_writes_and_typing_is_renewed()
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
    stage.ends(*("Typing", "Typing", "Typing", "CancelTyping", "answer"), *("Typing", "Typing", "answer"))


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
    stage.ends("Typing", "Typing", "answer")
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]


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
    stage.ends("Typing", "answer")


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
    stage.ends(
        *("Typing", "Typing", "one"),
        *("Typing", "Typing", "two"),
        *("Typing", "Typing", "three"),
        *("Typing", "CancelTyping"),
    )
    assert [at for at, what in typing_at(stage) if what == "Typing"] == [0, 15, 20, 35, 40, 55, 60]


# -- handlers without a reply


def test_the_indicator_ends_without_a_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 5, None))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(5)
    stage.alice.waits_until_typing(shown=False)
    stage.ends("Typing", "CancelTyping")


@pytest.mark.parametrize("error_text", [["Sorry."], []], ids=["error text", "no error text"])
def test_a_failed_handler_ends_the_indicator(play: Play, clock: ManualClock, error_text: list[str]) -> None:
    plugin = Plugin("broken")

    @plugin.fallback
    async def fail(ctx: Context) -> str:
        await pause(clock, 5)
        raise RuntimeError("no")

    stage = play(plugin, error_text="".join(error_text))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.advance(5)
    stage.alice.waits_for((["CancelTyping", *error_text])[-1])
    stage.ends("Typing", "CancelTyping", *error_text)


def test_a_timed_out_handler_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 100), handler_timeout=20, timeout_text="Too slow.")
    stage.alice_writes_and_typing_is_renewed()
    stage.advance(5)
    stage.alice.waits_for("Too slow.")
    stage.ends("Typing", "Typing", "CancelTyping", "Too slow.")


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
    started = threading.Event()
    stage = play(slow_plugin(clock, 1, started=started), typing_delay=2)
    stage.alice.says("hi").wait()
    assert started.wait(TEST_TIMEOUT)
    stage.advance(1)
    stage.alice.waits_for("answer")
    stage.ends("answer")


def test_typing_can_be_disabled(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock), typing=False)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.stop_when_idle()
    assert [record.what for record in stage.alice.calls] == ["answer"]


# -- a failing typing endpoint


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
    stage.ends(*(["Typing"] if acted else []), "Typing", "CancelTyping")


def test_a_broken_connection_does_not_affect_the_reply(play: Play, clock: ManualClock) -> None:
    stage = play(slow_plugin(clock, 5))
    stage.wechat.faults.drop("typing", acted=True)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.advance(5)
    stage.alice.waits_for("answer")
    stage.ends("Typing", "CancelTyping", "answer")


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
    stage.ends("Typing", "CancelTyping", "answer")


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
    stage.ends("Typing", "answer", "Typing", "CancelTyping", "answer")


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
