"""Looks at everything a bot needs and says in plain sentences what would not work."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp

from wxbot.clock import Clock, SharedClock, SystemClock
from wxbot.errors import (
    AccountNotAllowed,
    ApiError,
    ConfigError,
    PluginError,
    TokenRefused,
    WeChatError,
    WxbotError,
)
from wxbot.model.accounts import ACCOUNTS
from wxbot.server.assembly import check_broker, make_client, make_clock, make_plugins, make_store
from wxbot.settings.schema import Settings, without_password
from wxbot.store.port import Store
from wxbot.store.redis.server_facts import HasServerFacts, RedisFacts
from wxbot.store.sqlite.store import SqliteStore
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.api.cloud import CloudFileTokens

NOBODY = "oWXBOT_CHECK_NOBODY_HAS_THIS_ID"
"""An openid that no user has: typing for it shows nothing to anybody, but tells whether the address is right."""

BAD_OPENID, WRONG_KIND = 40003, 40200
TOLERATED_SKEW = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence, and whether the bot would work."""

    good: bool
    sentence: str


def check(settings: Settings) -> Iterator[Finding]:
    """Check plugins, store, API, clock and typing address, one finding after the other."""
    yield Finding(True, f"The configuration is complete, for the account {settings.appid}.")
    yield from _check_account(settings)
    yield _check_mode(settings)
    yield _check_plugins(settings)
    clock = make_clock(settings)
    store = make_store(settings, clock)
    try:
        store.open()
    except WxbotError as error:
        yield Finding(False, f"The store cannot be used: {error}.")
        return
    try:
        yield from asyncio.run(_check_running_parts(settings, store, clock))
    finally:
        store.close()


def _check_account(settings: Settings) -> Iterator[Finding]:
    """What is not as with most accounts: a Mini Program that calls WeChat with a token of its own."""
    if settings.account_kind != "miniprogram":
        yield Finding(True, f"The account is of the kind {ACCOUNTS[settings.account_kind]}.")
    if settings.cloud_call == "open":
        yield Finding(True, f"Calls go to {settings.api_base} without a token: WeChat Cloud Hosting adds it.")
    if settings.cloud_call == "token":
        yield _check_token_file(settings)


def _check_token_file(settings: Settings) -> Finding:
    try:
        asyncio.run(CloudFileTokens(settings.cloud_token_file).get())
    except WeChatError as error:
        return Finding(False, f"Cloud call does not work: {error}.")
    return Finding(True, f"Calls go with the token that WeChat Cloud Hosting keeps in {settings.cloud_token_file}.")


def _check_mode(settings: Settings) -> Finding:
    if settings.cloud_call != "off" and not settings.token.get_secret_value().strip():
        return Finding(
            True,
            "Pushes are believed by their X-WX-SOURCE header alone, as WeChat Cloud Hosting sends them: keep public "
            "access to the container off.",
        )
    if settings.aes_key is None:
        return Finding(True, "Pushes are read in plaintext mode; safe mode (WXBOT_AES_KEY) is what WeChat recommends.")
    rotating = "" if settings.previous_aes_key is None else " The previous key is accepted as well."
    return Finding(True, f"Only encrypted pushes with a valid msg_signature are accepted.{rotating}")


def _check_plugins(settings: Settings) -> Finding:
    try:
        plugins = make_plugins(settings).router.plugins
    except ConfigError as error:
        return Finding(False, f"The plugins cannot be used: {'; '.join(error.problems)}.")
    except PluginError as error:
        return Finding(False, f"The plugins cannot be used: {error}.")
    if not plugins:
        return Finding(False, "There are no plugins, so nothing would be answered.")
    return Finding(True, f"Plugins, in order: {', '.join(plugin.name for plugin in plugins)}.")


async def _check_running_parts(settings: Settings, store: Store, clock: Clock) -> list[Finding]:
    await store.ping()
    letters = len(await store.dead_letters(settings.appid, 1000))
    findings = [Finding(True, f"The store {without_password(settings.store_url)} can be written.")]
    findings += await _check_persistence(store)
    findings += await asyncio.to_thread(_check_broker, settings)
    if letters:
        findings.append(Finding(True, f"Dead letters: {letters}; see python -m wxbot deadletters list."))
    findings.append(await _check_clock(settings, clock))
    if settings.account_kind == "unverified":
        return [*findings, Finding(True, "This account only answers pushes, so no call was tried.")]
    with tempfile.TemporaryDirectory(prefix="wxbot-check-") as folder:
        findings += await _check_api(settings, store, SqliteStore(Path(folder) / "token.db"))
    return findings


