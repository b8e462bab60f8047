"""A connection between a page and its server that a test can cut."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_SECONDS = 0.02


class Connection:
    """A TCP proxy to the server at ``to``. It can be cut, and ends with its context."""

    def __init__(self, to: str) -> None:
        place = urlsplit(to)
        self._to = (place.hostname or "", place.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_SECONDS)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self._has_ended = False
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended = True
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def cut(self) -> None:
        """Break all connections, and close new ones immediately."""
        with self._lock:
            self._is_cut = True
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def restore(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        while not self._has_ended:
            with suppress(TimeoutError):
                near, _ = self._listener.accept()
                self._connect(near)

    def _connect(self, near: socket.socket) -> None:
        near.settimeout(None)
        with self._lock:
            if self._is_cut:
                near.close()
                return
            far = socket.create_connection(self._to)
            self._open |= {near, far}
        for source, sink in ((near, far), (far, near)):
            thread = threading.Thread(target=self._pass_on, args=(source, sink))
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                sink.sendall(content)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()
