"""wxbot on several hosts: one Redis, webhook machines and worker machines, each a real process on its host."""

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
FIRST = 15
"""By so much our own process, the platform, goes before what it starts: the real one is no machine of ours."""
_TICKS = os.sysconf("SC_CLK_TCK")
_OURS = ("WXBOT_", "GUNICORN_", "WEB_CONCURRENCY")


class Service:
    """A program on a host, which can be started again after it has ended. Its output goes into one file."""

    def __init__(self, host: Host, words: Sequence[str], folder: Path, settings: Mapping[str, str]) -> None:
        self.host = host
        self._folder = folder
        self._settings = settings
        # The environment is taken over, apart from what would be settings: those are ours alone.
        alien = [word for name in os.environ if name.startswith(_OURS) for word in ("-u", name)]
        self._command = host.command("nice", "-n", str(FIRST), "env", "-C", str(ROOT), *alien, *words)
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Of the first process: gunicorn's master, or Redis."""
        assert self._process is not None, f"{self.host.name} does not run"
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def children(self) -> list[int]:
        """Gunicorn's workers."""
        with suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def start(self) -> None:
        self._process = Process(self._command, self._folder, self._settings)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL to all of it, and wait."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def story(self) -> str:
        return (self._folder / "output.log").read_text(encoding="utf-8", errors="replace")

    def cpu_seconds(self) -> float:
        """User and system time of its living processes, and of those that have ended."""
        return sum(_cpu_seconds(pid) for pid in (self.pid, *self.children))


class Bot(Service):
    """gunicorn with wxbot, as a webhook machine or as a worker machine."""

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
    """What is in the store, as numbers of users, and how many hints lie in the broker."""

    waiting: int
    leased: int
    hints: int

    def __str__(self) -> str:
        return f"waiting {self.waiting:4d}  leased {self.leased:4d}  hints {self.hints:4d}"


class Store(Service):
    """Redis with an append-only file: the store, and in another database the broker."""

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
        """Start, and wait until it has read what it kept."""
        super().start()
        wait_until(self._answers, self.story)

    def users_in_work(self, appid: str) -> tuple[int, int]:
        """How many wait for somebody, and how many have somebody."""
        with self._client(0) as client:
            return (
                client.zcard(f"wxbot:{{{appid}}}:waiting"),
                client.zcard(f"wxbot:{{{appid}}}:leases"),
            )

    def hints(self, appid: str) -> int:
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
    """A Redis, two webhook machines and, with ``broker``, two worker machines; nothing of it runs yet."""

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
    def answering(self) -> list[Bot]:
        """The machines on which handlers run."""
        names = WORKERS if self.broker else WEBHOOKS
        return [self.bots[name] for name in names if name in self.bots]

    def start(self, names: Sequence[str], settings: Mapping[str, str], processes: int = 2) -> None:
        """Start webhook and worker machines, and wait until they do their work."""
        for name in names:
            bot = self.bots[name] = self._bot(self._hosts[name], processes, settings)
            bot.start()
        for name in names:
            self.bots[name].waits_until_ready()

    def kill(self) -> None:
        """Power off."""
        for service in self.services:
            service.kill()

    def backlog(self) -> Backlog:
        appid = self.wechat.appid
        return Backlog(*self.store.users_in_work(appid), self.store.hints(appid))

    def is_idle(self) -> bool:
        """Nothing waits in the store, nobody works."""
        return self.store.users_in_work(self.wechat.appid) == (0, 0)

    def bot_of(self, pid: int) -> Bot | None:
        """The machine that a gunicorn worker belongs to."""
        return next((bot for bot in self.answering if pid in bot.children), None)

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
    """With its Redis running. All of its processes are gone afterwards."""
    with ExitStack() as stack:
        made = Deployment(network.hosts, wechat, folder, broker=broker)
        stack.callback(made.kill)
        made.store.start()
        yield made


def webhook_addresses(network: Network) -> list[tuple[str, int]]:
    return [(network.hosts[name].address, WEBHOOK_PORT) for name in WEBHOOKS]


def end(pid: int) -> None:
    """kill -9."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS
