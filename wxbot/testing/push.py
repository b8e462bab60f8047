"""The delivery of pushes: WeChat waits 5 seconds for an answer, tries three times, then shows the user a notice.

The rules are in docs/wechat.md, "Message push".
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit

import aiohttp

from wxbot.testing.background import Background
from wxbot.testing.clock import Clock, sleep
from wxbot.testing.envelope import Format, Keys, Malformed, Mode, from_text, open_answer, to_text
from wxbot.testing.exchange import Exchange
from wxbot.testing.platform import Platform, describe_push

T = TypeVar("T")
Outcome = Literal["success", "timeout", "error", "refused"]

MAX_RESPONSE = 1 << 20
"""Maximum size of a response to a push in bytes."""

_CONNECTIONS = 256
_KEEP_ALIVE = 1.0  # seconds; shorter than the idle timeout of any server, so that no push uses a closed connection
_HEADERS = {"User-Agent": "Mozilla/4.0"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to deliver a push. ``at``: when it was sent, in seconds by the clock. ``ms``: its real milliseconds.

    ``outcome``: "success" (the answer is ``success``, empty or a valid passive reply), "timeout" (no answer within
    5 seconds by the clock), "error" (the connection failed) or "refused" (WeChat does not accept the answer).
    ``why``: the reason of any outcome except "success".
    """

    n: int
    at: float
    outcome: Outcome
    status: int | None
    body: str
    ms: float
    why: str = ""


