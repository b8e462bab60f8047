"""The assembly: only this module makes parts from the settings. Each part gets single values, never the settings."""

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
from wxbot.conversation.dispatcher import Dispatcher, DispatcherOptions
from wxbot.conversation.intake import Intake
from wxbot.conversation.pipeline import Pipeline, PipelineOptions
from wxbot.delivery.composer import Composer
from wxbot.delivery.outbox import ApiOutbox, Outbox, OutboxOptions
from wxbot.delivery.passive_outbox import PassiveOutbox, PassiveReplyWaiter
from wxbot.errors import ConfigError, PluginError
from wxbot.model.media import MAX_BYTES
from wxbot.model.quota import ONE_FOR_EACH_PUSH, UNKNOWN_QUOTA
from wxbot.plugin.plugin import Plugin
from wxbot.server.bot import Bot
from wxbot.server.deployment import Deployment
from wxbot.server.plugin_setup import PluginSet, load_plugins, misspelt_everywhere
from wxbot.server.runtime import ProcessingParts, Runtime
from wxbot.server.send_api import SendApi
from wxbot.settings.accounts_file import problems_of
from wxbot.settings.schema import Settings
from wxbot.store.copying_port import BulkStore
from wxbot.store.port import Store, TokenStore
from wxbot.store.records import ConversationKey, Lease, Retention
from wxbot.store.sqlite.copying import SqliteBulkStore
from wxbot.store.sqlite.store import SqliteStore
from wxbot.typing_indicator.indicator import NOTE_SECONDS, TypingIndicator, TypingOptions
from wxbot.typing_indicator.rules import TypingState
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.client import TokenAndMediaStore, WeChatClient
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
    accounts: Mapping[str, Settings],
    *,
    plugins: Mapping[str, Sequence[Plugin]] | None = None,
    clock: Clock | None = None,
) -> Deployment:
    """Make the bots of ``accounts`` (``wxbot.settings.accounts_file.load_accounts``), by account name.

    ``plugins`` replaces the plugins in the plugin folders, by account. Everything is checked; nothing is opened,
    connected or started. Raises ConfigError with the problems of all accounts, PluginError.
    """
    return Deployment(_bots(accounts, plugins or {}, clock))


def _bots(
    accounts: Mapping[str, Settings], plugins: Mapping[str, Sequence[Plugin]], clock: Clock | None
) -> dict[str, Bot]:
    """Make the bots, by account name. Raises ConfigError, PluginError."""
    if not accounts:
        raise ConfigError(["there is no account"])
    bots: dict[str, Bot] = {}
    problems: list[str] = []
    for name, settings in accounts.items():
        own = settings.of_account(name) if name else settings
        try:
            bots[name] = make_bot(own, plugins=plugins.get(name), clock=clock)
        except (ConfigError, PluginError) as error:
            if not name:
                raise
            problems += problems_of(own, error)
    if len(bots) == len(accounts) and "" not in accounts:
        problems += misspelt_everywhere(bot.plugins for bot in bots.values())
    if problems:
        raise ConfigError(problems)
    return bots


def make_bot(settings: Settings, *, plugins: Sequence[Plugin] | None = None, clock: Clock | None = None) -> Bot:
    """Make the bot of one account. Everything is checked; nothing is opened, connected or started.

    ``plugins`` replaces the plugins in the plugin folders. Raises ConfigError, PluginError.
    """
    clock = clock or make_clock(settings)
    plugin_set = make_plugins(settings, plugins)
    composer = make_composer(settings)
    send_key = settings.send_key.get_secret_value() if settings.send_key else None
    return Bot(
        appid=settings.appid,
        clock=clock,
        plugins=plugin_set,
        callback=make_callback(settings),
        intake=_intake(settings, plugin_set),
        send_api=SendApi(settings.appid, composer, clock, key=send_key, is_passive=_is_passive(settings)),
        make_runtime=lambda is_busy: _runtime(settings, clock, plugin_set, composer, is_busy),
        callback_path=None if settings.role == "worker" else settings.callback_path,
        pending_text=settings.pending_text if _is_passive(settings) else None,
        names_agent=settings.account_kind == "official",
        drain_seconds=settings.drain_seconds,
        max_body_bytes=settings.max_body_bytes,
    )


