"""The base class of a Redis or Valkey server and of a Sentinel: its program, port, process and client."""

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
    """A Redis or Valkey process with a reserved port, which stays the same when it restarts.

    It runs between ``start`` and ``stop``; as a context manager, inside the block.
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
        self._settings = {**self._common_settings(), **settings}
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
        """Return the URL of the node. With TLS it has the certificate authority as ``ssl_ca_certs``."""
        return f"{self.scheme}://{self.user}127.0.0.1:{self.port}/0{self.query}"

    @property
    def scheme(self) -> str:
        return "rediss" if self.certificates else "redis"

    @property
    def user(self) -> str:
        """Return the part of the URL with the password; empty if there is none."""
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
        """Start with the data in the folder, and wait until it answers commands."""
        assert self._process is None, "runs already"
        program = VALKEY if self.flavour == "valkey" else REDIS
        executable = found(program)
        assert executable is not None, f"{program} not found: run `make servers`"
        self._process = Process([executable, self._configuration(), *self._mode], self.folder)
        try:
            wait_until(self._answers, self.story)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Send SIGTERM and wait while the server saves its data."""
        process, self._process = self._running, None
        process.stop()

    def kill(self) -> None:
        """Send SIGKILL and wait. Do nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def pause(self) -> None:
        """Pause the process until ``resume``. The kernel still accepts connections, but commands get no answer."""
        self._running.pause()

    def resume(self) -> None:
        self._running.resume()

    def cli(self, *words: str | bytes | float) -> Any:
        """Run one command on a new connection and return its answer, with texts as str. Raises redis.RedisError."""
        with self._client() as client:
            return client.execute_command(*words)

    def waits_for(self, answer: Any, *words: str | bytes | float, seconds: float = START_SECONDS) -> None:
        """Repeat a command until it has this answer. Connection errors, as during a failover, are ignored."""
        seen: list[Any] = [None]

        def is_there() -> bool:
            with suppress(redis.ConnectionError, redis.TimeoutError):  # also raised while the server loads its data
                seen[0] = self.cli(*words)
            return bool(seen[0] == answer)

        wait_until(is_there, lambda: f"{words} answers {seen[0]!r}, not {answer!r}\n{self.story()}", seconds)

    def story(self) -> str:
        """Return the last lines of its log."""
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
        except (redis.ConnectionError, redis.TimeoutError):  # also raised while the server loads its data
            return False

    def _configuration(self) -> Path:
        path = self.folder / "node.conf"
        if not path.exists():  # Sentinel writes its state into this file
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{name} {value}\n" for name, value in self._settings.items()), encoding="utf-8")
        return path

    def _common_settings(self) -> dict[str, str]:
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
