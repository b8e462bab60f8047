"""Access tokens of both token calls, their lifetimes and replacement (docs/wechat.md, "Access tokens").

Times are in seconds. Call all methods with the platform's lock held.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field

from wxbot.testing.clock import Clock

MISSING, WRONG, ILLEGAL, EXPIRED = 41001, 40001, 40014, 42001

_SHAPE = re.compile(r"\d\d_[A-Za-z0-9_-]{120}")
_RENEWED_BEFORE_END = 300.0
_FORCED_A_DAY = 20
_FORCED_APART = 30.0
_CHINA = 8 * 3600


@dataclass(slots=True)
class _Token:
    value: str = field(repr=False)
    expires_at: float
    valid_until: float


class Tokens:
    """The access tokens of one account.

    ``lifetime``: ``expires_in`` of a new token. ``overlap``: how long a replaced token stays valid. The tokens of both
    calls are separate: cgi-bin/token returns a new token at each call, cgi-bin/stable_token the same while it is valid.
    """

    def __init__(self, clock: Clock) -> None:
        self.lifetime = 7200.0
        self.overlap = 300.0
        self.fetches = 0
        self._clock = clock
        self._issued: dict[str, _Token] = {}
        self._classic: _Token | None = None
        self._stable: _Token | None = None
        self._forced_day = -1
        self._forced_today = 0
        self._forced_at = float("-inf")

    def check(self, value: str) -> int:
        """Return the errcode: 0, 41001 (no token), 40014 (bad format), 40001 (not the latest) or 42001 (expired)."""
        if not value:
            return MISSING
        if not _SHAPE.fullmatch(value):
            return ILLEGAL
        token = self._issued.get(value)
        now = self._clock.now()
        if token is None:
            return WRONG
        if now >= token.expires_at:
            return EXPIRED
        return 0 if now < token.valid_until else WRONG

    def fetch_classic(self) -> tuple[str, int]:
        """Return a new token and its ``expires_in`` (cgi-bin/token). The one before stays valid for ``overlap``."""
        if self._classic is not None:
            self._replace(self._classic, self.overlap)
        self._classic = self._new()
        return self._issue(self._classic)

    def fetch_stable(self, force_refresh: bool = False) -> tuple[str, int]:
        """Return the stable token and its ``expires_in`` (cgi-bin/stable_token).

        It is the same token until 300 seconds (or half the lifetime, if that is less) before it expires.
        ``force_refresh`` replaces it at once, at most 20 times a day (in China) and every 30 seconds; otherwise
        ``force_refresh`` is ignored.
        """
        now = self._clock.now()
        token = self._stable
        if token is not None and force_refresh and self._may_force(now):
            self._replace(token, 0.0)
            token = None
        if token is None or token.expires_at - now <= min(_RENEWED_BEFORE_END, self.lifetime / 2):
            token = self._stable = self._new()
        return self._issue(token)

    def revoke(self) -> None:
        """Revoke all tokens that were issued so far."""
        for token in self._issued.values():
            self._replace(token, 0.0)
        self._classic = self._stable = None

    def _may_force(self, now: float) -> bool:
        day = int((now + _CHINA) // 86400)
        if day != self._forced_day:
            self._forced_day, self._forced_today = day, 0
        if self._forced_today >= _FORCED_A_DAY or now - self._forced_at < _FORCED_APART:
            return False
        self._forced_today += 1
        self._forced_at = now
        return True

    def _new(self) -> _Token:
        end = self._clock.now() + self.lifetime
        value = f"{10 + secrets.randbelow(90)}_{secrets.token_urlsafe(90)}"
        self._issued[value] = token = _Token(value, end, end)
        return token

    def _replace(self, token: _Token, overlap: float) -> None:
        token.valid_until = min(token.valid_until, self._clock.now() + overlap)

    def _issue(self, token: _Token) -> tuple[str, int]:
        self.fetches += 1
        return token.value, int(token.expires_at - self._clock.now())
