"""The assembly: only this module makes parts from the settings. A part gets its own values, never all settings."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wxbot.clock import Clock, OffsetClock, SharedClock, SystemClock
from wxbot.conversation.dispatcher import Dispatcher
from wxbot.conversation.intake import Intake
from wxbot.conversation.pipeline import Pipeline, PluginParts
from wxbot.delivery.channel import Channel
from wxbot.delivery.composer import Composer
from wxbot.delivery.outbox import OutboxParts
from wxbot.errors import ConfigError, PluginError
from wxbot.model.accounts import AccountKind
from wxbot.plugin.plugin import Plugin
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.passive_replies import PassiveReplyWaiter
from wxbot.server.plugin_setup import PluginSet, load_plugins, misspelt_everywhere
from wxbot.server.runtime import ProcessingParts, Runtime
from wxbot.server.send_api import SendApi
from wxbot.settings.accounts_file import problems_of
from wxbot.settings.schema import AccountSettings, ProcessSettings, RetentionSettings, Settings
from wxbot.store.copying_port import BulkStore
from wxbot.store.port import SharedValues, Store
from wxbot.store.records import ConversationKey
from wxbot.store.sqlite.copying import SqliteBulkStore
from wxbot.store.sqlite.store import SqliteStore
from wxbot.typing_indicator.indicator import TypingParts
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.client import WeChatClient
from wxbot.wechat.api.cloud import CLOUD_TOKEN_PARAMETER, CloudFileTokens, NoTokens, parse_cloud_response
from wxbot.wechat.api.token import TokenProvider, Tokens
from wxbot.wechat.api.token_call import TokenCall
from wxbot.wechat.http.transport import Transport, parse_response
from wxbot.wechat.push.callback import Callback
from wxbot.wechat.push.cloud_callback import CloudCallback

if TYPE_CHECKING:  # these modules need optional packages
    from wxbot.wakeups.dramatiq.broker import WakeupBroker
    from wxbot.wakeups.dramatiq.waker import DramatiqWaker, WakeupReader

Made = TypeVar("Made")

SQLITE = "sqlite:///"

WAKEUP_SECONDS = 2.0
"""Time that a wake-up may take through the broker, in seconds. After it, polling processes the message."""


# The bots


def make_deployment(
    settings: Settings, *, plugins: Mapping[str, Sequence[Plugin]] | None = None, clock: Clock | None = None
) -> Deployment:
    """Make the bots of all accounts (``wxbot.settings.environment.load_settings``).

    ``plugins`` replaces the plugins in the plugin folders, by account name. Everything is checked; nothing is opened,
    connected or started. Raises ConfigError with the problems of all accounts, PluginError.
    """
    bots: dict[str, Bot] = {}
    problems: list[str] = []
    for name, account in settings.accounts.items():
        try:
            bots[name] = make_bot(settings, name, plugins=(plugins or {}).get(name), clock=clock)
        except (ConfigError, PluginError) as error:
            if not name:
                raise
            problems += problems_of(account, error)
    if len(bots) == len(settings.accounts) and "" not in bots:
        problems += misspelt_everywhere(bot.plugins for bot in bots.values())
    if problems:
        raise ConfigError(problems)
    return Deployment(bots)


def make_bot(
    settings: Settings, name: str = "", *, plugins: Sequence[Plugin] | None = None, clock: Clock | None = None
) -> Bot:
    """Make the bot of the account ``name``. Everything is checked; nothing is opened, connected or started.

    ``plugins`` replaces the plugins in the plugin folders. Raises ConfigError, PluginError.
    """
    process, account = settings.process, settings.accounts[name]
    credentials, kind = account.credentials, account.credentials.account
    is_passive = kind.is_passive
    clock = clock or make_clock(process)
    plugin_set = make_plugins(account, plugins)
    composer = make_composer(account)
    send_key = credentials.send_key.get_secret_value() if credentials.send_key else None
    return Bot(
        appid=credentials.appid,
        clock=clock,
        plugins=plugin_set,
        callback=make_callback(account),
        intake=Intake(
            credentials.appid, plugin_set.router, account.replies.quota, account.handover, is_passive=is_passive
        ),
        send_api=SendApi(credentials.appid, composer, clock, key=send_key, is_passive=is_passive),
        make_runtime=lambda is_busy: _runtime(process, account, clock, plugin_set, composer, is_busy),
        callback_path=None if process.broker.role == "worker" else account.push.path,
        pending_text=account.replies.pending_text if is_passive else None,
        names_agent=kind.names_agents,
        drain_seconds=process.server.drain_seconds,
        max_body_bytes=process.server.max_body_bytes,
    )


def make_plugins(account: AccountSettings, plugins: Sequence[Plugin] | None = None) -> PluginSet:
    """Load the plugins that the settings name, or set up ``plugins``. Raises ConfigError, PluginError."""
    return load_plugins(
        plugins,
        folders=account.plugins.folders,
        names=account.plugins.names,
        account=account.name,
        values=account.plugin_settings,
    )


def make_callback(account: AccountSettings) -> Callback | CloudCallback:
    """Make the part that verifies and decrypts pushes and writes the responses.

    WeChat Cloud Hosting sends unsigned pushes. With a token, only signed pushes are accepted there too.
    """
    given = account.credentials
    if given.cloud_call != "off" and not given.token.get_secret_value().strip():
        return CloudCallback(given.appid)
    return Callback(
        appid=given.appid,
        token=given.token.get_secret_value(),
        aes_key=given.aes_key.get_secret_value() if given.aes_key else None,
        previous_aes_key=given.previous_aes_key.get_secret_value() if given.previous_aes_key else None,
        max_skew_seconds=account.push.max_skew_seconds,
    )


def make_composer(account: AccountSettings) -> Composer:
    """Make the part that turns a handler's reply into messages for this account."""
    return Composer(account.credentials.account, account.replies)


