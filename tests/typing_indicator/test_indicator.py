"""Test the typing indicator alone: which calls it makes and when, and that it does not delay replies.

The channel and the inbox are small implementations, and the clock is manual. ``at`` in their records is in seconds
since the user wrote.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import Signature, signature
from typing import Any, NamedTuple

import pytest

from wxbot.clock import pause
from wxbot.errors import DeliveryUnknown, LeaseLost, RequestNotSent, StoreUnavailable, WeChatError, api_error
from wxbot.settings.schema import TypingSettings
from wxbot.store.records import Claim, ConversationKey, ConversationRecord, Lease, PendingMessage, Progress
from wxbot.testing import ManualClock
from wxbot.typing_indicator.indicator import TypingIndicator, TypingParts
from wxbot.typing_indicator.port import Permit, TypingCommand
from wxbot.typing_indicator.rules import TypingState

START = 1_700_000_000.0
CALL_TIMEOUT = 3.0
TEST_TIMEOUT = 10.0  # real seconds until a test fails


class Seen(NamedTuple):
    at: float
    what: str


class Answer(NamedTuple):
    """WeChat's answer to a call: after ``seconds`` of the clock, with an error or without."""

    error: WeChatError | None = None
    seconds: float = 0.0


FINE = Answer()
HANGING = Answer(DeliveryUnknown("typing was sent, but no answer came in time"), CALL_TIMEOUT)


def refusal(errcode: int) -> Answer:
    return Answer(api_error("typing", errcode, "no"))


@dataclass
class Calls:
    """An implementation of TypingCalls that records the calls.

    ``answers``: the answers to the next typing calls. ``queue``: seconds that a typing call waits before it is written.
    ``refused``: the times of calls that were not written, because they had no permit.
    """

    clock: ManualClock
    answers: deque[Answer] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)
    queue: float = 0.0
    refused: list[float] = field(default_factory=list)
    open_calls: int = 0

    def send(self, text: str) -> None:
        self._note(text)

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit) -> None:
        assert openid == "alice"
        self.open_calls += 1
        try:
            if self.queue:
                await pause(self.clock, self.queue)
            if not permit():
                self.refused.append(self.clock.now() - START)
                raise RequestNotSent(
                    "typing was not sent: the lease on this conversation expired before the request was written"
                )
            self._note(command)
            answer = self.answers.popleft() if self.answers else FINE
            if answer.seconds:
                await pause(self.clock, answer.seconds)
            else:
                await asyncio.sleep(0)
        finally:
            self.open_calls -= 1
        if answer.error is not None:
            raise answer.error

    def wechatpy(self) -> Any:
        raise NotImplementedError

    def _note(self, what: str) -> None:
        self.seen.append(Seen(self.clock.now() - START, what))


@dataclass
class Notes:
    """The inbox, as far as the indicator uses it. ``errors`` are raised by the next calls."""

    clock: ManualClock
    interacted_at: float = START
    errors: deque[Exception] = field(default_factory=deque)
    seconds: float = 0.0
    typing_until: list[float] = field(default_factory=list)

    async def checkpoint(
        self, lease: Lease, change: ConversationRecord, progress: Progress | None = None
    ) -> ConversationRecord:
        assert change.typing_until is not None
        assert change == ConversationRecord(typing_until=change.typing_until)
        if self.seconds:
            await pause(self.clock, self.seconds)
        if self.errors:
            raise self.errors.popleft()
        self.typing_until.append(change.typing_until - START)
        return ConversationRecord(self.interacted_at)


