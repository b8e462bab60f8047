"""``python -m wxbot check``: check the parts that a bot needs, and report each result in one sentence."""

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
from wxbot.server.assembly import check_broker, make_client, make_clock, make_plugins, make_store
from wxbot.settings.accounts_file import problems_of
from wxbot.settings.schema import AccountSettings, Credentials, ProcessSettings, without_password
from wxbot.store.port import Store
from wxbot.store.redis.server_facts import HasServerFacts, RedisFacts
from wxbot.store.sqlite.store import SqliteStore
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.api.cloud import CloudFileTokens

UNKNOWN_OPENID = "oWXBOT_CHECK_NOBODY_HAS_THIS_ID"
"""An openid that no user has. A typing call for it shows nothing, but the errcode shows if the path is right."""

BAD_OPENID, WRONG_KIND = 40003, 40200
"""WeChat's errcodes for an unknown openid and for an account without the call (docs/wechat.md, "Error codes")."""

MAX_SKEW = 5.0
"""Largest accepted difference between the clock and WeChat's clock, in seconds."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``good``: the bot works as far as this check can tell."""

    good: bool
    sentence: str


def check(process: ProcessSettings, account: AccountSettings) -> Iterator[Finding]:
    """Check configuration, plugins, store, broker, clock, access token and typing call, and yield each finding."""
    yield Finding(True, f"The configuration of account {account.credentials.appid} is complete.")
    yield from _check_account(account)
    yield _check_mode(account.credentials)
    yield from _check_plugins(account)
    clock = make_clock(process)
    store = make_store(process, account.retention, clock)
    try:
        store.open()
    except WxbotError as error:
        yield Finding(False, f"The store does not work: {error}.")
        return
    try:
        yield from asyncio.run(_check_running_parts(process, account, store, clock))
    finally:
        store.close()


def _check_account(account: AccountSettings) -> Iterator[Finding]:
    """Yield findings on the kind of account and on cloud calls, if they are not the defaults."""
    credentials, api = account.credentials, account.api
    if credentials.kind != "miniprogram":
        yield Finding(True, f"Kind of account: {credentials.account.title}.")
    if credentials.cloud_call == "open":
        yield Finding(True, f"API calls go to {api.base} without a token: WeChat Cloud Hosting adds it.")
    if credentials.cloud_call == "token":
        yield _check_token_file(api.cloud_token_file)


def _check_token_file(file: Path) -> Finding:
    try:
        asyncio.run(CloudFileTokens(file).get())
    except WeChatError as error:
        return Finding(False, f"Cloud call does not work: {error}.")
    return Finding(True, f"API calls use the token of WeChat Cloud Hosting from {file}.")


def _check_mode(credentials: Credentials) -> Finding:
    if credentials.cloud_call != "off" and not credentials.token.get_secret_value().strip():
        return Finding(
            True,
            "Pushes with an X-WX-SOURCE header are accepted without a signature, because WXBOT_TOKEN is not set: turn "
            "off public access to the container.",
        )
    if credentials.aes_key is None:
        return Finding(True, "Pushes are accepted in plaintext mode. WeChat recommends safe mode: set WXBOT_AES_KEY.")
    previous = "" if credentials.previous_aes_key is None else " The previous AES key is accepted too."
    return Finding(True, f"Only encrypted pushes with a valid msg_signature are accepted.{previous}")


def _check_plugins(account: AccountSettings) -> list[Finding]:
    try:
        plugins = make_plugins(account).router.plugins
    except (ConfigError, PluginError) as error:
        sentences = (f"The plugins do not work: {problem}" for problem in problems_of(account, error))
        return [Finding(False, each if each.endswith("?") else f"{each}.") for each in sentences]
    if not plugins:
        return [Finding(False, "There are no plugins: without plugins the bot answers no message.")]
    return [Finding(True, f"Plugins, in order: {', '.join(plugin.name for plugin in plugins)}.")]


async def _check_running_parts(
    process: ProcessSettings, account: AccountSettings, store: Store, clock: Clock
) -> list[Finding]:
    await store.ping()
    letters = len(await store.dead_letters(account.credentials.appid, 1000))
    findings = [Finding(True, f"The store {without_password(process.store.url)} is writable.")]
    findings += await _check_persistence(store)
    findings += await asyncio.to_thread(_check_broker, process.broker.url, account.credentials.appid)
    if letters:
        findings.append(Finding(True, f"Dead letters: {letters}; list them with python -m wxbot deadletters list."))
    findings.append(await _check_clock(account.api.base, clock, process.server.api_timeout))
    if account.credentials.account.is_passive:
        return [*findings, Finding(True, "No API call was tested, because this account only sends passive replies.")]
    with tempfile.TemporaryDirectory(prefix="wxbot-check-") as folder:
        findings += await _check_api(process, account, store, SqliteStore(Path(folder) / "token.db"))
    return findings


