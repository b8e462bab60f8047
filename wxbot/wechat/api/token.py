"""The access token: one for all processes, fetched by one of them at a time, replaced when WeChat refuses it.

The rule that keeps this from looping is in ``replace``: what is replaced is *this* token value. "Fetch a new one if
the old one has expired" never replaces a token that was revoked early, and "always fetch" lets every caller of a
burst fetch. Sources: docs/wechat.md, section "Access tokens".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from wxbot.clock import Clock
from wxbot.errors import RequestNotSent, StoreUnavailable, WeChatError
from wxbot.store.port import TokenStore
from wxbot.store.records import StoredToken

EARLY_SECONDS = 60.0
"""A token is renewed this long before its end, or after nine tenths of its life if it lives shorter than 600 s."""

SHELF_SECONDS = 0.2
"""How often a process looks for the token that another one is fetching."""

REMEMBER_TROUBLE_SECONDS = 3.0
"""So long a failed fetch is not tried again: a burst of messages must not become a burst of token calls."""

REMEMBER_REFUSAL_SECONDS = 30.0
"""The same for what only a person can mend, such as a wrong AppSecret."""

_SAME_AGAIN = (
    "WeChat refused the access token and then gave the same one again. If this lasts, the account's tokens are in "
    "disorder at WeChat: resetting the AppSecret, or WXBOT_TOKEN_CALL=classic, gives new ones"
)

_log = logging.getLogger(__name__)


class Tokens(Protocol):
    """Where callers get the access token."""

    async def get(self) -> str:
        """A token that should work now."""
        ...

    async def replace(self, refused: str) -> str:
        """Another token than ``refused``, which WeChat did not accept."""
        ...


class FetchedToken(NamedTuple):
    """What WeChat's token call returned; ``expires_in`` is in seconds."""

    value: str
    expires_in: float


class TokenProvider:
    """The access token of ``appid`` for one process, shared with the others through ``shelf``.

    ``fetch`` asks WeChat (``token_call.TokenCall``) and takes at most ``fetch_seconds``. All methods belong to one
    event loop. They raise RequestNotSent (worth another try) or TokenUnavailable (mend the account first).
    """

    def __init__(
        self,
        appid: str,
        fetch: Callable[[], Awaitable[FetchedToken]],
        shelf: TokenStore,
        clock: Clock,
        fetch_seconds: float = 10.0,
    ) -> None:
        self._appid = appid
        self._fetch = fetch
        self._shelf = shelf
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._held: StoredToken | None = None
        self._flight: asyncio.Task[StoredToken] | None = None
        self._trouble: WeChatError | None = None
        self._quiet_until = 0.0

    async def get(self) -> str:
        """The token in use, or a new one when it is about to end."""
        held = self._held
        if held is not None and self._clock.now() < held.expires_at:
            return held.value
        return (await self._join_flight(None)).value

    async def replace(self, refused: str) -> str:
        """A token other than ``refused``: one that was stored meanwhile, or else a fetched one.

        Raises RequestNotSent if WeChat insists on the refused one, as stable_token in its normal mode may.
        """
        if self._held is not None and self._held.value == refused:
            self._held = None
        if self._held is not None:
            return await self.get()
        token = await self._join_flight(refused)
        if token.value == refused:
            # That flight had started for callers who had no complaint about this token.
            token = await self._join_flight(refused)
        return token.value

    async def close(self) -> None:
        """Give up a fetch that is under way."""
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.cancel()
            await asyncio.gather(flight, return_exceptions=True)

    async def _join_flight(self, refused: str | None) -> StoredToken:
        """One fetch at a time in this process. It goes on when the caller who started it is cancelled."""
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(refused), name="wxbot-token")
            self._flight.add_done_callback(self._landed)
        return await asyncio.shield(self._flight)

    def _landed(self, flight: asyncio.Task[StoredToken]) -> None:
        if self._flight is flight:
            self._flight = None
        if not flight.cancelled():
            flight.exception()  # seen, so that asyncio does not complain when every waiter has gone

    async def _fly(self, refused: str | None) -> StoredToken:
        try:
            token = await self._renewed(refused)
        except StoreUnavailable:
            token = None
        if token is None:
            raise RequestNotSent("no access token: the store that keeps it is unavailable")
        self._held = token
        return token

    async def _renewed(self, refused: str | None) -> StoredToken:
        """The token on the shelf if it will do, else a fetched one: by us, or by the process that was first."""
        give_up_at = self._clock.now() + self._fetch_seconds
        while True:
            stored = await self._shelf.load_token(self._appid)
            if stored is not None and stored.value != refused and self._clock.now() < stored.expires_at:
                return stored
            self._raise_recent_trouble()
            now = self._clock.now()
            # To the shelf, a token that has ended is refused as well: it must not count as "stored meanwhile".
            outdated = refused if stored is None else stored.value
            if await self._shelf.begin_token_fetch(self._appid, outdated, now, self._fetch_seconds):
                return await self._fetched(refused)
            if now >= give_up_at:
                raise RequestNotSent("no access token: another process has been fetching it for too long")
            await self._sleep(SHELF_SECONDS)

    async def _fetched(self, refused: str | None) -> StoredToken:
        token: StoredToken | None = None
        try:
            token = await self._ask_wechat(refused)
        finally:
            # Also when cancelled or failed: the other processes must not wait for a fetch that has ended.
            await self._put_on_shelf(token)
        return token

    async def _ask_wechat(self, refused: str | None) -> StoredToken:
        try:
            fetched = await self._fetch()
        except WeChatError as error:
            self._remember(error)
            raise
        if fetched.value == refused:
            same_again = RequestNotSent(_SAME_AGAIN)
            self._remember(same_again)
            raise same_again
        life = max(fetched.expires_in, 0.0)
        return StoredToken(fetched.value, self._clock.now() + life - min(EARLY_SECONDS, life / 10))

    async def _put_on_shelf(self, token: StoredToken | None) -> None:
        try:
            await self._shelf.save_token(self._appid, token)
        except StoreUnavailable:
            _log.warning("the access token could not be stored; other processes will fetch it again")

    def _remember(self, error: WeChatError) -> None:
        wait = REMEMBER_TROUBLE_SECONDS if error.retryable else REMEMBER_REFUSAL_SECONDS
        self._trouble, self._quiet_until = error, self._clock.now() + wait

    def _raise_recent_trouble(self) -> None:
        if self._trouble is not None and self._clock.now() < self._quiet_until:
            # A fresh one: an exception that is raised again and again would collect tracebacks.
            raise type(self._trouble)(*self._trouble.args)
        self._trouble = None

    async def _sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        timer = self._clock.call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()