class Scene:
    """The indicator of Alice's conversation. She has just written."""

    def __init__(self, *, state: TypingState | None = None, **options: Any) -> None:
        self.clock = ManualClock(START)
        self.calls = Calls(self.clock)
        self.notes = Notes(self.clock)
        enabled = options.pop("enabled", True)
        inbox: Any = self.notes
        self.parts = TypingParts(self.calls, inbox, self.clock, TypingSettings(**options), enabled)
        self.lease = Lease(ConversationKey("wx1", "alice"), "this process", 1, START + 3600, margin=0.5)
        claim = Claim(self.lease, PendingMessage(1, {}, START, 1, 0), ConversationRecord(START))
        self.indicator = TypingIndicator(self.parts, claim)
        self.indicator.state = state or TypingState(START)

    async def advance(self, seconds: float) -> None:
        """Advance the clock from another thread, so that each timer runs at its own time."""
        await self.rest()
        await asyncio.to_thread(self.clock.advance, seconds)
        await self.rest()

    async def rest(self) -> None:
        """Let every task run until it waits."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def until(self, at: float) -> None:
        await self.advance(START + at - self.clock.now())

    async def sends(self, text: str) -> None:
        """Send a message as the pipeline does."""
        called_at = self.clock.now()
        self.calls.send(text)
        self.indicator.message_sent(called_at)

    async def sends_part(self, text: str) -> None:
        await self.indicator.pause()
        await self.sends(text)
        self.indicator.resume()

    async def answers(self, text: str = "answer") -> None:
        """End the turn as the pipeline and the conversation do, because the handler is done."""
        await self.indicator.stop()
        if text:
            await self.sends(text)
        await self.indicator.end_turn()
        assert self.calls.open_calls == 0, "a call goes on after the end of the turn"

    async def answers_while(self, seconds: float) -> asyncio.Task[None]:
        """End the turn while the clock advances."""
        task = asyncio.create_task(self.answers())
        await self.advance(seconds)
        return task

    def writes(self) -> None:
        """Let Alice write again while the handler runs."""
        self.notes.interacted_at = self.clock.now()
        self.indicator.interacted(self.clock.now())

    @property
    def seen(self) -> list[str]:
        return [seen.what for seen in self.calls.seen]

    def at(self, what: str) -> list[float]:
        return [seen.at for seen in self.calls.seen if seen.what == what]


@asynccontextmanager
async def nothing_left(scene: Scene) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await scene.rest()
    assert asyncio.all_tasks() == before
    assert scene.clock.timers == 0
    assert scene.calls.open_calls == 0


def scene(**setting: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run an async test with a new scene, and assert that no task, timer or call is left.

    A parameter ``setting`` of the test has more options of the scene.
    """

    def decorate(story: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        async def play(**parameters: Any) -> None:
            s = Scene(**setting, **parameters.get("setting", {}))
            async with asyncio.timeout(TEST_TIMEOUT), nothing_left(s):
                await story(s, **parameters)

        @wraps(story)
        def test(**parameters: Any) -> None:
            asyncio.run(play(**parameters))

        names = [*signature(story).parameters.values()][1:]  # without the scene, which is no fixture
        test.__signature__ = Signature(names)  # type: ignore[attr-defined]
        return test

    return decorate


# -- one turn

TURNS: list[tuple[str, Any, list[Answer], float, str, str]] = [
    ("a quick reply", {}, [], 0, "answer", "0 Typing, 0 CancelTyping, 0 answer"),
    ("no reply", {}, [], 5, "", "0 Typing, 5 CancelTyping"),
    ("in the margin of the window", {}, [], 28.5, "answer", "0 Typing, 15 Typing, 28.5 answer"),
    ("after the window", {}, [], 40, "answer", "0 Typing, 15 Typing, 40 answer"),
    ("ended by itself", {}, [FINE, refusal(-1)], 15, "answer", "0 Typing, 15 Typing, 15 answer"),
    ("Typing failed", {}, [refusal(-1)], 1, "answer", "0 Typing, 1 answer"),
    ("Typing hangs", {}, [HANGING], 0.5, "answer", "0 Typing, 0.5 CancelTyping, 0.5 answer"),
    ("already showing", {}, [refusal(45081)], 3, "answer", "0 Typing, 3 CancelTyping, 3 answer"),
    ("within the delay", {"delay": 2.0}, [], 1.99, "answer", "1.99 answer"),
    ("disabled", {"enabled": False}, [], 3, "answer", "3 answer"),
    ("an earlier owner", {"state": TypingState(START, START + 6)}, [], 1, "answer", "1 CancelTyping, 1 answer"),
]


@pytest.mark.parametrize(
    ("setting", "answers", "at", "reply", "calls"), [row[1:] for row in TURNS], ids=[row[0] for row in TURNS]
)
@scene()
async def test_a_turn_with_a_reply_at_some_moment(
    s: Scene, setting: Any, answers: list[Answer], at: float, reply: str, calls: str
) -> None:
    s.calls.answers += answers
    s.indicator.start()
    await s.until(at)
    await s.answers(reply)
    await s.advance(30)
    assert ", ".join(f"{round(call.at, 6):g} {call.what}" for call in s.calls.seen) == calls


@scene()
async def test_the_order_is_right_with_slow_calls(s: Scene) -> None:
    s.calls.answers += [Answer(seconds=0.25), Answer(seconds=0.25)]
    s.indicator.start()
    answering = await s.answers_while(0.24)
    assert s.seen == ["Typing"]
    await s.advance(0.01)
    assert s.calls.seen[1:] == [Seen(0.25, "CancelTyping"), Seen(0.25, "answer")]
    assert not answering.done(), "CancelTyping still waits for its answer"
    await s.advance(0.25)
    await answering
    assert s.indicator.state.showing_until == 0


@scene()
async def test_typing_is_renewed_every_15_seconds(s: Scene) -> None:
    s.indicator.start()
    await s.advance(14.99)
    assert s.at("Typing") == [0]
    await s.advance(0.01)
    assert s.at("Typing") == [0, 15]
    assert s.notes.typing_until == [18, 33], "recorded before the call, for the maximum length of a call"
    await s.until(20)
    await s.answers()
    assert s.calls.seen[2:] == [Seen(20, "CancelTyping"), Seen(20, "answer")]


@scene()
async def test_a_cancelled_indicator_may_show_again_at_once(s: Scene) -> None:
    s.indicator.start()
    await s.advance(5)
    await s.answers("")
    s.indicator.start()
    await s.rest()
    assert s.at("Typing") == [0, 5]
    await s.answers()


@scene()
async def test_a_reply_waits_for_a_renewal_in_progress(s: Scene) -> None:
    s.calls.answers += [FINE, Answer(seconds=0.25)]
    s.indicator.start()
    await s.until(15.125)
    answering = await s.answers_while(0.0)
    assert s.seen == ["Typing", "Typing"]
    await s.advance(0.125)
    await answering
    assert s.calls.seen[2:] == [Seen(15.25, "CancelTyping"), Seen(15.25, "answer")]


@scene()
async def test_a_reply_waits_for_a_cancel_that_has_to_open_a_connection(s: Scene) -> None:
    """WeChat may read the new connection after the one of the reply."""
    s.indicator.start()
    await s.advance(1)
    s.calls.queue = 0.125
    s.calls.answers += [Answer(seconds=0.0625)]
    ending = await s.answers_while(0.125)
    assert s.seen == ["Typing", "CancelTyping"]
    await s.advance(0.0625)
    await ending
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@scene()
async def test_a_reply_does_not_wait_long_for_a_cancel(s: Scene) -> None:
    s.indicator.start()
    await s.advance(1)
    s.calls.queue = 5.0
    ending = await s.answers_while(0.3125)
    assert s.seen == ["Typing", "answer"]
    await ending


@scene()
async def test_stopping_twice_cancels_once(s: Scene) -> None:
    s.indicator.start()
    await s.advance(1)
    await s.indicator.stop()
    await s.rest()
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@scene()
async def test_stopping_again_during_the_cancel_cancels_once(s: Scene) -> None:
    s.calls.answers += [FINE, HANGING]
    s.indicator.start()
    await s.advance(1)
    await s.indicator.stop()
    await s.indicator.stop()
    assert s.seen == ["Typing", "CancelTyping"]
    ending = asyncio.create_task(s.indicator.end_turn())
    await s.advance(0.3)
    await ending
    assert s.calls.open_calls == 0


@scene(margin=5.0)
async def test_the_margin_can_be_configured(s: Scene) -> None:
    await s.until(24.5)
    s.indicator.start()
    await s.answers()
    await s.until(25)
    s.indicator.state = TypingState(START)
    s.indicator.start()
    await s.answers("late")
    assert s.seen == ["Typing", "CancelTyping", "answer", "late"]


# -- the window opens again


@pytest.mark.parametrize(
    ("writes_at", "in_store_only", "until", "typing"),
    [(32, False, 32, [0, 15, 32]), (25, False, 60, [0, 15, 30, 45]), (10, True, 39, [0, 15, 30])],
)
@scene()
async def test_a_message_of_the_user_opens_the_window_for_a_running_handler(
    s: Scene, writes_at: float, in_store_only: bool, until: float, typing: list[float]
) -> None:
    s.indicator.start()
    await s.until(writes_at)
    if in_store_only:
        s.notes.interacted_at = s.clock.now()
    else:
        s.writes()
    await s.until(until)
    assert s.at("Typing") == typing
    await s.answers()


@scene()
async def test_a_sent_part_ends_the_indicator_and_opens_the_window(s: Scene) -> None:
    s.indicator.start()
    await s.until(5)
    await s.sends_part("one")
    await s.until(40)
    assert s.calls.seen == [Seen(0, "Typing"), Seen(5, "one"), Seen(5, "Typing"), Seen(20, "Typing")]
    await s.sends_part("two")
    await s.rest()
    assert s.at("Typing")[-1] == 40
    await s.answers("three")
    assert s.seen[4:] == ["two", "Typing", "CancelTyping", "three"]


@pytest.mark.parametrize("last", ["three", ""])
@scene()
async def test_parts_without_a_pause_and_an_end_directly_after_a_part_make_no_call(s: Scene, last: str) -> None:
    s.indicator.start()
    await s.sends_part("one")
    await s.sends_part("two")
    await s.answers(last)
    assert s.seen == ["Typing", "one", "two", *filter(None, [last])]


# -- the delay


@pytest.mark.parametrize("writes", [True, False])
@scene(delay=2.0)
async def test_typing_is_called_after_the_delay(s: Scene, writes: bool) -> None:
    """Check also that a message of the user does not shorten the delay."""
    s.indicator.start()
    await s.advance(1)
    if writes:
        s.writes()
    await s.advance(0.99)
    assert s.seen == []
    await s.advance(0.01)
    assert s.at("Typing") == [2]
    await s.until(17)
    assert s.at("Typing") == [2, 17]
    await s.answers()


@scene(enabled=False)
async def test_a_disabled_indicator_makes_no_calls(s: Scene) -> None:
    s.indicator.start()
    await s.advance(3)
    await s.sends_part("one")
    await s.advance(3)
    await s.answers()
    assert s.seen == ["one", "answer"]


# -- errors of WeChat


@pytest.mark.parametrize(
    "answer", [refusal(-1), refusal(45011), refusal(40001), Answer(RequestNotSent("no connection"))], ids=repr
)
@scene()
async def test_a_temporary_failure_is_retried_after_a_pause(s: Scene, answer: Answer) -> None:
    s.calls.answers += [answer, answer]
    s.indicator.start()
    await s.advance(1.99)
    assert s.at("Typing") == [0]
    await s.until(10)
    assert s.at("Typing") == [0, 2, 4]
    await s.answers()
    assert s.seen[-2:] == ["CancelTyping", "answer"]


@scene()
async def test_the_pause_after_a_failure_outlasts_the_turn(s: Scene) -> None:
    s.calls.answers += [refusal(-1)]
    s.indicator.start()
    await s.advance(1)
    await s.answers()
    s.indicator.start()
    await s.advance(5)
    assert s.at("Typing") == [0, 2]
    await s.answers()


@pytest.mark.parametrize(
    "answer",
    [refusal(45081), Answer(DeliveryUnknown("the connection broke")), Answer(DeliveryUnknown("slow"), 3.0)],
    ids=repr,
)
@scene()
async def test_an_indicator_that_may_be_showing_is_treated_as_showing(s: Scene, answer: Answer) -> None:
    s.calls.answers += [answer]
    s.indicator.start()
    await s.until(14.99 + answer.seconds)
    assert s.at("Typing") == [0]
    await s.advance(0.01)
    assert s.at("Typing") == [0, 15 + answer.seconds]
    await s.answers()
    assert s.seen[-2:] == ["CancelTyping", "answer"]


@pytest.mark.parametrize("errcode", [45080, 40003, 45015, 45047])
@scene()
async def test_after_a_refusal_typing_waits_for_the_next_interaction(s: Scene, errcode: int) -> None:
    s.calls.answers += [refusal(errcode)]
    s.indicator.start()
    await s.until(20)
    assert s.seen == ["Typing"]
    s.writes()
    await s.rest()
    assert s.at("Typing") == [0, 20]
    assert s.parts.enabled
    await s.answers()


@scene()
async def test_a_reply_opens_a_window_that_wechat_called_closed(s: Scene) -> None:
    s.calls.answers += [refusal(45080)]
    s.indicator.start()
    await s.rest()
    await s.sends_part("one")
    await s.rest()
    assert s.seen == ["Typing", "one", "Typing"]
    await s.answers()


@pytest.mark.parametrize("errcode", [40200, 40101, 48001])
@scene()
async def test_an_account_without_typing_disables_it_for_all_conversations(s: Scene, errcode: int) -> None:
    s.calls.answers += [refusal(errcode)]
    s.indicator.start()
    await s.advance(1)
    assert not s.parts.enabled
    s.writes()
    await s.advance(20)
    await s.sends_part("one")
    await s.advance(20)
    await s.answers()
    s.indicator.start()
    await s.answers()
    assert s.seen == ["Typing", "one", "answer", "answer"]


@pytest.mark.parametrize("until", [5, 20])
@scene()
async def test_no_call_is_made_after_another_conversation_disabled_typing(s: Scene, until: float) -> None:
    s.indicator.start()
    await s.advance(5)
    s.parts.enabled = False
    await s.until(until)
    await s.answers()
    assert s.seen == ["Typing", "answer"]


@pytest.mark.parametrize("errcode", [-1, 45080, 45081, 45015])
@scene()
async def test_a_refused_cancel_is_only_logged(s: Scene, errcode: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "wxbot.typing")
    s.calls.answers += [FINE, refusal(errcode)]
    s.indicator.start()
    await s.advance(1)
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]
    assert [record.levelname for record in caplog.records] == ["INFO"]


