"""One HTTP/1.1 connection and the call that uses it.

It is minimal, because each message needs three calls, and a general HTTP client would use more CPU than all other work
for a message. llhttp (httptools) does the parsing, because mistakes in a parser are dangerous.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from wxbot.errors import DeliveryUnknown, RequestNotSent, WeChatError
from wxbot.typing_indicator.port import Permit

MAX_BODY_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES
"""Maximum size of a response with headers and chunk sizes. It bounds the memory for a header that never ends."""

_FRAMING_HEADERS = (b"content-length", b"transfer-encoding")


class Call:
    """A request and the future of its outcome.

    A failure is a result of the future, not its exception, because asyncio logs an exception that is never retrieved.
    ``connection`` is set before the first byte may be written.
    """

    __slots__ = ("connection", "name", "outcome", "permit", "request")

    def __init__(
        self,
        request: bytes,
        name: str,
        outcome: asyncio.Future[tuple[int, bytes] | WeChatError],
        permit: Permit | None = None,
    ) -> None:
        self.request = request
        self.name = name
        self.outcome = outcome
        self.permit = permit
        self.connection: Connection | None = None

    def may_be_written(self) -> bool:
        """Return True if the caller still waits and ``permit`` allows the request. Call it directly before writing.

        If ``permit`` forbids the request, the call fails with RequestNotSent.
        """
        if self.outcome.done():
            return False
        if self.permit is None or self.permit():
            return True
        self.failed("the lease on this conversation expired before the request was written")
        return False

    def answered(self, status: int, body: bytes) -> None:
        """Set WeChat's response as the outcome, unless there is an outcome."""
        if not self.outcome.done():
            self.outcome.set_result((status, body))

    def failed(self, problem: str) -> None:
        """Set RequestNotSent as the outcome, or DeliveryUnknown if the request may have been written.

        Do nothing if there is an outcome already.
        """
        if self.outcome.done():
            return
        if self.connection is None:
            self.outcome.set_result(RequestNotSent(f"{self.name} was not sent: {problem}"))
        else:
            self.outcome.set_result(DeliveryUnknown(f"{self.name} was sent, but {problem}"))


class ConnectionListener(Protocol):
    """The receiver of a connection's events."""

    def on_open(self, connection: Connection) -> None:
        """Use the new ``connection``, which is open."""

    def on_free(self, connection: Connection) -> None:
        """Use ``connection`` for another call, because it is free."""

    def on_closing(self, connection: Connection) -> None:
        """Stop using ``connection``, because it is closing."""

    def on_closed(self, connection: Connection) -> None:
        """Forget ``connection``, because it is closed and has released its socket."""


class Connection(asyncio.Protocol):
    """A connection that carries one call at a time. It is reused only after a complete response with no byte after it.

    Only asyncio may use it before ``connection_made``.
    """

    _transport: asyncio.Transport
    _framed: bool
    _headers_complete: bool
    _complete: bool
    _more_followed: bool
    _keep_alive: bool

    def __init__(self, listener: ConnectionListener) -> None:
        self.idle_since = 0.0
        self._listener = listener
        self._parser = HttpResponseParser(self)
        self._call: Call | None = None
        self._reset_answer()

    @property
    def usable(self) -> bool:
        """Return True if a call may be written. The server may have closed the connection unnoticed."""
        return not self._transport.is_closing()

    def send(self, call: Call) -> None:
        """Write the request of ``call`` now. Requires ``call.may_be_written()``, ``usable``, and no running call."""
        self._call = call
        call.connection = self
        self._reset_answer()
        self._transport.write(call.request)

    def abort(self) -> None:
        """Close the connection immediately and fail its call. Skip the TLS shutdown, because it could take long."""
        self._listener.on_closing(self)
        self._fail_call("the connection was closed before WeChat's answer")
        self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No assertion, because uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = transport  # type: ignore[assignment]
        self._listener.on_open(self)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self.abort()  # bytes without a request: the next call could get the response of another one
            return
        intact = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            intact = False
        self._answer_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES or self._answer_bytes > MAX_ANSWER_BYTES:
            self._fail_and_abort("WeChat's answer was too long")
        elif self._complete:
            self._finish(call, reusable=intact and self._keep_alive and not self._more_followed)
        elif not intact:
            self._fail_and_abort("WeChat's answer was not HTTP")

    def eof_received(self) -> None:
        self._end(orderly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(orderly=exc is None)
        self._listener.on_closed(self)

    # --- httptools ---

    def on_message_begin(self) -> None:
        self._more_followed = self._complete

    def on_header(self, name: bytes, _: bytes) -> None:
        if not self._framed and name.lower() in _FRAMING_HEADERS:
            self._framed = True

    def on_headers_complete(self) -> None:
        self._headers_complete = True

    def on_body(self, body: bytes) -> None:
        if self._complete:
            return
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._complete:
            return
        self._status = self._parser.get_status_code()
        if 100 <= self._status < 200:
            self._reset_answer()  # the final response follows an informational one
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._complete = True

    # --- end of a call ---

    def _reset_answer(self) -> None:
        self._status = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._answer_bytes = 0
        self._framed = self._headers_complete = self._complete = self._more_followed = self._keep_alive = False

    def _finish(self, call: Call, *, reusable: bool) -> None:
        self._call = None
        abandoned = call.outcome.done()
        call.answered(self._status, b"".join(self._body))
        # After a response to a request that is not fully written, the remaining bytes would mix with the next request.
        if reusable and not abandoned and self.usable and not self._transport.get_write_buffer_size():
            self._listener.on_free(self)
        else:
            self.abort()

    def _end(self, *, orderly: bool) -> None:
        """End the call, because no more bytes will arrive. This is the regular end of a response without a length.

        If such a response was cut short, it is no valid JSON, which ``parse_response`` detects.
        """
        self._listener.on_closing(self)
        call = self._call
        if call is not None and orderly and self._headers_complete and not self._framed:
            self._status = self._parser.get_status_code()
            self._finish(call, reusable=False)
        else:
            self._fail_call("the connection broke before WeChat's answer")

    def _fail_and_abort(self, problem: str) -> None:
        self._fail_call(problem)
        self.abort()

    def _fail_call(self, problem: str) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.failed(problem)
