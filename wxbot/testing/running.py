"""RunningPlatform: a Platform with its HTTP server, its push delivery and their thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wxbot.testing.api import file_path
from wxbot.testing.background import Background
from wxbot.testing.clock import Handle
from wxbot.testing.media import MediaKind
from wxbot.testing.platform import Platform
from wxbot.testing.push import Push, PushDelivery, Sender
from wxbot.testing.server import Server


class RunningPlatform:
    """A Platform that serves and pushes until ``close``. Users and agents act on it.

    It runs in one thread of its own and is thread-safe. ``sender`` has the settings of the push delivery.
    """

    def __init__(self, platform: Platform, sender: Sender, host: str, port: int) -> None:
        self.platform = platform
        self.record_log = platform.record_log
        self.background = Background("fake-wechat")
        self.delivery = PushDelivery(sender, platform, self.background)
        self._server = Server(platform)
        self._pushes: dict[str, list[Push]] = {}
        self._closed = False
        try:
            self.background.run(self._server.start(host, port))
            self.background.run(self.delivery.start())
        except BaseException:
            self.close()
            raise
        platform.origin = f"http://{host}:{self._server.port}"

    def close(self) -> None:
        """Stop delivering and serving. Close all threads, sockets and tasks."""
        if self._closed:
            return
        self._closed = True
        try:
            self.background.run(self.delivery.close())
            self.background.run(self._server.close())
        finally:
            self.background.close()

    # -- files

    def add_media(
        self, kind: MediaKind, content: bytes, filename: str = "", content_type: str = "", media_id: str = ""
    ) -> str:
        """Store a file of any size and content in WeChat, and return its media_id."""
        with self.record_log.changed:
            return self.platform.media.add(kind, content, filename, content_type, media_id).media_id

    def media_url(self, media_id: str) -> str:
        """Return a URL on this server where the file can be downloaded without a token."""
        return self.platform.origin + file_path(media_id)

    # -- pushes

    def act(self, openid: str, msg_type: str, fields: Mapping[str, Any]) -> Push:
        """Process a user action now. The push is delivered in the background, or a human agent gets it."""
        self._check_open()
        with self.record_log.changed:
            push = self._new_push(self.platform.user_acts(openid, msg_type, fields))
            if self.platform.agent_receives(push.fields):
                return self.delivery.give_to_agent(push, self.platform.agent_sessions.agent_of(openid))
            return self.delivery.dispatch(push)

    def report(self, openid: str, event: str, fields: Mapping[str, Any]) -> Push:
        """Push an event about a user that is not a user action."""
        self._check_open()
        with self.record_log.changed:
            return self.delivery.dispatch(self._new_push(self.platform.report(openid, event, fields)))

    def pushes_of(self, openid: str) -> list[Push]:
        """Return all pushes about a user so far, in order, without redeliveries."""
        with self.record_log.changed:
            return list(self._pushes.get(openid, ()))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("FakeWeChat is closed: act on it before close() or inside its with block")

    def _new_push(self, fields: Mapping[str, Any]) -> Push:
        push = Push(fields, self.delivery)
        self._pushes.setdefault(push.openid, []).append(push)
        return push

    # -- waiting

    @property
    def is_busy(self) -> bool:
        """Return True if a push is being delivered (held ones do not count) or a user sees the typing indicator."""
        is_holding = self.delivery.held is not None
        is_delivering = not is_holding and any(not push.done for pushes in self._pushes.values() for push in pushes)
        return is_delivering or any(map(self.platform.shows_typing, self.platform.names))

    @contextmanager
    def waking_when_typing_ends(self, openid: str) -> Iterator[None]:
        """Wake the waiting threads at the moment when the indicator ends by itself, inside the ``with`` block."""
        timers: list[Handle] = []

        def arm() -> None:
            left = self.platform.typing_left(openid)
            if left > 0:
                timers.append(self.platform.clock.call_later(left, self.record_log.wake))
            self.record_log.wake()

        def disarm() -> None:
            for timer in timers:
                timer.cancel()
            self.record_log.wake()

        self.background.call(arm)
        try:
            yield
        finally:
            self.background.call(disarm)