@scene()
async def test_40200_for_a_cancel_disables_typing(s: Scene) -> None:
    s.calls.answers += [FINE, refusal(40200)]
    s.indicator.start()
    await s.advance(1)
    await s.answers()
    assert not s.parts.enabled


@scene()
async def test_typing_is_not_called_again_after_a_failed_cancel(s: Scene) -> None:
    s.calls.answers += [FINE, Answer(RequestNotSent("no connection"))]
    s.indicator.start()
    await s.advance(1)
    await s.answers("")
    s.indicator.start()
    await s.until(15)
    assert s.calls.seen == [Seen(0, "Typing"), Seen(1, "CancelTyping"), Seen(15, "Typing")]
    await s.answers()


# -- slow and hanging calls


@scene()
async def test_a_hanging_typing_delays_a_quick_reply_by_the_maximum_delay_only(s: Scene) -> None:
    s.calls.answers += [HANGING, FINE]
    s.indicator.start()
    answering = await s.answers_while(0.29)
    assert s.seen == ["Typing"]
    await s.advance(0.01)
    await answering
    assert s.at("answer") == [pytest.approx(0.3, abs=1e-6)]
    assert s.seen == ["Typing", "CancelTyping", "answer"], "the indicator may show, so it is cancelled"


@scene()
async def test_a_typing_that_was_not_written_is_not_cancelled(s: Scene) -> None:
    s.calls.queue = 5.0
    s.indicator.start()
    await s.advance(1)
    await s.indicator.stop()
    await s.indicator.end_turn()
    assert s.seen == []
    assert s.calls.open_calls == 0


