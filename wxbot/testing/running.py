"""RunningPlatform: a Platform with its server, its delivery and their thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from wxbot.testing.api import file_path
from wxbot.testing.background import Background
from wxbot.testing.clock import Handle
from wxbot.testing.media import MediaKind
from wxbot.testing.platform import Platform
from wxbot.testing.push import Outbox, Push, Sender
from wxbot.testing.server import Server


class RunningPlatform:
    """A Platform that listens and pushes until ``close``; users and agents act on it.

    It runs in one thread of its own and may be used from every thread. ``sender`` has the settings of the delivery.
    """

    def __init__(self, platform: Platform, sender: Sender, host: str, port: int) -> None:
        self.platform = platform
        self.record_log = platform.record_log
        self.background = Background("fake-wechat")
        self.delivery = Outbox(sender, platform, self.background)
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
        """Stop delivering and serving. Nothing is left: no thread, no socket, no task."""
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
        """Put a file into WeChat's store, whatever its size and content, and return its media_id."""
        with self.record_log.changed:
            return self.platform.media.add(kind, content, filename, content_type, media_id).media_id

    def picture_url(self, media_id: str) -> str:
        """Return an address on this server where a picture or video can be fetched without a token."""
        return self.platform.origin + file_path(media_id)

    # -- what becomes a push

    def act(self, openid: str, msg_type: str, fields: Mapping[str, Any]) -> Push:
        """Let a user do something now; the push is delivered in the background, or an agent gets it."""
        self._check_open()
        with self.record_log.changed:
            push = self._new_push(self.platform.user_acts(openid, msg_type, fields))
            if self.platform.agent_hears(push.fields):
                return self.delivery.divert(push, self.platform.agent_sessions.holder(openid))
            return self.delivery.dispatch(push)

    def report(self, openid: str, event: str, fields: Mapping[str, Any]) -> Push:
        """Push an event that concerns a user without being their deed."""
        self._check_open()
        with self.record_log.changed:
            return self.delivery.dispatch(self._new_push(self.platform.report(openid, event, fields)))

    def pushes_of(self, openid: str) -> list[Push]:
        """Return all that was pushed about a user so far, in order, without redeliveries."""
        with self.record_log.changed:
            return list(self._pushes.get(openid, ()))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("FakeWeChat is closed")

    def _new_push(self, fields: Mapping[str, Any]) -> Push:
        push = Push(fields, self.delivery)
        self._pushes.setdefault(push.openid, []).append(push)
        return push

    # -- waiting

    @property
    def is_at_work(self) -> bool:
        """Whether a push is under way (and not kept back), or somebody is shown typing."""
        held = self.delivery.held is not None
        is_under_way = not held and any(not push.done for pushes in self._pushes.values() for push in pushes)
        return is_under_way or any(map(self.platform.shows_typing, self.platform.names))

    @contextmanager
    def waking_when_typing_ends(self, openid: str) -> Iterator[None]:
        """Let waiting threads look again at the moment the indicator ends by time, while this is open."""
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
