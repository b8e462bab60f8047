"""The rules for a message that is sent through the API, by kind of message (docs/wechat.md, "Sending")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qs

from wxbot.testing.errcodes import Refused
from wxbot.testing.media import BAD_MEDIA_ID, MediaKind, MediaStore
from wxbot.testing.records import short_form
from wxbot.testing.rules import AccountKind

MAX_TEXT = 2048
"""Maximum size of a text message in bytes. Other developers measured it; WeChat's pages give no limit."""

NOT_READABLE, BAD_KIND, NOT_FOR_THIS_ACCOUNT = 47001, 40008, 45162

_MINI_PROGRAM_KINDS = frozenset({"text", "image", "link", "miniprogrampage"})
_OFFICIAL_KINDS = frozenset(
    {
        "text",
        "image",
        "voice",
        "video",
        "music",
        "news",
        "mpnews",
        "mpnewsarticle",
        "msgmenu",
        "wxcard",
        "miniprogrampage",
    }
)
_ALL_KINDS = _MINI_PROGRAM_KINDS | _OFFICIAL_KINDS | {"transfer_customer_service"}

Content = Mapping[str, Any]


def check_sent(body: Content, account_kind: AccountKind, media: MediaStore) -> None:
    """Raise Refused if WeChat does not accept this body. The recipient is not checked."""
    kind = body.get("msgtype")
    if not isinstance(kind, str) or kind not in _ALL_KINDS:
        raise Refused(BAD_KIND)
    is_mini_program = account_kind == "miniprogram"
    if kind not in (_MINI_PROGRAM_KINDS if is_mini_program else _OFFICIAL_KINDS):
        raise Refused(NOT_FOR_THIS_ACCOUNT)
    content = body.get(kind)
    if not isinstance(content, Mapping):
        raise Refused(NOT_READABLE)
    _CHECKS[kind](content, media)
    if kind == "miniprogrampage" and not is_mini_program:
        _require_text(content, "appid")
    _check_options(body, is_mini_program)


def describe_sent(body: Content, name_of: Callable[[str], str] = str) -> str:
    """Return the text of a sent message, or a short form of it, as the user sees it."""
    kind = body.get("msgtype")
    content = body.get(kind) if isinstance(kind, str) else None
    inner = content if isinstance(content, Mapping) else {}
    if kind == "text":
        return str(inner.get("content", ""))
    articles = inner.get("articles")
    first = articles[0] if isinstance(articles, list) and articles else inner
    return short_form(str(kind or ""), first if isinstance(first, Mapping) else {}, name_of)


def menu_items(body: Content) -> dict[str, str]:
    """Return the ids by label of the items in a message: a msgmenu, or ``weixin://bizmsgmenu`` links in a text.

    The source for the links is reports of developers, not WeChat's pages (docs/wechat.md, "Messages and events").
    """
    if body.get("msgtype") == "msgmenu":
        return {item["content"]: str(item["id"]) for item in body["msgmenu"]["list"]}
    text = body["text"]["content"] if body.get("msgtype") == "text" else body.get("Content", "")
    links = [parse_qs(unescape(link)) for link in _MENU_LINK.findall(str(text))]
    return {link["msgmenucontent"][0]: link["msgmenuid"][0] for link in links if link.keys() >= _MENU_LINK_PARTS}


_MENU_LINK = re.compile(r"""<a\s+href=["']?weixin://bizmsgmenu\?([^"'>\s]+)""", re.IGNORECASE)
_MENU_LINK_PARTS = {"msgmenucontent", "msgmenuid"}


def _check_options(body: Content, is_mini_program: bool) -> None:
    note = body.get("aimsgcontext", {"is_ai_msg": 0})
    if not (isinstance(note, Mapping) and set(note) == {"is_ai_msg"} and _is_flag(note["is_ai_msg"])):
        raise Refused(NOT_READABLE)
    if not is_mini_program and "customservice" in body:
        agent = body["customservice"]
        if not isinstance(agent, Mapping):
            raise Refused(NOT_READABLE)
        _require_text(agent, "kf_account")


