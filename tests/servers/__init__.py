"""Real servers for tests, on free ports of 127.0.0.1. ``make servers`` installs their programs if necessary."""

from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer
from tests.servers.sentinels import Sentinel, Sentinels

__all__ = ["RabbitServer", "RedisServer", "Sentinel", "Sentinels"]
