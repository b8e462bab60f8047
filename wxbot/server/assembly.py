"""Which store, clock and broker the settings ask for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from wxbot.clock import Clock, MovedClock, SharedClock, SystemClock
from wxbot.errors import ConfigError
from wxbot.settings.schema import Settings
from wxbot.store.copying_port import Bulk
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey, Retention
from wxbot.store.sqlite.copying import SqliteBulk
from wxbot.store.sqlite.store import SqliteStore
from wxbot.wechat.push.callback import Callback
from wxbot.wechat.push.cloud_callback import CloudCallback

if TYPE_CHECKING:  # who stays with SQLite need not have these
    from wxbot.wakeups.dramatiq.broker import HintBroker
    from wxbot.wakeups.dramatiq.hints import DramatiqWaker, HintReader
from wxbot.delivery.composer import Outgoing
from wxbot.model.media import MAX_BYTES

Made = TypeVar("Made")

SQLITE = "sqlite:///"


def make_clock(settings: Settings) -> Clock:
    """The machine's own time; where machines share a store, that of its server; under a simulator, the simulator's."""
    if settings.clock_file is not None:
        return MovedClock(settings.clock_file)
    return SystemClock() if settings.store_url.startswith(SQLITE) else SharedClock()


def make_store(settings: Settings, clock: Clock | None = None) -> Store:
    """The store at ``settings.store_url``, not opened yet. A ``SharedClock`` follows the time of its server.

    Raises ConfigError if the address cannot be read.
    """
    if settings.store_url.startswith(SQLITE):
        return _on_sqlite(SqliteStore, settings)
    try:
        from wxbot.store.redis.store import RedisStore
    except ImportError:
        raise _redis_is_missing() from None
    return _on_redis(RedisStore, settings, clock)


def make_bulk(settings: Settings, clock: Clock | None = None) -> Bulk:
    """The same store as ``make_store``, to be read out or filled as a whole. Raises ConfigError."""
    if settings.store_url.startswith(SQLITE):
        return _on_sqlite(SqliteBulk, settings)
    try:
        from wxbot.store.redis.copying import RedisBulk
    except ImportError:
        raise _redis_is_missing() from None
    return _on_redis(RedisBulk, settings, clock)


def _on_sqlite(make: Callable[..., Made], settings: Settings) -> Made:
    path = Path(settings.store_url.removeprefix(SQLITE))
    return make(path, full_sync=settings.sqlite_synchronous == "full", retention=_retention(settings))


def _on_redis(make: Callable[..., Made], settings: Settings, clock: Clock | None) -> Made:
    on_time = clock.follow if isinstance(clock, SharedClock) else None
    kept, replicas = _retention(settings), settings.redis_replicas
    try:
        return make(settings.store_url, retention=kept, on_time=on_time, replicas=replicas)
    except ValueError as error:
        raise ConfigError([f"WXBOT_STORE_URL: {error}"]) from None


def _retention(settings: Settings) -> Retention:
    return Retention(settings.dedup_seconds, settings.dead_letter_seconds, settings.state_seconds)


def _redis_is_missing() -> ConfigError:
    return ConfigError(["WXBOT_STORE_URL: Redis needs two more packages: pip install redis hiredis"])


def make_waker(settings: Settings) -> DramatiqWaker:
    """What sends hints to the broker at ``settings.broker_url``. Raises ConfigError if the address cannot be read."""
    broker = _make_broker(settings)
    from wxbot.wakeups.dramatiq.hints import DramatiqWaker

    return DramatiqWaker(broker, settings.appid)


def make_hint_reader(settings: Settings, adopt: Callable[[ConversationKey, float], None]) -> HintReader:
    """What takes hints from the broker. Raises ConfigError if the address cannot be read."""
    broker = _make_broker(settings)
    from wxbot.wakeups.dramatiq.hints import HintReader

    return HintReader(broker, settings.appid, adopt)


def check_broker(settings: Settings) -> None:
    """Connect to the broker, if there is one. Raises ConfigError, StoreUnavailable."""
    if settings.broker_url:
        waker = make_waker(settings)
        lines = logging.getLogger("wxbot.hints")
        lines.disabled = True  # what they would say is in the error
        try:
            waker.open()
        finally:
            waker.close()
            lines.disabled = False


def read_metrics(settings: Settings) -> bytes | None:
    """What Dramatiq has counted, for Prometheus; None but on a worker with ``prometheus_client``."""
    if settings.role != "worker":
        return None
    from wxbot.wakeups.dramatiq.broker import metrics

    return metrics()


def _make_broker(settings: Settings) -> HintBroker:
    try:
        from wxbot.wakeups.dramatiq.broker import make_broker

        return make_broker(settings.broker_url)
    except ImportError as error:
        needed = "pip install dramatiq redis hiredis (for amqp:// also pika)"
        raise ConfigError([f"WXBOT_BROKER_URL: a package is missing ({error.name}): {needed}"]) from None
    except ValueError as error:
        raise ConfigError([f"WXBOT_BROKER_URL: {error}"]) from None


def make_outgoing(settings: Settings) -> Outgoing:
    """What the account may send."""
    return Outgoing(
        account_kind=settings.account_kind,
        kinds=settings.reply_kinds,
        text_bytes=settings.text_bytes,
        media_bytes={**MAX_BYTES, "image": settings.image_bytes},
        ai_mark=settings.ai_mark,
    )


def callback_for(settings: Settings) -> Callback | CloudCallback:
    """What verifies, opens and answers the account's pushes.

    On WeChat Cloud Hosting they come unsigned, unless there is a token: then only signed ones are believed, as ever.
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
