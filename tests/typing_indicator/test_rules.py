"""Test the rules of the typing indicator against a model of WeChat that was written from WeChat's own pages.

The model does not use the rules: it has its own numbers, and its own record of the facts that a bot can know.
Hypothesis generates the histories: late pushes, failing calls, crashes, other programs that use the same account. All
times are multiples of 1/64 s, which floats represent exactly, so that every boundary is tested exactly.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.depth import examples
from wxbot.model.user_actions import interaction_time
from wxbot.typing_indicator import rules
from wxbot.typing_indicator.rules import TypingState

START = 1_700_000_000.0
CALL_TIMEOUT = 3.0
TAKEOVER_AFTER = 6.0  # a lease lasts at least 6 s after its last renewal: no other process takes over earlier

# The model of WeChat


@dataclass
class WeChat:
    """The indicator of one user, and the errcodes of typing calls (from WeChat's pages)."""

    last: float = -math.inf
    since: float = -math.inf
    by_another: bool = False

    def shows(self, now: float) -> bool:
        return now - self.since < 15

    def is_open(self, now: float) -> bool:
        return now - self.last < 30

    def typing(self, now: float, *, by_another: bool = False) -> int:
        if not self.is_open(now):
            return 45080
        if self.shows(now):
            return 45081
        self.since, self.by_another = now, by_another
        return 0

    def cancel(self, now: float) -> int:
        if not self.is_open(now):
            return 45080
        self.since = -math.inf
        return 0

    def user_writes(self, now: float) -> None:
        self.last = now

    def message_to_user(self, now: float) -> None:
        self.last, self.since = now, -math.inf


# The facts that a bot can know


@dataclass
class Knowledge:
    """The facts that the owner of the conversation can know.

    ``last``: the last known interaction. ``until``: from then on our indicator does not show. ``exact``: the owner
    knows exactly if the indicator shows. ``refused``: WeChat said that the window is closed, and no interaction
    followed.
    """

    last: float
    until: float = 0.0
    exact: bool = False
    refused: bool = False
    quiet_until: float = 0.0

    def learn_interaction(self, at: float) -> None:
        if at > self.last:
            self.last, self.refused = at, False

    def learn(self, until: float, *, exact: bool) -> None:
        self.until, self.exact = until, exact

    def window_open(self, now: float, margin: float) -> bool:
        return not self.refused and now < self.last + 30 - margin

    def could_show(self, now: float, margin: float) -> bool:
        """Return True if Typing should be called now: WeChat would accept it by all known facts."""
        return self.window_open(now, margin) and now >= max(self.until, self.quiet_until)


@dataclass
class Call:
    """A Typing call in progress. ``acted_at`` and ``errcode``: when and how WeChat processed it, if it did."""

    began_at: float
    acted_at: float | None = None
    errcode: int = 0


@dataclass
class Owner:
    """A process that owns the conversation: the state of the rules, and the facts that it can know."""

    state: TypingState
    known: Knowledge
    working: bool = False
    call: Call | None = None


@dataclass
class Store:
    """The stored state, which survives a process."""

    interacted_at: float
    typing_until: float = 0.0
    known: Knowledge = field(default_factory=lambda: Knowledge(0.0))

    def learn_interaction(self, at: float) -> None:
        self.interacted_at = max(self.interacted_at, at)


Ticks = st.integers(1, 64 * 4).map(lambda ticks: ticks / 64)
Moments = st.integers(0, 64).map(lambda ticks: ticks / 64)
CallResults = st.sampled_from(["fine", "busy", "lost after acting", "lost before acting", "slow"])
SendResults = st.sampled_from(["fine", "refused", "lost after acting", "lost before acting"])


class Histories(RuleBasedStateMachine):
    """One user's conversation, with the rules applied as ``wxbot.typing_indicator.indicator`` applies them."""

    @initialize(margin=st.sampled_from([1.0, 1.5, 4.0, 20.0]), fraction=st.integers(0, 63), latency=Moments)
    def user_writes_at_first(self, margin: float, fraction: int, latency: float) -> None:
        self.margin = margin
        self.now = START + fraction / 64
        self.wechat = WeChat()
        self.results: deque[str] = deque()
        self.pushes: list[float] = []
        self.events: set[float] = set()
        self.abandoned: Call | None = None
        self.wechat.user_writes(self.now)
        heard = self.arrival_of(math.floor(self.now), self.now + latency)
        self.now += latency
        self.died_at = -math.inf
        self.store = Store(heard, known=Knowledge(heard, exact=True))
        self.owner: Owner | None = Owner(TypingState(heard), Knowledge(heard, exact=True))

    def arrival_of(self, created_at: int, now: float) -> float:
        """Return when the user acted according to the push: now, unless the second of CreateTime is over."""
        expected = now if math.floor(now) == created_at else float(created_at)
        assert interaction_time(created_at, now) == expected
        return expected

    # -- the user, and other programs

    @rule()
    def user_writes(self) -> None:
        self.wechat.user_writes(self.now)
        self.pushes.append(self.now)

    @precondition(lambda self: self.pushes)
    @rule(data=st.data(), by_this_process=st.booleans(), again=st.booleans())
    def push_arrives(self, data: st.DataObject, by_this_process: bool, again: bool) -> None:
        """Deliver a push, late or in time, to this process or to another one; ``again``: WeChat will redeliver it."""
        push = data.draw(st.sampled_from(self.pushes))
        if not again:
            self.pushes.remove(push)
        self.learns_of(self.arrival_of(math.floor(push), self.now), by_this_process)

    @rule(by_this_process=st.booleans())
    def event_arrives(self, by_this_process: bool) -> None:
        """Deliver an event that is an interaction for the bot, but not for WeChat."""
        self.events.add(self.now)
        self.learns_of(self.now, by_this_process)

    def learns_of(self, at: float, by_this_process: bool) -> None:
        self.store.learn_interaction(at)
        if by_this_process and self.owner is not None:
            self.notify(self.owner, at)
        self.continue_work()

    @precondition(lambda self: self.owner)
    @rule()
    def lease_is_renewed(self) -> None:
        assert self.owner is not None
        self.notify(self.owner, self.store.interacted_at)
        self.continue_work()

    @rule(action=st.sampled_from(["Typing", "CancelTyping", "message"]))
    def another_program_acts(self, action: str) -> None:
        if action == "Typing":
            self.wechat.typing(self.now, by_another=True)
        elif action == "CancelTyping":
            self.wechat.cancel(self.now)
        else:
            self.wechat.message_to_user(self.now)
        self.store.known.exact = False
        if self.owner is not None:
            self.owner.known.exact = False

    # -- time

    @rule(seconds=Ticks)
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([2.0, 7.5, 13.5, 15.0, 28.5, 30.0]))
    def much_time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([0.25, 3.0, 14.75, 29.0, 3600.0]))
    def process_is_stopped_for_a_while(self, seconds: float) -> None:
        self.now += seconds
        self.call_times_out()
        self.continue_work()

    def pass_time(self, seconds: float) -> None:
        """Advance the time, with a stop at every moment at which the rules or the model expect a change."""
        goal = self.now + seconds
        while self.now < goal:
            self.now = min(goal, *(at for at in self.next_changes() if at > self.now), goal)
            self.call_times_out()
            self.continue_work()
            self.no_typing_is_missed()

    def next_changes(self) -> list[float]:
        if self.owner is None:
            return []
        known, call = self.owner.known, self.owner.call
        due = rules.next_typing(self.owner.state, self.now, self.margin)
        expected = [known.until, known.quiet_until, known.last + 30 - self.margin]
        return [*expected, *([] if due is None else [due]), *([] if call is None else [call.began_at + CALL_TIMEOUT])]

    # -- the handler

    @precondition(lambda self: self.owner and not self.owner.working)
    @rule(result=CallResults)
    def handler_starts(self, result: str) -> None:
        assert self.owner is not None
        self.results.append(result)
        self.owner.working = True
        self.continue_work()

    @rule(results=st.lists(CallResults, min_size=1, max_size=3))
    def later_calls_fail(self, results: list[str]) -> None:
        self.results.extend(results)

    @precondition(lambda self: self.owner and self.owner.working)
    @rule(how=SendResults, answered=st.booleans(), before=Moments, after=Moments, dies=st.booleans())
    def reply_is_sent(self, how: str, answered: bool, before: float, after: float, dies: bool) -> None:
        assert self.owner is not None
        self.pause(self.owner, answered)
        self.send(self.owner, how, before, after)
        if dies:
            self.process_dies()
        elif how == "fine":
            self.save(self.owner)
        self.continue_work()

    @precondition(lambda self: self.owner and self.owner.working)
    @rule(cancel=CallResults, answered=st.booleans(), how=SendResults, silent=st.booleans(), releases=st.booleans())
    def handler_ends(self, cancel: str, answered: bool, how: str, silent: bool, releases: bool) -> None:
        """End the handler: done, failed, timed out or released, which makes no difference to the indicator."""
        owner = self.owner
        assert owner is not None
        self.pause(owner, answered)
        owner.working = False
        self.stop(owner, cancel)
        if not silent:
            self.send(owner, how, 0.0, 0.0)
        self.save(owner)
        if releases:
            self.owner = None

    # -- a slow Typing call

    @precondition(lambda self: self.slow is not None and self.slow.acted_at is None)
    @rule()
    def wechat_acts_on_the_slow_call(self) -> None:
        assert self.slow is not None
        self.act(self.slow)

    @precondition(lambda self: self.owner and self.owner.call)
    @rule(how=st.sampled_from(["fine", "busy", "lost after acting", "lost before acting"]))
    def slow_call_ends(self, how: str) -> None:
        assert self.owner is not None
        self.end_call(self.owner, how)
        self.continue_work()

    @property
    def slow(self) -> Call | None:
        if self.owner is not None:
            return self.owner.call
        return self.abandoned if self.abandoned and self.now <= self.abandoned.began_at + CALL_TIMEOUT else None

    # -- crash and takeover

    @precondition(lambda self: self.owner)
    @rule()
    def process_dies(self) -> None:
        assert self.owner is not None
        self.abandoned, self.owner, self.died_at = self.owner.call, None, self.now

    @precondition(lambda self: self.owner is None)
    @rule(later=Moments)
    def another_owner_takes_over(self, later: float) -> None:
        self.now = max(self.now, self.died_at + TAKEOVER_AFTER) + later
        known = replace(self.store.known, last=self.store.interacted_at, refused=False, quiet_until=0.0)
        self.owner = Owner(TypingState(self.store.interacted_at, self.store.typing_until), known)
        self.abandoned = None

    # -- invariants

    @invariant()
    def no_typing_is_missed(self) -> None:
        owner = getattr(self, "owner", None)
        if owner is None or owner.call is not None:
            return
        due = rules.next_typing(owner.state, self.now, self.margin)
        if owner.working:
            assert not owner.known.could_show(self.now, self.margin), "a Typing could show and was not called"
        if owner.known.exact and self.wechat.last == owner.known.last and not owner.known.refused:
            ends = self.wechat.since + 15 if self.wechat.shows(self.now) else self.now
            free = max(ends, owner.known.quiet_until)
            assert due == (free if free < self.wechat.last + 30 - self.margin else None)

    @invariant()
    def model_is_sound(self) -> None:
        owner = getattr(self, "owner", None)
        if owner is not None and not self.wechat.by_another and owner.call is None:
            assert self.wechat.since + 15 <= owner.known.until or not self.wechat.shows(self.now)

    # -- the driver, as in wxbot.typing_indicator.indicator

    def notify(self, owner: Owner, at: float) -> None:
        owner.state = rules.interacted(owner.state, at)
        owner.known.learn_interaction(at)

    def continue_work(self) -> None:
        owner = self.owner
        if owner is None or not owner.working or owner.call is not None:
            return
        due = rules.next_typing(owner.state, self.now, self.margin)
        if due is not None and due <= self.now:
            self.call_typing(owner)
            again = rules.next_typing(owner.state, self.now, self.margin)
            assert again is None or again > self.now, "Typing twice at the same moment"

    def call_typing(self, owner: Owner) -> None:
        after_ignored_event = owner.known.last in self.events
        assert owner.known.could_show(self.now, self.margin), "Typing, although WeChat may refuse it"
        assert after_ignored_event or self.wechat.is_open(self.now), "Typing outside the window"
        assert self.wechat.by_another or not self.wechat.shows(self.now), "Typing while it shows"
        owner.call = Call(self.now)
        owner.state = rules.typing_called(owner.state, self.now, CALL_TIMEOUT)
        owner.known.learn(self.now + CALL_TIMEOUT + 15, exact=False)
        self.store.typing_until = owner.state.showing_until
        self.store.known = replace(owner.known)
        self.notify(owner, self.store.interacted_at)
        result = self.results.popleft() if self.results else "fine"
        if result != "slow":
            self.end_call(owner, result)

    def act(self, call: Call) -> None:
        if call.acted_at is None:
            call.acted_at, call.errcode = self.now, self.wechat.typing(self.now)

    def end_call(self, owner: Owner, how: str) -> None:
        call, owner.call = owner.call, None
        assert call is not None
        if how == "busy" and call.acted_at is None:
            owner.state = rules.typing_failed(owner.state, self.now)
            owner.known.learn(0.0, exact=True)
            owner.known.quiet_until = self.now + 2
            self.forget_exactness(owner)
            return
        if how != "lost before acting":
            self.act(call)
        if call.errcode == 45080 and not how.startswith("lost"):
            owner.state = rules.typing_refused(owner.state)
            owner.known.learn(0.0, exact=False)
            owner.known.refused = True
            return
        owner.state = rules.typing_shown(owner.state, self.now)
        exact = how in ("fine", "busy") and call.errcode == 0 and call.acted_at == self.now
        owner.known.learn(self.now + 15, exact=exact)
        self.forget_exactness(owner)

    def forget_exactness(self, owner: Owner) -> None:
        """Forget the exact state if another program called Typing, because the bot cannot know of it."""
        if self.wechat.by_another and self.wechat.shows(self.now):
            owner.known.exact = False

    def call_times_out(self) -> None:
        call = self.owner.call if self.owner else None
        if self.owner is not None and call is not None and self.now >= call.began_at + CALL_TIMEOUT:
            self.end_call(self.owner, "lost before acting")

    def pause(self, owner: Owner, answered: bool) -> None:
        """Pause before a send: a call in progress is answered just in time, or abandoned."""
        if owner.call is not None and answered:
            self.end_call(owner, "fine")
        owner.call = None

    def send(self, owner: Owner, how: str, before: float, after: float) -> None:
        called_at = self.now
        self.now += before
        if how in ("fine", "lost after acting"):
            self.wechat.message_to_user(self.now)
        self.now += after
        if how == "fine":
            owner.state = rules.message_sent(owner.state, called_at)
            owner.known.learn_interaction(called_at)
            owner.known.refused = False
            owner.known.learn(0.0, exact=True)
        else:
            owner.known.exact = False

    def stop(self, owner: Owner, result: str) -> None:
        needed = rules.cancel_needed(owner.state, self.now, self.margin)
        may, shows = owner.known.window_open(self.now, self.margin), self.wechat.shows(self.now)
        assert needed == (may and self.now < owner.known.until)
        if not self.wechat.by_another:
            assert needed or not (may and shows), "the indicator is left showing"
        if not needed:
            return
        after_ignored_event = owner.known.last in self.events
        assert after_ignored_event or self.wechat.is_open(self.now), "CancelTyping outside the window"
        assert shows or not owner.known.exact, "CancelTyping without an indicator"
        if result in ("fine", "slow", "lost after acting"):
            errcode = self.wechat.cancel(self.now)
            if errcode == 0 and result != "lost after acting":
                owner.state = rules.typing_cancelled(owner.state)
                owner.known.learn(0.0, exact=True)
                return
        owner.known.exact = False

    def save(self, owner: Owner) -> None:
        """Store the current state."""
        self.store.typing_until = owner.state.showing_until
        self.store.learn_interaction(owner.known.last)
        self.store.known = replace(owner.known)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=examples(60, 1000),
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