# The runtime


def _runtime(
    process: ProcessSettings,
    account: AccountSettings,
    clock: Clock,
    plugins: PluginSet,
    composer: Composer,
    is_busy: Callable[[], bool],
) -> Runtime:
    store = make_store(process, account.retention, clock)
    appid, broker = account.credentials.appid, process.broker
    passive_replies = PassiveReplyWaiter(store, clock)
    processes_messages = not broker.url or broker.role == "worker"
    reads_wakeups = broker.url and processes_messages
    return Runtime(
        store,
        passive_replies,
        is_busy=is_busy,
        make_parts=partial(_processing_parts, process, account, clock, plugins, composer, store, passive_replies)
        if processes_messages
        else None,
        broker_waker=None if processes_messages else make_waker(broker.url, appid),
        make_reader=partial(make_wakeup_reader, broker.url, appid) if reads_wakeups else None,
        read_metrics=_dramatiq_metrics if broker.role == "worker" else lambda: None,
    )


def _processing_parts(
    process: ProcessSettings,
    account: AccountSettings,
    clock: Clock,
    plugins: PluginSet,
    composer: Composer,
    store: Store,
    passive_replies: PassiveReplyWaiter,
) -> ProcessingParts:
    kind = account.credentials.account
    channel = CHANNELS.get(account.credentials.kind, make_client)(process, account, store, clock)
    threads = ThreadPoolExecutor(account.handlers.threads, thread_name_prefix="wxbot-handler")
    may_type = account.typing.enabled and kind.has_typing
    dispatcher = Dispatcher(
        account.credentials.appid,
        f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        store,
        clock,
        process.dispatcher,
        TypingParts(channel, store, clock, account.typing, may_type),
        wakeup_seconds=WAKEUP_SECONDS if process.broker.url else 0.0,
    )
    outbox_parts = OutboxParts(
        account=kind,
        channel=channel,
        store=store,
        clock=clock,
        settings=account.replies,
        error_text=account.handlers.error_text,
        check_lease=dispatcher.check_lease,
        on_reply=passive_replies.on_reply,
    )
    parts = PluginParts(plugins.router, plugins.settings, plugins.resources)
    pipeline = Pipeline(parts, outbox_parts, composer, threads, account.handlers, account.handover)
    return ProcessingParts(channel, threads, dispatcher, pipeline)


MakeChannel = Callable[[ProcessSettings, AccountSettings, Store, Clock], Channel]

CHANNELS: dict[AccountKind, MakeChannel] = {}
"""The function that makes the channel, by kind of account. All other kinds use WeChat's customer-service API."""


# WeChat's API


def make_client(process: ProcessSettings, account: AccountSettings, store: SharedValues, clock: Clock) -> WeChatClient:
    """Make a client of WeChat's API with its own transport and token provider. Nothing is opened yet.

    With cloud call the client has no AppSecret and fetches no token (wxbot/wechat/api/cloud.py).
    """
    credentials, api, timeout = account.credentials, account.api, process.server.api_timeout
    transport = Transport()
    mode = credentials.cloud_call
    return WeChatClient(
        appid=credentials.appid,
        transport=transport,
        tokens=_tokens(account, transport, store, clock, timeout),
        store=store,
        clock=clock,
        address=_address(account),
        read_answer=parse_response if mode == "off" else partial(parse_cloud_response, mode),
        timeout=timeout,
        typing_path=api.typing_path,
        business_id=api.business_id,
    )


def _tokens(
    account: AccountSettings, transport: Transport, store: SharedValues, clock: Clock, timeout: float
) -> Tokens:
    credentials, api = account.credentials, account.api
    if credentials.cloud_call == "open":
        return NoTokens()
    if credentials.cloud_call == "token":
        return CloudFileTokens(api.cloud_token_file)
    fetch = TokenCall(
        transport,
        appid=credentials.appid,
        secret=credentials.secret.get_secret_value(),
        api_base=api.base,
        kind=api.token_call,
        seconds=timeout,
    )
    return TokenProvider(credentials.appid, fetch, store, clock, timeout)


