"""The rules of the typing indicator, and no others: pure functions on what we believe one user sees.

WeChat's rules (docs/wechat.md, section "Typing"): Typing is accepted within 30 seconds of the last message from or to
the user; it shows for 15 seconds; a second Typing meanwhile is refused; a message we send ends it. What we believe is
kept on the careful side: ``interacted_at`` is never later than the truth, ``showing_until`` never earlier.
All times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOW = 30.0
"""Seconds after the last message from or to the user in which typing calls are accepted."""

SHOWN = 15.0
"""Seconds for which one Typing shows."""

RETRY_PAUSE = 2.0
"""Seconds to leave WeChat alone after a typing call that failed for no reason of these rules."""


@dataclass(frozen=True, slots=True)
class TypingState:
    """What we believe about one user's indicator."""

    interacted_at: float
    showing_until: float = 0.0
    uncertain: bool = False
    """What may show until then is not ours to know: an earlier owner's, or of a call whose answer nobody waited for."""
    window_closed: bool = False
    """WeChat said the window is window_closed: believed until the next interaction."""
    not_before: float = 0.0


def next_typing(state: TypingState, now: float, margin: float) -> float | None:
    """When the next Typing may go out, now at the earliest; None while only a new interaction could allow one.

    What shows in doubt is not waited for: it is cancelled first.
    """
    at = max(now, 0.0 if state.uncertain else state.showing_until, state.not_before)
    return at if _window_open(state, at, margin) else None


def cancel_needed(state: TypingState, now: float, margin: float) -> bool:
    """Whether CancelTyping has something to end and would be accepted."""
    return now < state.showing_until and _window_open(state, now, margin)


def must_cancel_first(state: TypingState, now: float) -> bool:
    """Whether Typing could be refused (45081) because of something in doubt that may show."""
    return state.uncertain and now < state.showing_until


def _window_open(state: TypingState, at: float, margin: float) -> bool:
    return not state.window_closed and at < state.interacted_at + WINDOW - margin


def interacted(state: TypingState, at: float) -> TypingState:
    """The user acted at ``at``. An interaction that is known already changes nothing."""
    return replace(state, interacted_at=at, window_closed=False) if at > state.interacted_at else state


def message_sent(state: TypingState, called_at: float) -> TypingState:
    """A message of ours that was called for at ``called_at`` is out: the indicator is gone, the window open again.

    What is in doubt may show again: a Typing that was read after the message.
    """
    return replace(_gone(interacted(state, called_at)), window_closed=False)


def _gone(state: TypingState) -> TypingState:
    return state if state.uncertain else replace(state, showing_until=0.0)


def typing_called(state: TypingState, now: float, longest_call: float) -> TypingState:
    """A Typing is about to be called; until its answer is known it may show from any moment of the call."""
    return replace(state, showing_until=now + longest_call + SHOWN, uncertain=False)


def typing_given_up(state: TypingState, before: TypingState) -> TypingState:
    """The call was given up before a byte of it was written: what shows is what showed ``before``."""
    return replace(state, showing_until=before.showing_until, uncertain=before.uncertain)


def typing_abandoned(state: TypingState) -> TypingState:
    """Nobody waits for the answer to a Typing that was written: it may show yet."""
    return replace(state, uncertain=True)


def typing_shows(state: TypingState, now: float) -> TypingState:
    """WeChat accepted Typing, or said that one is showing (45081), or its answer was lost: all end 15 s from now."""
    return replace(state, showing_until=now + SHOWN, uncertain=False)


def typing_failed(state: TypingState, now: float) -> TypingState:
    """WeChat did not show it, for a reason that may pass."""
    return replace(state, showing_until=0.0, uncertain=False, not_before=now + RETRY_PAUSE)


def typing_refused(state: TypingState) -> TypingState:
    """WeChat will not show it before the next interaction (45080, or the user may not be written to)."""
    return replace(state, showing_until=0.0, uncertain=False, window_closed=True)


def typing_cancelled(state: TypingState) -> TypingState:
    """WeChat accepted CancelTyping. A Typing in doubt may have been read after it."""
    return _gone(state)


def doubt_cleared(state: TypingState) -> TypingState:
    """WeChat accepted a CancelTyping for what was in doubt: so much later, no Typing is still on its way."""
    return replace(state, showing_until=0.0, uncertain=False)
