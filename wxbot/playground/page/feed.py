"""The events that an open page receives: new rows, and changes of users, controls and the bot."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from wxbot.playground.page.playground import Playground, SessionView

Json = dict[str, Any]

MAX_ROWS = 500
"""Maximum number of rows in one event."""
CHECK_SECONDS = 1.0
"""Seconds between checks for changes that cause no notification, such as a bot that exits."""
KEEP_ALIVE_SECONDS = 10.0
"""Seconds between keep-alive events, because a proxy may close an idle connection."""
BATCH_SECONDS = 0.03
"""Seconds in which changes are collected into one event."""
RETRY = "retry: 1000\n\n"

_EVENT_ID = re.compile(r"(\d{1,9})-(\d{1,9})")


class Feed:
    """The event source of all open pages. All methods except ``wake_soon`` run on the page's event loop."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_waking = False
        self._is_closed = False

    def close(self) -> None:
        """End the events of all pages."""
        self._is_closed = True
        self._wake()

    def wake_soon(self) -> None:
        """Report a change. May be called from any thread."""
        if not self._is_waking and not self._loop.is_closed():
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def events(self, last_event_id: str) -> AsyncIterator[str]:
        """Yield the events for one page, from ``last_event_id`` on."""
        page = _OpenPage(self._playground, last_event_id)
        yield RETRY
        sent_at = self._loop.time()
        while not self._is_closed:
            changed = self._changed
            for event in page.updates():
                yield event
            if self._loop.time() - sent_at >= KEEP_ALIVE_SECONDS:
                sent_at = self._loop.time()
                yield page.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), CHECK_SECONDS)
                await asyncio.sleep(BATCH_SECONDS)


class _OpenPage:
    """The state of one open page: the data that it has received."""

    def __init__(self, playground: Playground, last_event_id: str) -> None:
        self._playground = playground
        self._scene: SessionView | None = None
        self._last_event_id = last_event_id
        self._next = 0
        self._users: dict[str, Json] = {}
        self._sent: dict[str, Json | None] = {}

    def updates(self) -> Iterator[str]:
        """Yield the events that bring the page up to date."""
        view = self._playground.view
        if view is not self._scene:
            yield self._begin(view)
        while rows := [entry.row for entry in view.rows.entries[self._next : self._next + MAX_ROWS]]:
            self._next += len(rows)
            users = self._changed_users(view, {row["user"] for row in rows})
            update = {"now": view.session.now, "rows": rows, "users": users}
            yield _event("rows", update, f"{view.session.number}-{self._next - 1}")
        if users := self._changed_users(view, set()):
            yield _event("users", {"now": view.session.now, "users": users})
        yield from self._changed(view, "controls", view.controls())
        yield from self._changed(view, "bot", self._playground.bot_state())
        if self._playground.playing is not None:
            yield from self._changed(view, "play", self._playground.playing)

    def time(self) -> str:
        """Return an event with the time of the platform's clock."""
        return _event("time", {"now": self._playground.view.session.now})

    def _begin(self, view: SessionView) -> str:
        is_first = self._scene is None
        self._scene = view
        self._next = self._rows_known(view) if is_first else 0
        state = self._playground.state(view)
        self._users = {user["name"]: user for user in state["users"]}
        self._sent = {name: state[name] for name in ("controls", "bot", "play")}
        return _event("session", state)

    def _rows_known(self, view: SessionView) -> int:
        """Return the number of rows that a reconnecting page already has."""
        found = _EVENT_ID.fullmatch(self._last_event_id)
        if found is None or int(found[1]) != view.session.number:
            return 0
        return min(int(found[2]) + 1, len(view.rows.entries))

    def _changed_users(self, view: SessionView, names: set[str]) -> list[Json]:
        seen = view.users_but(self._users, names)
        changed = [user for user in seen if self._users.get(user["name"]) != user]
        self._users |= {user["name"]: user for user in changed}
        return changed

    def _changed(self, view: SessionView, name: str, value: Json) -> Iterator[str]:
        if self._sent.get(name) != value:
            self._sent[name] = value
            yield _event(name, {"now": view.session.now, "controls": value} if name == "controls" else value)


def _event(name: str, data: Json, event_id: str = "") -> str:
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "") + f"data: {text}\n\n"
