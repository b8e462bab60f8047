"""Helpers for tests of the page: a bot in this process, a page server, and a client."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from wxbot import Context, Plugin
from wxbot.playground.bot_process import BotDidNotStart
from wxbot.playground.page.playground import Playground
from wxbot.playground.page.server import PageServer
from wxbot.playground.session import AccountChoice, Credentials
from wxbot.server.assembly import make_bot
from wxbot.testing import FakeWeChat, LeapingClock, User, serve, settings_for

PATIENCE = 30.0
"""Timeout in real seconds. Nothing takes this long unless there is an error."""
_SILENCES = 9  # consecutive keep-alive events, one in ten seconds, because a transcript may wait for a minute
JSON = "application/json"
PLAIN = AccountChoice(mode="plain")


def echoing() -> Plugin:
    """Return a plugin that echoes every text."""
    plugin = Plugin("echo")

    @plugin.fallback
    async def echo(ctx: Context) -> str | None:
        return ctx.text or None

    return plugin


LEASE_SECONDS = 15
"""Lease duration: a push that is claimed while the bot stops waits for its lease, but not as long as in other tests."""


class InProcessBot:
    """A bot under test in this process. ``starts``: number of starts; ``fails``: number of starts that will fail."""

    target = ""
    plugins = "near"

    def __init__(self, *plugins: Plugin, **choices: Any) -> None:
        self.starts = 0
        self.fails = 0
        self.written = b""
        self._given = plugins
        self._choices = choices
        self._serving = ExitStack()
        self._is_up = False
        self._clock: LeapingClock | None = None
        self._store = Path()

    @property
    def is_up(self) -> bool:
        return self._is_up

    def serve(self, wechat: FakeWeChat, clock: LeapingClock, folder: Path) -> None:
        self._clock, self._store = clock, folder / "bot.db"
        self.restart(wechat)

    def restart(self, wechat: FakeWeChat) -> None:
        if self.fails:
            self.fails -= 1
            raise BotDidNotStart(f"the bot ended while it started: it knows {wechat.platform.account.secret}")
        self.stop()
        kind = wechat.platform.account.kind
        bot = make_bot(
            settings_for(wechat, self._store, account_kind=kind, **{"lease_seconds": LEASE_SECONDS, **self._choices}),
            plugins=self._given,
            clock=self._clock,
        )
        wechat.callback_url = self._serving.enter_context(serve(bot))
        self._is_up = True
        self.starts += 1

    def troubles(self) -> int:
        return 0

    def stop(self, patience: float = 0.0) -> None:
        self._serving.close()
        self._is_up = False

    def log(self, after: int) -> tuple[str, int]:
        return self.written[after:].decode(), max(after, len(self.written))


@dataclass(frozen=True)
class Answer:
    """A response of the page server."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence for the person at the page."""
        data = self.json
        assert set(data) == {"error"}, data
        return str(data["error"])


class Event(NamedTuple):
    """A server-sent event."""

    name: str
    data: Any
    id: str


class EventStream:
    """An open page that receives events. ``rows`` and ``users``: the data of its session so far."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.rows: list[dict[str, Any]] = []
        self.users: dict[str, Any] = {}
        self.last_event_id = ""
        self._silences = 0
        self.head: Mapping[str, str] = {}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._connection.request("GET", "/events", headers=dict(headers))
        self._response = self._connection.getresponse()
        self.head = dict(self._response.getheaders())
        assert self._response.status == 200, self._response.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the page."""
        self._response.close()
        self._connection.close()

    def next(self) -> Event:
        """The next event; comments are passed over. Raises EOFError when the server has ended it."""
        fields: dict[str, str] = {}
        while "data" not in fields:
            fields = dict(self._block())
        self._silences = self._silences + 1 if fields["event"] == "time" else 0
        assert self._silences <= _SILENCES, "what should come did not"
        event = Event(fields["event"], json.loads(fields["data"]), fields.get("id", ""))
        self.last_event_id = event.id or self.last_event_id
        if event.name == "session":
            self.rows, self.users = [], {}
        elif event.name == "rows":
            self.rows += event.data["rows"]
        if event.name in ("session", "rows", "users"):
            self.users |= {user["name"]: user for user in event.data["users"]}
        return event

    def _block(self) -> Iterator[tuple[str, str]]:
        while line := self._line():
            name, _, value = line.partition(": ")
            yield name, value

    def _line(self) -> str:
        line = self._response.readline()
        if not line:
            raise EOFError("the server ended the stream")
        return line.decode().removesuffix("\n")

    def until(self, name: str, matches: Callable[[Any], bool] = lambda data: True) -> Any:
        """The data of the next event of this name that matches."""
        while True:
            event = self.next()
            if event.name == name and matches(event.data):
                return event.data

    def row(self, what: str, kind: str, times: int = 1) -> dict[str, Any]:
        """The row of this kind that tells of this, once it has come ``times`` times."""
        while True:
            found = [row for row in self.rows if (row["what"], row["kind"]) == (what, kind)]
            if len(found) >= times:
                return found[times - 1]
            self.until("rows")


