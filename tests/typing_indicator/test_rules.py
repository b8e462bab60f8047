"""The pure rules of the typing indicator, held against a model of WeChat that was written from WeChat's own pages.

The model knows nothing of the rules: it has its own numbers, and its own account of what a bot can know. The histories
are Hypothesis's: late pushes, sick calls, crashes, other programs on the same account. All times are multiples of
1/64 s, which floats hold exactly, so that every boundary is met on the point.
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
LONGEST_CALL = 3.0
DEAD_FOR = 6.0  # a lease outlives its last renewal by 6 s at least: nobody takes over earlier

# What WeChat does


@dataclass
class WeChat:
    """What one user sees, and what a typing call is answered with (errcodes of WeChat's pages)."""

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


# What a bot can know


@dataclass
class Knowledge:
    """``last``: the last interaction it was told of. ``until``: nothing of ours shows from then on. ``exact``: it even
    knows just what shows. ``refused``: WeChat called the window shut, and nothing was heard since."""

    last: float
    until: float = 0.0
    exact: bool = False
    refused: bool = False
    quiet_until: float = 0.0

    def hear(self, at: float) -> None:
        if at > self.last:
            self.last, self.refused = at, False

    def learn(self, until: float, *, exact: bool) -> None:
        self.until, self.exact = until, exact

    def window_open(self, now: float, margin: float) -> bool:
        return not self.refused and now < self.last + 30 - margin

    def could_show(self, now: float, margin: float) -> bool:
        """Whether a Typing is wanted now: all it knows says that WeChat would take it."""
        return self.window_open(now, margin) and now >= max(self.until, self.quiet_until)


@dataclass
class Call:
    """A Typing under way. ``acted_at`` and ``errcode``: what WeChat made of it, if it has come to it."""

    began_at: float
    acted_at: float | None = None
    errcode: int = 0


@dataclass
class Owner:
    """A process that holds the conversation: the rules' belief, and beside it what can be known."""

    state: TypingState
    known: Knowledge
    working: bool = False
    call: Call | None = None


@dataclass
class Store:
    """What survives a process."""

    interacted_at: float
    typing_until: float = 0.0
    known: Knowledge = field(default_factory=lambda: Knowledge(0.0))

    def hear(self, at: float) -> None:
        self.interacted_at = max(self.interacted_at, at)


Ticks = st.integers(1, 64 * 4).map(lambda ticks: ticks / 64)
Moments = st.integers(0, 64).map(lambda ticks: ticks / 64)
Fates = st.sampled_from(["fine", "busy", "lost after acting", "lost before acting", "slow"])
Sends = st.sampled_from(["fine", "refused", "lost after acting", "lost before acting"])


class Histories(RuleBasedStateMachine):
    """One user's conversation, driven by the rules in the way of ``wxbot.typing_indicator.indicator``."""

    @initialize(margin=st.sampled_from([1.0, 1.5, 4.0, 20.0]), fraction=st.integers(0, 63), latency=Moments)
    def user_writes_first(self, margin: float, fraction: int, latency: float) -> None:
        self.margin = margin
        self.now = START + fraction / 64
        self.wechat = WeChat()
        self.fates: deque[str] = deque()
        self.pushes: list[float] = []
        self.events: set[float] = set()
        self.orphan: Call | None = None
        self.wechat.user_writes(self.now)
        heard = self.arrival_of(math.floor(self.now), self.now + latency)
        self.now += latency
        self.died_at = -math.inf
        self.store = Store(heard, known=Knowledge(heard, exact=True))
        self.owner: Owner | None = Owner(TypingState(heard), Knowledge(heard, exact=True))

    def arrival_of(self, created_at: int, now: float) -> float:
        """When the user acted, as far as the push tells: now, unless CreateTime is of a second that is over."""
        expected = now if math.floor(now) == created_at else float(created_at)
        assert interaction_time(created_at, now) == expected
        return expected

    # -- the user, and others

    @rule()
    def user_writes(self) -> None:
        self.wechat.user_writes(self.now)
        self.pushes.append(self.now)

    @precondition(lambda self: self.pushes)
    @rule(data=st.data(), told=st.booleans(), again=st.booleans())
    def push_arrives(self, data: st.DataObject, told: bool, again: bool) -> None:
        """Late or in time; to this process, or to another that shares the store. Redelivered, it was kept before."""
        push = data.draw(st.sampled_from(self.pushes))
        if not again:
            self.pushes.remove(push)
        self.hears_of(self.arrival_of(math.floor(push), self.now), told)

    @rule(told=st.booleans())
    def event_arrives(self, told: bool) -> None:
        """An event that the bot takes for an interaction and WeChat, it turns out, does not."""
        self.events.add(self.now)
        self.hears_of(self.now, told)

    def hears_of(self, at: float, told: bool) -> None:
        self.store.hear(at)
        if told and self.owner is not None:
            self.tell(self.owner, at)
        self.work_on()

    @precondition(lambda self: self.owner)
    @rule()
    def lease_is_renewed(self) -> None:
        assert self.owner is not None
        self.tell(self.owner, self.store.interacted_at)
        self.work_on()

    @rule(deed=st.sampled_from(["Typing", "CancelTyping", "message"]))
    def another_program_acts(self, deed: str) -> None:
        if deed == "Typing":
            self.wechat.typing(self.now, by_another=True)
        elif deed == "CancelTyping":
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
        self.work_on()

    def pass_time(self, seconds: float) -> None:
        """Stop wherever the rules, or the model, expect something to happen."""
        goal = self.now + seconds
        while self.now < goal:
            self.now = min(goal, *(at for at in self.alarms() if at > self.now), goal)
            self.call_times_out()
            self.work_on()
            self.nothing_is_missed()

    def alarms(self) -> list[float]:
        if self.owner is None:
            return []
        known, call = self.owner.known, self.owner.call
        due = rules.next_typing(self.owner.state, self.now, self.margin)
        expected = [known.until, known.quiet_until, known.last + 30 - self.margin]
        return [*expected, *([] if due is None else [due]), *([] if call is None else [call.began_at + LONGEST_CALL])]

    # -- the work of a handler

    @precondition(lambda self: self.owner and not self.owner.working)
    @rule(fate=Fates)
    def handler_starts(self, fate: str) -> None:
        assert self.owner is not None
        self.fates.append(fate)
        self.owner.working = True
        self.work_on()

    @rule(fates=st.lists(Fates, min_size=1, max_size=3))
    def weather_changes(self, fates: list[str]) -> None:
        self.fates.extend(fates)

    @precondition(lambda self: self.owner and self.owner.working)
    @rule(how=Sends, answered=st.booleans(), before=Moments, after=Moments, dies=st.booleans())
    def part_is_sent(self, how: str, answered: bool, before: float, after: float, dies: bool) -> None:
        assert self.owner is not None
        self.pause(self.owner, answered)
        self.send(self.owner, how, before, after)
        if dies:
            self.process_dies()
        elif how == "fine":
            self.note(self.owner)
        self.work_on()

    @precondition(lambda self: self.owner and self.owner.working)
    @rule(cancel=Fates, answered=st.booleans(), how=Sends, silent=st.booleans(), leaves=st.booleans())
    def handler_ends(self, cancel: str, answered: bool, how: str, silent: bool, leaves: bool) -> None:
        """Through, failed, timed out or handed back: it is all one to the indicator."""
        owner = self.owner
        assert owner is not None
        self.pause(owner, answered)
        owner.working = False
        self.stop(owner, cancel)
        if not silent:
            self.send(owner, how, 0.0, 0.0)
        self.note(owner)
        if leaves:
            self.owner = None

    # -- a Typing that is slow

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
        self.work_on()

    @property
    def slow(self) -> Call | None:
        if self.owner is not None:
            return self.owner.call
        return self.orphan if self.orphan and self.now <= self.orphan.began_at + LONGEST_CALL else None

    # -- crash and takeover

    @precondition(lambda self: self.owner)
    @rule()
    def process_dies(self) -> None:
        assert self.owner is not None
        self.orphan, self.owner, self.died_at = self.owner.call, None, self.now

    @precondition(lambda self: self.owner is None)
    @rule(later=Moments)
    def another_owner_takes_over(self, later: float) -> None:
        self.now = max(self.now, self.died_at + DEAD_FOR) + later
        known = replace(self.store.known, last=self.store.interacted_at, refused=False, quiet_until=0.0)
        self.owner = Owner(TypingState(self.store.interacted_at, self.store.typing_until), known)
        self.orphan = None

    # -- what must always hold

    @invariant()
    def nothing_is_missed(self) -> None:
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

    # -- the driver, in the way of wxbot.typing_indicator.indicator

    def tell(self, owner: Owner, at: float) -> None:
        owner.state = rules.interacted(owner.state, at)
        owner.known.hear(at)

    def work_on(self) -> None:
        owner = self.owner
        if owner is None or not owner.working or owner.call is not None:
            return
        due = rules.next_typing(owner.state, self.now, self.margin)
        if due is not None and due <= self.now:
            self.call_typing(owner)
            again = rules.next_typing(owner.state, self.now, self.margin)
            assert again is None or again > self.now, "twice in one moment"

    def call_typing(self, owner: Owner) -> None:
        misled = owner.known.last in self.events
        assert owner.known.could_show(self.now, self.margin), "Typing, though it may not be taken"
        assert misled or self.wechat.is_open(self.now), "Typing outside the window"
        assert self.wechat.by_another or not self.wechat.shows(self.now), "Typing while it shows"
        owner.call = Call(self.now)
        owner.state = rules.typing_called(owner.state, self.now, LONGEST_CALL)
        owner.known.learn(self.now + LONGEST_CALL + 15, exact=False)
        self.store.typing_until = owner.state.showing_until
        self.store.known = replace(owner.known)
        self.tell(owner, self.store.interacted_at)
        fate = self.fates.popleft() if self.fates else "fine"
        if fate != "slow":
            self.end_call(owner, fate)

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
        """What another program shows cannot be known."""
        if self.wechat.by_another and self.wechat.shows(self.now):
            owner.known.exact = False

    def call_times_out(self) -> None:
        call = self.owner.call if self.owner else None
        if self.owner is not None and call is not None and self.now >= call.began_at + LONGEST_CALL:
            self.end_call(self.owner, "lost before acting")

    def pause(self, owner: Owner, answered: bool) -> None:
        """Before a part goes out: a call under way is answered just in time, or given up."""
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
            owner.known.hear(called_at)
            owner.known.refused = False
            owner.known.learn(0.0, exact=True)
        else:
            owner.known.exact = False

    def stop(self, owner: Owner, fate: str) -> None:
        needed = rules.cancel_needed(owner.state, self.now, self.margin)
        may, shows = owner.known.window_open(self.now, self.margin), self.wechat.shows(self.now)
        assert needed == (may and self.now < owner.known.until)
        if not self.wechat.by_another:
            assert needed or not (may and shows), "Typing is left showing"
        if not needed:
            return
        misled = owner.known.last in self.events
        assert misled or self.wechat.is_open(self.now), "CancelTyping outside the window"
        assert shows or not owner.known.exact, "CancelTyping for nothing"
        if fate in ("fine", "slow", "lost after acting"):
            errcode = self.wechat.cancel(self.now)
            if errcode == 0 and fate != "lost after acting":
                owner.state = rules.typing_cancelled(owner.state)
                owner.known.learn(0.0, exact=True)
                return
        owner.known.exact = False

    def note(self, owner: Owner) -> None:
        """The store takes down how it stands."""
        self.store.typing_until = owner.state.showing_until
        self.store.hear(owner.known.last)
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

# Boundaries, one by one

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
def test_typing_may_go_out_until_the_margin(after: float, margin: float, due: float | None) -> None:
    expected = None if due is None else START + due
    assert rules.next_typing(FRESH, START + after, margin) == expected


@pytest.mark.parametrize(
    ("shown_at", "due"),
    [(0.0, 15.0), (13.484375, 28.484375), (13.5, None), (28.0, None)],
)
def test_renewal_comes_when_15_seconds_are_over_and_the_window_is_still_open(
    shown_at: float, due: float | None
) -> None:
    state = rules.typing_shown(FRESH, START + shown_at)
    expected = None if due is None else START + due
    assert rules.next_typing(state, START + shown_at, 1.5) == expected


@pytest.mark.parametrize(
    ("now", "needed"),
    [(0.0, True), (14.984375, True), (15.0, False), (20.0, False)],
)
def test_cancel_is_needed_for_15_seconds_exactly(now: float, needed: bool) -> None:
    assert rules.cancel_needed(rules.typing_shown(FRESH, START), START + now, 1.5) is needed


def test_cancel_needs_an_open_window_too() -> None:
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
def test_the_user_acted_on_arrival_or_at_create_time(created_at: int, received_at: float, interacted_at: float) -> None:
    assert interaction_time(created_at, received_at) == interacted_at


def test_a_retry_waits_two_seconds_even_if_the_user_writes() -> None:
    state = rules.typing_failed(FRESH, START + 1)
    assert rules.next_typing(state, START + 1, 1.5) == START + 3
    assert rules.next_typing(rules.interacted(state, START + 2), START + 2, 1.5) == START + 3
    assert not rules.cancel_needed(state, START + 1, 1.5)


def test_45080_is_believed_until_the_next_interaction() -> None:
    shut = rules.typing_refused(FRESH)
    assert rules.next_typing(shut, START + 1, 1.5) is None
    assert rules.next_typing(rules.interacted(shut, START), START + 1, 1.5) is None
    assert rules.next_typing(rules.interacted(shut, START + 1), START + 1, 1.5) == START + 1
    assert rules.next_typing(rules.message_sent(shut, START + 1), START + 1, 1.5) == START + 1


def test_45080_says_that_nothing_shows() -> None:
    shut = rules.typing_refused(rules.typing_called(FRESH, START + 1, LONGEST_CALL))
    assert rules.next_typing(rules.interacted(shut, START + 2), START + 2, 1.5) == START + 2


def test_a_reply_opens_a_window_that_was_called_shut_in_the_same_moment() -> None:
    sent = rules.message_sent(rules.typing_refused(FRESH), START)
    assert rules.next_typing(sent, START, 1.5) == START


def test_a_call_under_way_may_show_from_its_last_moment_on() -> None:
    calling = rules.typing_called(FRESH, START + 1, LONGEST_CALL)
    assert rules.next_typing(calling, START + 1, 1.5) == START + 1 + LONGEST_CALL + 15
    assert rules.cancel_needed(calling, START + 18.984375, 1.5)


def test_an_old_interaction_is_no_news() -> None:
    assert rules.interacted(FRESH, START) is FRESH
    assert rules.interacted(FRESH, START - 1) is FRESH
    assert rules.message_sent(FRESH, START - 1).interacted_at == START


def test_a_call_that_was_given_up_leaves_what_showed_before() -> None:
    shows = rules.typing_shown(FRESH, START)
    calling = rules.typing_called(rules.interacted(shows, START + 14), START + 15, LONGEST_CALL)
    given_up = rules.typing_not_written(calling, shows)
    assert (given_up.showing_until, given_up.interacted_at) == (START + 15, START + 14)


def test_what_is_in_doubt_is_not_waited_for_but_cancelled_first() -> None:
    doubt = rules.typing_abandoned(rules.typing_called(FRESH, START, LONGEST_CALL))
    assert rules.next_typing(doubt, START + 1, 1.5) == START + 1
    assert rules.must_cancel_first(doubt, START + 1)
    assert not rules.must_cancel_first(rules.uncertainty_resolved(doubt), START + 1)
    assert not rules.must_cancel_first(doubt, START + LONGEST_CALL + 15)


def test_neither_a_message_nor_a_cancel_ends_a_doubt() -> None:
    """The Typing may be read after them."""
    doubt = rules.typing_abandoned(rules.typing_called(FRESH, START, LONGEST_CALL))
    for after in (rules.message_sent(doubt, START + 1), rules.typing_cancelled(doubt)):
        assert rules.must_cancel_first(after, START + 2)


def test_an_answer_ends_a_doubt() -> None:
    doubt = rules.typing_abandoned(rules.typing_called(FRESH, START, LONGEST_CALL))
    for after in (rules.typing_shown(doubt, START), rules.typing_failed(doubt, START), rules.typing_refused(doubt)):
        assert not after.uncertain
