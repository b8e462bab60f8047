"""A user of the account, as a test plays them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wxbot.testing.push import Push
from wxbot.testing.records import Record, Saw

if TYPE_CHECKING:
    from wxbot.testing.fake import FakeWeChat


class User:
    """One user. Made by ``FakeWeChat.user``; what they do returns a Push that is on its way already."""

    def __init__(self, wechat: FakeWeChat, name: str, openid: str) -> None:
        self.name = name
        self.openid = openid
        self._wechat = wechat
        self._diary = wechat.memory.of(openid)

    def __repr__(self) -> str:
        return f"<User {self.name} {self.openid}>"

    # -- what the user does

    def says(self, text: str) -> Push:
        """Write a text message."""
        return self.sends("text", Content=text)

    def sends_image(self, url: str = "http://127.0.0.1/picture.jpg", media_id: str = "MEDIA") -> Push:
        """Send a picture."""
        return self.sends("image", PicUrl=url, MediaId=media_id)

    def sends_mini_program_page(
        self,
        title: str = "A page",
        appid: str = "",
        page_path: str = "pages/index",
        thumb_url: str = "http://127.0.0.1/thumb.jpg",
        thumb_media_id: str = "THUMB",
    ) -> Push:
        """Send a mini-program card; ``appid`` is this account's own unless given."""
        return self.sends(
            "miniprogrampage",
            Title=title,
            AppId=appid or self._wechat.appid,
            PagePath=page_path,
            ThumbUrl=thumb_url,
            ThumbMediaId=thumb_media_id,
        )

    def enters(self, session_from: str = "") -> Push:
        """Open the customer-service session of a Mini Program (user_enter_tempsession)."""
        return self.does("user_enter_tempsession", SessionFrom=session_from)

    def does(self, event: str, **fields: Any) -> Push:
        """Any event, such as ``does("CLICK", EventKey="menu-1")``."""
        return self.sends("event", Event=event, **fields)

    def sends(self, msg_type: str, **fields: Any) -> Push:
        """A push of any MsgType. ``fields`` go over the usual ones (MsgId, CreateTime, …)."""
        return self._wechat.act(self, msg_type, fields)

    # -- what the user saw

    @property
    def saw(self) -> list[Saw]:
        """All the user saw, in the platform's order: accepted "Typing" and "CancelTyping", and the messages."""
        with self._wechat.memory.changed:
            return list(self._diary.saw)

    @property
    def timeline(self) -> list[Record]:
        """All records of this user, refused calls too."""
        with self._wechat.memory.changed:
            return list(self._diary.records)

    @property
    def calls(self) -> list[Record]:
        """The typing and send calls for this user, refused ones too."""
        return [record for record in self.timeline if record.kind in ("typing", "send")]

    @property
    def refused(self) -> list[tuple[int, str]]:
        """errcode and command ("send" for a message) of each typing and send call that was answered with an errcode."""
        refused = [record for record in self.calls if record.errcode]
        return [(record.errcode or 0, "send" if record.kind == "send" else record.what) for record in refused]

    @property
    def is_shown_typing(self) -> bool:
        """Whether the indicator shows now."""
        with self._wechat.memory.changed:
            return self._wechat.platform.shows_typing(self.openid)

    # -- waiting: in real seconds, AssertionError with the user's timeline when it does not happen

    def waits_for(self, seen: str | Callable[[Saw], bool], timeout: float = 10.0, times: int = 1) -> None:
        """Until the user saw this text (or something the predicate holds for), ``times`` times in all."""
        matches = seen if callable(seen) else seen.__eq__
        why = f"{self.name} saw {'what was asked for' if callable(seen) else repr(seen)} {times} time(s)"
        self._wait(lambda: sum(1 for saw in self._diary.saw if matches(saw)) >= times, timeout, why)

    def waits_for_calls(self, n: int, timeout: float = 10.0) -> None:
        """Until ``n`` typing and send calls for this user came in, refused ones too."""
        self._wait(lambda: self._diary.calls >= n, timeout, f"{n} calls for {self.name}")

    def waits_for_pushes(self, n: int, timeout: float = 10.0) -> None:
        """Until ``n`` attempts to deliver something of this user are over, whatever came of them."""
        self._wait(lambda: self._diary.pushes >= n, timeout, f"{n} attempts to deliver for {self.name}")

    def waits_until_typing(self, shown: bool = True, timeout: float = 10.0) -> None:
        """Until the indicator shows (or, with ``shown=False``, shows no more, be it by time)."""
        why = f"{self.name} is {'' if shown else 'not '}shown typing"
        with self._wechat.waking_when_typing_ends(self.openid):
            self._wait(lambda: self._wechat.platform.shows_typing(self.openid) is shown, timeout, why)

    def _wait(self, predicate: Callable[[], bool], timeout: float, why: str) -> None:
        self._wechat.memory.wait_until(predicate, timeout, why, self.openid)