@scene()
async def test_a_hanging_typing_does_not_delay_a_part(s: Scene) -> None:
    s.calls.answers += [HANGING]
    s.indicator.start()
    await s.advance(1)
    await s.sends_part("one")
    assert s.calls.open_calls == 0, "the hanging call has ended before the reply is sent"
    await s.rest()
    assert s.calls.seen == [Seen(0, "Typing"), Seen(1, "one"), Seen(1, "CancelTyping"), Seen(1, "Typing")], (
        "the first Typing may be late"
    )
    await s.answers()


@scene()
async def test_a_reply_is_sent_while_both_calls_hang(s: Scene) -> None:
    s.calls.answers += [HANGING, HANGING]
    s.indicator.start()
    await s.advance(1)
    answering = await s.answers_while(0.0)
    assert s.at("answer") == [1], "the reply does not wait for the answer to CancelTyping"
    assert not answering.done()
    await s.advance(0.3)
    await answering
    assert s.calls.open_calls == 0, "no call goes on after the end of the turn"


@scene()
async def test_the_next_typing_waits_for_a_cancel_in_progress(s: Scene) -> None:
    s.calls.answers += [FINE, Answer(seconds=0.25)]
    s.indicator.start()
    await s.advance(1)
    answering = await s.answers_while(0.0)
    assert s.seen == ["Typing", "CancelTyping", "answer"]
    assert not answering.done()
    await s.advance(0.25)
    await answering
    s.indicator.start()
    await s.rest()
    assert s.calls.seen[3:] == [Seen(1.25, "Typing")]
    await s.answers()


