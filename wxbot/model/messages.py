"""What users write: frozen values, made from the fields of a decrypted push (``message_from``).

The fields stay beside them in ``raw``, so nothing WeChat sends is out of a plugin's reach. Field names on the wire are
WeChat's own (docs/wechat.md, section "Messages and events").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wxbot.errors import PluginError
from wxbot.model.media import Media

Download = Callable[[str], Awaitable[Media]]
"""Fetches the file behind a media id from WeChat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message or event of one user.

    ``created_at`` is WeChat's CreateTime and ``received_at`` the arrival at our door, both in seconds since 1970.
    ``msg_id`` is WeChat's MsgId as text; events have none and it is empty. ``account`` is the original id (``gh_…``).
    ``article_id`` and ``article_number`` (1 is the first) are there when the message was written below an article
    (WeChat's MsgDataId and Idx), else empty and 0.
    """

    appid: str
    openid: str
    account: str
    created_at: int
    received_at: float
    msg_id: str = ""
    article_id: str = ""
    article_number: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage(Message):
    """Text, exactly as written: blanks around it are kept.

    ``menu_id`` is the id of the item if the user clicked one of a ``MenuReply`` (WeChat's bizmsgmenuid).
    """

    text: str
    menu_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaMessage(Message):
    """What comes with a file that WeChat keeps for three days. ``media_id`` is its name there."""

    media_id: str
    download_from: Download | None = field(default=None, repr=False, compare=False, hash=False)

    async def download(self) -> Media:
        """The file: ``content`` in bytes, ``content_type``, ``filename``. Each call asks WeChat anew.

        Raises WeChatError (``MediaNotFound`` when the three days are over), PluginError outside of a running bot.
        """
        return await self._download(self.media_id)

    async def _download(self, media_id: str) -> Media:
        if self.download_from is None:
            raise PluginError("a message can be downloaded only in a handler of a running bot")
        return await self.download_from(media_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMessage(MediaMessage):
    """A picture. ``pic_url`` is WeChat's link to it."""

    pic_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMessage(MediaMessage):
    """Speech. ``format`` is amr or speex. ``media_id_16k`` names a clearer version; ``recognition`` is empty by now."""

    format: str
    media_id_16k: str
    recognition: str

    async def download_16k(self) -> Media:
        """The clearer version; the usual one where WeChat gives none. As ``download``."""
        return await self._download(self.media_id_16k or self.media_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMessage(MediaMessage):
    """A video."""

    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortVideoMessage(VideoMessage):
    """A short video, taken in the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationMessage(Message):
    """A place the user sent, in degrees; ``scale`` is that of the map. (The *event* is ``LocationEvent``.)"""

    latitude: float
    longitude: float
    scale: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage(Message):
    """A link the user shared."""

    title: str
    description: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgramPageMessage(Message):
    """A mini-program card. ``thumb_media_id`` and ``thumb_url`` are temporary."""

    title: str
    page_appid: str
    page_path: str
    thumb_url: str
    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage(Message):
    """Something the user did, such as entering the session (``user_enter_tempsession``).

    ``event`` is in lower case, because documents and SDKs differ in case. ``key`` is EventKey or SessionFrom.
    """

    event: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterSessionEvent(EventMessage):
    """``user_enter_tempsession``: the user opened the conversation; ``key`` is the button's ``session-from``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeEvent(EventMessage):
    """``subscribe``: the user follows. Through a QR code there are its value, ``scene``, and ``ticket``."""

    scene: str
    ticket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeEvent(EventMessage):
    """``unsubscribe``: the user left. wxbot forgets what plugins keep of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanEvent(EventMessage):
    """``SCAN``: somebody who follows already scanned a QR code with the value ``scene``."""

    scene: str
    ticket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationEvent(EventMessage):
    """``LOCATION``: where the user is, in degrees; ``precision`` in metres. It is reported, not sent by hand."""

    latitude: float
    longitude: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuClickEvent(EventMessage):
    """``CLICK``: an item of the account's menu; ``key`` is the item's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuViewEvent(EventMessage):
    """``VIEW`` and ``view_miniprogram``: a menu item that opens ``key``, an address or a page."""

    menu_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuScanEvent(EventMessage):
    """``scancode_push`` and ``scancode_waitmsg``: a code scanned through the menu."""

    scan_type: str
    scan_result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuPicturesEvent(EventMessage):
    """``pic_sysphoto``, ``pic_photo_or_album`` and ``pic_weixin``: pictures sent through the menu, by their MD5."""

    count: int
    md5_sums: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuLocationEvent(EventMessage):
    """``location_select``: a place chosen through the menu, in degrees."""

    latitude: float
    longitude: float
    scale: int
    label: str
    poi_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSessionEvent(EventMessage):
    """``kf_create_session`` and ``kf_close_session``: a human agent takes the user, or is done with them."""

    agent: str
    close_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSwitchEvent(EventMessage):
    """``kf_switch_session``: one human agent hands the user to another one."""

    from_agent: str
    to_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """A well-signed push of a kind that wxbot does not know. ``raw`` holds its fields."""

    msg_type: str


def message_from(
    appid: str, fields: Mapping[str, Any], received_at: float, download_from: Download | None = None
) -> Message:
    """The typed message in a push's ``fields``, which the codec has checked (wxbot/wechat/push/codec.py).

    Never fails on missing optional fields: what is not there is empty.
    """
    head: dict[str, Any] = {
        "appid": appid,
        "openid": _text(fields, "FromUserName"),
        "account": _text(fields, "ToUserName"),
        "created_at": int(fields["CreateTime"]),
        "received_at": received_at,
        "msg_id": _text(fields, "MsgId"),
        "article_id": _text(fields, "MsgDataId"),
        "article_number": _int(fields, "Idx"),
        "raw": fields,
    }
    kind = _text(fields, "MsgType").lower()
    if kind == "event":
        return _event_from(head, fields)
    if kind not in _MESSAGES:
        return UnknownMessage(**head, msg_type=_text(fields, "MsgType"))
    make, own = _MESSAGES[kind]
    if issubclass(make, MediaMessage):
        head["download_from"] = download_from
    return make(**head, **own(fields))


def _event_from(head: dict[str, Any], fields: Mapping[str, Any]) -> EventMessage:
    event = _text(fields, "Event").lower()
    make, own = _EVENTS.get(event, (EventMessage, _nothing))
    key = _text(fields, "EventKey") or _text(fields, "SessionFrom")
    return make(**head, event=event, key=key, **own(fields))


Own = Callable[[Mapping[str, Any]], dict[str, Any]]
"""The fields of a kind's own, from those of a push."""


def _texts(**names: str) -> Own:
    """Text fields: ``attribute="WeChatsName"``."""
    return lambda fields: {attribute: _text(fields, name) for attribute, name in names.items()}


_nothing = _texts()
_video = _texts(media_id="MediaId", thumb_media_id="ThumbMediaId")
_agent = _texts(agent="KfAccount", close_type="CloseType")


def _place(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "latitude": _float(fields, "Location_X"),
        "longitude": _float(fields, "Location_Y"),
        "scale": _int(fields, "Scale"),
        "label": _text(fields, "Label"),
    }


def _position(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _float(fields, name.capitalize()) for name in ("latitude", "longitude", "precision")}


def _scene(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"scene": _text(fields, "EventKey").removeprefix("qrscene_"), "ticket": _text(fields, "Ticket")}


def _menu_view(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"menu_id": _text(fields, "MenuId") or _text(fields, "MenuID")}


def _scan(fields: Mapping[str, Any]) -> dict[str, Any]:
    return _texts(scan_type="ScanType", scan_result="ScanResult")(_inner(fields, "ScanCodeInfo"))


def _pictures(fields: Mapping[str, Any]) -> dict[str, Any]:
    info = _inner(fields, "SendPicsInfo")
    items = _inner(info, "PicList").get("item", info.get("PicList"))
    items = items if isinstance(items, list) else [items]
    sums = tuple(_text(item, "PicMd5Sum") for item in items if isinstance(item, Mapping))
    return {"count": _int(info, "Count"), "md5_sums": sums}


def _chosen_place(fields: Mapping[str, Any]) -> dict[str, Any]:
    info = _inner(fields, "SendLocationInfo")
    return {**_place(info), "poi_name": _text(info, "Poiname")}


_MESSAGES: Mapping[str, tuple[type[Message], Own]] = {
    "text": (TextMessage, _texts(text="Content", menu_id="bizmsgmenuid")),
    "image": (ImageMessage, _texts(media_id="MediaId", pic_url="PicUrl")),
    "voice": (
        VoiceMessage,
        _texts(media_id="MediaId", format="Format", media_id_16k="MediaId16K", recognition="Recognition"),
    ),
    "video": (VideoMessage, _video),
    "shortvideo": (ShortVideoMessage, _video),
    "location": (LocationMessage, _place),
    "link": (LinkMessage, _texts(title="Title", description="Description", url="Url")),
    "miniprogrampage": (
        MiniProgramPageMessage,
        _texts(
            title="Title", page_appid="AppId", page_path="PagePath", thumb_url="ThumbUrl", thumb_media_id="ThumbMediaId"
        ),
    ),
}
"""By MsgType: the class, and what is its own (docs/wechat.md, "Messages and events")."""

_EVENTS: Mapping[str, tuple[type[EventMessage], Own]] = {
    "user_enter_tempsession": (EnterSessionEvent, _nothing),
    "subscribe": (SubscribeEvent, _scene),
    "unsubscribe": (UnsubscribeEvent, _nothing),
    "scan": (ScanEvent, _scene),
    "location": (LocationEvent, _position),
    "click": (MenuClickEvent, _nothing),
    "view": (MenuViewEvent, _menu_view),
    "view_miniprogram": (MenuViewEvent, _menu_view),
    "scancode_push": (MenuScanEvent, _scan),
    "scancode_waitmsg": (MenuScanEvent, _scan),
    "pic_sysphoto": (MenuPicturesEvent, _pictures),
    "pic_photo_or_album": (MenuPicturesEvent, _pictures),
    "pic_weixin": (MenuPicturesEvent, _pictures),
    "location_select": (MenuLocationEvent, _chosen_place),
    "kf_create_session": (AgentSessionEvent, _agent),
    "kf_close_session": (AgentSessionEvent, _agent),
    "kf_switch_session": (AgentSwitchEvent, _texts(from_agent="FromKfAccount", to_agent="ToKfAccount")),
}
"""The same by Event in lower case; other events are plain ``EventMessage``."""


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, Mapping | list) else str(value)


def _int(fields: Mapping[str, Any], name: str) -> int:
    return int(_float(fields, name))


def _float(fields: Mapping[str, Any], name: str) -> float:
    """The number in a field, which XML has as text; 0 if there is none that could be one."""
    try:
        value = float(_text(fields, name) or 0)
    except ValueError:
        return 0.0
    return value if abs(value) < 1e15 else 0.0  # also false for nan


def _inner(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}
