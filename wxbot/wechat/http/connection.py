"""One HTTP/1.1 connection and the call that is under way on it.

Thin on purpose: three calls are made for each message, and a general HTTP client costs more CPU than all else a message
needs. The parsing, where mistakes would be dangerous, is left to llhttp (httptools).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from wxbot.errors import DeliveryUnknown, RequestNotSent, WeChatError
from wxbot.typing_indicator.port import Permit

MAX_BODY_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 2 * MAX_BODY_BYTES
"""With headers and the sizes of chunks: bounds what the parser holds of a header that never ends."""

_FRAMING_HEADERS = (b"content-length", b"transfer-encoding")


class Call:
    """A request and the future of its outcome.

    A failure is a result of the future and not its exception: one that nobody waits for any more is then no noise in
    the log. ``connection`` is there from the moment on that a first byte may have been written.
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
        """Whether its request is still wanted and permitted. To be asked directly before it is written; one that is
        not permitted any more is settled as RequestNotSent."""
        if self.outcome.done():
            return False
        if self.permit is None or self.permit():
            return True
        self.failed("the right to answer this user had run out meanwhile")
        return False

    def answered(self, status: int, body: bytes) -> None:
        """Settle the call with WeChat's answer, unless it is settled."""
        if not self.outcome.done():
            self.outcome.set_result((status, body))

    def failed(self, problem: str) -> None:
        """Settle the call as RequestNotSent or DeliveryUnknown, whichever holds now, unless it is settled."""
        if self.outcome.done():
            return
        if self.connection is None:
            self.outcome.set_result(RequestNotSent(f"{self.name} was not sent: {problem}"))
        else:
            self.outcome.set_result(DeliveryUnknown(f"{self.name} was sent, but {problem}"))


class Owner(Protocol):
    """Who keeps the connections; each method gets the connection it is about."""

    def made(self, connection: Connection) -> None:
        """It is open."""

    def free(self, connection: Connection) -> None:
        """It may carry another call."""

    def ending(self, connection: Connection) -> None:
        """It must not be used any more."""

    def lost(self, connection: Connection) -> None:
        """Nothing of it is left."""


class Connection(asyncio.Protocol):
    """Carries one call at a time, and is ready for the next only if the answer was complete and nothing followed it.

    Nothing but asyncio touches it before ``connection_made``.
    """

    _transport: asyncio.Transport
    _framed: bool
    _headers_complete: bool
    _complete: bool
    _more_followed: bool
    _keep_alive: bool

    def __init__(self, owner: Owner) -> None:
        self.idle_since = 0.0
        self._owner = owner
        self._parser = HttpResponseParser(self)
        self._call: Call | None = None
        self._forget_answer()

    @property
    def usable(self) -> bool:
        """Whether a call may be written to it, as far as is known on this side."""
        return not self._transport.is_closing()

    def send(self, call: Call) -> None:
        """Write the request of ``call``, which ``may_be_written``, now. Only while ``usable`` and free."""
        self._call = call
        call.connection = self
        self._forget_answer()
        self._transport.write(call.request)

    def abort(self) -> None:
        """Drop the connection at once, and with it the call under way. No TLS farewell: it could take long."""
        self._owner.ending(self)
        self._lose("the connection was closed before WeChat's answer")
        self._transport.abort()

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = transport  # type: ignore[assignment]
        self._owner.made(self)

    def data_received(self, data: bytes) -> None:
        call = self._call
        if call is None:
            self.abort()  # bytes nobody asked for: the next answer could be somebody else's
            return
        intact = True
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            intact = False
        self._answer_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES or self._answer_bytes > MAX_ANSWER_BYTES:
            self._give_up("WeChat's answer was too long")
        elif self._complete:
            self._finish(call, reusable=intact and self._keep_alive and not self._more_followed)
        elif not intact:
            self._give_up("WeChat's answer was not HTTP")

    def eof_received(self) -> None:
        self._end(orderly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(orderly=exc is None)
        self._owner.lost(self)

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
            self._forget_answer()  # the answer proper follows
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._complete = True

    # --- the end of a call ---

    def _forget_answer(self) -> None:
        self._status = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._answer_bytes = 0
        self._framed = self._headers_complete = self._complete = self._more_followed = self._keep_alive = False

    def _finish(self, call: Call, *, reusable: bool) -> None:
        self._call = None
        abandoned = call.outcome.done()
        call.answered(self._status, b"".join(self._body))
        # An answer before the end of the request: the rest would be written into the next call.
        if reusable and not abandoned and self.usable and not self._transport.get_write_buffer_size():
            self._owner.free(self)
        else:
            self.abort()

    def _end(self, *, orderly: bool) -> None:
        """No more bytes will come. Without a length this is how an answer ends (if it was cut short instead, it is no
        JSON, which ``answer_of`` sees)."""
        self._owner.ending(self)
        call = self._call
        if call is not None and orderly and self._headers_complete and not self._framed:
            self._status = self._parser.get_status_code()
            self._finish(call, reusable=False)
        else:
            self._lose("the connection broke before WeChat's answer")

    def _give_up(self, problem: str) -> None:
        self._lose(problem)
        self.abort()

    def _lose(self, problem: str) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.failed(problem)
