"""How WeChat delivers a push: 5 s for an answer, three tries in all, then a notice to the user.

docs/wechat.md, "Message push". All of ``Outbox`` but ``dispatch``, ``hold`` and ``release`` runs on one event loop.
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

MAX_ANSWER = 1 << 20
"""Bytes of an answer to a push that are read."""

_CONNECTIONS = 256
_KEPT_ALIVE = 1.0  # shorter than any server keeps an idle connection, so that no push meets a closed one
_HEADERS = {"User-Agent": "Mozilla/4.0"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request with a push. ``at``: seconds by the clock when it was sent; ``ms``: real milliseconds it took.

    ``outcome``: "success" (``success``, an empty body or a valid passive answer), "timeout" (no answer within 5 s by
    the clock), "error" (no connection, or it broke), "refused" (an answer WeChat does not take; ``why`` says so).
    """

    n: int
    at: float
    outcome: Outcome
    status: int | None
    body: str
    ms: float
    why: str = ""


class Answered(NamedTuple):
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Push:
    """A message or event on its way to the bot.

    ``answer``: the passive answer given to this push; the user got it only if ``first``, which this may be a redelivery
    of, had not been answered before. ``agent``: who got it instead of the bot.
    """

    def __init__(self, fields: Mapping[str, Any], delivery: Outbox, first: Push | None = None) -> None:
        self.fields = dict(fields)
        self.first = first or self
        self.is_answered = False
        self.agent = ""
        self.attempts: list[Attempt] = []
        self.answer: dict[str, Any] | None = None
        self.done = False
        self.opened = asyncio.Event()
        self._delivery = delivery

    def __repr__(self) -> str:
        return f"<Push {describe_push(self.fields)!r}, {len(self.attempts)} attempt(s), done={self.done}>"

    @property
    def openid(self) -> str:
        return str(self.fields.get("FromUserName", ""))

    def wait(self, timeout: float = 20.0) -> Attempt:
        """The last attempt, once WeChat is through with this push; at most ``timeout`` real seconds.

        WeChat's three tries take up to 15 seconds.

        Raises AssertionError with the user's timeline; also if there was no callback_url to deliver to. For what an
        agent got instead it is an attempt with the number 0.
        """
        memory = self._delivery.record_log
        memory.wait_until(lambda: self.done, timeout, f"an answer to {self!r}", self.openid)
        if self.agent:
            return Attempt(0, self._delivery.now(), "success", None, "", 0.0, f"{self.agent} has the session")
        if not self.attempts:
            raise AssertionError(f"{self!r} was never sent: no callback_url, or closed")
        return self.attempts[-1]

    def redeliver(self) -> Push:
        """Send the very same fields once more, freshly signed. This is no new interaction of the user."""
        return self._delivery.dispatch(Push(self.fields, self._delivery, self.first))


class Sender(Protocol):
    """The settings of a delivery, read at each attempt (FakeWeChat has them as plain attributes)."""

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