def make_plugins(settings: Settings, plugins: Sequence[Plugin] | None = None) -> PluginSet:
    """Load the plugins that the settings name, or set up ``plugins``. Raises ConfigError, PluginError."""
    return load_plugins(
        plugins,
        folders=settings.plugin_folders,
        names=settings.plugins,
        account=settings.account,
        values=settings.plugin_settings,
    )


def make_callback(settings: Settings) -> Callback | CloudCallback:
    """Make the part that verifies and decrypts pushes and writes the responses.

    WeChat Cloud Hosting sends unsigned pushes. With a token, only signed pushes are accepted there too.
    """
    if settings.cloud_call != "off" and not settings.token.get_secret_value().strip():
        return CloudCallback(settings.appid)
    return Callback(
        appid=settings.appid,
        token=settings.token.get_secret_value(),
        aes_key=settings.aes_key.get_secret_value() if settings.aes_key else None,
        previous_aes_key=settings.previous_aes_key.get_secret_value() if settings.previous_aes_key else None,
        max_skew_seconds=settings.max_skew_seconds,
    )


def make_composer(settings: Settings) -> Composer:
    """Make the part that turns a handler's reply into messages for this account."""
    return Composer(
        account_kind=settings.account_kind,
        kinds=settings.reply_kinds,
        text_bytes=settings.text_bytes,
        media_bytes={**MAX_BYTES, "image": settings.image_bytes},
        ai_mark=settings.ai_mark,
    )


def _intake(settings: Settings, plugins: PluginSet) -> Intake:
    return Intake(
        settings.appid,
        plugins.router,
        settings.allowances,
        handover_seconds=settings.handover_seconds,
        resume_words=frozenset(word.casefold() for word in settings.resume_words),
        is_passive=_is_passive(settings),
    )


def _is_passive(settings: Settings) -> bool:
    return settings.account_kind == "unverified"


def _may_type(settings: Settings) -> bool:
    return settings.typing and not _is_passive(settings)


# The runtime


def _runtime(
    settings: Settings, clock: Clock, plugins: PluginSet, composer: Composer, is_busy: Callable[[], bool]
) -> Runtime:
    store = make_store(settings, clock)
    passive_replies = PassiveReplyWaiter(store, clock)
    processes_messages = not settings.broker_url or settings.role == "worker"
    reads_wakeups = settings.broker_url and processes_messages
    return Runtime(
        store,
        passive_replies,
        is_busy=is_busy,
        make_parts=partial(_processing_parts, settings, clock, plugins, composer, store, passive_replies)
        if processes_messages
        else None,
        broker_waker=None if processes_messages else make_waker(settings),
        make_reader=partial(make_wakeup_reader, settings) if reads_wakeups else None,
        read_metrics=partial(read_metrics, settings),
    )


def _processing_parts(
    settings: Settings,
    clock: Clock,
    plugins: PluginSet,
    composer: Composer,
    store: Store,
    passive_replies: PassiveReplyWaiter,
) -> ProcessingParts:
    client = make_client(settings, store, clock)
    threads = ThreadPoolExecutor(settings.handler_threads, thread_name_prefix="wxbot-handler")
    dispatcher = _dispatcher(settings, clock, store, client)
    delivery = _delivery(settings, clock, store, client, dispatcher, passive_replies)
    options = _pipeline_options(settings, plugins)
    pipeline = Pipeline(plugins.router, client, delivery, composer, clock, threads, options)
    return ProcessingParts(client, threads, dispatcher, pipeline)


