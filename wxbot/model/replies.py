"""Replies as frozen values that can be stored. `wxbot/wechat/api/send_body.py` writes them as WeChat wants them.

Which account may send which kind: ``wxbot/model/accounts.py``.
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
    """A message to the user; its subclasses are the kinds.

    ``ai``: show WeChat's note that the content was made by AI (aimsgcontext); None leaves it to the plugin
    (``Plugin(ai=…)``) and then to ``WXBOT_AI_MARK``. ``agent``: the human agent's account (kf_account, as
    ``name@account``) in whose name it is sent; Official Accounts only.
    """

    msg_type: ClassVar[str]
    """WeChat's msgtype."""
    media: ClassVar[Mapping[str, MediaKind]] = {}
    """Which fields hold files, and what WeChat takes them for."""

    ai: bool | None = None
    agent: str = ""


@dataclass(frozen=True, slots=True)
class TextReply(Reply):
    """Text for the user. Longer than one message allows, it is split at sentence ends.

    It may hold links, also to pages of a mini program (``mini_program_link``). ``joint`` is wxbot's own: what stands
    before this text where it is merged with the text before it.
    """

    msg_type: ClassVar[str] = "text"
    text: str
    joint: str = field(default="\n", kw_only=True, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ImageReply(Reply):
    """A picture: PNG, JPEG or GIF of 2 MB at most. ``image`` is a media id, a Path, bytes, or an open file."""

    msg_type: ClassVar[str] = "image"
    media: ClassVar[Mapping[str, MediaKind]] = {"image": "image"}
    image: MediaSource


@dataclass(frozen=True, slots=True)
class VoiceReply(Reply):
    """Speech: AMR or MP3 of 2 MB and 60 seconds at most."""

    msg_type: ClassVar[str] = "voice"
    media: ClassVar[Mapping[str, MediaKind]] = {"voice": "voice"}
    voice: MediaSource


@dataclass(frozen=True, slots=True)
class VideoReply(Reply):
    """A video: MP4 of 10 MB at most. ``thumb`` is a JPEG of 64 KB at most."""

    msg_type: ClassVar[str] = "video"
    media: ClassVar[Mapping[str, MediaKind]] = {"video": "video", "thumb": "thumb"}
    video: MediaSource
    thumb: MediaSource | None = None
    title: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class MusicReply(Reply):
    """A song to be played from ``url`` (``hq_url`` where there is WLAN). ``thumb`` is a JPEG of 64 KB at most."""

    msg_type: ClassVar[str] = "music"
    media: ClassVar[Mapping[str, MediaKind]] = {"thumb": "thumb"}
    url: str
    thumb: MediaSource
    title: str = ""
    description: str = ""
    hq_url: str = ""


@dataclass(frozen=True, slots=True)
class NewsReply(Reply):
    """A card with a picture that opens ``url``. WeChat takes one for each message."""

    msg_type: ClassVar[str] = "news"
    title: str
    url: str
    description: str = ""
    picture_url: str = ""


@dataclass(frozen=True, slots=True)
class LinkReply(Reply):
    """A card that opens ``url``; ``thumb_url`` is the address of a JPEG or PNG, best of 80 by 80 or 640 by 320."""

    msg_type: ClassVar[str] = "link"
    title: str
    url: str
    description: str = ""
    thumb_url: str = ""


@dataclass(frozen=True, slots=True)
class MiniProgramPageReply(Reply):
    """A card of a mini-program page with a picture of about 520 by 416.

    ``appid`` is that of the mini program: needed by an Official Account, which must be bound to it.
    """

    msg_type: ClassVar[str] = "miniprogrampage"
    media: ClassVar[Mapping[str, MediaKind]] = {"thumb": "image"}
    title: str
    page_path: str
    thumb: MediaSource
    appid: str = ""


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One line of a menu. A click comes back as text, with ``id`` as the message's ``menu_id``."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class MenuReply(Reply):
    """Lines to click (msgmenu). ``items``: MenuItems, or pairs of id and text."""

    msg_type: ClassVar[str] = "msgmenu"
    head: str
    items: Sequence[MenuItem | tuple[str, str]]
    tail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(_menu_item(item) for item in self.items))


def _menu_item(item: Any) -> MenuItem:
    """Raises InvalidReply; a text of two letters is no pair."""
    pair = (item.id, item.text) if isinstance(item, MenuItem) else item
    if isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(each, str) and each for each in pair):
        return MenuItem(*pair)
    raise InvalidReply(
        f"MenuReply: an item is MenuItem(id, text) or a pair of texts such as ('101', 'yes'), not {item!r}"
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
"""By WeChat's msgtype."""


def mini_program_link(text: str, appid: str, path: str, url: str = "") -> str:
    """A link to a page of a mini program, to stand in a text. Where WeChat cannot open the page it opens ``url``.

    In a Mini Program's conversation ``appid`` must be its own, in an Official Account's one that is bound to it. Raises
    InvalidReply if text, appid or path is empty.
    """
    if not (text and appid and path):
        raise InvalidReply("mini_program_link needs a text, an appid and a path")
    page = f'data-miniprogram-appid="{html.escape(appid)}" data-miniprogram-path="{html.escape(path)}"'
    return f'<a href="{html.escape(url)}" {page}>{html.escape(text, quote=False)}</a>'


def reply_to_json(reply: Reply) -> dict[str, Any]:
    """``reply`` as JSON values, for the store. Its media must have been read (``wxbot.model.media.read_media``)."""
    stored: dict[str, Any] = {"kind": reply.msg_type}
    for each in dataclasses.fields(reply):
        value = getattr(reply, each.name)
        if value != each.default:
            stored[each.name] = _to_json(value)
    return stored


def reply_from_json(value: Mapping[str, Any]) -> Reply:
    """The reply that ``reply_to_json`` wrote down. Raises ValueError for what another version wrote."""
    kind = KINDS.get(value["kind"])
    if kind is None:
        raise ValueError(f"this version of wxbot knows no reply of the kind {value['kind']!r}")
    given = {name: _from_json(each) for name, each in value.items() if name != "kind"}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"this version of wxbot cannot read a reply of the kind {value['kind']!r}: {error}") from None


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