async def _check_persistence(store: Store) -> list[Finding]:
    """Return findings on the data that a power loss or a failover of a Redis server may lose."""
    if not isinstance(store, HasServerFacts):
        return []
    server = await store.facts()
    findings = [_check_appendonly(server)]
    if server.evicts:
        findings.append(
            Finding(
                False,
                f"{server.name} may delete messages when its memory is full (maxmemory-policy "
                f"{server.maxmemory_policy}): set maxmemory-policy noeviction.",
            )
        )
    if not server.writes_to_disk:
        findings.append(Finding(False, f"The last write of {server.name} to its disk failed: see its log."))
    if server.replicas:
        findings.append(
            Finding(
                True,
                f"{server.name} has {server.replicas} replica(s). Replication is asynchronous: a failover may lose the "
                "last acknowledged messages (docs/scaling.md, Persistence).",
            )
        )
    return findings


def _check_appendonly(server: RedisFacts) -> Finding:
    if not server.appendonly:
        since = " since the last snapshot" if server.snapshots else ""
        return Finding(
            False,
            f"AOF persistence of {server.name} is off (appendonly no): a restart or a power loss may lose all "
            f"acknowledged messages{since}. Set appendonly yes.",
        )
    if server.appendfsync == "always":
        return Finding(True, f"Acknowledged messages survive a power loss of {server.name} (appendfsync always).")
    if server.appendfsync == "no":
        return Finding(
            False,
            f"{server.name} does not sync its AOF (appendfsync no): a power loss may lose about 30 seconds of "
            "acknowledged messages. Set appendfsync everysec or always.",
        )
    if server.appendfsync == "everysec":
        return Finding(
            True,
            f"A power loss of {server.name} may lose the last one to two seconds of acknowledged messages (appendfsync "
            "everysec). With appendfsync always it loses none.",
        )
    return Finding(True, f"AOF persistence of {server.name} is on (appendonly yes), but appendfsync cannot be read.")


def _check_broker(url: str, appid: str) -> list[Finding]:
    if not url:
        return []
    try:
        check_broker(url, appid)
    except WxbotError as error:
        return [Finding(False, f"The broker does not work: {error}.")]
    return [Finding(True, f"The broker {without_password(url)} accepts wake-ups.")]


async def _check_clock(address: str, clock: Clock, timeout: float) -> Finding:
    try:
        limit = aiohttp.ClientTimeout(timeout)
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(address) as response:
            date = response.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError) as error:
        return Finding(False, f"{address} cannot be reached: {type(error).__name__}.")
    name = "The clock of the store's server" if isinstance(clock, SharedClock) else "The clock of this machine"
    if date is None:
        return Finding(True, f"The clock was not checked, because the response of {address} has no Date.")
    skew = clock.now() - parsedate_to_datetime(date).timestamp()
    if abs(skew) > MAX_SKEW:
        return Finding(
            False,
            f"{name} differs from WeChat's by {skew:+.0f} s, so the 30-second window would be missed: set up NTP.",
        )
    return Finding(True, f"{name} agrees with WeChat's clock.")


async def _check_api(process: ProcessSettings, account: AccountSettings, store: Store, scratch: Store) -> list[Finding]:
    # A stored token would hide a wrong AppSecret, so the client fetches another token into an empty store.
    # The classic call is an exception, because there a new token makes the token of a running bot invalid.
    scratch.open()
    token_store = scratch if account.api.token_call == "stable" else store  # noqa: S105
    client = make_client(process, account, token_store, SystemClock())
    await client.open()
    try:
        return await _try_typing(client, account.credentials)
    finally:
        await client.close()
        scratch.close()


async def _try_typing(client: WeChatClient, credentials: Credentials) -> list[Finding]:
    """Check the access token and the path of the typing call with one call that no user can see."""
    token_works = Finding(
        True,
        "WeChat issued an access token and accepts it."
        if credentials.cloud_call == "off"
        else "WeChat accepts API calls.",
    )
    try:
        await client.typing(UNKNOWN_OPENID, "CancelTyping")
    except TokenRefused as error:
        return [Finding(False, f"WeChat does not accept the access token: {error}.")]
    except AccountNotAllowed as error:
        sentence = f"The typing call is not available to this account, or not at this path: {error}."
        sentence += " See docs/wechat.md, Typing."
        if error.errcode == WRONG_KIND:
            sentence += (
                " If the account is an Official Account without verification, set WXBOT_ACCOUNT_KIND=unverified."
            )
        return [token_works, Finding(False, sentence)]
    except ApiError as error:
        if error.errcode == BAD_OPENID:
            sentence = "The typing call works: as expected, WeChat does not know the openid of the test."
            return [token_works, Finding(True, sentence)]
        return [token_works, Finding(True, f"The typing call answered with an unexpected errcode: {error}.")]
    except WeChatError as error:
        return [Finding(False, f"WeChat's API does not work: {error}.")]
    return [token_works, Finding(True, "The typing call works.")]