def _dispatcher(settings: Settings, clock: Clock, store: Store, client: WeChatClient) -> Dispatcher:
    may_type = _may_type(settings)
    typing = TypingOptions(may_type, settings.typing_delay, settings.typing_margin)
    options = DispatcherOptions(
        lease_seconds=settings.lease_seconds,
        poll_seconds=settings.poll_seconds,
        wakeup_seconds=WAKEUP_SECONDS if settings.broker_url else 0.0,
        typing_note_seconds=NOTE_SECONDS if may_type and settings.typing_delay == 0 else 0.0,
        max_conversations=settings.max_conversations,
    )

    def indicator(lease: Lease, state: TypingState, noted_until: float) -> TypingIndicator:
        return TypingIndicator(client, store, lease, clock, typing, state, noted_until)

    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return Dispatcher(settings.appid, owner, store, clock, options, indicator)


def _pipeline_options(settings: Settings, plugins: PluginSet) -> PipelineOptions:
    is_passive = _is_passive(settings)
    return PipelineOptions(
        handler_timeout=settings.handler_timeout,
        max_attempts=settings.max_attempts,
        retry_seconds=settings.retry_seconds,
        has_agents=not is_passive,
        handover_seconds=settings.handover_seconds,
        continue_words=frozenset(word.casefold() for word in settings.continue_words),
        resume_words=frozenset(word.casefold() for word in settings.resume_words),
        unknown_quota=ONE_FOR_EACH_PUSH if is_passive else UNKNOWN_QUOTA,
        error_text=settings.error_text,
        timeout_text=settings.timeout_text,
        plugin_settings=plugins.settings,
        plugin_resources=plugins.resources,
    )


def _delivery(
    settings: Settings,
    clock: Clock,
    store: Store,
    client: WeChatClient,
    dispatcher: Dispatcher,
    passive_replies: PassiveReplyWaiter,
) -> Outbox:
    options = OutboxOptions(settings.text_bytes, settings.continue_text, settings.error_text)
    if _is_passive(settings):
        return PassiveOutbox(client, store, clock, options, dispatcher.check_lease, passive_replies.on_reply)
    return ApiOutbox(client, store, clock, options, dispatcher.check_lease)


# WeChat's API


def make_client(settings: Settings, store: TokenAndMediaStore, clock: Clock) -> WeChatClient:
    """Make a client of WeChat's API with its own transport and token provider. Nothing is opened yet.

    With cloud call the client has no AppSecret and fetches no token (wxbot/wechat/api/cloud.py).
    """
    transport = Transport()
    mode = settings.cloud_call
    return WeChatClient(
        appid=settings.appid,
        transport=transport,
        tokens=_tokens(settings, transport, store, clock),
        store=store,
        clock=clock,
        address=_address(settings),
        read_answer=parse_response if mode == "off" else partial(parse_cloud_response, mode),
        timeout=settings.api_timeout,
        typing_path=settings.typing_path,
        business_id=settings.business_id,
    )


def _tokens(settings: Settings, transport: Transport, store: TokenStore, clock: Clock) -> Tokens:
    if settings.cloud_call == "open":
        return NoTokens()
    if settings.cloud_call == "token":
        return CloudFileTokens(settings.cloud_token_file)
    fetch = TokenCall(
        transport,
        appid=settings.appid,
        secret=settings.secret.get_secret_value(),
        api_base=settings.api_base,
        kind=settings.token_call,
        seconds=settings.api_timeout,
    )
    return TokenProvider(settings.appid, fetch, store, clock, settings.api_timeout)


def _address(settings: Settings) -> ApiAddress:
    if settings.cloud_call == "off":
        return ApiAddress(settings.api_base)
    parameter = CLOUD_TOKEN_PARAMETER if settings.cloud_call == "token" else ""
    return ApiAddress(settings.api_base, parameter, settings.appid if settings.cloud_from_appid else "")


# The clock and the store


def make_clock(settings: Settings) -> Clock:
    """Make the clock: for the playground an offset clock, for a shared store its server's, else the machine's."""
    if settings.clock_file is not None:
        return OffsetClock(settings.clock_file)
    return SystemClock() if settings.store_url.startswith(SQLITE) else SharedClock()


