"""Plays a transcript on a FakeWeChat and says where the bot answers differently."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from wxbot.playground import transcript as t
from wxbot.playground.replay.visible import CANCEL, TYPING, visible, with_visible_things
from wxbot.testing import SAMPLE_VIDEO, SAMPLE_VOICE, FakeWeChat, Push, User
from wxbot.testing.envelope import Mode

ACKNOWLEDGED_WITHIN = 2.0
"""Real seconds in which a bot acknowledges a push as a rule: that long the clock is not turned under its feet."""


def play(
    transcript: t.Transcript,
    wechat: FakeWeChat,
    forward: Callable[[float], None],
    told: Callable[[int], None] | None = None,
    patience: float = 60.0,
    *,
    settle: float = 0.5,
    switch_mode: Callable[[Mode], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Perform every step on ``wechat``, which is new and has the account of ``transcript``: what went otherwise.

    ``forward`` turns the platform's clock by that many seconds. ``told`` hears after each step how many are done.
    ``patience``: real seconds to wait for what a user should see. ``settle``: real seconds in which, after the last
    step, nobody may see anything more. ``switch_mode``: changes the mode of the pushes, where the bot must be told;
    unless given, it is changed at the platform alone. ``is_stopped``: looked at with every record and wake of the
    platform's memory; once it is true, nothing more is played.

    Each user is compared with all they saw so far: what came before its step is right as well. After their first
    difference a user does nothing any more; the others go on. Of the indicator only what is visible is compared
    (wxbot/playground/replay/visible.py). What ``forward`` and ``switch_mode`` raise is passed on,
    but for ValueError and AssertionError, which are problems of the step.
    """
    return _Player(transcript, wechat, forward, told, patience, settle, switch_mode, is_stopped).play()


class _Different(Exception):
    """A step that did not go as the transcript has it; the text says how."""


@dataclass(slots=True)
class _Part:
    """One user's part so far."""

    user: User
    expected: list[t.Thing] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    is_over: bool = False