class CallbackResponse(NamedTuple):
    """A response of the callback URL."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Push:
    """A push of a message or event to the bot.

    ``answer``: the passive reply to this push. ``first``: the original push, if this is a redelivery. The user gets
    only the first passive reply to ``first`` or its redeliveries. ``agent``: the human agent who got the message
    instead of the bot; empty if the bot got it.
    """

    def __init__(self, fields: Mapping[str, Any], delivery: PushDelivery, first: Push | None = None) -> None:
        self.fields = dict(fields)
        self.first = first or self
        self.is_answered = False
        self.agent = ""
        self.attempts: list[Attempt] = []
        self.answer: dict[str, Any] | None = None
        self.done = False
        self.first_try_over = asyncio.Event()
        self._delivery = delivery

    def __repr__(self) -> str:
        return f"<Push {describe_push(self.fields)!r}, {len(self.attempts)} attempt(s), done={self.done}>"

    @property
    def openid(self) -> str:
        return str(self.fields.get("FromUserName", ""))

    def wait(self, timeout: float = 20.0) -> Attempt:
        """Wait until the delivery is over, at most ``timeout`` real seconds. Return the last attempt.

        WeChat's three tries take up to 15 seconds. If a human agent got the message, return an attempt number 0.
        Raises AssertionError with the user's records after ``timeout``, or if there is no callback_url.
        """
        self._delivery.record_log.wait_until(lambda: self.done, timeout, f"an answer to {self!r}", self.openid)
        if self.agent:
            return Attempt(0, self._delivery.now(), "success", None, "", 0.0, f"{self.agent} has the session")
        if not self.attempts:
            raise AssertionError(f"{self!r} was not sent: set callback_url, or FakeWeChat was closed too early")
        return self.attempts[-1]

    def redeliver(self) -> Push:
        """Send the same fields once more with a new signature. It is not a new interaction of the user."""
        return self._delivery.dispatch(Push(self.fields, self._delivery, self.first))


class Sender(Protocol):
    """The settings of the delivery, read at each attempt. FakeWeChat has them as attributes."""

    callback_url: str
    push_timeout: float
    tries: int
    retry_pause: float | None
    in_order: bool
    deliver_twice_at_once: bool

    @property
    def keys(self) -> Keys: ...
    @property
    def mode(self) -> Mode: ...
    @property
    def format(self) -> Format: ...

    def envelope(self, fields: Mapping[str, Any], *, nonce: str | None = None) -> tuple[dict[str, str], bytes]: ...
    def push_headers(self, openid: str = "") -> dict[str, str]: ...


class _CallbackRequest(NamedTuple):
    """A request to the callback URL."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class PushDelivery:
    """Delivers pushes to the bot's callback URL, those of one user in order.

    ``dispatch``, ``give_to_agent``, ``now``, ``held``, ``hold`` and ``release`` are thread-safe. All other methods run
    on the event loop.
    """

    def __init__(self, sender: Sender, platform: Platform, background: Background) -> None:
        self.record_log = platform.record_log
        self._sender = sender
        self._platform = platform
        self._clock: Clock = platform.clock
        self._background = background
        self._held: list[Push] | None = None
        self._last: dict[str, Push] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_CONNECTIONS)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Create the connection pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
        )

    async def close(self) -> None:
        """Stop delivering and close every connection."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # -- from any thread

    def dispatch(self, push: Push) -> Push:
        """Deliver ``push`` in the background, or hold it if ``hold`` was called."""
        with self.record_log.changed:
            if self._held is not None:
                self._held.append(push)
            else:
                self._background.call(self._start, push, None)
        return push

    def give_to_agent(self, push: Push, agent: str) -> Push:
        """Give ``push`` to a human agent instead of the bot, which completes it."""
        with self.record_log.changed:
            push.agent, push.done = agent, True
            push.first_try_over.set()
        return push

    def now(self) -> float:
        """Return the seconds since 1970 by the clock."""
        return self._clock.now()

    @property
    def held(self) -> int | None:
        """Return the number of held pushes; None if ``hold`` was not called."""
        held = self._held
        return None if held is None else len(held)

    def hold(self) -> None:
        """Hold all pushes until ``release``."""
        with self.record_log.changed:
            self._held = self._held or []

    def release(self, order: Sequence[Push] | Literal["reversed"] | None) -> None:
        """Deliver the held pushes. With an ``order``, deliver one after the other; pushes that it lacks come last."""
        with self.record_log.changed:
            held, self._held = self._held or [], None
            if order is None:
                for push in held:
                    self._background.call(self._start, push, None)
            else:
                chosen = held[::-1] if order == "reversed" else [push for push in order if push in held]
                self._background.call(self._start_chain, chosen + [push for push in held if push not in chosen])

    async def request(
        self, method: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]
    ) -> CallbackResponse:
        """Send one request to the callback URL. Raises aiohttp.ClientError and OSError."""
        if self._session is None:
            raise RuntimeError("FakeWeChat is not running")
        url = self._sender.callback_url
        async with self._session.request(
            method,
            url,
            params=dict(query),
            data=BytesIO(body) if body else None,
            headers=dict(headers),
            allow_redirects=False,
        ) as response:
            return CallbackResponse(response.status, response.headers, await _read_all(response))

    # -- on the event loop

    def _start_chain(self, pushes: list[Push]) -> None:
        before: Push | None = None
        for push in pushes:
            self._start(push, before)
            before = push

    def _start(self, push: Push, after: Push | None) -> None:
        after = after or self._last.get(push.openid)
        self._last[push.openid] = push
        task = asyncio.get_running_loop().create_task(self._deliver(push, after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, push: Push, after: Push | None) -> None:
        try:
            if after is not None and self._sender.in_order:
                await after.first_try_over.wait()
            if self._sender.callback_url:
                await self._try_all(push)
        finally:
            push.first_try_over.set()
            self._finish(push)

    def _finish(self, push: Push) -> None:
        if self._last.get(push.openid) is push:
            del self._last[push.openid]
        push.done = True
        self.record_log.wake()

    async def _try_all(self, push: Push) -> None:
        for n in range(1, self._sender.tries + 1):
            at_once = 2 if n == 1 and self._sender.deliver_twice_at_once else 1
            attempts = await asyncio.gather(*(self._attempt(push, n) for _ in range(at_once)))
            push.first_try_over.set()
            if any(attempt.outcome == "success" for attempt in attempts):
                return
            if n < self._sender.tries:
                await self._pause(attempts[-1])
        self._platform.gives_up(push.openid)

    async def _pause(self, attempt: Attempt) -> None:
        """Wait before a retry: after a timeout not at all, after another failure until 5 seconds are over."""
        pause = self._sender.retry_pause
        if pause is None:
            pause = attempt.at + self._sender.push_timeout - self._clock.now()
        if attempt.outcome != "timeout" and pause > 0:
            await sleep(self._clock, pause)

    async def _attempt(self, push: Push, n: int) -> Attempt:
        async with self._slots:
            at, started = self._clock.now(), perf_counter()
            nonce = str(100_000_000 + secrets.randbelow(900_000_000))
            query, body = self._sender.envelope(push.fields, nonce=nonce)
            request = _CallbackRequest(query, {**self._headers(), **self._sender.push_headers(push.openid)}, body)
            clear = to_text(push.fields, self._sender.format) if "encrypt_type" in query else None
            outcome, response, why = await self._send(request)
            decrypted = None
            if response is not None:
                outcome, why, decrypted = self._interpret(push, response, nonce)
            status, answer = (response.status, response.body) if response else (None, b"")
            text = answer.decode(errors="replace")
            attempt = Attempt(n, at, outcome, status, text, (perf_counter() - started) * 1000, why)
        self._record(push, attempt, self._exchange(request, clear, response, decrypted))
        return attempt

    def _headers(self) -> dict[str, str]:
        return {**_HEADERS, "Content-Type": content_type(self._sender.format)}

    async def _send(self, request: _CallbackRequest) -> tuple[Outcome, CallbackResponse | None, str]:
        try:
            response = self.request("POST", request.query, request.body, request.headers)
            return "success", await _with_timeout(self._clock, self._sender.push_timeout, response), ""
        except TimeoutError:
            return "timeout", None, f"no answer within {self._sender.push_timeout:g} s"
        except (aiohttp.ClientError, OSError) as problem:
            return "error", None, f"{type(problem).__name__}: {problem}"

    def _interpret(self, push: Push, response: CallbackResponse, nonce: str) -> tuple[Outcome, str, bytes | None]:
        """Return the outcome, its reason, and the decrypted passive reply (None if there is none)."""
        if response.status != 200:
            return "refused", f"HTTP {response.status}", None
        sender = self._sender
        decrypted = None
        try:
            decrypted = open_answer(response.body, sender.keys, sender.mode, sender.format, nonce)
            if decrypted is not None:
                fields = from_text(decrypted, sender.format)
                self._platform.check_passive(push.fields, fields)
                self._accept_reply(push, fields)
        except Malformed as problem:
            return "refused", str(problem), decrypted
        return "success", "", decrypted

    def _exchange(
        self,
        request: _CallbackRequest,
        clear: str | None,
        response: CallbackResponse | None,
        decrypted: bytes | None,
    ) -> Exchange:
        redactor = self._platform.redactor
        path = urlsplit(self._sender.callback_url).path or "/"
        sent_request = redactor.message(f"POST {path}?{urlencode(request.query)}", request.headers, request.body)
        if response is None:
            return Exchange(sent_request, None, clear and redactor.redact(clear))
        answer = redactor.message(f"HTTP {response.status}", response.headers, response.body)
        text = None if decrypted in (None, response.body) else redactor.redact(decrypted.decode(errors="replace"))
        return Exchange(sent_request, answer, clear and redactor.redact(clear), text)

    def _accept_reply(self, push: Push, fields: dict[str, Any]) -> None:
        """Process a passive reply. Only the first reply to a message counts, to whichever delivery it was given."""
        with self.record_log.changed:
            push.answer = fields
            if not push.first.is_answered:
                push.first.is_answered = True
                self._platform.answered_passively(push.fields, fields)

    def _record(self, push: Push, attempt: Attempt, exchange: Exchange) -> None:
        with self.record_log.changed:
            push.attempts.append(attempt)
            self._platform.record(
                "push",
                describe_push(push.fields),
                push.openid,
                attempt=attempt.n,
                outcome=attempt.outcome + (f" ({attempt.why})" if attempt.why else ""),
                status=attempt.status,
                took=attempt.ms / 1000,
                body=push.fields,
                exchange=exchange,
            )


async def _read_all(response: aiohttp.ClientResponse) -> bytes:
    """Return the body. Raises aiohttp.ClientPayloadError if it has more than MAX_RESPONSE bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_RESPONSE:
            raise aiohttp.ClientPayloadError(f"the answer has more than {MAX_RESPONSE} bytes")
    return bytes(body)


def content_type(form: Format) -> str:
    """Return the Content-Type of a push."""
    return "application/json" if form == "json" else "text/xml"


async def _with_timeout(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of ``work``. Raises TimeoutError after ``seconds`` by the clock."""
    task = asyncio.ensure_future(work)
    is_timed_out: list[bool] = []

    def time_out() -> None:
        is_timed_out.append(True)
        task.cancel()

    timer = clock.call_later(seconds, time_out)
    try:
        return await task
    except asyncio.CancelledError:
        if is_timed_out and task.cancelled():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
