"""Looks at everything a bot needs and says in plain sentences what would not work."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from wxbot.backends.choice import make_store
from wxbot.backends.sqlite import SqliteStore
from wxbot.clock import SystemClock
from wxbot.config import Settings
from wxbot.errors import (
    AccountNotAllowed,
    ApiError,
    ConfigError,
    PluginError,
    TokenRefused,
    WeChatError,
    WxbotError,
)
from wxbot.plugin_setup import load_plugins
from wxbot.ports import Store
from wxbot.wechat.client import WeChatClient

NOBODY = "oWXBOT_CHECK_NOBODY_HAS_THIS_ID"
"""An openid that no user has: typing for it shows nothing to anybody, but tells whether the address is right."""

BAD_OPENID = 40003
TOLERATED_SKEW = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and whether the bot would work."""

    good: bool
    sentence: str


def check(settings: Settings) -> Iterator[Finding]:
    """Check plugins, store, API, clock and typing address, one finding after the other."""
    yield Finding(True, f"The configuration is complete, for the account {settings.appid}.")
    yield _check_mode(settings)
    yield _check_plugins(settings)
    store = make_store(settings)
    try:
        store.open()
    except WxbotError as error:
        yield Finding(False, f"The store cannot be used: {error}.")
        return
    try:
        yield from asyncio.run(_check_running_parts(settings, store))
    finally:
        store.close()


def _check_mode(settings: Settings) -> Finding:
    if settings.aes_key is None:
        return Finding(True, "Pushes are read in plaintext mode; safe mode (WXBOT_AES_KEY) is what WeChat recommends.")
    rotating = "" if settings.previous_aes_key is None else " The previous key is accepted as well."
    return Finding(True, f"Only encrypted pushes with a valid msg_signature are accepted.{rotating}")


def _check_plugins(settings: Settings) -> Finding:
    try:
        plugins = load_plugins(settings).router.plugins
    except ConfigError as error:
        return Finding(False, f"The plugins cannot be used: {'; '.join(error.problems)}.")
    except PluginError as error:
        return Finding(False, f"The plugins cannot be used: {error}.")
    if not plugins:
        return Finding(False, "There are no plugins, so nothing would be answered.")
    return Finding(True, f"Plugins, in order: {', '.join(plugin.name for plugin in plugins)}.")


async def _check_running_parts(settings: Settings, store: Store) -> list[Finding]:
    await store.ping()
    letters = len(await store.dead_letters(settings.appid, 1000))
    findings = [Finding(True, f"The store {settings.store_url} can be written.")]
    if letters:
        findings.append(Finding(True, f"Dead letters: {letters}; see python -m wxbot deadletters list."))
    findings.append(await _check_clock(settings))
    with tempfile.TemporaryDirectory(prefix="wxbot-check-") as folder:
        findings += await _check_api(settings, store, SqliteStore(Path(folder) / "token.db"))
    return findings


async def _check_clock(settings: Settings) -> Finding:
    try:
        limit = aiohttp.ClientTimeout(settings.api_timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(settings.api_base) as answer:
            theirs = answer.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding(False, f"{settings.api_base} cannot be reached: {type(error).__name__}.")
    if theirs is None:
        return Finding(True, f"{settings.api_base} does not tell its time, so our clock was not compared.")
    skew = time.time() - parsedate_to_datetime(theirs).timestamp()
    if abs(skew) > TOLERATED_SKEW:
        return Finding(
            False, f"Our clock is {skew:+.0f} s from WeChat's: the 30-second window would be missed; set up NTP."
        )
    return Finding(True, "Our clock agrees with WeChat's.")


async def _check_api(settings: Settings, store: Store, scratch: Store) -> list[Finding]:
    # A token that is on the shelf would hide a wrong AppSecret, so another one is asked for, on a shelf of its own.
    # Not with the classic call: there a new token takes the old one from the bot that may be running.
    scratch.open()
    shelf = scratch if settings.token_call == "stable" else store  # noqa: S105
    client = WeChatClient.from_settings(settings, shelf, SystemClock())
    await client.open()
    try:
        return await _try_typing(client)
    finally:
        await client.close()
        scratch.close()


async def _try_typing(client: WeChatClient) -> list[Finding]:
    """The token and the typing address, by one call that shows nothing to anybody."""
    token_works = Finding(True, "WeChat gave an access token and takes it.")
    try:
        await client.typing(NOBODY, "CancelTyping")
    except TokenRefused as error:
        return [Finding(False, f"WeChat does not take the access token: {error}.")]
    except AccountNotAllowed as error:
        sentence = f"This account, or this address, has no typing indicator: {error}. See docs/wechat.md, Typing."
        return [token_works, Finding(False, sentence)]
    except ApiError as error:
        if error.errcode == BAD_OPENID:
            return [
                token_works,
                Finding(True, "The typing address is right: it says that nobody has the openid tried."),
            ]
        return [token_works, Finding(True, f"The typing address answers, though not as expected: {error}.")]
    except WeChatError as error:
        return [Finding(False, f"WeChat's API does not work for us: {error}.")]
    return [token_works, Finding(True, "The typing address is right.")]