def make_store(settings: Settings, clock: Clock | None = None) -> Store:
    """Make the store at ``settings.store_url``, not opened yet. A ``SharedClock`` follows the time of its server.

    Raises ConfigError if the address cannot be read.
    """
    if settings.store_url.startswith(SQLITE):
        return _on_sqlite(SqliteStore, settings)
    try:
        from wxbot.store.redis.store import RedisStore
    except ImportError:
        raise _missing_redis() from None
    return _on_redis(RedisStore, settings, clock)


def make_bulk_store(settings: Settings, clock: Clock | None = None) -> BulkStore:
    """Make the same store as ``make_store`` with the methods for copying a whole store. Raises ConfigError."""
    if settings.store_url.startswith(SQLITE):
        return _on_sqlite(SqliteBulkStore, settings)
    try:
        from wxbot.store.redis.copying import RedisBulkStore
    except ImportError:
        raise _missing_redis() from None
    return _on_redis(RedisBulkStore, settings, clock)


def _on_sqlite(make: Callable[..., Made], settings: Settings) -> Made:
    path = Path(settings.store_url.removeprefix(SQLITE))
    return make(path, full_sync=settings.sqlite_synchronous == "full", retention=_retention(settings))


def _on_redis(make: Callable[..., Made], settings: Settings, clock: Clock | None) -> Made:
    on_time = clock.follow if isinstance(clock, SharedClock) else None
    retention, replicas = _retention(settings), settings.redis_replicas
    try:
        return make(settings.store_url, retention=retention, on_time=on_time, replicas=replicas)
    except ValueError as error:
        raise ConfigError([f"WXBOT_STORE_URL: {error}"]) from None


def _retention(settings: Settings) -> Retention:
    return Retention(settings.dedup_seconds, settings.dead_letter_seconds, settings.state_seconds)


def _missing_redis() -> ConfigError:
    how = 'pip install "wxbot-kefu[redis]", or in a checkout of wxbot: pip install redis hiredis'
    return ConfigError([f"WXBOT_STORE_URL: the packages redis and hiredis are missing: {how}"])


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


def make_waker(settings: Settings) -> DramatiqWaker:
    """Make the sender of wake-ups to the broker at ``settings.broker_url``. Raises ConfigError."""
    broker = _broker(settings)
    from wxbot.wakeups.dramatiq.waker import DramatiqWaker

    return DramatiqWaker(broker, settings.appid)


def make_wakeup_reader(settings: Settings, adopt: Callable[[ConversationKey, float], None]) -> WakeupReader:
    """Make the receiver of wake-ups, which calls ``adopt`` for each. Raises ConfigError."""
    broker = _broker(settings)
    from wxbot.wakeups.dramatiq.waker import WakeupReader

    return WakeupReader(broker, settings.appid, adopt)


def check_broker(settings: Settings) -> None:
    """Connect to the broker, if there is one. Raises ConfigError, StoreUnavailable."""
    if settings.broker_url:
        waker = make_waker(settings)
        lines = logging.getLogger("wxbot.wakeups")
        lines.disabled = True  # the error contains the same text
        try:
            waker.open()
        finally:
            waker.close()
            lines.disabled = False


def read_metrics(settings: Settings) -> bytes | None:
    """Return Dramatiq's counts for Prometheus; None unless this is a worker with ``prometheus_client``."""
    if settings.role != "worker":
        return None
    from wxbot.wakeups.dramatiq.broker import metrics

    return metrics()


def _broker(settings: Settings) -> WakeupBroker:
    try:
        return make_broker(settings.broker_url)
    except ImportError as error:
        how = (
            'pip install "wxbot-kefu[workers]" (for amqp:// "wxbot-kefu[rabbitmq]"), or in a checkout of wxbot: '
            "pip install dramatiq redis hiredis (for amqp:// also pika)"
        )
        raise ConfigError([f"WXBOT_BROKER_URL: the package {error.name} is missing: {how}"]) from None
    except ValueError as error:
        raise ConfigError([f"WXBOT_BROKER_URL: {error}"]) from None