# Single boundaries

FRESH = TypingState(START)


@pytest.mark.parametrize(
    ("after", "margin", "due"),
    [
        (0.0, 1.5, 0.0),
        (28.484375, 1.5, 28.484375),
        (28.5, 1.5, None),
        (29.984375, 0.0, 29.984375),
        (30.0, 0.0, None),
        (3600.0, 1.5, None),
    ],
)
def test_typing_is_allowed_until_the_margin(after: float, margin: float, due: float | None) -> None:
    expected = None if due is None else START + due
    assert rules.next_typing(FRESH, START + after, margin) == expected


@pytest.mark.parametrize(
    ("shown_at", "due"),
    [(0.0, 15.0), (13.484375, 28.484375), (13.5, None), (28.0, None)],
)
def test_typing_is_renewed_after_15_seconds_if_the_window_is_open(shown_at: float, due: float | None) -> None:
    state = rules.typing_shown(FRESH, START + shown_at)
    expected = None if due is None else START + due
    assert rules.next_typing(state, START + shown_at, 1.5) == expected


@pytest.mark.parametrize(
    ("now", "needed"),
    [(0.0, True), (14.984375, True), (15.0, False), (20.0, False)],
)
def test_cancel_is_needed_for_15_seconds_exactly(now: float, needed: bool) -> None:
    assert rules.cancel_needed(rules.typing_shown(FRESH, START), START + now, 1.5) is needed


