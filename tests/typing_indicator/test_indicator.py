"""The driver of the typing indicator alone: which calls it makes, when, and that it never stands in a reply's way.

The channel and the inbox here are small and real; the clock is turned by hand. ``at`` in what they note is in seconds
since the user wrote.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, NamedTuple

import pytest

from wxbot.clock import pause
from wxbot.errors import DeliveryUnknown, LeaseLost, RequestNotSent, StoreUnavailable, WeChatError, api_error
from wxbot.store.records import ConversationKey, Lease
from wxbot.testing import ManualClock
from wxbot.typing_indicator.indicator import TypingIndicator, TypingOptions
from wxbot.typing_indicator.port import Permit, TypingCommand
from wxbot.typing_indicator.rules import TypingState

START = 1_700_000_000.0
LONGEST_CALL = 3.0
PATIENCE = 10.0  # real seconds until a test is given up


class Seen(NamedTuple):
    at: float
    what: str


class Answer(NamedTuple):
    """How WeChat answers a call: after ``seconds`` of the clock, with an error or well."""

    error: WeChatError | None = None
    seconds: float = 0.0


FINE = Answer()
HANGS = Answer(DeliveryUnknown("typing was sent, but no answer came in time"), LONGEST_CALL)


def refusal(errcode: int) -> Answer:
    return Answer(api_error("typing", errcode, "no"))


@dataclass
class Wire:
    """wxbot.typing_indicator.port.TypingCalls that records the calls.

    ``answers``: to the typing calls to come. ``queue``: seconds that a typing call waits before it is written.
    ``refused``: when one was not, for want of a permit.
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
                raise RequestNotSent("typing was not sent: the lease on this conversation expired before the request was written")
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
    """wxbot.store.port.Inbox as far as an indicator uses it."""

    clock: ManualClock
    interacted_at: float = START
    troubles: deque[Exception] = field(default_factory=deque)
    seconds: float = 0.0
    typing_until: list[float] = field(default_factory=list)

    async def save_typing(self, lease: Lease, typing_until: float) -> float:
        if self.seconds:
            await pause(self.clock, self.seconds)
        if self.troubles:
            raise self.troubles.popleft()
        self.typing_until.append(typing_until - START)
        return self.interacted_at


