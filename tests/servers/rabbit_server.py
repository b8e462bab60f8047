"""A real RabbitMQ on free ports of 127.0.0.1, with its own epmd, so that it shares nothing with other servers."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.servers.processes import Port, Process, wait_until
from tests.servers.programs import LAUNCHERS, RABBIT, found, on_path

START_SECONDS = 90.0  # a start takes 5 to 20 seconds
_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class RabbitServer:
    """A RabbitMQ server with its data in ``folder`` and a fixed port. As a context manager it runs in the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port, self._distribution, self._epmd_port = Port(), Port(), Port()
        self._epmd: Process | None = None
        self._broker: Process | None = None

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
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def alive(self) -> bool:
        return self._broker is not None and self._broker.alive

    def start(self) -> None:
        """Start the server and wait until it accepts AMQP connections."""
        assert self._broker is None, "runs already"
        executable = found(RABBIT)
        assert executable is not None, f"{RABBIT} not found: run `make servers`"
        for folder in (self.folder / "epmd", self.folder / "log"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "plugins").write_text("[].\n", encoding="utf-8")
        (self.folder / "rabbitmq.conf").write_text(_SETTINGS, encoding="utf-8")
        # epmd is started in the foreground, because the broker would start one as a daemon that does not end with it.
        epmd = on_path("epmd") or LAUNCHERS / "epmd"
        self._epmd = Process([epmd], self.folder / "epmd", self._environment())
        try:
            wait_until(lambda: _connects(self._epmd_port.number), self._epmd.story)
            self._broker = Process([executable], self.folder, self._environment())
            wait_until(self._accepts_amqp, self.story, START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        assert self._broker is not None, "does not run"
        try:
            self._broker.stop(START_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the server and all its child processes. Do nothing if it does not run."""
        broker, self._broker = self._broker, None
        epmd, self._epmd = self._epmd, None
        for process in (broker, epmd):
            if process is not None:
                process.kill()

    def pause(self) -> None:
        assert self._broker is not None, "does not run"
        self._broker.pause()

    def resume(self) -> None:
        assert self._broker is not None, "does not run"
        self._broker.resume()

    def story(self) -> str:
        """Return the last lines of its log."""
        return self._broker.story() if self._broker else "does not run"

    def _environment(self) -> dict[str, str]:
        folder = str(self.folder.resolve())
        return {
            "HOME": folder,  # Erlang's cookie is there
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port.number),
            "RABBITMQ_NODENAME": "wxbot@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution.number),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # not the machine's configuration
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": f"{folder}/conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",  # one scheduler thread, so that it starts faster
            "RUNNING_UNDER_SYSTEMD": "true",  # the script execs the broker, so that its pid is the broker's
        }

    def _accepts_amqp(self) -> bool:
        assert self.alive, f"ended:\n{self.story()}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            connection.sendall(_GREETING)
            return connection.recv(1) == _METHOD_FRAME
        return False


_SETTINGS = """\
# The test folder may be on a small disk, and other tests use memory.
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.relative = 0.9
"""


def _connects(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5.0):
        return True
    return False