@scene()
async def test_a_slow_store_delays_a_reply_by_the_maximum_delay_only(s: Scene) -> None:
    s.notes.seconds = 5.0
    s.indicator.start()
    answering = await s.answers_while(0.3)
    await answering
    assert s.seen == ["answer"], "Typing was not called yet, so there is nothing to cancel"
    assert s.indicator.state.showing_until == 0


# -- the store


@scene()
async def test_no_call_is_made_after_the_lease_was_lost(s: Scene) -> None:
    s.notes.errors += [LeaseLost("another process took over")]
    s.indicator.start()
    await s.until(29)
    await s.answers("")
    assert s.seen == []


@scene()
async def test_typing_waits_until_the_store_is_available(s: Scene) -> None:
    s.notes.errors += [StoreUnavailable("locked"), StoreUnavailable("locked")]
    s.indicator.start()
    await s.advance(1.99)
    assert s.seen == []
    await s.until(10)
    assert s.at("Typing") == [4]
    await s.answers()


@scene(state=TypingState(START, START + 6, uncertain=True))
async def test_an_uncertain_indicator_of_an_earlier_owner_is_cancelled_first(s: Scene) -> None:
    s.indicator.start()
    await s.until(10)
    assert s.calls.seen == [Seen(0, "CancelTyping"), Seen(0, "Typing")]
    await s.answers()


