"""A user of the account, controlled by a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE, MediaKind
from wxbot.testing.push import Push
from wxbot.testing.records import Record, Saw
from wxbot.testing.running import RunningPlatform
from wxbot.testing.sent import menu_items


class User:
    """A user. ``FakeWeChat.user`` creates it. Each user action returns its Push, whose delivery has already begun."""

    def __init__(self, running: RunningPlatform, name: str, openid: str) -> None:
        self.name = name
        self.openid = openid
        self._running = running
        self._platform = running.platform
        self._record_log = running.record_log
        self._records = running.record_log.of_user(openid)

    def __repr__(self) -> str:
        return f"<User {self.name} {self.openid}>"

    # -- user actions

    def says(self, text: str) -> Push:
        """Send a text message."""
        return self.sends("text", Content=text)

    def sends_image(self, content: bytes | None = None, *, url: str = "", media_id: str = "") -> Push:
        """Send an image. Without ``content`` and ``media_id`` it is SAMPLE_IMAGE with the media_id "MEDIA"."""
        media_id = self._store("image", content or SAMPLE_IMAGE, media_id or ("MEDIA" if content is None else ""))
        return self.sends("image", PicUrl=url or self._running.media_url(media_id), MediaId=media_id)

    def sends_voice(self, content: bytes = SAMPLE_VOICE, format: str = "amr", *, media_id: str = "") -> Push:  # noqa: A002
        """Send a voice message. ``format`` is the Format field of the push: amr or speex. Official Accounts only."""
        self._only_to("official", "voice")
        media_id = self._store("voice", content, media_id)
        return self.sends("voice", MediaId=media_id, Format=format, MediaId16K=self._store("voice", content))

    def sends_video(self, content: bytes = SAMPLE_VIDEO, *, media_id: str = "") -> Push:
        """Send a video. Official Accounts only."""
        return self._sends_clip("video", content, media_id)

    def sends_short_video(self, content: bytes = SAMPLE_VIDEO, *, media_id: str = "") -> Push:
        """Send a short video (shortvideo). Official Accounts only."""
        return self._sends_clip("shortvideo", content, media_id)

    def sends_location(self, latitude: float, longitude: float, scale: int = 16, label: str = "") -> Push:
        """Send a location, with latitude and longitude in degrees. Official Accounts only."""
        self._only_to("official", "location")
        return self.sends("location", Location_X=latitude, Location_Y=longitude, Scale=scale, Label=label)

    def sends_link(self, title: str = "A page", description: str = "", url: str = "http://127.0.0.1/page") -> Push:
        """Send a link. Official Accounts only."""
        self._only_to("official", "link")
        return self.sends("link", Title=title, Description=description, Url=url)

    def sends_mini_program_page(
        self,
        title: str = "A page",
        appid: str = "",
        page_path: str = "pages/index",
        thumb_url: str = "http://127.0.0.1/thumb.jpg",
        thumb_media_id: str = "THUMB",
    ) -> Push:
        """Send a Mini Program card. The default ``appid`` is this account's own. Mini Programs only."""
        self._only_to("miniprogram", "miniprogrampage")
        return self.sends(
            "miniprogrampage",
            Title=title,
            AppId=appid or self._platform.account.appid,
            PagePath=page_path,
            ThumbUrl=thumb_url,
            ThumbMediaId=self._store("thumb", SAMPLE_IMAGE, thumb_media_id),
        )

    def clicks_menu_item(self, label: str) -> Push:
        """Click the item ``label`` of the latest msgmenu that has it. WeChat sends the label as a text message.

        A ``weixin://bizmsgmenu`` link in a text is such an item too. Official Accounts only. Raises AssertionError if
        the user received no such item.
        """
        self._only_to("official", "msgmenu")
        for body in reversed(self.received):
            if label in (items := menu_items(body)):
                return self.sends("text", Content=label, bizmsgmenuid=items[label])
        raise AssertionError(f"{self.name} was sent no msgmenu with the item {label!r}")

    def enters(self, session_from: str = "") -> Push:
        """Open the customer-service session (user_enter_tempsession). Mini Programs only."""
        self._only_to("miniprogram", "user_enter_tempsession")
        return self.does("user_enter_tempsession", SessionFrom=session_from)

    def follows(self, scene: str = "", ticket: str = "") -> Push:
        """Follow the account (subscribe), with a ``scene`` by its QR code. Official Accounts only."""
        self._only_to("official", "subscribe")
        by_code = {"EventKey": f"qrscene_{scene}", "Ticket": ticket} if scene else {"EventKey": ""}
        return self.does("subscribe", **by_code)

    def leaves(self) -> Push:
        """Unfollow the account (unsubscribe). Official Accounts only."""
        self._only_to("official", "unsubscribe")
        return self.does("unsubscribe", EventKey="")

    def scans(self, scene: str, ticket: str = "") -> Push:
        """Scan the QR code of the account as a follower (SCAN). Official Accounts only."""
        self._only_to("official", "SCAN")
        return self.does("SCAN", EventKey=scene, Ticket=ticket)

    def clicks(self, key: str) -> Push:
        """Click an item of the account's menu (CLICK). Official Accounts only."""
        self._only_to("official", "CLICK")
        return self.does("CLICK", EventKey=key)

    def views(self, url: str, menu_id: str = "1") -> Push:
        """Click an item of the account's menu that opens a page (VIEW). Official Accounts only."""
        self._only_to("official", "VIEW")
        return self.does("VIEW", EventKey=url, MenuId=menu_id)

    def does(self, event: str, /, **fields: Any) -> Push:
        """Push any event, such as ``does("CLICK", EventKey="menu-1")``."""
        return self.sends("event", **{"Event": event, **fields})

    def sends(self, msg_type: str, /, **fields: Any) -> Push:
        """Push any MsgType. ``fields`` override the default fields (MsgId, CreateTime, …)."""
        return self._running.act(self.openid, msg_type, fields)

    def _sends_clip(self, msg_type: str, content: bytes, media_id: str) -> Push:
        self._only_to("official", msg_type)
        media_id = self._store("video", content, media_id)
        return self.sends(msg_type, MediaId=media_id, ThumbMediaId=self._store("thumb", SAMPLE_IMAGE))

    def _store(self, kind: MediaKind, content: bytes, media_id: str = "") -> str:
        return self._running.add_media(kind, content, media_id=media_id)

    def _only_to(self, kind: Literal["miniprogram", "official"], action: str) -> None:
        is_mini_program = self._platform.account.kind == "miniprogram"
        if is_mini_program != (kind == "miniprogram"):
            here = "a Mini Program" if is_mini_program else "an Official Account"
            raise ValueError(f"{action} does not exist for {here}: create FakeWeChat with another account_kind")

    @property
    def pushes(self) -> list[Push]:
        """Return the pushes about the user so far, in order: user actions and agent-session events."""
        return self._running.pushes_of(self.openid)

    # -- what the user sees

    @property
    def received(self) -> list[Mapping[str, Any]]:
        """Return the bodies of all messages that the user received, in order: accepted sends and passive replies."""
        with self._record_log.changed:
            return list(self._records.received)

    @property
    def saw(self) -> list[Saw]:
        """Return all that the user saw, in order: accepted "Typing" and "CancelTyping", and the messages."""
        with self._record_log.changed:
            return list(self._records.saw)

    @property
    def timeline(self) -> list[Record]:
        """Return all records of this user, rejected calls included."""
        with self._record_log.changed:
            return list(self._records.records)

    @property
    def calls(self) -> list[Record]:
        """Return the typing and send calls for this user, rejected ones included."""
        return [record for record in self.timeline if record.kind in ("typing", "send")]

    @property
    def refused(self) -> list[tuple[int, str]]:
        """Return errcode and command ("send" for a message) of each typing and send call that was rejected."""
        refused = [record for record in self.calls if record.errcode]
        return [(record.errcode or 0, "send" if record.kind == "send" else record.what) for record in refused]

    @property
    def is_shown_typing(self) -> bool:
        """Return True if the typing indicator is showing now."""
        with self._record_log.changed:
            return self._platform.shows_typing(self.openid)

    @property
    def is_queued(self) -> bool:
        """Return True if the user is in the queue for human agents."""
        with self._record_log.changed:
            return self._platform.agent_sessions.is_queued(self.openid)

    @property
    def agent(self) -> str:
        """Return the account of the human agent who gets the user's messages now; empty if the bot gets them."""
        with self._record_log.changed:
            return self._platform.agent_sessions.agent_of(self.openid)

    # -- waiting: timeouts are real seconds; AssertionError has the user's records

    def waits_for(self, seen: str | Callable[[Saw], bool], timeout: float = 10.0, times: int = 1) -> None:
        """Wait until the user saw this text, or an item for which the predicate is true, ``times`` times in all."""
        matches = seen if callable(seen) else seen.__eq__
        why = f"{self.name} saw {'a matching item' if callable(seen) else repr(seen)} {times} time(s)"
        self._wait(lambda: sum(1 for saw in self._records.saw if matches(saw)) >= times, timeout, why)

    def waits_for_calls(self, n: int, timeout: float = 10.0) -> None:
        """Wait until ``n`` typing and send calls for this user were recorded, rejected ones included."""
        self._wait(lambda: self._records.calls >= n, timeout, f"{n} calls for {self.name}")

    def waits_for_pushes(self, n: int, timeout: float = 10.0) -> None:
        """Wait until ``n`` attempts to deliver a push about this user are over, with any outcome."""
        self._wait(lambda: self._records.pushes >= n, timeout, f"{n} push attempts for {self.name}")

    def waits_until_typing(self, shown: bool = True, timeout: float = 10.0) -> None:
        """Wait until the typing indicator is showing; with ``shown=False``, until it is not."""
        why = f"{self.name} is {'' if shown else 'not '}shown typing"
        with self._running.waking_when_typing_ends(self.openid):
            self._wait(lambda: self._platform.shows_typing(self.openid) is shown, timeout, why)

    def _wait(self, predicate: Callable[[], bool], timeout: float, why: str) -> None:
        self._record_log.wait_until(predicate, timeout, why, self.openid)
