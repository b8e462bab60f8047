"""Real servers for tests, on free ports of the loopback. ``make servers`` sees that they can be started."""

from tests.servers.rabbit_server import RabbitServer
from tests.servers.redis_server import RedisServer
from tests.servers.sentinels import Sentinel, Sentinels

__all__ = ["RabbitServer", "RedisServer", "Sentinel", "Sentinels"]
