"""The access token: all processes share it, one process at a time fetches it, and a refused one is replaced.

``replace`` takes the refused value and fetches only if that value is still current. Fetching only after expiry would
never replace a token that WeChat revoked early, and fetching at every refusal would make one call per message of a
burst. Source: docs/wechat.md, section "Access tokens".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from wxbot.clock import Clock
from wxbot.errors import RequestNotSent, StoreUnavailable, WeChatError
from wxbot.store.port import TOKEN, SharedValues
from wxbot.store.records import SharedValue

RENEW_EARLY_SECONDS = 60.0
"""A token is renewed this long before it expires. A token that is valid for less than 600 s is renewed after 90 % of
that time."""

STORE_POLL_SECONDS = 0.2
"""Interval at which a process polls the store for the token that another process is fetching."""

RETRY_SECONDS = 3.0
"""A failed fetch is not tried again for this long, so that a burst of messages causes no burst of token calls."""

RETRY_UNAVAILABLE_SECONDS = 30.0
"""The same pause after TokenUnavailable, because that error lasts until the configuration is fixed."""

_SAME_AGAIN = (
    "no access token: WeChat refused it and then returned the same one again. If this lasts, get a new token: set "
    "WXBOT_TOKEN_CALL=classic, or reset the AppSecret in WeChat's console and set WXBOT_SECRET"
)

_log = logging.getLogger(__name__)


class Tokens(Protocol):
    """The source of the access token."""

    async def get(self) -> str:
        """Return a token that should be valid now."""
        ...

    async def replace(self, refused: str) -> str:
        """Return another token than ``refused``, which WeChat did not accept."""
        ...


class FetchedToken(NamedTuple):
    """The result of WeChat's token call. ``expires_in`` is in seconds."""

    value: str
    expires_in: float


class TokenProvider:
    """The access token of ``appid`` in one process, shared with other processes through ``store``.

    ``fetch`` calls WeChat (``token_call.TokenCall``) and takes at most ``fetch_seconds``. Use all methods on one event
    loop. They raise RequestNotSent (a retry may succeed) or TokenUnavailable (the configuration must be fixed first).
    """

    def __init__(
        self,
        appid: str,
        fetch: Callable[[], Awaitable[FetchedToken]],
        store: SharedValues,
        clock: Clock,
        fetch_seconds: float = 10.0,
    ) -> None:
        self._appid = appid
        self._fetch = fetch
        self._store = store
        self._clock = clock
        self._fetch_seconds = fetch_seconds
        self._token: SharedValue | None = None
        self._fetch_task: asyncio.Task[SharedValue] | None = None
        self._last_error: WeChatError | None = None
        self._retry_at = 0.0

    async def get(self) -> str:
        """Return the current token, or a new one if the current one is about to expire."""
        token = self._token
        if token is not None and self._clock.now() < token.expires_at:
            return token.value
        return (await self._fetched_token(None)).value

    async def replace(self, refused: str) -> str:
        """Return a token other than ``refused``: one that was stored meanwhile, else a fetched one.

        Raises RequestNotSent if WeChat returns the refused token again, as stable_token in its normal mode may.
        """
        if self._token is not None and self._token.value == refused:
            self._token = None
        if self._token is not None:
            return await self.get()
        token = await self._fetched_token(refused)
        if token.value == refused:
            # That fetch had begun for callers of ``get``, which did not know that the token was refused.
            token = await self._fetched_token(refused)
        return token.value

    async def close(self) -> None:
        """Cancel a running fetch."""
        task, self._fetch_task = self._fetch_task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _fetched_token(self, refused: str | None) -> SharedValue:
        """Fetch a token, one fetch at a time in this process. A fetch continues if its first caller is cancelled."""
        if self._fetch_task is None:
            self._fetch_task = asyncio.create_task(self._renew(refused), name="wxbot-token")
            self._fetch_task.add_done_callback(self._fetch_done)
        return await asyncio.shield(self._fetch_task)

    def _fetch_done(self, task: asyncio.Task[SharedValue]) -> None:
        if self._fetch_task is task:
            self._fetch_task = None
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs the exception if every waiting caller was cancelled

    async def _renew(self, refused: str | None) -> SharedValue:
        try:
            token = await self._stored_or_fetched(refused)
        except StoreUnavailable:
            token = None
        if token is None:
            raise RequestNotSent("no access token: the store is unavailable")
        self._token = token
        return token

    async def _stored_or_fetched(self, refused: str | None) -> SharedValue:
        """Return the stored token if it is valid, else one fetched by this process or by an earlier one."""
        give_up_at = self._clock.now() + self._fetch_seconds
        while True:
            stored = await self._store.get(self._appid, TOKEN)
            if stored is not None and stored.value != refused and self._clock.now() < stored.expires_at:
                return stored
            self._raise_recent_error()
            now = self._clock.now()
            # The store treats an expired token as refused too: otherwise it would count as stored since the refusal.
            outdated = refused if stored is None else stored.value
            if await self._store.lock(self._appid, TOKEN, now, self._fetch_seconds, outdated=outdated):
                return await self._fetch_and_save(refused)
            if now >= give_up_at:
                raise RequestNotSent("no access token: another process has been fetching one for too long")
            await self._sleep(STORE_POLL_SECONDS)

    async def _fetch_and_save(self, refused: str | None) -> SharedValue:
        token: SharedValue | None = None
        try:
            token = await self._call_wechat(refused)
        finally:
            # Also after a cancellation or a failure, because other processes must not wait for a fetch that has ended.
            await self._save(token)
        return token

    async def _call_wechat(self, refused: str | None) -> SharedValue:
        try:
            fetched = await self._fetch()
        except WeChatError as error:
            self._remember(error)
            raise
        if fetched.value == refused:
            same_again = RequestNotSent(_SAME_AGAIN)
            self._remember(same_again)
            raise same_again
        lifetime = max(fetched.expires_in, 0.0)
        return SharedValue(fetched.value, self._clock.now() + lifetime - min(RENEW_EARLY_SECONDS, lifetime / 10))

    async def _save(self, token: SharedValue | None) -> None:
        try:
            await self._store.put(self._appid, TOKEN, token, self._clock.now())
        except StoreUnavailable as error:
            _log.warning("access token not stored, other processes will fetch one: error=%s", error)

    def _remember(self, error: WeChatError) -> None:
        wait = RETRY_SECONDS if error.retryable else RETRY_UNAVAILABLE_SECONDS
        self._last_error, self._retry_at = error, self._clock.now() + wait

    def _raise_recent_error(self) -> None:
        if self._last_error is not None and self._clock.now() < self._retry_at:
            # A new exception, because one that is raised several times collects tracebacks.
            raise type(self._last_error)(*self._last_error.args)
        self._last_error = None

    async def _sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        timer = self._clock.call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()