class _Player:
    def __init__(
        self,
        transcript: t.Transcript,
        wechat: FakeWeChat,
        forward: Callable[[float], None],
        told: Callable[[int], None] | None,
        patience: float,
        settle: float,
        switch_mode: Callable[[Mode], None] | None,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._transcript = transcript
        self._wechat = wechat
        self._forward = forward
        self._told = told or (lambda done: None)
        self._patience = patience
        self._settle = settle
        self._switch_mode = switch_mode
        self._is_stopped = is_stopped
        self._parts: dict[str, _Part] = {}
        self._pushes: list[Push] = []
        self._held: list[Push] | None = None
        self._problems: list[str] = []

    def play(self) -> list[str]:
        steps = self._transcript.steps
        for number, (step, recorded) in enumerate(zip(with_visible_things(steps), steps, strict=True), 1):
            try:
                self._perform(step)
                if isinstance(recorded, t.Sees) and recorded.things[-1:] == (CANCEL,):
                    self._wait_until_not_typing(recorded.user)
            except (_Different, AssertionError, ValueError) as problem:
                if not self._is_stopped():
                    self._complain(number, step, str(problem))
            if self._is_stopped():
                return [*self._problems, f"stopped at step {number}"]
            self._told(number)
        self._wait_for_pushes(self._patience)
        self._problems += self._unacknowledged()
        self._wait_until_quiet()
        self._problems += self._too_much()
        return self._problems

    def _complain(self, number: int, step: t.Step, problem: str) -> None:
        name = t.user_of(step)
        if name:
            self._part(name).is_over = True
        where = f"step {number} (line {step.line})" if step.line else f"step {number}"
        self._problems.append(f"{where}: {problem}")

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            self._parts[name] = _Part(self._wechat.user(name))
        return self._parts[name]

    # -- steps

    def _perform(self, step: t.Step) -> None:
        name = t.user_of(step)
        if name and self._part(name).is_over:
            return
        if isinstance(step, t.Sees):
            self._sees(step)
        elif isinstance(step, t.UserStep):
            self._pushed(name, deed(step, self._part(name).user))
        elif isinstance(step, t.AgentStep):
            self._agent_does(step, name)
        elif isinstance(step, t.Redeliver):
            self._redeliver(step)
        else:
            self._order(step)

    def _pushed(self, name: str, push: Push) -> None:
        self._part(name).pushes.append(push)
        self._sent(push)

    def _sent(self, push: Push) -> None:
        self._pushes.append(push)
        if self._held is not None:
            self._held.append(push)

    def _agent_does(self, step: t.AgentStep, name: str) -> None:
        user, agent = self._part(name).user, self._wechat.agent(step.agent)
        if isinstance(step, t.Writes):
            agent.says(user, step.text)
        elif isinstance(step, t.Takes):
            self._pushed(name, agent.takes(user))
        elif isinstance(step, t.Closes):
            self._pushed(name, agent.closes(user, step.close_type))
        elif isinstance(step, t.HandsOver):
            self._pushed(name, agent.hands_to(user, self._wechat.agent(step.other)))

    def _redeliver(self, step: t.Redeliver) -> None:
        pushes = self._part(step.user).pushes
        number = step.push or len(pushes)
        if not 1 <= number <= len(pushes):
            raise _Different(f"{step.user} has {len(pushes)} push(es) so far: there is none to deliver again")
        self._sent(pushes[number - 1].redeliver())

    def _order(self, step: t.Step) -> None:
        if isinstance(step, (t.Forward, t.SetMode, t.SetFormat)):
            self._wait_for_pushes(ACKNOWLEDGED_WITHIN)
        if isinstance(step, t.Forward):
            if step.seconds > 0:
                self._forward(step.seconds)
                self._wechat.record_log.wake()
        elif isinstance(step, t.Waits):
            self._comes(lambda: False, step.seconds)
        elif isinstance(step, t.SetMode) and self._switch_mode is not None:
            self._switch_mode(step.mode)
        else:
            self._keep_count_of_held(step)
            order(step, self._wechat)

    def _keep_count_of_held(self, step: t.Step) -> None:
        if isinstance(step, t.Hold):
            self._held = self._held or []
        elif isinstance(step, t.Release):
            self._held = None

    # -- what users saw

    def _seen(self, part: _Part) -> list[str]:
        saw = part.user.saw
        if not self._transcript.typing:
            return [what for what in saw if what not in TYPING]
        seen = visible(saw)
        is_expected = len(seen) <= len(part.expected) and seen and part.expected[len(seen) - 1] == CANCEL
        if seen and seen[-1] == CANCEL and not is_expected:
            seen.pop()  # a message may be on its way
        return seen

    def _sees(self, step: t.Sees) -> None:
        part = self._part(step.user)
        before = len(part.expected)
        part.expected += [thing for thing in step.things if self._transcript.typing or thing not in TYPING]
        expected = part.expected

        def is_decided() -> bool:
            seen = self._seen(part)
            return len(seen) >= len(expected) or _difference(expected, seen) is not None

        patience = self._patience if step.within is None else step.within
        is_late = not self._comes(is_decided, patience)
        seen = self._seen(part)
        at = _difference(expected, seen)
        if at is not None or is_late:
            words = _words(step.user, expected, seen, before, at)
            waited = f"nothing more came within {patience:g} s" if is_late else ""
            raise _Different("\n  ".join(filter(None, [words, waited, self._story(part.user)])))

    def _wait_until_not_typing(self, name: str) -> None:
        """The next step came after the end of the indicator: what is turned there must not hit its last call."""
        user = self._part(name).user
        self._comes(lambda: not user.is_shown_typing, self._patience)

    # -- the end

    def _comes(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Whether it comes true within that many real seconds."""
        try:
            self._wechat.waits_until(lambda: self._is_stopped() or predicate(), seconds)
        except AssertionError:
            return False
        return True

    def _story(self, user: User) -> str:
        return self._wechat.record_log.as_text(user.openid).replace("\n", "\n  ")

    def _wait_for_pushes(self, patience: float) -> None:
        """Until WeChat is through with every push that is on its way."""
        self._comes(lambda: all(push.done for push in self._under_way()), patience)

    def _under_way(self) -> list[Push]:
        held = self._held or []
        return [push for push in self._pushes if push not in held]

    def _unacknowledged(self) -> list[str]:
        return [problem for push in self._under_way() if (problem := _unacknowledged(push, self._name_of(push)))]

    def _name_of(self, push: Push) -> str:
        return self._wechat.platform.names.get(push.openid, push.openid)

    def _wait_until_quiet(self) -> None:
        """Until nobody is shown the indicator, and then a while longer; not if somebody has seen too much already."""
        with suppress(AssertionError):  # somebody is still shown typing: that alone is no difference
            self._wechat.waits_until_quiet(
                self._settle, self._patience, unless=lambda: self._is_stopped() or self._is_too_much()
            )

    def _compared(self) -> list[_Part]:
        """Everybody there is, but those who differ already."""
        parts = [self._part(user.name) for user in self._wechat.users]
        return [part for part in parts if not part.is_over]

    def _is_too_much(self) -> bool:
        return any(len(self._seen(part)) > len(part.expected) for part in self._compared())

    def _too_much(self) -> list[str]:
        return [
            f"after the last step: {part.user.name} saw more than the transcript has: "
            f"{_list(self._seen(part)[len(part.expected) :])}\n  {self._story(part.user)}"
            for part in self._compared()
            if len(self._seen(part)) > len(part.expected)
        ]


def _unacknowledged(push: Push, name: str) -> str:
    """What is wrong with how a push was taken; empty if the bot acknowledged it, or an agent has it."""
    if push.agent or any(attempt.outcome == "success" for attempt in push.attempts):
        return ""
    what = f"the push {push!r} of {name}"
    if not push.attempts:
        return f"{what} was never delivered: is there a callback URL?" if push.done else f"{what} is still under way"
    last = push.attempts[-1]
    return f"{what} was not acknowledged: {last.outcome}{f' ({last.why})' if last.why else ''}"


# -- words for differences


def _difference(expected: Sequence[t.Thing], seen: Sequence[str]) -> int | None:
    """Where the two differ first, as far as both go; None if they do not."""
    for at, (thing, what) in enumerate(zip(expected, seen, strict=False)):
        if not is_like(thing, what):
            return at
    return None


def is_like(thing: t.Thing, what: str) -> bool:
    """Whether ``what`` a user saw is the ``thing`` a transcript has."""
    return what == thing if isinstance(thing, str) else re.search(thing.pattern, what) is not None


def _words(name: str, expected: Sequence[t.Thing], seen: Sequence[str], before: int, at: int | None) -> str:
    """Expected and seen since the last time this user was looked at; from the difference on if that is earlier."""
    start = before if at is None else min(before, at)
    lines = [
        f"{name} saw something else",
        f"  expected: {_list(expected[start:])}",
        f"  got:      {_list(seen[start:])}",
    ]
    if at is not None:
        lines.append(f"  the first difference: expected {_thing(expected[at])}, got {_thing(seen[at])}")
    else:
        lines.append(f"  missing:  {_list(expected[len(seen) :])}")
    return "\n".join(lines)


def _list(things: Sequence[t.Thing]) -> str:
    return "[" + ", ".join(map(_thing, things)) + "]"


def _thing(thing: t.Thing) -> str:
    if isinstance(thing, str):
        return json.dumps(thing, ensure_ascii=False)
    return f"{{matches: {json.dumps(thing.pattern, ensure_ascii=False)}}}"


# -- deeds and orders


def deed(step: t.UserStep, user: User) -> Push:
    """Let ``user`` do what ``step`` says. Raises ValueError, AssertionError where they cannot."""
    return _DEEDS[type(step)](step, user)


_DEEDS: dict[type[t.UserStep], Callable[[Any, User], Push]] = {
    t.Says: lambda step, user: user.says(step.text),
    t.SendsPicture: lambda step, user: user.sends_image(step.content),
    t.SendsVoice: lambda step, user: user.sends_voice(step.content or SAMPLE_VOICE, step.format),
    t.SendsVideo: lambda step, user: user.sends_video(step.content or SAMPLE_VIDEO),
    t.SendsShortVideo: lambda step, user: user.sends_short_video(step.content or SAMPLE_VIDEO),
    t.SendsLocation: lambda step, user: user.sends_location(step.latitude, step.longitude, step.scale, step.label),
    t.SendsLink: lambda step, user: user.sends_link(step.title, step.description, step.url),
    t.SendsCard: lambda step, user: user.sends_mini_program_page(step.title, step.appid, step.page_path),
    t.ClicksMenuItem: lambda step, user: user.clicks_menu_item(step.label),
    t.Enters: lambda step, user: user.enters(step.session_from),
    t.Follows: lambda step, user: user.follows(step.scene, step.ticket),
    t.Leaves: lambda step, user: user.leaves(),
    t.Scans: lambda step, user: user.scans(step.scene, step.ticket),
    t.Clicks: lambda step, user: user.clicks(step.key),
    t.Views: lambda step, user: user.views(step.url, step.menu_id),
    t.Does: lambda step, user: user.does(step.event, **step.fields),
    t.Sends: lambda step, user: user.sends(step.msg_type, **step.fields),
}


def order(step: t.Step, wechat: FakeWeChat) -> None:
    """Order of the platform what ``step`` says. Raises KeyError for a deed, a redelivery, a turn of the clock."""
    _ORDERS[type(step)](step, wechat)


def _set(name: str, value_of: Callable[[Any], object]) -> Callable[[Any, FakeWeChat], None]:
    return lambda step, wechat: setattr(wechat, name, value_of(step))


def _order_fault(step: t.Fault, wechat: FakeWeChat) -> None:
    faults = wechat.faults
    orders: dict[t.FaultKind, Callable[[], None]] = {
        "fail": lambda: faults.fail(step.endpoint, step.errcode, step.times),
        "http": lambda: faults.http_error(step.endpoint, step.status, step.times, step.acted),
        "drop": lambda: faults.drop(step.endpoint, step.times, step.acted),
        "slow": lambda: faults.slow(step.endpoint, step.seconds, step.times),
        "hang": lambda: faults.hang(step.endpoint, step.times, step.acted),
    }
    orders[step.kind]()


_ORDERS: dict[type[t.Step], Callable[[Any, FakeWeChat], None]] = {
    t.Fault: _order_fault,
    t.ClearFaults: lambda step, wechat: wechat.faults.clear(),
    t.RevokeToken: lambda step, wechat: wechat.faults.revoke_token(),
    t.SetMode: _set("mode", lambda step: step.mode),
    t.SetFormat: _set("format", lambda step: step.format),
    t.DeliverTwiceAtOnce: _set("deliver_twice_at_once", lambda step: step.on),
    t.InOrder: _set("in_order", lambda step: step.on),
    t.Hold: lambda step, wechat: wechat.hold(),
    t.Release: lambda step, wechat: wechat.release("reversed" if step.order == "reversed" else None),
}
