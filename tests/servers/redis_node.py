"""What a server and a Sentinel have in common: a program of Redis or Valkey, its port, its life and one client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.certificates import Certificates
from tests.servers.processes import START_SECONDS, Port, Process, wait_until
from tests.servers.programs import REDIS, VALKEY, found

Flavour = Literal["redis", "valkey"]


class RedisNode:
    """Knows its port from the beginning, keeps it over restarts, and runs between ``start`` and ``stop``.

    As a context manager it runs for the time of the block.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        flavour: Flavour,
        password: str = "",
        certificates: Certificates | None = None,
        mode: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.flavour = flavour
        self.password = password
        self.certificates = certificates
        self._port = Port()
        self._settings = {**self._of_every_node(), **settings}
        self._mode = mode
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        """With TLS it names the authority to trust, as ``ssl_ca_certs``."""
        return f"{self.scheme}://{self.user}127.0.0.1:{self.port}/0{self.query}"

    @property
    def scheme(self) -> str:
        return "rediss" if self.certificates else "redis"

    @property
    def user(self) -> str:
        """How an address names the password."""
        return f":{quote(self.password, safe='')}@" if self.password else ""

    @property
    def query(self) -> str:
        return f"?ssl_ca_certs={quote(str(self.certificates.authority))}" if self.certificates else ""

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start with what the folder holds, and wait until commands are answered."""
        assert self._process is None, "runs already"
        program = VALKEY if self.flavour == "valkey" else REDIS
        executable = found(program)
        assert executable is not None, f"there is no {program} here: run `make servers`"
        self._process = Process([executable, self._configuration(), *self._mode], self.folder)
        try:
            wait_until(self._answers, self.story)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """SIGTERM, and wait: it writes what it has to."""
        process, self._process = self._running, None
        process.stop()

    def kill(self) -> None:
        """SIGKILL, and wait. It does no harm where nothing runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def pause(self) -> None:
        """Until ``resume`` it takes connections, because the kernel does that, and answers nothing."""
        self._running.pause()

    def resume(self) -> None:
        self._running.resume()

    def cli(self, *words: str | bytes | float) -> Any:
        """One command on a connection of its own; texts come back as str. Raises what redis-py raises."""
        with self._client() as client:
            return client.execute_command(*words)

    def waits_for(self, answer: Any, *words: str | bytes | float, seconds: float = START_SECONDS) -> None:
        """Until the command has this answer. Connections that break meanwhile, as in a failover, are no matter."""
        seen: list[Any] = [None]

        def there() -> bool:
            with suppress(redis.ConnectionError, redis.TimeoutError):  # one that loads its data is such an error too
                seen[0] = self.cli(*words)
            return bool(seen[0] == answer)

        wait_until(there, lambda: f"{words} has {seen[0]!r} and not {answer!r}\n{self.story()}", seconds)

    def story(self) -> str:
        """The end of its log."""
        return self._process.story() if self._process else "does not run"

    @property
    def _running(self) -> Process:
        assert self._process is not None, "does not run"
        return self._process

    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(
            self.url,
            protocol=3,
            decode_responses=True,
            encoding_errors="backslashreplace",
            socket_connect_timeout=5.0,
            socket_timeout=20.0,
            retry=Retry(NoBackoff(), 0),
        )

    def _answers(self) -> bool:
        assert self.alive, f"ended:\n{self.story()}"
        try:
            return bool(self.cli("PING"))
        except (redis.ConnectionError, redis.TimeoutError):  # one that loads its data is such an error too
            return False

    def _configuration(self) -> Path:
        path = self.folder / "node.conf"
        if not path.exists():  # else it may hold what Sentinel has written
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name} {value}\n" for name, value in self._settings.items()), encoding="utf-8")
        return path

    def _of_every_node(self) -> dict[str, str]:
        settings = {
            "bind": "127.0.0.1",
            "protected-mode": "no",
            "dir": f'"{self.folder.resolve()}"',
            "port": str(self.port),
        }
        if self.certificates is None:
            return settings
        return settings | {
            "port": "0",
            "tls-port": str(self.port),
            "tls-ca-cert-file": f'"{self.certificates.authority.resolve()}"',
            "tls-cert-file": f'"{self.certificates.server.resolve()}"',
            "tls-key-file": f'"{self.certificates.key.resolve()}"',
            "tls-auth-clients": "no",
            "tls-replication": "yes",
        }