def test_cancel_needs_an_open_window() -> None:
    state = rules.typing_shown(FRESH, START + 20)
    assert rules.cancel_needed(state, START + 28.484375, 1.5)
    assert not rules.cancel_needed(state, START + 28.5, 1.5)
    assert not rules.cancel_needed(rules.typing_refused(state), START + 21, 1.5)


@pytest.mark.parametrize(
    ("created_at", "received_at", "interacted_at"),
    [
        (100, 100.0, 100.0),
        (100, 100.984375, 100.984375),
        (100, 101.0, 100.0),
        (100, 105.25, 100.0),
        (100, 99.5, 99.5),
    ],
    ids=["on the second", "within it", "as soon as it is over", "redelivered after 5 s", "our clock is behind"],
)
def test_the_interaction_time_is_the_arrival_or_create_time(
    created_at: int, received_at: float, interacted_at: float
) -> None:
    assert interaction_time(created_at, received_at) == interacted_at


def test_a_retry_waits_two_seconds_even_if_the_user_writes() -> None:
    state = rules.typing_failed(FRESH, START + 1)
    assert rules.next_typing(state, START + 1, 1.5) == START + 3
    assert rules.next_typing(rules.interacted(state, START + 2), START + 2, 1.5) == START + 3
    assert not rules.cancel_needed(state, START + 1, 1.5)


