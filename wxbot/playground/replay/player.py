"""Play a transcript on a FakeWeChat and report where the bot's replies differ."""

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

ACKNOWLEDGE_SECONDS = 2.0
"""Real seconds to wait for acknowledgments before the clock is advanced or the mode is changed."""


def play(
    transcript: t.Transcript,
    wechat: FakeWeChat,
    forward: Callable[[float], None],
    on_step: Callable[[int], None] | None = None,
    patience: float = 60.0,
    *,
    settle: float = 0.5,
    switch_mode: Callable[[Mode], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Perform every step on ``wechat`` and return the differences.

    ``wechat`` is new and has the account of ``transcript``. ``forward`` advances the platform's clock by some seconds.
    ``on_step`` is called after each step with the number of completed steps. ``patience``: real seconds to wait for the
    items that a user should see. ``settle``: real seconds after the last step in which no user may see another item.
    ``switch_mode`` changes the mode of the pushes, if the bot must be restarted for it; without it only the platform
    changes its mode. ``is_stopped`` is checked at every record and every wake-up of the platform's memory; when it
    returns True, the replay stops.

    Each user's items are compared with all that were expected so far, so an item that came before its step is correct.
    After the first difference a user performs no more steps; the others continue. A CancelTyping beside a message is
    not compared (wxbot/playground/replay/visible.py). Exceptions of ``forward`` and ``switch_mode`` propagate, except
    ValueError and AssertionError, which are differences of the step.
    """
    return _Player(transcript, wechat, forward, on_step, patience, settle, switch_mode, is_stopped).play()


class _Different(Exception):
    """A step whose result differs from the transcript. The text describes the difference."""


@dataclass(slots=True)
class _Part:
    """The progress of one user: the expected items, the pushes, and if a difference was found."""

    user: User
    expected: list[t.Thing] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    has_failed: bool = False


class _Player:
    def __init__(
        self,
        transcript: t.Transcript,
        wechat: FakeWeChat,
        forward: Callable[[float], None],
        on_step: Callable[[int], None] | None,
        patience: float,
        settle: float,
        switch_mode: Callable[[Mode], None] | None,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._transcript = transcript
        self._wechat = wechat
        self._forward = forward
        self._on_step = on_step or (lambda done: None)
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
                    self._add_problem(number, step, str(problem))
            if self._is_stopped():
                return [*self._problems, f"stopped at step {number}"]
            self._on_step(number)
        self._wait_for_pushes(self._patience)
        self._problems += self._unacknowledged()
        self._wait_until_quiet()
        self._problems += self._too_much()
        return self._problems

    def _add_problem(self, number: int, step: t.Step, problem: str) -> None:
        name = t.user_of(step)
        if name:
            self._part(name).has_failed = True
        where = f"step {number} (line {step.line})" if step.line else f"step {number}"
        self._problems.append(f"{where}: {problem}")

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            self._parts[name] = _Part(self._wechat.user(name))
        return self._parts[name]

    # -- steps

    def _perform(self, step: t.Step) -> None:
        name = t.user_of(step)
        if name and self._part(name).has_failed:
            return
        if isinstance(step, t.Sees):
            self._check_seen(step)
        elif isinstance(step, t.UserStep):
            self._pushed(name, perform_user_action(step, self._part(name).user))
        elif isinstance(step, t.AgentStep):
            self._agent_does(step, name)
        elif isinstance(step, t.Redeliver):
            self._redeliver(step)
        else:
            self._control(step)

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
            raise _Different(f"cannot redeliver: {step.user} has {len(pushes)} push(es) so far")
        self._sent(pushes[number - 1].redeliver())

    def _control(self, step: t.Step) -> None:
        if isinstance(step, (t.Forward, t.SetMode, t.SetFormat)):
            self._wait_for_pushes(ACKNOWLEDGE_SECONDS)
        if isinstance(step, t.Forward):
            if step.seconds > 0:
                self._forward(step.seconds)
                self._wechat.record_log.wake()
        elif isinstance(step, t.Waits):
            self._wait_until(lambda: False, step.seconds)
        elif isinstance(step, t.SetMode) and self._switch_mode is not None:
            self._switch_mode(step.mode)
        else:
            self._track_held_pushes(step)
            apply_control(step, self._wechat)

    def _track_held_pushes(self, step: t.Step) -> None:
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
            seen.pop()  # a message may follow, which hides this CancelTyping
        return seen

    def _check_seen(self, step: t.Sees) -> None:
        part = self._part(step.user)
        before = len(part.expected)
        part.expected += [thing for thing in step.things if self._transcript.typing or thing not in TYPING]
        expected = part.expected

        def is_decided() -> bool:
            seen = self._seen(part)
            return len(seen) >= len(expected) or _difference(expected, seen) is not None

        patience = self._patience if step.within is None else step.within
        is_late = not self._wait_until(is_decided, patience)
        seen = self._seen(part)
        at = _difference(expected, seen)
        if at is not None or is_late:
            words = _words(step.user, expected, seen, before, at)
            waited = f"nothing more came within {patience:g} s" if is_late else ""
            raise _Different("\n  ".join(filter(None, [words, waited, self._story(part.user)])))

    def _wait_until_not_typing(self, name: str) -> None:
        """Wait for the end of the indicator, so that the next step does not affect the last typing call."""
        user = self._part(name).user
        self._wait_until(lambda: not user.is_shown_typing, self._patience)

    # -- the end

    def _wait_until(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Return True if the predicate becomes true within ``seconds`` of real time."""
        try:
            self._wechat.waits_until(lambda: self._is_stopped() or predicate(), seconds)
        except AssertionError:
            return False
        return True

    def _story(self, user: User) -> str:
        return self._wechat.record_log.as_text(user.openid).replace("\n", "\n  ")

    def _wait_for_pushes(self, patience: float) -> None:
        """Wait until WeChat has finished delivering all pushes that are not held."""
        self._wait_until(lambda: all(push.done for push in self._released_pushes()), patience)

    def _released_pushes(self) -> list[Push]:
        held = self._held or []
        return [push for push in self._pushes if push not in held]

    def _unacknowledged(self) -> list[str]:
        return [problem for push in self._released_pushes() if (problem := _unacknowledged(push, self._name_of(push)))]

    def _name_of(self, push: Push) -> str:
        return self._wechat.platform.names.get(push.openid, push.openid)

    def _wait_until_quiet(self) -> None:
        """Wait until no user is shown typing and nothing more happens. Stop early if a user has seen too much."""
        with suppress(AssertionError):  # a user is still shown typing, which alone is not a difference
            self._wechat.waits_until_quiet(
                self._settle, self._patience, unless=lambda: self._is_stopped() or self._is_too_much()
            )

    def _compared(self) -> list[_Part]:
        """Return all users except those with a difference."""
        parts = [self._part(user.name) for user in self._wechat.users]
        return [part for part in parts if not part.has_failed]

    def _is_too_much(self) -> bool:
        return any(len(self._seen(part)) > len(part.expected) for part in self._compared())

    def _too_much(self) -> list[str]:
        return [
            f"after the last step: {part.user.name} saw more than expected: "
            f"{_list(self._seen(part)[len(part.expected) :])}\n  {self._story(part.user)}"
            for part in self._compared()
            if len(self._seen(part)) > len(part.expected)
        ]


def _unacknowledged(push: Push, name: str) -> str:
    """Return the problem of a push, or "" if the bot acknowledged it or an agent handles the user."""
    if push.agent or any(attempt.outcome == "success" for attempt in push.attempts):
        return ""
    what = f"the push {push!r} of {name}"
    if not push.attempts:
        return (
            f"{what} was never delivered: no callback URL is set" if push.done else f"{what} is still being delivered"
        )
    last = push.attempts[-1]
    return f"{what} was not acknowledged: {last.outcome}{f' ({last.why})' if last.why else ''}"


# -- the text of a difference


def _difference(expected: Sequence[t.Thing], seen: Sequence[str]) -> int | None:
    """Return the index of the first difference in the common length, or None."""
    for at, (thing, what) in enumerate(zip(expected, seen, strict=False)):
        if not is_like(thing, what):
            return at
    return None


def is_like(thing: t.Thing, what: str) -> bool:
    """Return True if the item ``what`` that a user saw matches the expected ``thing``."""
    return what == thing if isinstance(thing, str) else re.search(thing.pattern, what) is not None


def _words(name: str, expected: Sequence[t.Thing], seen: Sequence[str], before: int, at: int | None) -> str:
    """Describe the difference: expected and seen items since the previous check, or since the difference."""
    start = before if at is None else min(before, at)
    lines = [
        f"{name}: replies differ",
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


# -- user actions and control steps


def perform_user_action(step: t.UserStep, user: User) -> Push:
    """Perform the user action ``step`` as ``user``. Raises ValueError, AssertionError if it is not possible."""
    return _USER_ACTIONS[type(step)](step, user)


_USER_ACTIONS: dict[type[t.UserStep], Callable[[Any, User], Push]] = {
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


def apply_control(step: t.Step, wechat: FakeWeChat) -> None:
    """Apply the control step ``step`` to the platform.

    Raises KeyError for user actions, and for ``Redeliver``, ``Forward`` and ``Waits``.
    """
    _CONTROLS[type(step)](step, wechat)


def _set(name: str, value_of: Callable[[Any], object]) -> Callable[[Any, FakeWeChat], None]:
    return lambda step, wechat: setattr(wechat, name, value_of(step))


def _inject_fault(step: t.Fault, wechat: FakeWeChat) -> None:
    faults = wechat.faults
    methods: dict[t.FaultKind, Callable[[], None]] = {
        "fail": lambda: faults.fail(step.endpoint, step.errcode, step.times),
        "http": lambda: faults.http_error(step.endpoint, step.status, step.times, step.acted),
        "drop": lambda: faults.drop(step.endpoint, step.times, step.acted),
        "slow": lambda: faults.slow(step.endpoint, step.seconds, step.times),
        "hang": lambda: faults.hang(step.endpoint, step.times, step.acted),
    }
    methods[step.kind]()


_CONTROLS: dict[type[t.Step], Callable[[Any, FakeWeChat], None]] = {
    t.Fault: _inject_fault,
    t.ClearFaults: lambda step, wechat: wechat.faults.clear(),
    t.RevokeToken: lambda step, wechat: wechat.faults.revoke_token(),
    t.SetMode: _set("mode", lambda step: step.mode),
    t.SetFormat: _set("format", lambda step: step.format),
    t.DeliverTwiceAtOnce: _set("deliver_twice_at_once", lambda step: step.on),
    t.InOrder: _set("in_order", lambda step: step.on),
    t.Hold: lambda step, wechat: wechat.hold(),
    t.Release: lambda step, wechat: wechat.release("reversed" if step.order == "reversed" else None),
}
