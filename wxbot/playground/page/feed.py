"""What a page is told while it is open: rows as they come, and users, knobs and the bot where they changed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from wxbot.playground.page.playground import Playground, Scene

Json = dict[str, Any]

MOST_ROWS = 500
"""In one event."""
LOOK = 1.0
"""Seconds after which it is looked at what changes without being told, such as a bot that ends by itself."""
KEEP_ALIVE = 10.0
"""Seconds after which the time is told, so that nobody in between closes a silent connection."""
TOGETHER = 0.03
"""Seconds in which what happens is told in one event."""
RETRY = "retry: 1000\n\n"

_EVENT_ID = re.compile(r"(\d{1,9})-(\d{1,9})")


class Feed:
    """Wakes every open page when something changed. All but ``wake_soon`` runs on the page's event loop."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._is_waking = False

    def wake_soon(self) -> None:
        """Something changed; call from any thread."""
        if not self._is_waking and not self._loop.is_closed():
            self._is_waking = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._is_waking = False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def events(self, last_event_id: str) -> AsyncIterator[str]:
        """What one page is sent, from ``last_event_id`` on."""
        view = _View(self._playground, last_event_id)
        yield RETRY
        told_at = self._loop.time()
        while True:
            changed = self._changed
            for event in view.news():
                yield event
            if self._loop.time() - told_at >= KEEP_ALIVE:
                told_at = self._loop.time()
                yield view.time()
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK)
                await asyncio.sleep(TOGETHER)


class _View:
    """What one page knows already."""

    def __init__(self, playground: Playground, last_event_id: str) -> None:
        self._playground = playground
        self._scene: Scene | None = None
        self._last_event_id = last_event_id
        self._next = 0
        self._users: dict[str, Json] = {}
        self._told: dict[str, Json | None] = {}

    def news(self) -> Iterator[str]:
        """The events that bring it up to date."""
        scene = self._playground.scene
        if scene is not self._scene:
            yield self._begin(scene)
        while rows := [entry.row for entry in scene.book.entries[self._next : self._next + MOST_ROWS]]:
            self._next += len(rows)
            users = self._changed_users(scene, {row["user"] for row in rows})
            news = {"now": scene.world.now, "rows": rows, "users": users}
            yield _event("rows", news, f"{scene.world.number}-{self._next - 1}")
        if users := self._changed_users(scene, set()):
            yield _event("users", {"now": scene.world.now, "users": users})
        yield from self._changed(scene, "knobs", scene.knobs())
        yield from self._changed(scene, "bot", self._playground.bot_state())
        if self._playground.playing is not None:
            yield from self._changed(scene, "play", self._playground.playing)

    def time(self) -> str:
        """What time it is by the platform's clock."""
        return _event("time", {"now": self._playground.scene.world.now})

    def _begin(self, scene: Scene) -> str:
        is_first = self._scene is None
        self._scene = scene
        self._next = self._rows_known(scene) if is_first else 0
        state = self._playground.state(scene)
        self._users = {user["name"]: user for user in state["users"]}
        self._told = {name: state[name] for name in ("knobs", "bot", "play")}
        return _event("world", state)

    def _rows_known(self, scene: Scene) -> int:
        """How many rows a page that comes back has already."""
        found = _EVENT_ID.fullmatch(self._last_event_id)
        if found is None or int(found[1]) != scene.world.number:
            return 0
        return min(int(found[2]) + 1, len(scene.book.entries))

    def _changed_users(self, scene: Scene, names: set[str]) -> list[Json]:
        seen = scene.users_but(self._users, names)
        changed = [user for user in seen if self._users.get(user["name"]) != user]
        self._users |= {user["name"]: user for user in changed}
        return changed

    def _changed(self, scene: Scene, name: str, value: Json) -> Iterator[str]:
        if self._told.get(name) != value:
            self._told[name] = value
            yield _event(name, {"now": scene.world.now, "knobs": value} if name == "knobs" else value)


def _event(name: str, data: Json, event_id: str = "") -> str:
    text = json.dumps(data, ensure_ascii=False)
    return f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "") + f"data: {text}\n\n"