def test_after_45080_the_window_is_closed_until_the_next_interaction() -> None:
    closed = rules.typing_refused(FRESH)
    assert rules.next_typing(closed, START + 1, 1.5) is None
    assert rules.next_typing(rules.interacted(closed, START), START + 1, 1.5) is None
    assert rules.next_typing(rules.interacted(closed, START + 1), START + 1, 1.5) == START + 1
    assert rules.next_typing(rules.message_sent(closed, START + 1), START + 1, 1.5) == START + 1


def test_45080_means_that_the_indicator_does_not_show() -> None:
    closed = rules.typing_refused(rules.typing_called(FRESH, START + 1, CALL_TIMEOUT))
    assert rules.next_typing(rules.interacted(closed, START + 2), START + 2, 1.5) == START + 2


def test_a_reply_opens_a_window_that_was_closed_at_the_same_moment() -> None:
    sent = rules.message_sent(rules.typing_refused(FRESH), START)
    assert rules.next_typing(sent, START, 1.5) == START


def test_a_call_in_progress_may_show_until_15_seconds_after_its_timeout() -> None:
    calling = rules.typing_called(FRESH, START + 1, CALL_TIMEOUT)
    assert rules.next_typing(calling, START + 1, 1.5) == START + 1 + CALL_TIMEOUT + 15
    assert rules.cancel_needed(calling, START + 18.984375, 1.5)


