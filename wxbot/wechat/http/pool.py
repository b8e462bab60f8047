"""StoredRecord connections to one origin, and the calls that wait for one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque

import aiohappyeyeballs

from wxbot.wechat.http.connection import Call, Connection

KEEPALIVE_SECONDS = 15.0
"""Idle connections are closed by us after this long: well before usual servers do (60 to 75 s), because a POST on a
connection that the server is just closing may or may not have been read."""

MAX_CONNECTIONS = 512
"""Below the common limit of 1024 open files. A call that finds none free in time was not sent (RequestNotSent)."""

_HAPPY_EYEBALLS_SECONDS = 0.25

UNDELIVERED_SECONDS = 4.0
"""A system that is cut off would deliver what was written even minutes later, and for a process that is dead. Less
than a lease: by then another worker answers."""


class Pool:
    """Connections to ``host``:``port``, over TLS if ``tls`` is given. Lives on the running loop.

    Calls are written in the order in which they came. The warmest idle connection is taken first, so that the others
    can grow old and be closed.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, limit: int = MAX_CONNECTIONS) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._tls = tls
        self._limit = limit
        self._idle: deque[Connection] = deque()  # the longest idle one first
        self._waiting: deque[Call] = deque()
        self._opening: dict[asyncio.Task[None], None] = {}  # a dict for its order: the oldest first
        self._attempts: set[asyncio.Task[None]] = set()  # with those that are cancelled and not yet at their end
        self._connections: set[Connection] = set()
        self._closed = False
        self._emptied = asyncio.Event()

    def serve(self, call: Call) -> None:
        """Write the request of ``call`` now, if a connection is idle; otherwise as soon as there is one."""
        connection = self._warmest()
        if connection is None:
            self._waiting.append(call)
            self._open_for_waiting()
        elif call.may_be_written():
            connection.send(call)
        else:
            self._idle.append(connection)

    def drop(self, call: Call) -> None:
        """Give up ``call``. A connection that would still bring its answer is closed."""
        if call.connection is not None:
            call.connection.abort()
        elif call in self._waiting:
            self._waiting.remove(call)
            # The oldest attempt is the one that most likely leads nowhere.
            while len(self._opening) > len(self._waiting):
                task = next(iter(self._opening))
                del self._opening[task]
                task.cancel()

    async def close(self) -> None:
        """Fail every call and close every connection; none is open afterwards."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().failed("the client was closed")
        for connection in list(self._connections):
            connection.abort()
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        if self._connections:
            await self._emptied.wait()

    # --- what connections report ---

    def made(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._emptied.clear()
        if self._closed:
            connection.abort()

    def free(self, connection: Connection) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if call.may_be_written():
                connection.send(call)
                return
        connection.idle_since = self._loop.time()
        self._close_old(connection.idle_since)
        self._idle.append(connection)

    def ending(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()
        self._open_for_waiting()

    # --- idle connections ---

    def _warmest(self) -> Connection | None:
        if self._idle:
            self._close_old(self._loop.time())
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def _close_old(self, now: float) -> None:
        while self._idle and now - self._idle[0].idle_since >= KEEPALIVE_SECONDS:
            self._idle.popleft().abort()

    # --- new connections ---

    def _open_for_waiting(self) -> None:
        """As many attempts as calls wait. Whichever connection is ready first, new or freed, serves the oldest call."""
        while not self._closed and len(self._opening) < len(self._waiting) and self._has_room():
            attempt = self._loop.create_task(self._open())
            self._opening[attempt] = None
            self._attempts.add(attempt)
            attempt.add_done_callback(self._attempt_ended)

    def _has_room(self) -> bool:
        return len(self._opening) + len(self._connections) < self._limit

    def _attempt_ended(self, attempt: asyncio.Task[None]) -> None:
        self._opening.pop(attempt, None)
        self._attempts.discard(attempt)
        self._open_for_waiting()

    async def _open(self) -> None:
        try:
            connection = await self._connect()
        except (OSError, ValueError) as error:  # ValueError: a host name that IDNA cannot express
            self._attempt_failed(_problem(error, self._tls is not None))
            return
        if connection.usable:
            self.free(connection)
        else:
            self._attempt_failed("WeChat's server closed the connection at once")

    async def _connect(self) -> Connection:
        addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        # Not create_connection's own: uvloop tries one address after the other, and a silent one would take all time.
        ready = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS)
        _give_up_early(ready)
        name = None if self._tls is None else self._host
        connection = Connection(self)
        try:
            await self._loop.create_connection(lambda: connection, sock=ready, ssl=self._tls, server_hostname=name)
        except BaseException:
            # Cancelled just when it was made: uvloop then closes it without a word, and its place would stay taken.
            self.lost(connection)
            raise
        return connection

    def _attempt_failed(self, problem: str) -> None:
        if len(self._opening) > len(self._waiting):
            return  # freed connections have served calls meanwhile: every waiting call has another attempt
        while self._waiting:
            call = self._waiting.popleft()
            if not call.outcome.done():
                call.failed(problem)
                return


def _problem(error: Exception, over_tls: bool) -> str:
    """Why there is no connection, in words. Never the text of ``error``, which may quote the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the TLS connection to WeChat failed: its certificate is not trusted (OpenSSL code {error.verify_code}; "
            "check the host name, CA certificates, proxies and the clock)"
        )
    # Somebody who does not want TLS from us often just hangs up in the middle of the handshake.
    if isinstance(error, ssl.SSLError) or (
        over_tls and isinstance(error, ConnectionResetError | ConnectionAbortedError)
    ):
        return "the TLS connection to WeChat failed (check certificates, proxies and the clock)"
    if isinstance(error, socket.gaierror | ValueError):
        return "WeChat's host name cannot be resolved (check WXBOT_API_BASE and DNS)"
    return "no connection to WeChat (refused or no route)"


def _give_up_early(ready: socket.socket) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; elsewhere a cut of some minutes may deliver a reply twice
        ready.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNDELIVERED_SECONDS * 1000))