@pytest.mark.parametrize("answer", [Answer(error=RequestNotSent("no")), HANGING], ids=["not reached", "hangs"])
@scene(state=TypingState(START, START + 20, uncertain=True))
async def test_a_failed_cancel_of_an_uncertain_indicator_is_retried_every_two_seconds(s: Scene, answer: Answer) -> None:
    s.calls.answers += [answer, FINE, FINE]
    s.indicator.start()
    await s.until(10)
    assert s.seen == ["CancelTyping", "CancelTyping", "Typing"] or s.seen == ["CancelTyping", "Typing"]
    await s.answers()


@scene(state=TypingState(START, START + 20, uncertain=True))
async def test_a_closed_window_ends_the_cancel_of_an_uncertain_indicator(s: Scene) -> None:
    s.calls.answers += [refusal(45080)]
    s.indicator.start()
    await s.until(10)
    assert s.seen == ["CancelTyping"]
    await s.answers()


@scene()
async def test_an_abandoned_typing_is_cancelled_before_the_next_one(s: Scene) -> None:
    """Cancel first, because the abandoned Typing may be processed after the reply."""
    s.calls.answers += [HANGING]
    s.indicator.start()
    await s.advance(0.5)
    await s.answers()
    assert s.indicator.state.uncertain
    s.indicator.start()
    await s.rest()
    assert s.seen == ["Typing", "CancelTyping", "answer", "CancelTyping", "Typing"]
    await s.answers()