def test_an_old_interaction_changes_nothing() -> None:
    assert rules.interacted(FRESH, START) is FRESH
    assert rules.interacted(FRESH, START - 1) is FRESH
    assert rules.message_sent(FRESH, START - 1).interacted_at == START


def test_a_call_that_was_not_written_leaves_the_state_as_before() -> None:
    shows = rules.typing_shown(FRESH, START)
    calling = rules.typing_called(rules.interacted(shows, START + 14), START + 15, CALL_TIMEOUT)
    not_written = rules.typing_not_written(calling, shows)
    assert (not_written.showing_until, not_written.interacted_at) == (START + 15, START + 14)


def test_an_uncertain_indicator_is_cancelled_first() -> None:
    uncertain = rules.typing_abandoned(rules.typing_called(FRESH, START, CALL_TIMEOUT))
    assert rules.next_typing(uncertain, START + 1, 1.5) == START + 1
    assert rules.must_cancel_first(uncertain, START + 1)
    assert not rules.must_cancel_first(rules.uncertainty_resolved(uncertain), START + 1)
    assert not rules.must_cancel_first(uncertain, START + CALL_TIMEOUT + 15)


def test_neither_a_message_nor_a_cancel_ends_the_uncertainty() -> None:
    """Keep the state uncertain, because WeChat may process the Typing after them."""
    uncertain = rules.typing_abandoned(rules.typing_called(FRESH, START, CALL_TIMEOUT))
    for after in (rules.message_sent(uncertain, START + 1), rules.typing_cancelled(uncertain)):
        assert rules.must_cancel_first(after, START + 2)


def test_an_answer_ends_the_uncertainty() -> None:
    uncertain = rules.typing_abandoned(rules.typing_called(FRESH, START, CALL_TIMEOUT))
    for after in (
        rules.typing_shown(uncertain, START),
        rules.typing_failed(uncertain, START),
        rules.typing_refused(uncertain),
    ):
        assert not after.uncertain
