"""Passive replies: the rules for the answer to a push, by kind of message (docs/wechat.md, "Passive replies")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wxbot.testing.envelope import Malformed
from wxbot.testing.media import MediaKind, MediaStore
from wxbot.testing.records import short_form
from wxbot.testing.rules import AccountKind

MAX_TEXT = 2048
"""Maximum size of a passive text in bytes."""
TRANSFER = "transfer_customer_service"

_MOST_ARTICLES = 8
_CONTENT_FIELDS = {"image": "Image", "voice": "Voice", "video": "Video", "music": "Music"}

Fields = Mapping[str, Any]


class TransferOfEvent(Malformed):
    """Raised for the transfer of an event, because only messages can be transferred to a human agent."""


def check_answer(fields: Fields, push: Fields, account_kind: AccountKind, media: MediaStore) -> None:
    """Raise Malformed if WeChat does not accept this answer to this push."""
    if (fields.get("ToUserName"), fields.get("FromUserName")) != (push.get("FromUserName"), push.get("ToUserName")):
        raise Malformed("ToUserName and FromUserName must be those of the push, swapped")
    if not str(fields.get("CreateTime", "")).isdigit():
        raise Malformed("CreateTime is missing or not a number")
    kind = fields.get("MsgType")
    is_mini_program = account_kind == "miniprogram"
    if not isinstance(kind, str) or kind not in _CHECKS or (is_mini_program and kind != TRANSFER):
        raise Malformed(f"MsgType {kind!r} is not allowed as a passive reply of this kind of account")
    if is_mini_program and "TransInfo" in fields:
        raise Malformed("TransInfo is not allowed: a Mini Program cannot choose the agent")
    _CHECKS[kind](fields, push, media)


def describe_answer(fields: Fields, name_of: Callable[[str], str] = str) -> str:
    """Return the text of a passive reply, or a short form of it, as the user sees it."""
    kind = str(fields["MsgType"])
    if kind == "text":
        return str(fields["Content"])
    inner = articles_of(fields)[0] if kind == "news" else fields.get(_CONTENT_FIELDS.get(kind, ""))
    return short_form(kind, inner if isinstance(inner, Mapping) else {}, name_of)


def articles_of(fields: Fields) -> list[Any]:
    """Return the articles of a news message: ``Articles/item`` in XML, a list or ``{"item": …}`` in JSON."""
    articles = fields.get("Articles")
    items = articles.get("item", []) if isinstance(articles, Mapping) else articles
    return items if isinstance(items, list) else [items] if items else []


def agent_of(fields: Fields) -> str:
    """Return the account of the agent that a transfer chooses; empty for any agent."""
    return str(fields["TransInfo"]["KfAccount"]) if "TransInfo" in fields else ""


def _check_text(fields: Fields, push: Fields, media: MediaStore) -> None:
    text = fields.get("Content")
    if not isinstance(text, str) or not text:
        raise Malformed("the text has no Content")
    if len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise Malformed(f"Content has more than {MAX_TEXT} bytes")


def _check_image(fields: Fields, push: Fields, media: MediaStore) -> None:
    media_id = _inner(fields, "Image").get("MediaId")
    _require_media(media, "Image/MediaId", media_id, "image")
    file = media.get(media_id)
    if file is not None and file.content_type == "image/gif":
        raise Malformed("a passive image must not be a GIF")


def _check_voice(fields: Fields, push: Fields, media: MediaStore) -> None:
    _require_media(media, "Voice/MediaId", _inner(fields, "Voice").get("MediaId"), "voice")


def _check_video(fields: Fields, push: Fields, media: MediaStore) -> None:
    video = _inner(fields, "Video")
    _require_media(media, "Video/MediaId", video.get("MediaId"), "video")
    _optional_texts(video, "Title", "Description")


def _check_music(fields: Fields, push: Fields, media: MediaStore) -> None:
    music = _inner(fields, "Music")
    _require_media(media, "Music/ThumbMediaId", music.get("ThumbMediaId"), "image", "thumb")
    _optional_texts(music, "Title", "Description", "MusicUrl", "HQMusicUrl")


def _check_news(fields: Fields, push: Fields, media: MediaStore) -> None:
    articles = articles_of(fields)
    if not articles or str(fields.get("ArticleCount", "")) != str(len(articles)):
        raise Malformed(f"ArticleCount is {fields.get('ArticleCount')!r}, but there are {len(articles)} articles")
    most = _MOST_ARTICLES if push.get("MsgType") == "event" else 1
    if len(articles) > most:
        raise Malformed(f"there are {len(articles)} articles, but the maximum for this push is {most}")
    for article in articles:
        if not isinstance(article, Mapping) or not article.get("Title"):
            raise Malformed("an article has no Title")
        _optional_texts(article, "Title", "Description", "PicUrl", "Url")


def _check_transfer(fields: Fields, push: Fields, media: MediaStore) -> None:
    if push.get("MsgType") == "event":
        raise TransferOfEvent("only a message can be transferred to an agent, not an event")
    if "TransInfo" in fields:
        account = _inner(fields, "TransInfo").get("KfAccount")
        if not isinstance(account, str) or not account:
            raise Malformed("TransInfo has no KfAccount")


def _inner(fields: Fields, name: str) -> Fields:
    inner = fields.get(name)
    if not isinstance(inner, Mapping):
        raise Malformed(f"{name} is missing or has no fields")
    return inner


def _require_media(media: MediaStore, name: str, media_id: object, *kinds: MediaKind) -> None:
    if not media.is_one(media_id, *kinds):
        raise Malformed(f"{name} is unknown, expired or not of kind {' or '.join(kinds)}")


def _optional_texts(fields: Fields, *names: str) -> None:
    for name in names:
        if not isinstance(fields.get(name, ""), str):
            raise Malformed(f"{name} is not text")


_CHECKS: dict[str, Callable[[Fields, Fields, MediaStore], None]] = {
    "text": _check_text,
    "image": _check_image,
    "voice": _check_voice,
    "video": _check_video,
    "music": _check_music,
    "news": _check_news,
    TRANSFER: _check_transfer,
}