class _Asked(NamedTuple):
    """A request to the callback URL."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Outbox:
    """Delivers pushes to the bot's callback URL, those of one user in their order."""

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
        """Make the connection pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_ALIVE)
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
        """Deliver ``push`` in the background, or keep it back while ``hold`` is on."""
        with self.record_log.changed:
            if self._held is not None:
                self._held.append(push)
            else:
                self._background.call(self._start, push, None)
        return push

    def divert(self, push: Push, agent: str) -> Push:
        """Let an agent have ``push``: it is done."""
        with self.record_log.changed:
            push.agent, push.done = agent, True
            push.opened.set()
        return push

    def now(self) -> float:
        """Seconds by the clock."""
        return self._clock.now()

    @property
    def held(self) -> int | None:
        """How many pushes are kept back; None if none is to be."""
        held = self._held
        return None if held is None else len(held)

    def hold(self) -> None:
        """Keep back all pushes from now on."""
        with self.record_log.changed:
            self._held = self._held or []

    def release(self, order: Sequence[Push] | Literal["reversed"] | None) -> None:
        """Deliver what was kept back; with an ``order`` one after the other (those not named in it last)."""
        with self.record_log.changed:
            held, self._held = self._held or [], None
            if order is None:
                for push in held:
                    self._background.call(self._start, push, None)
            else:
                chosen = held[::-1] if order == "reversed" else [push for push in order if push in held]
                self._background.call(self._start_chain, chosen + [push for push in held if push not in chosen])

    async def request(self, method: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str]) -> Answered:
        """One request to the callback URL."""
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
            return Answered(response.status, response.headers, await _read_all(response))

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
                await after.opened.wait()
            if self._sender.callback_url:
                await self._try_all(push)
        finally:
            push.opened.set()
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
            push.opened.set()
            if any(attempt.outcome == "success" for attempt in attempts):
                return
            if n < self._sender.tries:
                await self._pause(attempts[-1])
        self._platform.gives_up(push.openid)

    async def _pause(self, attempt: Attempt) -> None:
        """After a timeout WeChat sends again at once, after another failure when the 5 s are over."""
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
            asked = _Asked(query, {**self._headers(), **self._sender.push_headers(push.openid)}, body)
            clear = to_text(push.fields, self._sender.format) if "encrypt_type" in query else None
            outcome, answered, why = await self._ask(asked)
            opened = None
            if answered is not None:
                outcome, why, opened = self._understand(push, answered, nonce)
            status, answer = (answered.status, answered.body) if answered else (None, b"")
            text = answer.decode(errors="replace")
            attempt = Attempt(n, at, outcome, status, text, (perf_counter() - started) * 1000, why)
        self._note(push, attempt, self._exchange(asked, clear, answered, opened))
        return attempt

    def _headers(self) -> dict[str, str]:
        return {**_HEADERS, "Content-Type": content_type(self._sender.format)}

    async def _ask(self, asked: _Asked) -> tuple[Outcome, Answered | None, str]:
        try:
            request = self.request("POST", asked.query, asked.body, asked.headers)
            return "success", await _within(self._clock, self._sender.push_timeout, request), ""
        except TimeoutError:
            return "timeout", None, f"no answer within {self._sender.push_timeout:g} s"
        except (aiohttp.ClientError, OSError) as problem:
            return "error", None, f"{type(problem).__name__}: {problem}"

    def _understand(self, push: Push, answered: Answered, nonce: str) -> tuple[Outcome, str, bytes | None]:
        """What came of it, why, and the clear text of the passive answer if there is one."""
        if answered.status != 200:
            return "refused", f"HTTP {answered.status}", None
        sender = self._sender
        opened = None
        try:
            opened = open_answer(answered.body, sender.keys, sender.mode, sender.format, nonce)
            if opened is not None:
                fields = from_text(opened, sender.format)
                self._platform.check_passive(push.fields, fields)
                self._take_answer(push, fields)
        except Malformed as problem:
            return "refused", str(problem), opened
        return "success", "", opened

    def _exchange(self, asked: _Asked, clear: str | None, answered: Answered | None, opened: bytes | None) -> Exchange:
        redactor = self._platform.redactor
        path = urlsplit(self._sender.callback_url).path or "/"
        request = redactor.message(f"POST {path}?{urlencode(asked.query)}", asked.headers, asked.body)
        if answered is None:
            return Exchange(request, None, clear and redactor.redact(clear))
        answer = redactor.message(f"HTTP {answered.status}", answered.headers, answered.body)
        text = None if opened in (None, answered.body) else redactor.redact(opened.decode(errors="replace"))
        return Exchange(request, answer, clear and redactor.redact(clear), text)

    def _take_answer(self, push: Push, fields: dict[str, Any]) -> None:
        """The first answer to a message counts, whichever of its deliveries it was given to."""
        with self.record_log.changed:
            push.answer = fields
            if not push.first.is_answered:
                push.first.is_answered = True
                self._platform.answered_passively(push.fields, fields)

    def _note(self, push: Push, attempt: Attempt, exchange: Exchange) -> None:
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
    """The body. Raises aiohttp.ClientPayloadError if it is longer than any answer can be."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise aiohttp.ClientPayloadError(f"the answer has more than {MAX_ANSWER} bytes")
    return bytes(body)


def content_type(form: Format) -> str:
    """The Content-Type of a push."""
    return "application/json" if form == "json" else "text/xml"


async def _within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, or TimeoutError when ``seconds`` have passed by the clock before."""
    task = asyncio.ensure_future(work)
    late: list[bool] = []

    def too_late() -> None:
        late.append(True)
        task.cancel()

    timer = clock.call_later(seconds, too_late)
    try:
        return await task
    except asyncio.CancelledError:
        if late and task.cancelled():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