def _address(account: AccountSettings) -> ApiAddress:
    credentials, api = account.credentials, account.api
    if credentials.cloud_call == "off":
        return ApiAddress(api.base)
    parameter = CLOUD_TOKEN_PARAMETER if credentials.cloud_call == "token" else ""
    return ApiAddress(api.base, parameter, credentials.appid if api.cloud_from_appid else "")


# The clock and the store


def make_clock(process: ProcessSettings) -> Clock:
    """Make the clock: for the playground an offset clock, for a shared store its server's, else the machine's."""
    if process.server.clock_file is not None:
        return OffsetClock(process.server.clock_file)
    return SystemClock() if process.store.url.startswith(SQLITE) else SharedClock()


def make_store(process: ProcessSettings, retention: RetentionSettings, clock: Clock | None = None) -> Store:
    """Make the store, not opened yet. A ``SharedClock`` follows the time of its server.

    Raises ConfigError if the address cannot be read or a package is missing.
    """

    def on_redis() -> type[Store]:
        from wxbot.store.redis.store import RedisStore

        return RedisStore

    return _make_store(SqliteStore, on_redis, process, retention, clock)


def make_bulk_store(process: ProcessSettings, retention: RetentionSettings, clock: Clock | None = None) -> BulkStore:
    """Make the same store as ``make_store`` with the methods for copying a whole store. Raises ConfigError."""

    def on_redis() -> type[BulkStore]:
        from wxbot.store.redis.copying import RedisBulkStore

        return RedisBulkStore

    return _make_store(SqliteBulkStore, on_redis, process, retention, clock)


def _make_store(
    on_sqlite: Callable[..., Made],
    on_redis: Callable[[], Callable[..., Made]],
    process: ProcessSettings,
    retention: RetentionSettings,
    clock: Clock | None,
) -> Made:
    store = process.store
    if store.url.startswith(SQLITE):
        path, full_sync = Path(store.url.removeprefix(SQLITE)), store.sqlite_synchronous == "full"
        return on_sqlite(path, full_sync=full_sync, retention=retention)
    on_time = clock.follow if isinstance(clock, SharedClock) else None
    try:
        return on_redis()(store.url, retention=retention, on_time=on_time, replicas=store.redis_replicas)
    except ImportError:
        how = 'pip install "wxbot-kefu[redis]", or in a checkout of wxbot: pip install redis hiredis'
        raise ConfigError([f"WXBOT_STORE_URL: the packages redis and hiredis are missing: {how}"]) from None
    except ValueError as error:
        raise ConfigError([f"WXBOT_STORE_URL: {error}"]) from None


# The broker


def make_broker(url: str) -> WakeupBroker:
    """Make the broker at ``url``, not connected yet: one for each waker or reader, after gunicorn has forked.

    ``url``: an address of Redis or Sentinel as in ``wxbot.store.redis.address``, or of RabbitMQ, ``amqp://`` or
    ``amqps://`` (TLS). Raises ValueError for an address that cannot be read, without quoting it; ImportError if a
    package is missing.
    """
    from wxbot.wakeups.dramatiq.broker import middleware

    if re.match("amqps?://", url):
        from wxbot.wakeups.dramatiq.rabbitmq import RabbitmqWakeupBroker  # imported here, because it needs pika

        return RabbitmqWakeupBroker(url, middleware())
    from wxbot.wakeups.dramatiq.redis import RedisWakeupBroker

    return RedisWakeupBroker(url, middleware())


def make_waker(url: str, appid: str) -> DramatiqWaker:
    """Make the sender of wake-ups to the broker at ``url``. Raises ConfigError."""
    broker = _broker(url)
    from wxbot.wakeups.dramatiq.waker import DramatiqWaker

    return DramatiqWaker(broker, appid)


def make_wakeup_reader(url: str, appid: str, adopt: Callable[[ConversationKey, float], None]) -> WakeupReader:
    """Make the receiver of wake-ups, which calls ``adopt`` for each. Raises ConfigError."""
    broker = _broker(url)
    from wxbot.wakeups.dramatiq.waker import WakeupReader

    return WakeupReader(broker, appid, adopt)


def check_broker(url: str, appid: str) -> None:
    """Connect to the broker at ``url``; empty means none. Raises ConfigError, StoreUnavailable."""
    if url:
        waker = make_waker(url, appid)
        lines = logging.getLogger("wxbot.wakeups")
        lines.disabled = True  # the error contains the same text
        try:
            waker.open()
        finally:
            waker.close()
            lines.disabled = False


def _dramatiq_metrics() -> bytes | None:
    from wxbot.wakeups.dramatiq.broker import metrics

    return metrics()


def _broker(url: str) -> WakeupBroker:
    try:
        return make_broker(url)
    except ImportError as error:
        how = (
            'pip install "wxbot-kefu[workers]" (for amqp:// "wxbot-kefu[rabbitmq]"), or in a checkout of wxbot: '
            "pip install dramatiq redis hiredis (for amqp:// also pika)"
        )
        raise ConfigError([f"WXBOT_BROKER_URL: the package {error.name} is missing: {how}"]) from None
    except ValueError as error:
        raise ConfigError([f"WXBOT_BROKER_URL: {error}"]) from None
