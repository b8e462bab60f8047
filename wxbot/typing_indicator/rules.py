"""The rules of the typing indicator. They are pure functions on the assumed state of one user's indicator.

WeChat's rules (docs/wechat.md, section "Typing"): Typing is accepted within 30 seconds after the last message from or
to the user. It shows for 15 seconds. A second Typing meanwhile is refused. A message to the user ends it.

The assumed state is cautious: ``interacted_at`` is never later than the real time, and ``showing_until`` never earlier.
All times are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOW = 30.0
"""Seconds after the last message from or to the user in which typing calls are accepted."""

SHOWN = 15.0
"""Seconds for which the indicator shows after one Typing."""

RETRY_PAUSE = 2.0
"""Seconds until the next typing call after one that failed for a temporary reason."""


@dataclass(frozen=True, slots=True)
class TypingState:
    """The assumed state of one user's indicator. ``not_before``: no Typing is called before this time."""

    interacted_at: float
    showing_until: float = 0.0
    uncertain: bool = False
    """True if it is unknown whether the indicator is showing until ``showing_until``, because an earlier owner called
    Typing or a call was abandoned before its response arrived."""
    window_closed: bool = False
    """True if WeChat reported that the window is closed. This is assumed until the next interaction."""
    not_before: float = 0.0


def next_typing(state: TypingState, now: float, margin: float) -> float | None:
    """Return the earliest time of the next Typing, at least ``now``; None if a new interaction is necessary first.

    An indicator whose state is uncertain causes no wait, because it is cancelled first.
    """
    at = max(now, 0.0 if state.uncertain else state.showing_until, state.not_before)
    return at if _window_open(state, at, margin) else None


def cancel_needed(state: TypingState, now: float, margin: float) -> bool:
    """Return True if the indicator may be showing and CancelTyping would be accepted."""
    return now < state.showing_until and _window_open(state, now, margin)


def must_cancel_first(state: TypingState, now: float) -> bool:
    """Return True if Typing may be refused (45081), because the indicator may be showing already."""
    return state.uncertain and now < state.showing_until


def _window_open(state: TypingState, at: float, margin: float) -> bool:
    return not state.window_closed and at < state.interacted_at + WINDOW - margin


def interacted(state: TypingState, at: float) -> TypingState:
    """Return the state after a user action at ``at``; unchanged if the interaction is known already."""
    return replace(state, interacted_at=at, window_closed=False) if at > state.interacted_at else state


def message_sent(state: TypingState, called_at: float) -> TypingState:
    """Return the state after WeChat accepted a message that was called at ``called_at``.

    The message ended the indicator and re-opened the window. An uncertain indicator stays uncertain, because WeChat may
    have processed an abandoned Typing after the message.
    """
    return replace(_ended(interacted(state, called_at)), window_closed=False)


def _ended(state: TypingState) -> TypingState:
    return state if state.uncertain else replace(state, showing_until=0.0)


def typing_called(state: TypingState, now: float, longest_call: float) -> TypingState:
    """Return the state before Typing is called: the indicator may begin to show at any time during the call."""
    return replace(state, showing_until=now + longest_call + SHOWN, uncertain=False)


def typing_not_written(state: TypingState, before: TypingState) -> TypingState:
    """Return the state after a Typing call ended before anything was written: the indicator is as it was ``before``."""
    return replace(state, showing_until=before.showing_until, uncertain=before.uncertain)


def typing_abandoned(state: TypingState) -> TypingState:
    """Return the state after a Typing call was written and then abandoned: the indicator may still begin to show."""
    return replace(state, uncertain=True)


def typing_shown(state: TypingState, now: float) -> TypingState:
    """Return the state after Typing was accepted or refused with 45081 (already showing), or its response was lost.

    In each case the indicator ends within 15 seconds from ``now``.
    """
    return replace(state, showing_until=now + SHOWN, uncertain=False)


def typing_failed(state: TypingState, now: float) -> TypingState:
    """Return the state after Typing failed for a temporary reason."""
    return replace(state, showing_until=0.0, uncertain=False, not_before=now + RETRY_PAUSE)


def typing_refused(state: TypingState) -> TypingState:
    """Return the state after WeChat refused Typing until the next interaction (45080, or sending is not allowed)."""
    return replace(state, showing_until=0.0, uncertain=False, window_closed=True)


def typing_cancelled(state: TypingState) -> TypingState:
    """Return the state after CancelTyping was accepted. An uncertain indicator stays uncertain.

    WeChat may have processed an abandoned Typing after the CancelTyping.
    """
    return _ended(state)


def uncertainty_resolved(state: TypingState) -> TypingState:
    """Return the state after CancelTyping was accepted for an uncertain indicator.

    No earlier Typing can arrive any more, because enough time has passed since it was called.
    """
    return replace(state, showing_until=0.0, uncertain=False)
