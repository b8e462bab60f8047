"""A pool of persistent connections to one origin, and the calls that wait for a connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque

import aiohappyeyeballs

from wxbot.wechat.http.connection import Call, Connection

KEEPALIVE_SECONDS = 15.0
"""An idle connection is closed after this time. Usual servers close it after 60 to 75 s; a POST that arrives just
then may or may not have been read."""

MAX_CONNECTIONS = 512
"""Below the usual limit of 1024 open files. A call that gets no connection in time raises RequestNotSent."""

_HAPPY_EYEBALLS_SECONDS = 0.25

UNACKNOWLEDGED_SECONDS = 4.0
"""The kernel closes a connection whose written bytes are not acknowledged for this long. Otherwise it could deliver
them minutes later, even for a dead process. It is shorter than a lease, after which another process replies."""


class Pool:
    """The connections to ``host``:``port``, with TLS if ``tls`` is given. Create it on the running event loop.

    Calls are written in the order of ``serve``. The most recently used idle connection is reused first, so that surplus
    connections stay idle and are closed.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, limit: int = MAX_CONNECTIONS) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._tls = tls
        self._limit = limit
        self._idle: deque[Connection] = deque()  # the one that has been idle longest is first
        self._waiting: deque[Call] = deque()
        self._opening: dict[asyncio.Task[None], None] = {}  # ordered, the oldest first
        self._attempts: set[asyncio.Task[None]] = set()  # including cancelled ones that have not ended yet
        self._connections: set[Connection] = set()
        self._closed = False
        self._all_closed = asyncio.Event()

    def serve(self, call: Call) -> None:
        """Write the request of ``call`` now if a connection is idle, otherwise as soon as one is free."""
        connection = self._most_recently_used()
        if connection is None:
            self._waiting.append(call)
            self._open_for_waiting()
        elif call.may_be_written():
            connection.send(call)
        else:
            self._idle.append(connection)

    def drop(self, call: Call) -> None:
        """Remove ``call``. If it was written, close its connection, because the response could still arrive."""
        if call.connection is not None:
            call.connection.abort()
        elif call in self._waiting:
            self._waiting.remove(call)
            # The oldest attempt is the least likely to succeed.
            while len(self._opening) > len(self._waiting):
                task = next(iter(self._opening))
                del self._opening[task]
                task.cancel()

    async def close(self) -> None:
        """Fail every call, close every connection, and wait until all are closed."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().failed("the client was closed")
        for connection in list(self._connections):
            connection.abort()
        for attempt in self._attempts:
            attempt.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        if self._connections:
            await self._all_closed.wait()

    # --- events of connections (ConnectionListener) ---

    def on_open(self, connection: Connection) -> None:
        self._connections.add(connection)
        self._all_closed.clear()
        if self._closed:
            connection.abort()

    def on_free(self, connection: Connection) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if call.may_be_written():
                connection.send(call)
                return
        connection.idle_since = self._loop.time()
        self._close_old(connection.idle_since)
        self._idle.append(connection)

    def on_closing(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def on_closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()
        self._open_for_waiting()

    # --- idle connections ---

    def _most_recently_used(self) -> Connection | None:
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
        """Start one attempt per waiting call. The oldest call gets the first connection that is ready, new or freed."""
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
        except (OSError, ValueError) as error:  # ValueError: a host name that is not valid IDNA
            self._attempt_failed(_problem(error, self._tls is not None))
            return
        if connection.usable:
            self.on_free(connection)
        else:
            self._attempt_failed("WeChat's server closed the new connection at once")

    async def _connect(self) -> Connection:
        addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        # Not create_connection itself: uvloop tries the addresses in turn, and a silent one would use all the time.
        connected = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS)
        _limit_unacknowledged_time(connected)
        name = None if self._tls is None else self._host
        connection = Connection(self)
        try:
            await self._loop.create_connection(lambda: connection, sock=connected, ssl=self._tls, server_hostname=name)
        except BaseException:
            # If the task is cancelled just now, uvloop closes the connection without connection_lost: free its slot.
            self.on_closed(connection)
            raise
        return connection

    def _attempt_failed(self, problem: str) -> None:
        if len(self._opening) > len(self._waiting):
            return  # freed connections have served calls, so every waiting call still has an attempt
        while self._waiting:
            call = self._waiting.popleft()
            if not call.outcome.done():
                call.failed(problem)
                return


def _problem(error: Exception, over_tls: bool) -> str:
    """Return why there is no connection. The text of ``error`` is not used, because it may quote the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the TLS connection to WeChat failed: the certificate is not trusted (OpenSSL code {error.verify_code}); "
            "check WXBOT_API_BASE, the CA certificates, proxies and the clock"
        )
    # A server or proxy that rejects the TLS handshake often resets the connection.
    if isinstance(error, ssl.SSLError) or (
        over_tls and isinstance(error, ConnectionResetError | ConnectionAbortedError)
    ):
        return "the TLS connection to WeChat failed; check the CA certificates, proxies and the clock"
    if isinstance(error, socket.gaierror | ValueError):
        return "WeChat's host name cannot be resolved; check WXBOT_API_BASE and DNS"
    return (
        "no connection to WeChat: it was refused, or there is no route; check the network, firewall and WXBOT_API_BASE"
    )


def _limit_unacknowledged_time(connected: socket.socket) -> None:
    if hasattr(
        socket, "TCP_USER_TIMEOUT"
    ):  # Linux only; elsewhere a network outage of minutes may deliver a reply twice
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNACKNOWLEDGED_SECONDS * 1000))
