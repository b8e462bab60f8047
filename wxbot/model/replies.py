"""Replies: frozen values that can be stored.

``wxbot/wechat/api/send_body.py`` writes them in WeChat's format. ``wxbot/model/accounts.py`` lists the message types
that each kind of account may send.
"""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from wxbot.errors import InvalidReply
from wxbot.model.media import Media, MediaKind, MediaSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A message to the user. Each subclass is one message type.

    ``ai``: show WeChat's note that AI made the content (aimsgcontext); None means the plugin's choice
    (``Plugin(ai=…)``) and then ``WXBOT_AI_MARK``. ``agent``: send the message in the name of this human agent
    (kf_account, as ``name@account``); only Official Accounts can do this.
    """

    msg_type: ClassVar[str]
    """WeChat's msgtype."""
    media: ClassVar[Mapping[str, MediaKind]] = {}
    """The fields that hold media files, with WeChat's media type of each."""

    ai: bool | None = None
    agent: str = ""


@dataclass(frozen=True, slots=True)
class TextReply(Reply):
    """A text message. wxbot splits a text that is too long for one message, at the end of sentences if possible.

    The text may contain links, also to pages of a mini program (``mini_program_link``). ``joint`` is for wxbot only:
    the separator before this text if it is merged with the text before it.
    """

    msg_type: ClassVar[str] = "text"
    text: str
    joint: str = field(default="\n", kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ImageReply(Reply):
    """An image: PNG, JPEG or GIF, at most 2 MB. ``image`` is a media id, a Path, bytes, or an open file."""

    msg_type: ClassVar[str] = "image"
    media: ClassVar[Mapping[str, MediaKind]] = {"image": "image"}
    image: MediaSource


@dataclass(frozen=True, slots=True)
class VoiceReply(Reply):
    """A voice message: AMR or MP3, at most 2 MB and 60 seconds."""

    msg_type: ClassVar[str] = "voice"
    media: ClassVar[Mapping[str, MediaKind]] = {"voice": "voice"}
    voice: MediaSource


@dataclass(frozen=True, slots=True)
class VideoReply(Reply):
    """A video: MP4, at most 10 MB. ``thumb`` is a JPEG of at most 64 KB."""

    msg_type: ClassVar[str] = "video"
    media: ClassVar[Mapping[str, MediaKind]] = {"video": "video", "thumb": "thumb"}
    video: MediaSource
    thumb: MediaSource | None = None
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class MusicReply(Reply):
    """A song that WeChat plays from ``url`` (from ``hq_url`` on Wi-Fi). ``thumb`` is a JPEG of at most 64 KB."""

    msg_type: ClassVar[str] = "music"
    media: ClassVar[Mapping[str, MediaKind]] = {"thumb": "thumb"}
    url: str
    thumb: MediaSource
    title: str = ""
    description: str = ""
    hq_url: str = ""


@dataclass(frozen=True, slots=True)
class NewsReply(Reply):
    """A card with an image that opens ``url``. WeChat accepts one card in each message."""

    msg_type: ClassVar[str] = "news"
    title: str
    url: str
    description: str = ""
    picture_url: str = ""


@dataclass(frozen=True, slots=True)
class LinkReply(Reply):
    """A card that opens ``url``. ``thumb_url`` is the URL of a JPEG or PNG, best 80 by 80 or 640 by 320 pixels."""

    msg_type: ClassVar[str] = "link"
    title: str
    url: str
    description: str = ""
    thumb_url: str = ""


@dataclass(frozen=True, slots=True)
class MiniProgramPageReply(Reply):
    """A card that opens a mini-program page, with a cover image of about 520 by 416 pixels.

    ``appid`` is the mini program's. An Official Account must set it, and must be bound to the mini program.
    """

    msg_type: ClassVar[str] = "miniprogrampage"
    media: ClassVar[Mapping[str, MediaKind]] = {"thumb": "image"}
    title: str
    page_path: str
    thumb: MediaSource
    appid: str = ""


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One item of a ``MenuReply``. A click comes back as a text message with ``id`` as its ``menu_id``."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class MenuReply(Reply):
    """A menu of items that the user can click (msgmenu). ``items`` are MenuItems, or pairs of id and text."""

    msg_type: ClassVar[str] = "msgmenu"
    head: str
    items: Sequence[MenuItem | tuple[str, str]]
    tail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(_menu_item(item) for item in self.items))