class Scene:
    """Alice has just written; her conversation's indicator is in our hands."""

    def __init__(self, *, state: TypingState | None = None, **options: Any) -> None:
        self.clock = ManualClock(START)
        self.wire = Wire(self.clock)
        self.notes = Notes(self.clock)
        self.options = TypingOptions(**options)
        self.lease = Lease(ConversationKey("wx1", "alice"), "this process", 1, START + 3600, margin=0.5)
        self.indicator = TypingIndicator(
            self.wire, self.notes, self.lease, self.clock, self.options, state or TypingState(START)
        )

    async def turn(self, seconds: float) -> None:
        """Time passes; from another thread, so that each timer runs at its own moment."""
        await self.rest()
        await asyncio.to_thread(self.clock.advance, seconds)
        await self.rest()

    async def rest(self) -> None:
        """Let every task go as far as it can."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def until(self, at: float) -> None:
        await self.turn(START + at - self.clock.now())

    async def sends(self, text: str) -> None:
        """What the pipeline does around every message."""
        called_at = self.clock.now()
        self.wire.send(text)
        self.indicator.message_sent(called_at)

    async def says_part(self, text: str) -> None:
        await self.indicator.pause()
        await self.sends(text)
        self.indicator.resume()

    async def answers(self, text: str = "answer") -> None:
        """The handler is through: the end of a turn, as the pipeline and the conversation do it."""
        await self.indicator.stop()
        if text:
            await self.sends(text)
        await self.indicator.end_turn()
        assert self.wire.open_calls == 0, "the turn is over, and a call goes on"

    async def answers_while(self, seconds: float) -> asyncio.Task[None]:
        """The same, while time passes."""
        task = asyncio.create_task(self.answers())
        await self.turn(seconds)
        return task

    def writes(self) -> None:
        """Alice writes again, while the handler works."""
        self.notes.interacted_at = self.clock.now()
        self.indicator.interacted(self.clock.now())

    @property
    def seen(self) -> list[str]:
        return [seen.what for seen in self.wire.seen]

    def at(self, what: str) -> list[float]:
        return [seen.at for seen in self.wire.seen if seen.what == what]


@asynccontextmanager
async def nothing_left(scene: Scene) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await scene.rest()
    assert asyncio.all_tasks() == before
    assert scene.clock.timers == 0
    assert scene.wire.open_calls == 0


Story = Callable[[Scene], Awaitable[None]]


def scene(**setting: Any) -> Callable[[Story], Callable[[], None]]:
    """Plays an async test on a fresh scene, and looks afterwards whether anything goes on."""

    def decorate(story: Story) -> Callable[[], None]:
        async def play() -> None:
            stage = Scene(**setting)
            async with asyncio.timeout(PATIENCE), nothing_left(stage):
                await story(stage)

        @wraps(story)
        def test() -> None:
            asyncio.run(play())

        del test.__wrapped__  # or pytest would look for a fixture called "s"
        return test

    return decorate


# -- on a healthy wire


@scene()
async def test_typing_then_cancel_then_reply(s: Scene) -> None:
    s.indicator.start()
    await s.answers()
    assert s.wire.seen == [Seen(0, "Typing"), Seen(0, "CancelTyping"), Seen(0, "answer")]


@scene()
async def test_the_order_holds_while_calls_take_their_time(s: Scene) -> None:
    s.wire.answers += [Answer(seconds=0.25), Answer(seconds=0.25)]
    s.indicator.start()
    answering = await s.answers_while(0.24)
    assert s.seen == ["Typing"]
    await s.turn(0.01)
    assert s.wire.seen[1:] == [Seen(0.25, "CancelTyping"), Seen(0.25, "answer")]
    assert not answering.done(), "CancelTyping still waits for its answer"
    await s.turn(0.25)
    await answering
    assert s.indicator.state.showing_until == 0


@scene()
async def test_what_shows_is_renewed_every_15_seconds(s: Scene) -> None:
    s.indicator.start()
    await s.turn(14.99)
    assert s.at("Typing") == [0]
    await s.turn(0.01)
    assert s.at("Typing") == [0, 15]
    assert s.notes.typing_until == [18, 33], "noted ahead, for the longest that a call may last"
    await s.until(20)
    await s.answers()
    assert s.wire.seen[2:] == [Seen(20, "CancelTyping"), Seen(20, "answer")]


@scene()
async def test_it_stops_with_the_window(s: Scene) -> None:
    s.indicator.start()
    await s.until(40)
    await s.answers()
    assert s.wire.seen == [Seen(0, "Typing"), Seen(15, "Typing"), Seen(40, "answer")]


@scene()
async def test_nothing_is_cancelled_where_the_window_is_about_to_shut(s: Scene) -> None:
    s.indicator.start()
    await s.until(28.5)
    await s.answers()
    assert s.seen == ["Typing", "Typing", "answer"]


@scene()
async def test_nothing_is_cancelled_that_has_ended_by_itself(s: Scene) -> None:
    s.wire.answers += [FINE, refusal(-1)]
    s.indicator.start()
    await s.until(15)
    await s.answers()
    assert s.wire.seen == [Seen(0, "Typing"), Seen(15, "Typing"), Seen(15, "answer")]


@scene()
async def test_silence_is_cancelled_too(s: Scene) -> None:
    s.indicator.start()
    await s.turn(5)
    await s.answers("")
    assert s.wire.seen == [Seen(0, "Typing"), Seen(5, "CancelTyping")]


@scene()
async def test_what_was_cancelled_may_show_again_at_once(s: Scene) -> None:
    s.indicator.start()
    await s.turn(5)
    await s.answers("")
    s.indicator.start()
    await s.rest()
    assert s.at("Typing") == [0, 5]
    await s.answers()


@scene()
async def test_a_reply_waits_for_a_renewal_under_way(s: Scene) -> None:
    s.wire.answers += [FINE, Answer(seconds=0.25)]
    s.indicator.start()
    await s.until(15.125)
    answering = await s.answers_while(0.0)
    assert s.seen == ["Typing", "Typing"]
    await s.turn(0.125)
    await answering
    assert s.wire.seen[2:] == [Seen(15.25, "CancelTyping"), Seen(15.25, "answer")]


@scene()
async def test_stopping_twice_cancels_once(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1)
    await s.indicator.stop()
    await s.rest()
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@scene()
async def test_stopping_again_while_the_cancel_is_under_way_cancels_once(s: Scene) -> None:
    s.wire.answers += [FINE, HANGS]
    s.indicator.start()
    await s.turn(1)
    await s.indicator.stop()
    await s.indicator.stop()
    assert s.seen == ["Typing", "CancelTyping"]
    ending = asyncio.create_task(s.indicator.end_turn())
    await s.turn(0.3)
    await ending
    assert s.wire.open_calls == 0


@scene(margin=5.0)
async def test_the_margin_is_a_choice(s: Scene) -> None:
    await s.until(24.5)
    s.indicator.start()
    await s.answers()
    await s.until(25)
    s.indicator.state = TypingState(START)
    s.indicator.start()
    await s.answers("late")
    assert s.seen == ["Typing", "CancelTyping", "answer", "late"]


# -- the window opens again


@scene()
async def test_a_message_of_the_user_opens_the_window_for_the_handler_at_work(s: Scene) -> None:
    s.indicator.start()
    await s.until(32)
    s.writes()
    await s.rest()
    assert s.at("Typing") == [0, 15, 32]
    await s.answers()
    assert s.seen[-2:] == ["CancelTyping", "answer"]


@scene()
async def test_a_message_of_the_user_meanwhile_only_prolongs_the_window(s: Scene) -> None:
    s.indicator.start()
    await s.until(25)
    s.writes()
    await s.until(60)
    assert s.at("Typing") == [0, 15, 30, 45]
    await s.answers()


@scene()
async def test_news_of_an_old_interaction_changes_nothing(s: Scene) -> None:
    s.indicator.start()
    await s.until(31)
    s.indicator.interacted(START)
    s.indicator.interacted(START - 5)
    await s.turn(5)
    assert s.at("Typing") == [0, 15]
    await s.answers()


@scene()
async def test_an_interaction_that_only_the_store_knows_of_counts(s: Scene) -> None:
    s.indicator.start()
    await s.until(10)
    s.notes.interacted_at = s.clock.now()
    await s.until(39)
    assert s.at("Typing") == [0, 15, 30]
    await s.answers()


@scene()
async def test_a_part_clears_the_indicator_and_opens_the_window(s: Scene) -> None:
    s.indicator.start()
    await s.until(5)
    await s.says_part("one")
    await s.until(40)
    assert s.wire.seen == [Seen(0, "Typing"), Seen(5, "one"), Seen(5, "Typing"), Seen(20, "Typing")]
    await s.says_part("two")
    await s.rest()
    assert s.at("Typing")[-1] == 40
    await s.answers("three")
    assert s.seen[4:] == ["two", "Typing", "CancelTyping", "three"]


@scene()
async def test_the_end_right_after_a_part_makes_no_call(s: Scene) -> None:
    s.indicator.start()
    await s.turn(2)
    await s.says_part("one")
    await s.answers("")
    assert s.seen == ["Typing", "one"]


@scene()
async def test_parts_in_one_breath_show_no_typing_in_between(s: Scene) -> None:
    s.indicator.start()
    await s.says_part("one")
    await s.says_part("two")
    await s.answers("three")
    assert s.seen == ["Typing", "one", "two", "three"]


# -- the delay


@scene(delay=2.0)
async def test_a_delay_is_kept(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1.99)
    assert s.seen == []
    await s.turn(0.01)
    assert s.at("Typing") == [2]
    await s.until(17)
    assert s.at("Typing") == [2, 17]
    await s.answers()


@scene(delay=2.0)
async def test_a_handler_quicker_than_the_delay_causes_no_call(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1.99)
    await s.answers()
    await s.turn(30)
    assert s.seen == ["answer"]


@scene(delay=2.0)
async def test_news_during_the_delay_does_not_shorten_it(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1)
    s.writes()
    await s.turn(0.5)
    assert s.seen == []
    await s.turn(0.5)
    assert s.at("Typing") == [2]
    await s.answers()


@scene(enabled=False)
async def test_switched_off_it_never_calls(s: Scene) -> None:
    s.indicator.start()
    await s.turn(3)
    await s.says_part("one")
    await s.turn(3)
    await s.answers()
    assert s.seen == ["one", "answer"]


# -- what WeChat says


@pytest.mark.parametrize(
    "answer", [refusal(-1), refusal(45011), refusal(40001), Answer(RequestNotSent("no connection"))], ids=repr
)
def test_a_passing_failure_is_tried_again_after_a_pause(answer: Answer) -> None:
    @scene()
    async def story(s: Scene) -> None:
        s.wire.answers += [answer, answer]
        s.indicator.start()
        await s.turn(1.99)
        assert s.at("Typing") == [0]
        await s.until(10)
        assert s.at("Typing") == [0, 2, 4]
        await s.answers()
        assert s.seen[-2:] == ["CancelTyping", "answer"]

    story()


@scene()
async def test_a_failed_typing_needs_no_cancel(s: Scene) -> None:
    s.wire.answers += [refusal(-1)]
    s.indicator.start()
    await s.turn(1)
    await s.answers()
    assert s.seen == ["Typing", "answer"]


@scene()
async def test_the_pause_after_a_failure_outlasts_the_turn(s: Scene) -> None:
    s.wire.answers += [refusal(-1)]
    s.indicator.start()
    await s.turn(1)
    await s.answers()
    s.indicator.start()
    await s.turn(5)
    assert s.at("Typing") == [0, 2]
    await s.answers()


@pytest.mark.parametrize(
    "answer",
    [refusal(45081), Answer(DeliveryUnknown("the connection broke")), Answer(DeliveryUnknown("slow"), 3.0)],
    ids=repr,
)
def test_what_may_be_showing_is_taken_for_showing(answer: Answer) -> None:
    @scene()
    async def story(s: Scene) -> None:
        s.wire.answers += [answer]
        s.indicator.start()
        await s.until(14.99 + answer.seconds)
        assert s.at("Typing") == [0]
        await s.turn(0.01)
        assert s.at("Typing") == [0, 15 + answer.seconds]
        await s.answers()
        assert s.seen[-2:] == ["CancelTyping", "answer"]

    story()


@scene()
async def test_45081_is_cancelled_at_the_end(s: Scene) -> None:
    s.wire.answers += [refusal(45081)]
    s.indicator.start()
    await s.turn(3)
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@pytest.mark.parametrize("errcode", [45080, 40003, 45015, 45047])
def test_a_refusal_holds_until_the_next_interaction(errcode: int) -> None:
    @scene()
    async def story(s: Scene) -> None:
        s.wire.answers += [refusal(errcode)]
        s.indicator.start()
        await s.until(20)
        assert s.seen == ["Typing"]
        s.writes()
        await s.rest()
        assert s.at("Typing") == [0, 20]
        assert s.options.enabled
        await s.answers()

    story()


@scene()
async def test_a_reply_opens_the_window_that_was_called_shut(s: Scene) -> None:
    s.wire.answers += [refusal(45080)]
    s.indicator.start()
    await s.rest()
    await s.says_part("one")
    await s.rest()
    assert s.seen == ["Typing", "one", "Typing"]
    await s.answers()


@pytest.mark.parametrize("errcode", [40200, 40101, 48001])
def test_an_account_without_typing_switches_it_off_for_all(errcode: int) -> None:
    @scene()
    async def story(s: Scene) -> None:
        s.wire.answers += [refusal(errcode)]
        s.indicator.start()
        await s.turn(1)
        assert not s.options.enabled
        s.writes()
        await s.turn(20)
        await s.says_part("one")
        await s.turn(20)
        await s.answers()
        s.indicator.start()
        await s.answers()
        assert s.seen == ["Typing", "one", "answer", "answer"]

    story()


@scene()
async def test_a_handler_at_work_heeds_what_another_conversation_learned(s: Scene) -> None:
    s.indicator.start()
    await s.turn(5)
    s.options.enabled = False
    await s.until(20)
    await s.answers()
    assert s.seen == ["Typing", "answer"]


@scene()
async def test_nothing_is_cancelled_once_it_is_switched_off(s: Scene) -> None:
    s.indicator.start()
    await s.turn(5)
    s.options.enabled = False
    await s.answers()
    assert s.seen == ["Typing", "answer"]


@pytest.mark.parametrize("errcode", [-1, 45080, 45081, 45015])
def test_a_refused_cancel_is_no_matter(errcode: int, caplog: pytest.LogCaptureFixture) -> None:
    @scene()
    async def story(s: Scene) -> None:
        s.wire.answers += [FINE, refusal(errcode)]
        s.indicator.start()
        await s.turn(1)
        await s.answers()
        assert s.seen == ["Typing", "CancelTyping", "answer"]

    with caplog.at_level("INFO", "wxbot.typing"):
        story()
    assert [record.levelname for record in caplog.records] == ["INFO"]


@scene()
async def test_40200_for_a_cancel_switches_off_too(s: Scene) -> None:
    s.wire.answers += [FINE, refusal(40200)]
    s.indicator.start()
    await s.turn(1)
    await s.answers()
    assert not s.options.enabled


@scene()
async def test_what_a_failed_cancel_left_showing_is_not_called_again(s: Scene) -> None:
    s.wire.answers += [FINE, Answer(RequestNotSent("no connection"))]
    s.indicator.start()
    await s.turn(1)
    await s.answers("")
    s.indicator.start()
    await s.until(15)
    assert s.wire.seen == [Seen(0, "Typing"), Seen(1, "CancelTyping"), Seen(15, "Typing")]
    await s.answers()


# -- a sick wire


@scene()
async def test_a_hanging_typing_costs_a_quick_reply_its_patience_and_no_more(s: Scene) -> None:
    s.wire.answers += [HANGS, FINE]
    s.indicator.start()
    answering = await s.answers_while(0.29)
    assert s.seen == ["Typing"]
    await s.turn(0.01)
    await answering
    assert s.at("answer") == [pytest.approx(0.3, abs=1e-6)]
    assert s.seen == ["Typing", "CancelTyping", "answer"], "it may show, so it is cancelled"


@scene()
async def test_a_hanging_typing_costs_a_slower_reply_nothing(s: Scene) -> None:
    s.wire.answers += [HANGS, FINE]
    s.indicator.start()
    await s.turn(0.5)
    await s.answers()
    assert s.at("answer") == [0.5]


@scene()
async def test_a_typing_that_found_no_connection_shows_nothing_that_could_be_cancelled(s: Scene) -> None:
    s.wire.queue = 5.0
    s.indicator.start()
    await s.turn(1)
    await s.indicator.stop()
    await s.indicator.end_turn()
    assert s.seen == []
    assert s.wire.open_calls == 0


@scene()
async def test_a_hanging_typing_costs_a_part_nothing(s: Scene) -> None:
    s.wire.answers += [HANGS]
    s.indicator.start()
    await s.turn(1)
    await s.says_part("one")
    assert s.wire.open_calls == 0, "the sick call is gone before the part is out"
    await s.rest()
    assert s.wire.seen == [Seen(0, "Typing"), Seen(1, "one"), Seen(1, "CancelTyping"), Seen(1, "Typing")], "it was late"
    await s.answers()


@scene()
async def test_both_hanging_the_reply_still_goes_out(s: Scene) -> None:
    s.wire.answers += [HANGS, HANGS]
    s.indicator.start()
    await s.turn(1)
    answering = await s.answers_while(0.0)
    assert s.at("answer") == [1], "before CancelTyping is answered"
    assert not answering.done()
    await s.turn(0.3)
    await answering
    assert s.wire.open_calls == 0, "the turn is over, and so is its call"


@scene()
async def test_the_next_typing_waits_for_a_cancel_under_way(s: Scene) -> None:
    s.wire.answers += [FINE, Answer(seconds=0.25)]
    s.indicator.start()
    await s.turn(1)
    answering = await s.answers_while(0.0)
    assert s.seen == ["Typing", "CancelTyping", "answer"]
    assert not answering.done()
    await s.turn(0.25)
    await answering
    s.indicator.start()
    await s.rest()
    assert s.wire.seen[3:] == [Seen(1.25, "Typing")]
    await s.answers()


@scene()
async def test_a_store_that_is_slow_costs_no_more_than_patience(s: Scene) -> None:
    s.notes.seconds = 5.0
    s.indicator.start()
    answering = await s.answers_while(0.3)
    await answering
    assert s.seen == ["answer"], "Typing was not called yet, so there is nothing to cancel"
    assert s.indicator.state.showing_until == 0


# -- the store


@scene()
async def test_whoever_lost_the_lease_makes_no_call(s: Scene) -> None:
    s.notes.troubles += [LeaseLost("another process took over")]
    s.indicator.start()
    await s.until(29)
    await s.answers("")
    assert s.seen == []


@scene()
async def test_without_the_store_there_is_no_typing_until_it_is_back(s: Scene) -> None:
    s.notes.troubles += [StoreUnavailable("locked"), StoreUnavailable("locked")]
    s.indicator.start()
    await s.turn(1.99)
    assert s.seen == []
    await s.until(10)
    assert s.at("Typing") == [4]
    await s.answers()


@scene(state=TypingState(START, START + 6, uncertain=True))
async def test_what_an_earlier_owner_may_have_shown_is_ended_before_ours(s: Scene) -> None:
    s.indicator.start()
    await s.until(10)
    assert s.wire.seen == [Seen(0, "CancelTyping"), Seen(0, "Typing")]
    await s.answers()


@pytest.mark.parametrize("answer", [Answer(error=RequestNotSent("no")), HANGS], ids=["not reached", "hangs"])
def test_doubt_that_cannot_be_cleared_costs_a_look_each_two_seconds(answer: Answer) -> None:
    @scene(state=TypingState(START, START + 20, uncertain=True))
    async def story(s: Scene) -> None:
        s.wire.answers += [answer, FINE, FINE]
        s.indicator.start()
        await s.until(10)
        assert s.seen == ["CancelTyping", "CancelTyping", "Typing"] or s.seen == ["CancelTyping", "Typing"]
        await s.answers()

    story()


@scene(state=TypingState(START, START + 20, uncertain=True))
async def test_a_window_found_shut_while_doubt_is_cleared_ends_the_matter(s: Scene) -> None:
    s.wire.answers += [refusal(45080)]
    s.indicator.start()
    await s.until(10)
    assert s.seen == ["CancelTyping"]
    await s.answers()


@scene()
async def test_a_late_typing_is_ended_before_the_next_one(s: Scene) -> None:
    """It was written, nobody waited for its answer, and it may have been read after the reply."""
    s.wire.answers += [HANGS]
    s.indicator.start()
    await s.turn(0.5)
    await s.answers()
    assert s.indicator.state.uncertain
    s.indicator.start()
    await s.rest()
    assert s.seen == ["Typing", "CancelTyping", "answer", "CancelTyping", "Typing"]
    await s.answers()


@scene(state=TypingState(START, START + 6))
async def test_what_an_earlier_owner_left_showing_is_cancelled(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1)
    await s.answers()
    assert s.seen == ["CancelTyping", "answer"]


# -- a lease that runs out on the way


@scene()
async def test_a_typing_that_waited_for_longer_than_the_lease_is_tried_again_with_a_new_one(s: Scene) -> None:
    s.lease.expires_at = START + 1
    s.wire.queue = 0.75
    s.indicator.start()
    await s.turn(1)
    assert (s.seen, s.wire.refused) == ([], [0.75]), "the last half second belongs to nobody"
    s.lease.expires_at = START + 3600
    await s.until(2.5)
    s.wire.queue = 0.0
    await s.until(10)
    assert s.at("Typing") == [2.75]
    await s.answers()
    assert s.seen == ["Typing", "CancelTyping", "answer"]


@scene()
async def test_a_lease_that_stays_away_costs_a_look_each_two_seconds_and_no_call(s: Scene) -> None:
    s.lease.expires_at = START
    s.indicator.start()
    await s.until(40)
    assert s.wire.refused == [float(at) for at in range(0, 28 + 1, 2)]
    assert s.indicator.state.showing_until == 0
    await s.answers()
    assert s.seen == ["answer"]


@scene()
async def test_whoever_took_over_meanwhile_is_left_its_typing(s: Scene) -> None:
    s.indicator.start()
    await s.turn(1)
    s.lease.expires_at = s.clock.now()
    await s.answers("")
    assert s.seen == ["Typing"]
    assert s.wire.refused == [1]
    assert s.indicator.state.showing_until == START + 15, "nothing was cancelled"


# -- cancelled from outside


@pytest.mark.parametrize("hanging", [False, True])
def test_an_interrupted_turn_is_cancelled_like_any_other(hanging: bool) -> None:
    @scene()
    async def story(s: Scene) -> None:
        if hanging:
            s.wire.answers += [HANGS]
        s.indicator.start()
        await s.turn(2)

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
        assert s.wire.seen == [Seen(0, "Typing"), Seen(2, "CancelTyping")]

    story()


async def cancelled(work: Coroutine[Any, Any, None], s: Scene) -> None:
    """``work`` is begun, and cancelled while it waits."""
    task = asyncio.create_task(work)
    await s.rest()
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@scene()
async def test_interrupted_while_it_is_patient_with_typing_it_still_ends(s: Scene) -> None:
    s.wire.answers += [HANGS]
    s.indicator.start()
    await cancelled(s.indicator.stop(), s)
    await s.indicator.stop()
    await s.indicator.end_turn()
    await s.rest()
    assert s.wire.open_calls == 0
    assert s.seen == ["Typing", "CancelTyping"]


@scene()
async def test_interrupted_while_it_is_patient_with_cancel_it_still_ends(s: Scene) -> None:
    s.wire.answers += [FINE, HANGS]
    s.indicator.start()
    await s.turn(1)
    await s.indicator.stop()
    await cancelled(s.indicator.end_turn(), s)
    await s.rest()
    assert s.wire.open_calls == 0
    assert s.seen == ["Typing", "CancelTyping"]


@scene()
async def test_ending_a_turn_that_never_began_is_nothing(s: Scene) -> None:
    await s.indicator.stop()
    await s.indicator.end_turn()
    assert s.seen == []
