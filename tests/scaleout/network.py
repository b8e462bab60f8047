"""Simulated hosts: network namespaces on a bridge. Each has an address, and its link can be cut off."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

NEEDED = "root on Linux, and the command ip (Debian: iproute2), to make network namespaces"


class CannotBuild(Exception):
    """The network cannot be built on this machine. The text says why."""


@dataclass(frozen=True)
class Host:
    """A network namespace. ``link`` is the bridge's end of its link."""

    name: str
    address: str
    namespace: str
    link: str

    def command(self, *words: str) -> list[str]:
        """Return a command that runs ``words`` on this host, with the same process id."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def cut_off(self) -> None:
        """Drop all traffic of the host until ``reconnect``. Its processes get no error."""
        _ip("link", "set", self.link, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self.link, "up")


class Network:
    """The hosts by name, and the ``address`` of this process on their bridge."""

    def __init__(self, run: str, names: Sequence[str]) -> None:
        self.bridge = f"wxb-{run}"
        self._subnet = _unused_subnet()
        self.address = f"{self._subnet}.1"
        self.hosts = {
            name: Host(name, f"{self._subnet}.{number}", f"wxbot-{run}-{name}", f"wx-{run}-{number}")
            for number, name in enumerate(names, start=11)
        }

    def build(self) -> None:
        """Create the bridge and the hosts. Raises CannotBuild."""
        try:
            _ip("link", "add", "name", self.bridge, "type", "bridge")
            _ip("address", "add", f"{self.address}/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
            for host in self.hosts.values():
                self._connect(host)
        except RuntimeError as error:
            raise CannotBuild(str(error)) from None

    def remains(self) -> list[str]:
        """Return the namespaces and links that still exist."""
        spaces = {line.split()[0] for line in _ip("netns", "list").splitlines() if line}
        links = _ip("-o", "link", "show")
        left = [host.namespace for host in self.hosts.values() if host.namespace in spaces]
        return left + [name for name in (self.bridge, *(h.link for h in self.hosts.values())) if f" {name}" in links]

    def removal(self) -> str:
        """Return a shell script that removes all namespaces and links that exist."""
        spaces = [f"ip netns delete {host.namespace}" for host in self.hosts.values()]
        links = [f"ip link delete {name}" for name in (*(host.link for host in self.hosts.values()), self.bridge)]
        return "\n".join([*links, *spaces, "true"])

    def _connect(self, host: Host) -> None:
        _ip("netns", "add", host.namespace)
        _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        _ip("link", "set", host.link, "master", self.bridge, "up")
        for words in (
            ("address", "add", f"{host.address}/24", "dev", "eth0"),
            ("link", "set", "lo", "up"),
            ("link", "set", "eth0", "up"),
        ):
            _ip("-n", host.namespace, *words)


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Build a network, and remove it afterwards. A second process removes it if this one is killed.

    Raises CannotBuild.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise CannotBuild("this user is not root, or the command ip is missing")
    built = Network(secrets.token_hex(3), names)
    remover = subprocess.Popen(
        ["sh", "-c", f"read -r _\n{built.removal()}"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C does not end it
    )
    try:
        built.build()
        yield built
    finally:
        assert remover.stdin is not None
        remover.stdin.close()
        remover.wait()
        if left := built.remains():
            raise RuntimeError(f"not removed: {', '.join(left)}")


def _unused_subnet() -> str:
    """Return an unused subnet of 198.18.0.0/15, which RFC 2544 reserves for network tests."""
    taken = _ip("-o", "-4", "address", "show")
    return next(
        subnet for subnet in (f"198.18.{secrets.randbelow(256)}" for _ in range(1000)) if f" {subnet}." not in taken
    )


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
