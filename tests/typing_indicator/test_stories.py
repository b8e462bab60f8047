"""What a user sees while a bot thinks: stories with the whole bot, against a WeChat that keeps WeChat's rules."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.typing_indicator.stage import Stage, Thinker
from wxbot.clock import pause
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Plugin
from wxbot.testing import ManualClock

Play = Callable[..., Stage]


def thinks(clock: ManualClock, seconds: float = 0.0, answer: str | None = "answer") -> Plugin:
    """A plugin that takes its time for everything."""
    return Thinker(clock, seconds, answer).plugin


def typing_at(stage: Stage) -> list[tuple[float, str]]:
    """The typing calls and when they came, in seconds since Alice first wrote."""
    start = stage.alice.timeline[0].at
    return [(record.at - start, record.what) for record in stage.alice.calls if record.kind == "typing"]


# -- answers, quick and slow


def test_a_quick_answer(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_an_answer_after_8_seconds(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 8))
    stage.alice.says("hi").wait()
    stage.alice.waits_until_typing()
    stage.turn(7.75)
    assert stage.alice.is_shown_typing
    stage.turn(0.25)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (8, "CancelTyping")]
    assert stage.wechat.violations == []


def test_an_answer_after_20_seconds_renews_typing_once(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 20))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(5)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (20, "CancelTyping")]
    assert stage.wechat.violations == []


def test_an_answer_after_40_seconds_comes_though_the_window_is_shut(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 40))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(15)
    assert not stage.alice.is_shown_typing
    stage.turn(10)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]
    assert stage.wechat.violations == []


def test_an_answer_that_comes_just_as_the_window_shuts_needs_no_cancel(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 28.5))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(13.5)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert stage.wechat.violations == []


def test_a_plain_function_is_shown_typing_too(play: Play) -> None:
    plugin = Plugin("plain")

    @plugin.fallback
    def answer(ctx: Context) -> str:
        return f"You said {ctx.text}."

    stage = play(plugin)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("You said hi.")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "You said hi."]
    assert stage.wechat.violations == []


# -- what opens the window again


def test_a_second_message_opens_the_window_for_the_first_handler(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 40))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(10)
    stage.alice.says("still there?").wait()
    stage.turn(5)
    stage.alice.waits_for("Typing", times=3)
    stage.turn(10)
    stage.alice.waits_for("answer")
    stage.alice.waits_for("Typing", times=4)
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (30, "Typing"), (40, "CancelTyping"), (40, "Typing")]
    stage.turn(15)
    stage.alice.waits_for("Typing", times=5)
    stage.turn(25)
    stage.alice.waits_for("answer", times=2)
    stage.ends()
    assert stage.alice.saw == [
        *("Typing", "Typing", "Typing", "CancelTyping", "answer"),
        *("Typing", "Typing", "answer"),
    ]
    assert stage.wechat.violations == []


def test_a_message_after_the_window_has_shut_opens_it_at_once(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 40, None))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(20)
    assert not stage.alice.is_shown_typing
    stage.alice.says("still there?").wait()
    stage.alice.waits_for("Typing", times=3)
    stage.turn(5)
    stage.alice.waits_for("CancelTyping")
    stage.alice.waits_for("Typing", times=4)
    stage.turn(15)
    stage.alice.waits_for("Typing", times=5)
    stage.turn(25)
    stage.ends()
    assert typing_at(stage)[2:] == [(35, "Typing"), (40, "CancelTyping"), (40, "Typing"), (55, "Typing")]
    assert stage.wechat.violations == []


def test_a_redelivered_push_opens_nothing(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 50))
    push = stage.alice.says("hi")
    push.wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(10)
    assert push.redeliver().wait().outcome == "success"
    stage.turn(5)
    stage.turn(5)
    assert push.redeliver().wait().outcome == "success"
    stage.turn(15)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "Typing", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing")]
    assert stage.wechat.violations == []


def test_a_push_that_comes_late_counts_from_when_it_was_written(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 20))
    stage.wechat.hold()
    push = stage.alice.says("hi")
    clock.advance(14)
    stage.wechat.release()
    push.wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.turn(5)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "answer"]
    assert stage.wechat.violations == []


def test_a_push_that_comes_when_the_window_is_shut_causes_no_call(play: Play, clock: ManualClock) -> None:
    thinker = Thinker(clock, 10)
    stage = play(thinker.plugin)
    stage.wechat.hold()
    push = stage.alice.says("hi")
    clock.advance(29)
    stage.wechat.release()
    push.wait()
    thinker.begins()
    stage.turn(10)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["answer"]
    assert stage.wechat.violations == []


def test_parts_clear_the_indicator_and_open_the_window(play: Play, clock: ManualClock) -> None:
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
        stage.turn(15)
        stage.alice.waits_for("Typing", times=2 * n + 2)
        stage.turn(5)
        stage.alice.waits_for(part)
    stage.alice.waits_for("Typing", times=7)
    stage.turn(5)
    stage.alice.waits_for("CancelTyping")
    stage.ends()
    assert stage.alice.saw == [
        *("Typing", "Typing", "one"),
        *("Typing", "Typing", "two"),
        *("Typing", "Typing", "three"),
        *("Typing", "CancelTyping"),
    ]
    assert [at for at, what in typing_at(stage) if what == "Typing"] == [0, 15, 20, 35, 40, 55, 60]
    assert stage.wechat.violations == []


def test_parts_in_one_breath(play: Play) -> None:
    plugin = Plugin("teller")

    @plugin.fallback
    async def tell(ctx: Context) -> AsyncIterator[str]:
        for part in ("one", "two", "three"):
            yield part

    stage = play(plugin)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("three")
    stage.ends()
    assert stage.alice.saw == ["Typing", "one", "two", "three"]
    assert stage.wechat.violations == []


# -- handlers that give no answer


def test_silence_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 5, None))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(5)
    stage.alice.waits_until_typing(shown=False)
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_handler_that_fails(play: Play, clock: ManualClock) -> None:
    plugin = Plugin("broken")

    @plugin.fallback
    async def fail(ctx: Context) -> str:
        await pause(clock, 5)
        raise RuntimeError("no")

    stage = play(plugin, error_text="Sorry.")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(5)
    stage.alice.waits_for("Sorry.")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "Sorry."]
    assert stage.wechat.violations == []


def test_a_handler_that_fails_without_a_word(play: Play) -> None:
    plugin = Plugin("broken")

    @plugin.fallback
    async def fail(ctx: Context) -> str:
        raise RuntimeError("no")

    stage = play(plugin, error_text="")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("CancelTyping")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_handler_that_takes_too_long(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 100), handler_timeout=20, timeout_text="Too slow.")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(15)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(5)
    stage.alice.waits_for("Too slow.")
    stage.ends()
    assert stage.alice.saw == ["Typing", "Typing", "CancelTyping", "Too slow."]
    assert stage.wechat.violations == []


def test_nobody_answers_and_nothing_shows(play: Play) -> None:
    stage = play(Plugin("idle"))
    stage.alice.says("hi").wait()
    stage.rests()
    stage.ends()
    assert stage.alice.saw == []
    assert stage.alice.calls == []


def test_a_bot_that_is_stopped_at_work_ends_the_indicator(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 100))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.turn(5)
    stage.bot.stop(0)
    assert stage.alice.saw == ["Typing", "CancelTyping"]
    assert stage.wechat.violations == []


# -- choices


def test_a_delay_keeps_quick_answers_quiet(play: Play, clock: ManualClock) -> None:
    thinker = Thinker(clock, 1)
    stage = play(thinker.plugin, typing_delay=2)
    stage.alice.says("hi").wait()
    thinker.begins()
    stage.turn(1)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["answer"]
    assert stage.wechat.violations == []


def test_switched_off(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock), typing=False)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.ends()
    assert [record.what for record in stage.alice.calls] == ["answer"]


# -- a sick typing endpoint


def test_a_typing_call_that_fails_is_tried_again(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 5))
    stage.wechat.faults.fail("typing", -1)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.turn(2)
    stage.alice.waits_for("Typing")
    stage.turn(3)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (2, "Typing"), (5, "CancelTyping")]
    assert stage.wechat.violations == []


@pytest.mark.parametrize("acted", [False, True])
def test_an_http_500_in_the_middle_may_or_may_not_have_shown_it(play: Play, clock: ManualClock, acted: bool) -> None:
    stage = play(thinks(clock, 20, None))
    stage.wechat.faults.http_error("typing", 500, acted=acted)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.turn(15)
    stage.alice.waits_for_calls(2)
    stage.turn(5)
    stage.alice.waits_for("CancelTyping")
    stage.ends()
    assert stage.alice.saw == [*(["Typing"] if acted else []), "Typing", "CancelTyping"]
    assert stage.wechat.violations == []


def test_a_connection_that_breaks_is_no_matter(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 5))
    stage.wechat.faults.drop("typing", acted=True)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.turn(5)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_a_slow_typing_endpoint_delays_a_quick_answer_by_its_patience_only(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock))
    stage.wechat.faults.slow("typing", 2.0)
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    assert stage.alice.saw == ["Typing"]
    clock.advance(0.3125)
    stage.alice.waits_for("answer")
    assert stage.alice.timeline[-1].at - stage.alice.timeline[0].at <= 0.3125
    clock.advance(0.3125)
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


@pytest.mark.parametrize("acted", [False, True])
def test_a_hanging_typing_endpoint_does_not_stand_in_the_way(play: Play, clock: ManualClock, acted: bool) -> None:
    stage = play(thinks(clock, 1))
    stage.wechat.faults.hang("typing", times=1, acted=acted)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    clock.advance(1)
    stage.alice.waits_for("answer")
    stage.rests()
    stage.alice.says("again").wait()
    stage.alice.waits_for("Typing", times=1 + acted)
    stage.turn(1)
    stage.alice.waits_for("answer", times=2)
    stage.ends()
    typing = ["Typing"] if acted else []
    assert stage.alice.saw[-3:] == ["Typing", "CancelTyping", "answer"]
    # The first Typing may have been late, so whatever shows is ended before the second one.
    assert stage.alice.saw[:-3] == [*typing, "CancelTyping", "answer", "CancelTyping"]
    assert [record.what for record in stage.wechat.violations] == ["CancelTyping"] * (1 if acted else 2)


def test_a_hanging_cancel_does_not_delay_the_reply(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 2))
    stage.alice.says("hi").wait()
    stage.alice.waits_for("Typing")
    stage.rests()
    stage.wechat.faults.hang("typing", times=1)
    clock.advance(2)
    stage.alice.waits_for("answer")
    assert stage.alice.saw == ["Typing", "answer"]
    stage.alice.says("again").wait()
    clock.advance(0.3125)
    stage.alice.waits_for("Typing", times=2)
    stage.turn(2)
    stage.alice.waits_for("answer", times=2)
    stage.ends()
    assert stage.alice.saw == ["Typing", "answer", "Typing", "CancelTyping", "answer"]
    assert stage.wechat.violations == []


def test_an_account_without_typing_is_asked_once(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock))
    stage.wechat.faults.fail("typing", 40200, times=None)
    bob = stage.wechat.user("bob")
    stage.alice.says("hi").wait()
    stage.alice.waits_for("answer")
    stage.alice.says("again").wait()
    bob.says("hi").wait()
    stage.alice.waits_for("answer", times=2)
    bob.waits_for("answer")
    stage.ends()
    assert [record.what for record in stage.alice.calls] == ["Typing", "answer", "answer"]
    assert [record.what for record in bob.calls] == ["answer"]
    assert stage.wechat.violations == []


def test_an_account_taken_for_a_verified_one_is_told_40200(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock), account_kind="unverified", taken_for="official")
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(2)
    stage.alice.says("again").wait()
    stage.alice.waits_for_calls(3)
    stage.ends()
    assert stage.alice.refused == [(40200, "Typing"), (48001, "send"), (48001, "send")]


def test_a_typing_that_another_program_shows_is_information(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 16))
    stage.wechat.faults.fail("typing", 45081)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.turn(15)
    stage.alice.waits_for("Typing")
    stage.turn(1)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["Typing", "CancelTyping", "answer"]
    assert typing_at(stage) == [(0, "Typing"), (15, "Typing"), (16, "CancelTyping")]
    assert stage.wechat.violations == []


def test_a_window_that_wechat_calls_shut_costs_one_call(play: Play, clock: ManualClock) -> None:
    stage = play(thinks(clock, 20))
    stage.wechat.faults.fail("typing", 45080)
    stage.alice.says("hi").wait()
    stage.alice.waits_for_calls(1)
    stage.turn(15)
    stage.turn(5)
    stage.alice.waits_for("answer")
    stage.ends()
    assert stage.alice.saw == ["answer"]
    assert stage.alice.refused == [(45080, "Typing")]
    assert stage.wechat.violations == []
