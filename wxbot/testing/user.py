"""A user of the account, as a test plays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from wxbot.testing.media import SAMPLE_IMAGE, SAMPLE_VIDEO, SAMPLE_VOICE, MediaKind
from wxbot.testing.push import Push
from wxbot.testing.records import Record, Saw
from wxbot.testing.running import RunningPlatform
from wxbot.testing.sent import menu_items


class User:
    """A user. ``FakeWeChat.user`` makes them; each of their deeds returns a Push that is on its way already."""

    def __init__(self, running: RunningPlatform, name: str, openid: str) -> None:
        self.name = name
        self.openid = openid
        self._running = running
        self._platform = running.platform
        self._memory = running.record_log
        self._diary = running.record_log.of_user(openid)

    def __repr__(self) -> str:
        return f"<User {self.name} {self.openid}>"

    # -- what the user does

    def says(self, text: str) -> Push:
        """Write a text message."""
        return self.sends("text", Content=text)

    def sends_image(self, content: bytes | None = None, *, url: str = "", media_id: str = "") -> Push:
        """Send a picture. WeChat keeps its file: under "MEDIA" if neither ``content`` nor ``media_id`` is given."""
        kept = self._keeps("image", content or SAMPLE_IMAGE, media_id or ("MEDIA" if content is None else ""))
        return self.sends("image", PicUrl=url or self._running.picture_url(kept), MediaId=kept)

    def sends_voice(self, content: bytes = SAMPLE_VOICE, format: str = "amr", *, media_id: str = "") -> Push:  # noqa: A002
        """Say something; ``format`` is WeChat's word for it: amr or speex. Official Accounts only."""
        self._only_to("official", "voice")
        kept = self._keeps("voice", content, media_id)
        return self.sends("voice", MediaId=kept, Format=format, MediaId16K=self._keeps("voice", content))

    def sends_video(self, content: bytes = SAMPLE_VIDEO, *, media_id: str = "") -> Push:
        """Send a video. Official Accounts only."""
        return self._sends_clip("video", content, media_id)

    def sends_short_video(self, content: bytes = SAMPLE_VIDEO, *, media_id: str = "") -> Push:
        """Send a video recorded just now. Official Accounts only."""
        return self._sends_clip("shortvideo", content, media_id)

    def sends_location(self, latitude: float, longitude: float, scale: int = 16, label: str = "") -> Push:
        """Send a place, in degrees. Official Accounts only."""
        self._only_to("official", "location")
        return self.sends("location", Location_X=latitude, Location_Y=longitude, Scale=scale, Label=label)

    def sends_link(self, title: str = "A page", description: str = "", url: str = "http://127.0.0.1/page") -> Push:
        """Send an article. Official Accounts only."""
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
        """Send a mini-program card; ``appid`` is this account's own unless given. Mini Programs only."""
        self._only_to("miniprogram", "miniprogrampage")
        return self.sends(
            "miniprogrampage",
            Title=title,
            AppId=appid or self._platform.account.appid,
            PagePath=page_path,
            ThumbUrl=thumb_url,
            ThumbMediaId=self._keeps("thumb", SAMPLE_IMAGE, thumb_media_id),
        )

    def clicks_menu_item(self, label: str) -> Push:
        """Click an item of the latest msgmenu that has it: WeChat sends its label as a text. Official Accounts only.

        A link ``weixin://bizmsgmenu`` in a text is such an item too. Raises AssertionError if the user was sent none.
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
        """Follow the account (subscribe), by its QR code if there is a ``scene``. Official Accounts only."""
        self._only_to("official", "subscribe")
        by_code = {"EventKey": f"qrscene_{scene}", "Ticket": ticket} if scene else {"EventKey": ""}
        return self.does("subscribe", **by_code)

    def leaves(self) -> Push:
        """Unfollow the account (unsubscribe). Official Accounts only."""
        self._only_to("official", "unsubscribe")
        return self.does("unsubscribe", EventKey="")

    def scans(self, scene: str, ticket: str = "") -> Push:
        """Scan the QR code of the account one follows already (SCAN). Official Accounts only."""
        self._only_to("official", "SCAN")
        return self.does("SCAN", EventKey=scene, Ticket=ticket)

    def clicks(self, key: str) -> Push:
        """Click an item of the account's own menu (CLICK). Official Accounts only."""
        self._only_to("official", "CLICK")
        return self.does("CLICK", EventKey=key)

    def views(self, url: str, menu_id: str = "1") -> Push:
        """Click an item of the account's own menu that opens a page (VIEW). Official Accounts only."""
        self._only_to("official", "VIEW")
        return self.does("VIEW", EventKey=url, MenuId=menu_id)

    def does(self, event: str, /, **fields: Any) -> Push:
        """Cause any event, such as ``does("CLICK", EventKey="menu-1")``."""
        return self.sends("event", **{"Event": event, **fields})

    def sends(self, msg_type: str, /, **fields: Any) -> Push:
        """Cause a push of any MsgType. ``fields`` go over the usual ones (MsgId, CreateTime, …)."""
        return self._running.act(self.openid, msg_type, fields)

    def _sends_clip(self, msg_type: str, content: bytes, media_id: str) -> Push:
        self._only_to("official", msg_type)
        kept = self._keeps("video", content, media_id)
        return self.sends(msg_type, MediaId=kept, ThumbMediaId=self._keeps("thumb", SAMPLE_IMAGE))

    def _keeps(self, kind: MediaKind, content: bytes, media_id: str = "") -> str:
        return self._running.add_media(kind, content, media_id=media_id)

    def _only_to(self, kind: Literal["miniprogram", "official"], deed: str) -> None:
        is_mini_program = self._platform.account.kind == "miniprogram"
        if is_mini_program != (kind == "miniprogram"):
            here = "a Mini Program" if is_mini_program else "an Official Account"
            raise ValueError(f"no user of {here} does this: {deed}")

    @property
    def pushes(self) -> list[Push]:
        """What was pushed about the user so far, in order: their deeds, and what agents did with them."""
        return self._running.pushes_of(self.openid)

    # -- what the user saw

    @property
    def received(self) -> list[Mapping[str, Any]]:
        """The whole bodies of all messages that came: those sent and accepted, and the passive answers, in order."""
        with self._memory.changed:
            return list(self._diary.received)

    @property
    def saw(self) -> list[Saw]:
        """All the user saw, in the platform's order: accepted "Typing" and "CancelTyping", and the messages."""
        with self._memory.changed:
            return list(self._diary.saw)

    @property
    def timeline(self) -> list[Record]:
        """All records of this user, refused calls too."""
        with self._memory.changed:
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
        with self._memory.changed:
            return self._platform.shows_typing(self.openid)

    @property
    def is_queued(self) -> bool:
        """Whether the user waits for a human agent."""
        with self._memory.changed:
            return self._platform.agent_sessions.is_waiting(self.openid)

    @property
    def agent(self) -> str:
        """The account of the human agent who gets the user's messages now; empty if the bot does."""
        with self._memory.changed:
            return self._platform.agent_sessions.holder(self.openid)

    # -- waiting: in real seconds, AssertionError with the user's timeline when it does not happen

    def waits_for(self, seen: str | Callable[[Saw], bool], timeout: float = 10.0, times: int = 1) -> None:
        """Wait until the user saw this text (or something the predicate holds for), ``times`` times in all."""
        matches = seen if callable(seen) else seen.__eq__
        why = f"{self.name} saw {'what was asked for' if callable(seen) else repr(seen)} {times} time(s)"
        self._wait(lambda: sum(1 for saw in self._diary.saw if matches(saw)) >= times, timeout, why)

    def waits_for_calls(self, n: int, timeout: float = 10.0) -> None:
        """Wait until ``n`` typing and send calls for this user came in, refused ones too."""
        self._wait(lambda: self._diary.calls >= n, timeout, f"{n} calls for {self.name}")

    def waits_for_pushes(self, n: int, timeout: float = 10.0) -> None:
        """Wait until ``n`` attempts to deliver something of this user are over, whatever came of them."""
        self._wait(lambda: self._diary.pushes >= n, timeout, f"{n} attempts to deliver for {self.name}")

    def waits_until_typing(self, shown: bool = True, timeout: float = 10.0) -> None:
        """Wait until the indicator shows (or, with ``shown=False``, shows no more, be it by time)."""
        why = f"{self.name} is {'' if shown else 'not '}shown typing"
        with self._running.waking_when_typing_ends(self.openid):
            self._wait(lambda: self._platform.shows_typing(self.openid) is shown, timeout, why)

    def _wait(self, predicate: Callable[[], bool], timeout: float, why: str) -> None:
        self._memory.wait_until(predicate, timeout, why, self.openid)