def _menu_item(item: Any) -> MenuItem:
    """Return ``item`` as a MenuItem. Raises InvalidReply, also for a text of two letters, which is no pair."""
    pair = (item.id, item.text) if isinstance(item, MenuItem) else item
    if isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(each, str) and each for each in pair):
        return MenuItem(*pair)
    raise InvalidReply(
        f"MenuReply: an item must be MenuItem(id, text) or a pair of texts such as ('101', 'yes'), not {item!r}"
    )


@dataclass(frozen=True, slots=True)
class ArticleReply(Reply):
    """An article that the account has published (mpnewsarticle)."""

    msg_type: ClassVar[str] = "mpnewsarticle"
    article_id: str


KINDS: Mapping[str, type[Reply]] = {
    reply.msg_type: reply
    for reply in (
        *(TextReply, ImageReply, VoiceReply, VideoReply, MusicReply),
        *(NewsReply, LinkReply, MiniProgramPageReply, MenuReply, ArticleReply),
    )
}
"""The reply classes, by WeChat's msgtype."""


def checked(reply: Reply) -> Reply:
    """Return ``reply`` as it can be encoded: "?" replaces lone surrogates (halves of emoji).

    Raises InvalidReply, which names the field, if a value has a wrong type or is empty.
    """
    name = type(reply).__name__
    if reply.ai is not None and not isinstance(reply.ai, bool):
        raise InvalidReply(f"{name}: ai must be True, False or None, not {reply.ai!r}")
    if isinstance(reply, MenuReply) and not reply.items:
        raise InvalidReply("MenuReply has no items to click")
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(reply):
        value = getattr(reply, each.name)
        if each.type == "str":
            _check_text(reply, each, value)
        encodable = _encodable(value)
        if encodable != value:
            changed[each.name] = encodable
    return dataclasses.replace(reply, **changed) if changed else reply


def _check_text(reply: Reply, field: dataclasses.Field[Any], value: object) -> None:
    name = f"{type(reply).__name__}: {field.name}"
    if not isinstance(value, str):
        raise InvalidReply(f"{name} must be a str, not {type(value).__name__}")
    if not value and field.default is dataclasses.MISSING and not isinstance(reply, TextReply):
        raise InvalidReply(f"{name} is empty")


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, tuple):
        return tuple(MenuItem(_encodable(item.id), _encodable(item.text)) for item in value)
    return value


def mini_program_link(text: str, appid: str, path: str, url: str = "") -> str:
    """Return a link to a mini-program page, for use in a text. WeChat opens ``url`` if it cannot open the page.

    A Mini Program must use its own ``appid``; an Official Account must use the appid of a mini program that is bound
    to it. Raises InvalidReply if text, appid or path is empty.
    """
    if not (text and appid and path):
        raise InvalidReply("mini_program_link: text, appid and path must not be empty")
    page = f'data-miniprogram-appid="{html.escape(appid)}" data-miniprogram-path="{html.escape(path)}"'
    return f'<a href="{html.escape(url)}" {page}>{html.escape(text, quote=False)}</a>'


def reply_to_json(reply: Reply) -> dict[str, Any]:
    """Return ``reply`` as JSON values for the store. Its media must be read before (``media.read_media``)."""
    stored: dict[str, Any] = {"kind": reply.msg_type}
    for each in dataclasses.fields(reply):
        value = getattr(reply, each.name)
        if value != each.default:
            stored[each.name] = _to_json(value)
    return stored


def reply_from_json(value: Mapping[str, Any]) -> Reply:
    """Return the reply that ``reply_to_json`` wrote. Raises ValueError for a reply of another version of wxbot."""
    reply_class = KINDS.get(value["kind"])
    if reply_class is None:
        raise ValueError(f"this version of wxbot does not know the reply type {value['kind']!r}")
    given = {name: _from_json(each) for name, each in value.items() if name != "kind"}
    try:
        return reply_class(**given)
    except TypeError as error:
        raise ValueError(f"this version of wxbot cannot read a reply of type {value['kind']!r}: {error}") from None


def _to_json(value: Any) -> Any:
    if isinstance(value, Media):
        content = base64.b64encode(value.content).decode()
        return {"content": content, "content_type": value.content_type, "filename": value.filename}
    if isinstance(value, tuple):
        return [[item.id, item.text] for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Media(base64.b64decode(value["content"]), value["content_type"], value["filename"])
    if isinstance(value, list):
        return tuple(MenuItem(*item) for item in value)
    return value