async def _check_persistence(store: Store) -> list[Finding]:
    """What a power loss would cost."""
    if not isinstance(store, HasServerFacts):
        return []
    told = await store.facts()
    findings = [_worth_of_a_promise(told)]
    if told.evicts:
        findings.append(
            Finding(
                False,
                f"{told.name} may throw messages away when its memory is full (maxmemory-policy "
                f"{told.maxmemory_policy}): set maxmemory-policy noeviction.",
            )
        )
    if not told.writes_to_disk:
        findings.append(Finding(False, f"The last time, {told.name} could not write to its disk: see its log."))
    if told.replicas:
        findings.append(
            Finding(
                True,
                f"{told.name} has {told.replicas} replica(s). They copy a moment later: a failover may cost the "
                "messages of that moment (docs/scaling.md, Persistence).",
            )
        )
    return findings


def _worth_of_a_promise(told: RedisFacts) -> Finding:
    if not told.appendonly:
        until = "everything since its last snapshot" if told.snapshots else "everything"
        sentence = (
            f"{told.name} keeps no log of what it is told (appendonly no): its restart or a power loss costs {until}"
        )
        return Finding(False, f"{sentence}, acknowledged messages too. Set appendonly yes.")
    if told.appendfsync == "always":
        return Finding(True, f"Acknowledged messages survive a power loss of {told.name} (appendfsync always).")
    if told.appendfsync == "no":
        sentence = f"{told.name} leaves writing to its system (appendfsync no): a power loss costs about half a minute"
        return Finding(False, f"{sentence} of acknowledged messages. Set appendfsync everysec or always.")
    if told.appendfsync == "everysec":
        sentence = f"A power loss of {told.name} costs the last one to two seconds of acknowledged messages"
        return Finding(True, f"{sentence} (appendfsync everysec); with appendfsync always it costs none.")
    return Finding(True, f"{told.name} writes a log (appendonly yes), but does not tell us how often to its disk.")


def _check_broker(settings: Settings) -> list[Finding]:
    if not settings.broker_url:
        return []
    try:
        check_broker(settings)
    except WxbotError as error:
        return [Finding(False, f"The broker cannot be used: {error}.")]
    return [Finding(True, f"The broker {without_password(settings.broker_url)} takes wake-ups.")]


async def _check_clock(settings: Settings, clock: Clock) -> Finding:
    try:
        limit = aiohttp.ClientTimeout(settings.api_timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(settings.api_base) as answer:
            theirs = answer.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding(False, f"{settings.api_base} cannot be reached: {type(error).__name__}.")
    whose = "The clock of the store's server" if isinstance(clock, SharedClock) else "Our clock"
    if theirs is None:
        return Finding(True, f"{settings.api_base} does not tell its time, so our clock was not compared.")
    skew = clock.now() - parsedate_to_datetime(theirs).timestamp()
    if abs(skew) > TOLERATED_SKEW:
        return Finding(
            False, f"{whose} is {skew:+.0f} s from WeChat's: the 30-second window would be missed; set up NTP."
        )
    return Finding(True, f"{whose} agrees with WeChat's.")


async def _check_api(settings: Settings, store: Store, scratch: Store) -> list[Finding]:
    # A token that is on the shelf would hide a wrong AppSecret, so another one is asked for, on a shelf of its own.
    # Not with the classic call: there a new token takes the old one from the bot that may be running.
    scratch.open()
    shelf = scratch if settings.token_call == "stable" else store  # noqa: S105
    client = make_client(settings, shelf, SystemClock())
    await client.open()
    try:
        return await _try_typing(client, settings)
    finally:
        await client.close()
        scratch.close()


async def _try_typing(client: WeChatClient, settings: Settings) -> list[Finding]:
    """The token and the typing address, by one call that shows nothing to anybody."""
    token_works = Finding(
        True,
        "WeChat gave an access token and takes it." if settings.cloud_call == "off" else "WeChat takes our calls.",
    )
    try:
        await client.typing(NOBODY, "CancelTyping")
    except TokenRefused as error:
        return [Finding(False, f"WeChat does not take the access token: {error}.")]
    except AccountNotAllowed as error:
        sentence = f"This account, or this address, has no typing indicator: {error}. See docs/wechat.md, Typing."
        if error.errcode == WRONG_KIND:
            sentence += " An Official Account that is not verified wants WXBOT_ACCOUNT_KIND=unverified."
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