# -- a lease that expires during a call


@scene()
async def test_a_typing_that_waited_longer_than_the_lease_is_retried_with_a_new_one(s: Scene) -> None:
    s.lease.expires_at = START + 1
    s.calls.queue = 0.75
    s.indicator.start()
    await s.advance(1)
    assert (s.seen, s.calls.refused) == ([], [0.75]), "nothing is written in the margin of the lease"
    s.lease.expires_at = START + 3600
    await s.until(2.5)
    s.calls.queue = 0.0
    await s.until(10)
    assert s.at("Typing") == [2.75]
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@scene()
async def test_without_a_lease_nothing_is_written(s: Scene) -> None:
    s.lease.expires_at = START
    s.indicator.start()
    await s.until(40)
    assert s.calls.refused == [float(at) for at in range(0, 28 + 1, 2)]
    assert s.indicator.state.showing_until == 0
    await s.answers()
    assert s.seen == ["answer"]


@scene()
async def test_the_indicator_of_a_new_owner_is_not_cancelled(s: Scene) -> None:
    s.indicator.start()
    await s.advance(1)
    s.lease.expires_at = s.clock.now()
    await s.answers("")
    assert s.seen == ["Typing"]
    assert s.calls.refused == [1]
    assert s.indicator.state.showing_until == START + 15, "nothing was cancelled"


# -- interruptions


@pytest.mark.parametrize("hanging", [False, True])
@scene()
async def test_the_indicator_of_an_interrupted_turn_is_cancelled(s: Scene, hanging: bool) -> None:
    if hanging:
        s.calls.answers += [HANGING]
    s.indicator.start()
    await s.advance(2)

    async def work() -> None:
        try:
            await pause(s.clock, 100)
        finally:
            await s.indicator.stop()

    task = asyncio.create_task(work())
    await s.rest()
    task.cancel()
    await asyncio.wait({task})
    await s.indicator.end_turn()
    assert s.calls.seen == [Seen(0, "Typing"), Seen(2, "CancelTyping")]


async def cancelled(work: Coroutine[Any, Any, None], s: Scene) -> None:
    """Start ``work`` and cancel it while it waits."""
    task = asyncio.create_task(work)
    await s.rest()
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@scene()
async def test_an_interruption_during_the_wait_for_typing_leaves_no_call(s: Scene) -> None:
    s.calls.answers += [HANGING]
    s.indicator.start()
    await cancelled(s.indicator.stop(), s)
    await s.indicator.stop()
    await s.indicator.end_turn()
    await s.rest()
    assert s.calls.open_calls == 0
    assert s.seen == ["Typing", "CancelTyping"]


@scene()
async def test_an_interruption_during_the_wait_for_cancel_leaves_no_call(s: Scene) -> None:
    s.calls.answers += [FINE, HANGING]
    s.indicator.start()
    await s.advance(1)
    await s.indicator.stop()
    await cancelled(s.indicator.end_turn(), s)
    await s.rest()
    assert s.calls.open_calls == 0
    assert s.seen == ["Typing", "CancelTyping"]


@scene()
async def test_ending_a_turn_without_a_handler_makes_no_call(s: Scene) -> None:
    await s.indicator.stop()
    await s.indicator.end_turn()
    assert s.seen == []
