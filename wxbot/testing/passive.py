"""Passive answers: what may stand in the answer to a push, kind by kind (docs/wechat.md, "Passive answers")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wxbot.testing.envelope import Malformed
from wxbot.testing.media import MediaKind, MediaStore
from wxbot.testing.records import short_form
from wxbot.testing.rules import AccountKind

MAX_TEXT = 2048
"""Bytes of a passive text."""
TRANSFER = "transfer_customer_service"

_MOST_ARTICLES = 8
_INNER = {"image": "Image", "voice": "Voice", "video": "Video", "music": "Music"}

Fields = Mapping[str, Any]


class TransferOfEvent(Malformed):
    """Only messages can be handed to a human agent."""


def check_answer(fields: Fields, push: Fields, account_kind: AccountKind, media: MediaStore) -> None:
    """Raises Malformed if WeChat does not take this answer to this push."""
    if (fields.get("ToUserName"), fields.get("FromUserName")) != (push.get("FromUserName"), push.get("ToUserName")):
        raise Malformed("ToUserName and FromUserName are not the push's, swapped")
    if not str(fields.get("CreateTime", "")).isdigit():
        raise Malformed("CreateTime is missing or no number")
    kind = fields.get("MsgType")
    is_mini_program = account_kind == "miniprogram"
    if not isinstance(kind, str) or kind not in _CHECKS or (is_mini_program and kind != TRANSFER):
        raise Malformed(f"MsgType {kind!r} is no passive answer for this account")
    if is_mini_program and "TransInfo" in fields:
        raise Malformed("a Mini Program cannot choose the agent: TransInfo")
    _CHECKS[kind](fields, push, media)


def describe_answer(fields: Fields, name_of: Callable[[str], str] = str) -> str:
    """What the user sees of a passive answer: its text, or a short form."""
    kind = str(fields["MsgType"])
    if kind == "text":
        return str(fields["Content"])
    inner = articles_of(fields)[0] if kind == "news" else fields.get(_INNER.get(kind, ""))
    return short_form(kind, inner if isinstance(inner, Mapping) else {}, name_of)


def articles_of(fields: Fields) -> list[Any]:
    """The articles of a news: ``Articles/item`` in XML, a list (or ``{"item": …}``) in JSON."""
    articles = fields.get("Articles")
    items = articles.get("item", []) if isinstance(articles, Mapping) else articles
    return items if isinstance(items, list) else [items] if items else []


def agent_of(fields: Fields) -> str:
    """The agent a transfer is meant for; empty for any."""
    return str(fields["TransInfo"]["KfAccount"]) if "TransInfo" in fields else ""


def _check_text(fields: Fields, push: Fields, media: MediaStore) -> None:
    text = fields.get("Content")
    if not isinstance(text, str) or not text:
        raise Malformed("a text without Content")
    if len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise Malformed(f"Content has more than {MAX_TEXT} bytes")


def _check_image(fields: Fields, push: Fields, media: MediaStore) -> None:
    media_id = _inner(fields, "Image").get("MediaId")
    _need_media(media, "Image/MediaId", media_id, "image")
    file = media.get(media_id)
    if file is not None and file.content_type == "image/gif":
        raise Malformed("a passive image may be no GIF")


def _check_voice(fields: Fields, push: Fields, media: MediaStore) -> None:
    _need_media(media, "Voice/MediaId", _inner(fields, "Voice").get("MediaId"), "voice")


def _check_video(fields: Fields, push: Fields, media: MediaStore) -> None:
    video = _inner(fields, "Video")
    _need_media(media, "Video/MediaId", video.get("MediaId"), "video")
    _texts(video, "Title", "Description")


def _check_music(fields: Fields, push: Fields, media: MediaStore) -> None:
    music = _inner(fields, "Music")
    _need_media(media, "Music/ThumbMediaId", music.get("ThumbMediaId"), "image", "thumb")
    _texts(music, "Title", "Description", "MusicUrl", "HQMusicUrl")


def _check_news(fields: Fields, push: Fields, media: MediaStore) -> None:
    articles = articles_of(fields)
    if not articles or str(fields.get("ArticleCount", "")) != str(len(articles)):
        raise Malformed(f"ArticleCount is {fields.get('ArticleCount')!r}, but there are {len(articles)} articles")
    most = _MOST_ARTICLES if push.get("MsgType") == "event" else 1
    if len(articles) > most:
        raise Malformed(f"{len(articles)} articles, but {most} is the most in answer to this")
    for article in articles:
        if not isinstance(article, Mapping) or not article.get("Title"):
            raise Malformed("an article without Title")
        _texts(article, "Title", "Description", "PicUrl", "Url")


def _check_transfer(fields: Fields, push: Fields, media: MediaStore) -> None:
    if push.get("MsgType") == "event":
        raise TransferOfEvent("an event cannot be transferred to an agent, only a message")
    if "TransInfo" in fields:
        account = _inner(fields, "TransInfo").get("KfAccount")
        if not isinstance(account, str) or not account:
            raise Malformed("TransInfo without KfAccount")


def _inner(fields: Fields, name: str) -> Fields:
    inner = fields.get(name)
    if not isinstance(inner, Mapping):
        raise Malformed(f"{name} is missing or has no fields")
    return inner


def _need_media(media: MediaStore, name: str, media_id: object, *kinds: MediaKind) -> None:
    if not media.is_one(media_id, *kinds):
        raise Malformed(f"{name} is unknown, gone or no {' or '.join(kinds)}")


def _texts(fields: Fields, *names: str) -> None:
    for name in names:
        if not isinstance(fields.get(name, ""), str):
            raise Malformed(f"{name} is no text")


_CHECKS: dict[str, Callable[[Fields, Fields, MediaStore], None]] = {
    "text": _check_text,
    "image": _check_image,
    "voice": _check_voice,
    "video": _check_video,
    "music": _check_music,
    "news": _check_news,
    TRANSFER: _check_transfer,
}