def _is_flag(value: object) -> bool:
    return type(value) is int and value in (0, 1)  # true in JSON is not 1


def _require_text(content: Content, *names: str) -> None:
    """Raise Refused unless these fields are text and not empty."""
    if not all(isinstance(content.get(name), str) and content[name] for name in names):
        raise Refused(NOT_READABLE)


def _optional_text(content: Content, *names: str) -> None:
    """Raise Refused unless these fields are text or missing."""
    if not all(isinstance(content.get(name, ""), str) for name in names):
        raise Refused(NOT_READABLE)


def _require_media(content: Content, media: MediaStore, name: str, *kinds: MediaKind) -> None:
    if not media.is_one(content.get(name), *kinds):
        raise Refused(BAD_MEDIA_ID)


def _check_text(content: Content, media: MediaStore) -> None:
    text = content.get("content", "")
    if not isinstance(text, str):
        raise Refused(NOT_READABLE)
    if not text:
        raise Refused(44004)
    if len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise Refused(45002)


def _check_image(content: Content, media: MediaStore) -> None:
    _require_media(content, media, "media_id", "image")


def _check_voice(content: Content, media: MediaStore) -> None:
    _require_media(content, media, "media_id", "voice")


def _check_video(content: Content, media: MediaStore) -> None:
    _require_media(content, media, "media_id", "video")
    if content.get("thumb_media_id"):
        _require_media(content, media, "thumb_media_id", "image", "thumb")
    _optional_text(content, "title", "description")


def _check_music(content: Content, media: MediaStore) -> None:
    _require_text(content, "musicurl")
    _optional_text(content, "title", "description", "hqmusicurl")
    _require_media(content, media, "thumb_media_id", "image", "thumb")


def _check_link(content: Content, media: MediaStore) -> None:
    _require_text(content, "title", "url")
    if not all(isinstance(content.get(name), str) for name in ("description", "thumb_url")):
        raise Refused(NOT_READABLE)


def _check_news(content: Content, media: MediaStore) -> None:
    articles = content.get("articles")
    if not isinstance(articles, list) or not articles:
        raise Refused(NOT_READABLE)
    if len(articles) > 1:
        raise Refused(45008)
    if not isinstance(articles[0], Mapping):
        raise Refused(NOT_READABLE)
    _require_text(articles[0], "title")
    _optional_text(articles[0], "description", "url", "picurl")


def _check_page(content: Content, media: MediaStore) -> None:
    _require_text(content, "title", "pagepath")
    _require_media(content, media, "thumb_media_id", "image", "thumb")


def _check_menu(content: Content, media: MediaStore) -> None:
    _optional_text(content, "head_content", "tail_content")
    items = content.get("list")
    if not isinstance(items, list) or not items:
        raise Refused(NOT_READABLE)
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("id"), (str, int)) or item["id"] == "":
            raise Refused(NOT_READABLE)
        _require_text(item, "content")


def _check_material(content: Content, media: MediaStore) -> None:
    """Accept any media_id, because mpnews shows permanent material, which is not in the store of temporary files."""
    if not content.get("media_id"):
        raise Refused(BAD_MEDIA_ID)


def _check_article(content: Content, media: MediaStore) -> None:
    _require_text(content, "article_id")


def _check_card(content: Content, media: MediaStore) -> None:
    _require_text(content, "card_id")


_CHECKS: dict[str, Callable[[Content, MediaStore], None]] = {
    "text": _check_text,
    "image": _check_image,
    "voice": _check_voice,
    "video": _check_video,
    "music": _check_music,
    "link": _check_link,
    "news": _check_news,
    "miniprogrampage": _check_page,
    "msgmenu": _check_menu,
    "mpnews": _check_material,
    "mpnewsarticle": _check_article,
    "wxcard": _check_card,
}
