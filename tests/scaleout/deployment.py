"""wxbot on several simulated hosts: a Redis, webhook processes and workers, all of them real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis

from tests.scaleout.busy_wechat import BusyWeChat
from tests.scaleout.network import Host, Network
from tests.servers.processes import Process, wait_until
from tests.servers.programs import REDIS, found
from wxbot.wakeups.dramatiq.redis import NAMESPACE
from wxbot.wakeups.dramatiq.waker import queue_name

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).parent / "plugins"
STORE_PORT = 6379
WEBHOOK_PORT = 8000
WORKER_PORT = 9000
WEBHOOKS = ("webhook1", "webhook2")
WORKERS = ("worker1", "worker2")
STORE = "store"
HOSTS = (*WEBHOOKS, *WORKERS, STORE)
STOP_SECONDS = 60.0
NICE = 15
"""Niceness of the started processes, so that the simulated platform has priority over them."""
_TICKS = os.sysconf("SC_CLK_TCK")
_SETTING_PREFIXES = ("WXBOT_", "GUNICORN_", "WEB_CONCURRENCY")


class Service:
    """A program on a host, which can be started again after it has ended. Its output goes into one file."""

    def __init__(self, host: Host, words: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
        self.host = host
        self._folder = folder
        self._settings = settings
        # The service inherits the environment except variables that are settings.
        unset = [word for name in os.environ if name.startswith(_SETTING_PREFIXES) for word in ("-u", name)]
        self._command = host.command("nice", "-n", str(NICE), "env", "-C", str(ROOT), *unset, *words)
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Return the process id of gunicorn's master, or of Redis."""
        assert self._process is not None, f"{self.host.name} does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def children(self) -> list[int]:
        """Return the process ids of gunicorn's workers."""
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def start(self) -> None:
        self._process = Process(self._command, self._folder, self._settings)

    def stop(self) -> None:
        """Send SIGTERM, and wait for the end."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(STOP_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to all processes, and wait for their end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def story(self) -> str:
        return (self._folder / "output.log").read_text(encoding="utf-8", errors="replace")

    def cpu_seconds(self) -> float:
        """Return the user and system time of all processes, also of ended ones, in seconds."""
        return sum(_cpu_seconds(pid) for pid in (self.pid, *self.children))


class Bot(Service):
    """gunicorn with wxbot, as webhook or as worker."""

    def __init__(self, host: Host, words: Sequence[str], folder: Path, settings: Mapping[str, str], port: int) -> None:
        super().__init__(host, words, folder, settings)
        self.address = (host.address, port)

    def waits_until_ready(self) -> None:
        wait_until(self._is_ready, self.story)

    def _is_ready(self) -> bool:
        assert self.runs, f"{self.host.name} has ended:\n{self.story()}"
        connection = HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


@dataclass(frozen=True)
class Backlog:
    """The numbers of users with pending messages and with leases in the store, and of wake-ups in the broker."""

    waiting: int
    leased: int
    wakeups: int

    def __str__(self) -> str:
        return f"waiting {self.waiting:4d}  leased {self.leased:4d}  wake-ups {self.wakeups:4d}"


class Store(Service):
    """A Redis with AOF persistence: the store, and the broker in another database."""

    def __init__(self, host: Host, folder: Path) -> None:
        executable = found(REDIS)
        assert executable is not None, f"there is no {REDIS} here"
        folder.mkdir(parents=True)
        configuration = folder / "redis.conf"
        lines = (f"bind {host.address}", f"port {STORE_PORT}", f'dir "{folder}"', 'save ""', "appendonly yes")
        configuration.write_text("\n".join((*lines, "protected-mode no\n")))
        super().__init__(host, [str(executable), str(configuration)], folder, {})

    @property
    def url(self) -> str:
        return f"redis://{self.host.address}:{STORE_PORT}"

    def start(self) -> None:
        """Start Redis, and wait until it has loaded its data."""
        super().start()
        wait_until(self._answers, self.story)

    def waiting_and_leased(self, appid: str) -> tuple[int, int]:
        """Return the numbers of users with pending messages and without, and with a lease."""
        with self._client(0) as client:
            return (
                client.zcard(f"wxbot:{{{appid}}}:waiting"),
                client.zcard(f"wxbot:{{{appid}}}:leases"),
            )

    def wakeups(self, appid: str) -> int:
        with self._client(1) as client:
            return int(client.llen(f"{NAMESPACE}:{queue_name(appid)}"))

    def _client(self, database: int) -> redis.Redis:
        return redis.Redis(
            self.host.address,
            STORE_PORT,
            database,
            socket_connect_timeout=2,
            socket_timeout=5,
            decode_responses=True,
        )

    def _answers(self) -> bool:
        assert self.runs, f"Redis has ended:\n{self.story()}"
        try:
            with self._client(0) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class Deployment:
    """A Redis, two webhook hosts and, with ``broker``, two worker hosts. No process runs yet."""

    def __init__(self, hosts: Mapping[str, Host], wechat: BusyWeChat, folder: Path, *, broker: bool) -> None:
        self.broker = broker
        self.wechat = wechat
        self.store = Store(hosts[STORE], folder / STORE)
        self._hosts = hosts
        self._folder = folder
        self.bots: dict[str, Bot] = {}

    @property
    def services(self) -> list[Service]:
        return [self.store, *self.bots.values()]

    @property
    def processing(self) -> list[Bot]:
        """Return the bots that run handlers."""
        names = WORKERS if self.broker else WEBHOOKS
        return [self.bots[name] for name in names if name in self.bots]

    def start(self, names: Sequence[str], settings: Mapping[str, str], processes: int = 2) -> None:
        """Start webhooks and workers, and wait until they are ready."""
        for name in names:
            bot = self.bots[name] = self._bot(self._hosts[name], processes, settings)
            bot.start()
        for name in names:
            self.bots[name].waits_until_ready()

    def kill(self) -> None:
        """Kill all processes."""
        for service in self.services:
            service.kill()

    def backlog(self) -> Backlog:
        appid = self.wechat.appid
        return Backlog(*self.store.waiting_and_leased(appid), self.store.wakeups(appid))

    def is_idle(self) -> bool:
        """Return True if there are no pending messages and no leases."""
        return self.store.waiting_and_leased(self.wechat.appid) == (0, 0)

    def bot_of(self, pid: int) -> Bot | None:
        """Return the bot of a gunicorn worker; None if there is none."""
        return next((bot for bot in self.processing if pid in bot.children), None)

    def _bot(self, host: Host, processes: int, more: Mapping[str, str]) -> Bot:
        is_worker = host.name in WORKERS
        port = WORKER_PORT if is_worker else WEBHOOK_PORT
        settings = {
            **self.wechat.settings(),
            "WXBOT_STORE_URL": f"{self.store.url}/0",
            **({"WXBOT_BROKER_URL": f"{self.store.url}/1"} if self.broker else {}),
            "WXBOT_PLUGIN_FOLDERS": str(PLUGINS),
            "WXBOT_PLUGIN_CROWD_HOST": host.name,
            "WXBOT_BIND": f"{host.address}:{port}",
            "PYTHONUNBUFFERED": "1",
            **more,
        }
        serve = ["-m", "gunicorn", "wsgi:app", "--workers", str(processes)]
        work = ["-m", "wxbot", "worker", "--processes", str(processes), "--bind", f"{host.address}:{port}"]
        concurrency = settings.pop("concurrency", "")
        if is_worker and concurrency:
            work += ["--concurrency", concurrency]
        words = [sys.executable, *(work if is_worker else serve)]
        return Bot(host, words, self._folder / host.name, settings, port)


@contextmanager
def deployment(network: Network, wechat: BusyWeChat, folder: Path, *, broker: bool) -> Iterator[Deployment]:
    """Make a deployment and start its Redis. Kill all its processes afterwards."""
    with ExitStack() as stack:
        made = Deployment(network.hosts, wechat, folder, broker=broker)
        stack.callback(made.kill)
        made.store.start()
        yield made


def webhook_addresses(network: Network) -> list[tuple[str, int]]:
    return [(network.hosts[name].address, WEBHOOK_PORT) for name in WEBHOOKS]


def kill_process(pid: int) -> None:
    """Kill a process with SIGKILL."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
