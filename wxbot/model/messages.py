"""Messages and events from users: frozen values, made by ``message_from`` from the fields of a decrypted push.

``raw`` holds all fields of the push under WeChat's own names, so a plugin can read every field that WeChat sends
(docs/wechat.md, section "Messages and events").
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wxbot.errors import PluginError
from wxbot.model.media import Media

Download = Callable[[str], Awaitable[Media]]
"""A function that downloads the media file of a media id from WeChat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message or event from one user.

    ``created_at`` is WeChat's CreateTime and ``received_at`` is the time of arrival at this bot, both in seconds since
    1970. ``msg_id`` is WeChat's MsgId as text; it is empty for events, which have none. ``account`` is the account's
    original id (``gh_…``). ``article_id`` and ``article_number`` (1 is the first) are set if the user wrote the message
    below an article (WeChat's MsgDataId and Idx); otherwise they are empty and 0.
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
    """A text message. ``text`` is exactly as the user wrote it, with the blanks around it.

    ``menu_id`` is the id of the item if the user clicked an item of a ``MenuReply`` (WeChat's bizmsgmenuid).
    """

    text: str
    menu_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaMessage(Message):
    """A message with a media file. WeChat stores the file for three days under ``media_id``."""

    media_id: str
    download_from: Download | None = field(default=None, repr=False, compare=False, hash=False)

    async def download(self) -> Media:
        """Download the file from WeChat; every call is a new download.

        Raises WeChatError (``MediaNotFound`` after three days), and PluginError outside of a running bot.
        """
        return await self._download(self.media_id)

    async def _download(self, media_id: str) -> Media:
        if self.download_from is None:
            raise PluginError("a message can be downloaded only in a handler of a running bot")
        return await self.download_from(media_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMessage(MediaMessage):
    """An image. ``pic_url`` is WeChat's URL of it."""

    pic_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceMessage(MediaMessage):
    """A voice message. ``format`` is amr or speex. ``media_id_16k`` is the media id of a version with better sound.

    ``recognition`` is WeChat's speech recognition; WeChat leaves it empty today.
    """

    format: str
    media_id_16k: str
    recognition: str

    async def download_16k(self) -> Media:
        """Download the version with better sound, or the usual one if WeChat gives no other. Raises as ``download``."""
        return await self._download(self.media_id_16k or self.media_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoMessage(MediaMessage):
    """A video."""

    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortVideoMessage(VideoMessage):
    """A short video that the user recorded in the conversation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationMessage(Message):
    """A location that the user sent, in degrees. ``scale`` is the map's zoom level.

    A location that WeChat reports by itself is a ``LocationEvent``.
    """

    latitude: float
    longitude: float
    scale: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage(Message):
    """A link that the user shared."""

    title: str
    description: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgramPageMessage(Message):
    """A mini-program card. Its cover image, ``thumb_media_id`` and ``thumb_url``, is temporary."""

    title: str
    page_appid: str
    page_path: str
    thumb_url: str
    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage(Message):
    """An event, for example that the user opened the conversation (``user_enter_tempsession``).

    ``event`` is WeChat's Event in lower case, because documents and SDKs differ in case. ``key`` is EventKey or
    SessionFrom.
    """

    event: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterSessionEvent(EventMessage):
    """The event ``user_enter_tempsession``: the user opened the conversation.

    ``key`` is the ``session-from`` of the button that opened it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeEvent(EventMessage):
    """The event ``subscribe``: the user followed the account.

    ``scene`` (the value of the QR code) and ``ticket`` are set if the user scanned a QR code.
    """

    scene: str
    ticket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeEvent(EventMessage):
    """The event ``unsubscribe``: the user unfollowed the account. wxbot deletes the plugins' state of this user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanEvent(EventMessage):
    """The event ``SCAN``: a user who already follows the account scanned a QR code with the value ``scene``."""

    scene: str
    ticket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationEvent(EventMessage):
    """The event ``LOCATION``: WeChat reports the user's location in degrees, ``precision`` in metres."""

    latitude: float
    longitude: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuClickEvent(EventMessage):
    """The event ``CLICK``: the user clicked an item of the account's menu. ``key`` is the item's key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuViewEvent(EventMessage):
    """The events ``VIEW`` and ``view_miniprogram``: the user clicked a menu item that opens ``key``.

    ``key`` is a URL or a mini-program page.
    """

    menu_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuScanEvent(EventMessage):
    """The events ``scancode_push`` and ``scancode_waitmsg``: the user scanned a code through the menu."""

    scan_type: str
    scan_result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuPicturesEvent(EventMessage):
    """The events ``pic_sysphoto``, ``pic_photo_or_album`` and ``pic_weixin``: the user sent images through the menu.

    ``md5_sums`` are the MD5 sums of the images.
    """

    count: int
    md5_sums: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuLocationEvent(EventMessage):
    """The event ``location_select``: the user chose a location through the menu, in degrees."""

    latitude: float
    longitude: float
    scale: int
    label: str
    poi_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSessionEvent(EventMessage):
    """The events ``kf_create_session`` and ``kf_close_session``: an agent session with this user began or ended."""

    agent: str
    close_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSwitchEvent(EventMessage):
    """The event ``kf_switch_session``: a human agent handed the user over to another agent."""

    from_agent: str
    to_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """A message of a type that wxbot does not know. Its signature is valid, and ``raw`` holds its fields."""

    msg_type: str


def message_from(
    appid: str, fields: Mapping[str, Any], received_at: float, download_from: Download | None = None
) -> Message:
    """Return the message in the ``fields`` of a push, which the codec has checked (wxbot/wechat/push/codec.py).

    A missing optional field becomes an empty value and is no error.
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
    message_class, specific = _MESSAGES[kind]
    if issubclass(message_class, MediaMessage):
        head["download_from"] = download_from
    return message_class(**head, **specific(fields))


def _event_from(head: dict[str, Any], fields: Mapping[str, Any]) -> EventMessage:
    event = _text(fields, "Event").lower()
    event_class, specific = _EVENTS.get(event, (EventMessage, _none))
    key = _text(fields, "EventKey") or _text(fields, "SessionFrom")
    return event_class(**head, event=event, key=key, **specific(fields))


SpecificFields = Callable[[Mapping[str, Any]], dict[str, Any]]
"""A function that reads the attributes of one message class from the fields of a push."""


def _texts(**names: str) -> SpecificFields:
    """Return a reader of text fields, given as ``attribute="WeChatsName"``."""
    return lambda fields: {attribute: _text(fields, name) for attribute, name in names.items()}


_none = _texts()
_video = _texts(media_id="MediaId", thumb_media_id="ThumbMediaId")
_agent = _texts(agent="KfAccount", close_type="CloseType")


def _location(fields: Mapping[str, Any]) -> dict[str, Any]:
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


def _scanned_code(fields: Mapping[str, Any]) -> dict[str, Any]:
    return _texts(scan_type="ScanType", scan_result="ScanResult")(_inner(fields, "ScanCodeInfo"))


def _sent_images(fields: Mapping[str, Any]) -> dict[str, Any]:
    info = _inner(fields, "SendPicsInfo")
    items = _inner(info, "PicList").get("item", info.get("PicList"))
    items = items if isinstance(items, list) else [items]
    sums = tuple(_text(item, "PicMd5Sum") for item in items if isinstance(item, Mapping))
    return {"count": _int(info, "Count"), "md5_sums": sums}


def _chosen_location(fields: Mapping[str, Any]) -> dict[str, Any]:
    info = _inner(fields, "SendLocationInfo")
    return {**_location(info), "poi_name": _text(info, "Poiname")}


_MESSAGES: Mapping[str, tuple[type[Message], SpecificFields]] = {
    "text": (TextMessage, _texts(text="Content", menu_id="bizmsgmenuid")),
    "image": (ImageMessage, _texts(media_id="MediaId", pic_url="PicUrl")),
    "voice": (
        VoiceMessage,
        _texts(media_id="MediaId", format="Format", media_id_16k="MediaId16K", recognition="Recognition"),
    ),
    "video": (VideoMessage, _video),
    "shortvideo": (ShortVideoMessage, _video),
    "location": (LocationMessage, _location),
    "link": (LinkMessage, _texts(title="Title", description="Description", url="Url")),
    "miniprogrampage": (
        MiniProgramPageMessage,
        _texts(
            title="Title", page_appid="AppId", page_path="PagePath", thumb_url="ThumbUrl", thumb_media_id="ThumbMediaId"
        ),
    ),
}
"""The class and its specific fields, by MsgType (docs/wechat.md, section "Messages and events")."""

_EVENTS: Mapping[str, tuple[type[EventMessage], SpecificFields]] = {
    "user_enter_tempsession": (EnterSessionEvent, _none),
    "subscribe": (SubscribeEvent, _scene),
    "unsubscribe": (UnsubscribeEvent, _none),
    "scan": (ScanEvent, _scene),
    "location": (LocationEvent, _position),
    "click": (MenuClickEvent, _none),
    "view": (MenuViewEvent, _menu_view),
    "view_miniprogram": (MenuViewEvent, _menu_view),
    "scancode_push": (MenuScanEvent, _scanned_code),
    "scancode_waitmsg": (MenuScanEvent, _scanned_code),
    "pic_sysphoto": (MenuPicturesEvent, _sent_images),
    "pic_photo_or_album": (MenuPicturesEvent, _sent_images),
    "pic_weixin": (MenuPicturesEvent, _sent_images),
    "location_select": (MenuLocationEvent, _chosen_location),
    "kf_create_session": (AgentSessionEvent, _agent),
    "kf_close_session": (AgentSessionEvent, _agent),
    "kf_switch_session": (AgentSwitchEvent, _texts(from_agent="FromKfAccount", to_agent="ToKfAccount")),
}
"""The class and its specific fields, by Event in lower case. Any other event is a plain ``EventMessage``."""


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, Mapping | list) else str(value)


def _int(fields: Mapping[str, Any], name: str) -> int:
    return int(_float(fields, name))


def _float(fields: Mapping[str, Any], name: str) -> float:
    """Return the number in a field, which is text in XML; 0 if the field is missing or not a number."""
    try:
        value = float(_text(fields, name) or 0)
    except ValueError:
        return 0.0
    return value if abs(value) < 1e15 else 0.0  # the comparison is false for nan, too


def _inner(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}