class PageClient:
    """A client of the page of a playground."""

    def __init__(self, playground: Playground, server: PageServer, bot: InProcessBot) -> None:
        self.playground = playground
        self.server = server
        self.bot = bot
        self.headers: dict[str, str] = {}

    @property
    def wechat(self) -> FakeWeChat:
        """Return the platform of the current session."""
        return self.playground.view.wechat

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, with the path exactly as given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: object = None, kind: str = JSON) -> Answer:
        """POST ``body``: bytes as they are, else as JSON; without one an empty object."""
        raw = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        return self.ask("POST", path, raw, {"Content-Type": kind})

    def done(self, path: str, body: object = None, kind: str = JSON) -> Any:
        """POST what must go well; its answer."""
        answer = self.post(path, body, kind)
        assert 200 <= answer.status < 300, (path, body, answer)
        assert answer.json["ok"] is True
        return answer.json

    def refuses(self, path: str, body: object = None, status: int = 422, words: str = "", kind: str = JSON) -> None:
        """POST a request that must be refused with these words, and must change nothing."""
        before = self._state()
        answer = self.post(path, body, kind)
        assert answer.status == status, (path, body, answer)
        assert answer.error
        assert words in answer.error
        assert self._state() == before

    def _state(self) -> Any:
        """Return everything that a request may change, except the time."""
        state = self.playground.state()
        del state["now"]
        return state, len(self.wechat.timeline), self.bot.starts

    def adds(self, name: str) -> User:
        """A new user."""
        self.done("/users", {"name": name})
        return self.wechat.user(name)

    def lets(self, user: User, action: str, **details: object) -> None:
        """A user does something."""
        self.done(f"/users/{quote(user.name, safe='')}/actions", {"action": action, **details})

    def opens(self, last_event_id: str = "") -> EventStream:
        """Open the page."""
        more = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return EventStream(self.server.port, {**self.headers, **more})

    def row(self, number: int) -> Any:
        """All about one row."""
        answer = self.get(f"/rows/{number}")
        assert answer.status == 200, answer
        return answer.json

    def plays(self, transcript: str, name: str = "story.yaml") -> Any:
        """Replay a transcript and return its result."""
        with self.opens() as stream:
            stream.next()  # the previous session
            answer = self.post(f"/play?name={name}", transcript.encode(), "application/yaml")
            assert answer.status == 202, answer
            return next_result(stream)


def next_result(stream: EventStream) -> Any:
    """Wait for the end of the replay and return its result."""
    return progress(stream, lambda data: data["state"] in ("passed", "failed"))


def progress(stream: EventStream, matches: Callable[[Any], bool]) -> Any:
    """Wait until the progress of the replay matches. A new session also contains the progress."""
    while True:
        event = stream.next()
        data = event.data["play"] if event.name == "session" else event.data if event.name == "play" else None
        if data and matches(data):
            return data


@contextmanager
def client_for(
    folder: Path, *plugins: Plugin, choice: AccountChoice = PLAIN, key: str = "", **choices: Any
) -> Iterator[PageClient]:
    """Run a playground with its bot and its page. Default plugin: echo. ``choices``: fields of Settings."""
    bot = InProcessBot(*(plugins or (echoing(),)), **choices)
    playground = Playground(bot, choice, Credentials(), folder)
    with ExitStack() as stack:
        stack.callback(playground.close)
        server = stack.enter_context(PageServer(playground, "127.0.0.1", 0, key))
        playground.start()
        yield PageClient(playground, server, bot)
