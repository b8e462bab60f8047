"""The messages on the phone: one bubble for each user action and each message, in any of WeChat's formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from wxbot.testing import Record
from wxbot.testing.passive import articles_of

Bubble = dict[str, Any]
Fields = Mapping[str, Any]

_SIDES = {"user": "user", "send": "bot", "passive": "bot", "agent": "agent", "notice": "notice"}


def bubble_of(record: Record) -> Bubble | None:
    """Return the bubble for ``record``, or None if the user sees nothing of it."""
    side = _SIDES.get(record.kind)
    if side is None or (side in ("bot", "notice") and record.errcode != 0):
        return None
    if record.kind == "send":
        drawn = _sent(record.body)
    elif record.kind in ("user", "passive") or (side == "agent" and record.body):
        drawn = _pushed_or_passive(record.body, record.what)
    else:
        drawn = {"kind": "text", "text": record.what.strip("[]") if side == "notice" else record.what}
    return {"side": side} | {name: value for name, value in drawn.items() if value not in (None, "", [])}


# -- messages sent by the API: {"msgtype": "text", "text": {"content": …}}


def _sent(body: Fields) -> Bubble:
    kind = str(body.get("msgtype", ""))
    content = body.get(kind)
    drawn = _SENT.get(kind, _other)(content if isinstance(content, Mapping) else {})
    note = body.get("aimsgcontext")
    if isinstance(note, Mapping) and note.get("is_ai_msg") == 1:
        drawn["ai"] = True
    return {"kind": "other", "title": kind, **drawn} if drawn.get("kind") in (None, "other") else drawn


def _text(content: Fields) -> Bubble:
    return {"kind": "text", "text": content.get("content")}


def _image(content: Fields) -> Bubble:
    return {"kind": "image", "picture": media_path(content.get("media_id"))}


def _voice(content: Fields) -> Bubble:
    return {"kind": "voice", "media": media_path(content.get("media_id"))}


def _video(content: Fields) -> Bubble:
    return {
        "kind": "video",
        "media": media_path(content.get("media_id")),
        "picture": media_path(content.get("thumb_media_id")),
        "title": content.get("title"),
        "description": content.get("description"),
    }


def _music(content: Fields) -> Bubble:
    return {
        "kind": "music",
        "title": content.get("title"),
        "description": content.get("description"),
        "url": content.get("musicurl"),
        "picture": media_path(content.get("thumb_media_id")),
    }


def _link(content: Fields) -> Bubble:
    return {
        "kind": "link",
        "title": content.get("title"),
        "description": content.get("description"),
        "url": content.get("url"),
        "picture": content.get("thumb_url"),
    }


def _news(content: Fields) -> Bubble:
    articles = content.get("articles")
    first = articles[0] if isinstance(articles, list) and articles else {}
    return {
        "kind": "news",
        "title": first.get("title"),
        "description": first.get("description"),
        "url": first.get("url"),
        "picture": first.get("picurl"),
    }


def _page(content: Fields) -> Bubble:
    return {
        "kind": "page",
        "title": content.get("title"),
        "path": content.get("pagepath"),
        "appid": content.get("appid"),
        "picture": media_path(content.get("thumb_media_id")),
    }


def _menu(content: Fields) -> Bubble:
    listed = content.get("list")
    items = [{"id": str(item["id"]), "label": item["content"]} for item in listed] if isinstance(listed, list) else []
    return {
        "kind": "menu",
        "text": content.get("head_content"),
        "items": items,
        "tail": content.get("tail_content"),
    }


def _other(content: Fields) -> Bubble:
    description = content.get("title") or content.get("media_id") or content.get("article_id") or content.get("card_id")
    return {"kind": "other", "description": description}


_SENT: Mapping[str, Callable[[Fields], Bubble]] = {
    "text": _text,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "music": _music,
    "link": _link,
    "news": _news,
    "miniprogrampage": _page,
    "msgmenu": _menu,
}


# -- pushes and passive replies: {"MsgType": "text", "Content": …}


def _pushed_or_passive(fields: Fields, what: str) -> Bubble:
    kind = str(fields.get("MsgType", ""))
    draw = _WRITTEN.get(kind)
    return draw(fields) if draw else {"kind": "other", "title": kind, "description": what}


def _inner(fields: Fields, name: str) -> Fields:
    """Return the inner element of a passive reply. A push has the same fields at the top level."""
    inner = fields.get(name)
    return inner if isinstance(inner, Mapping) else fields


def _written_text(fields: Fields) -> Bubble:
    return {"kind": "text", "text": fields.get("Content")}


def _written_image(fields: Fields) -> Bubble:
    return {"kind": "image", "picture": media_path(_inner(fields, "Image").get("MediaId"))}


def _written_voice(fields: Fields) -> Bubble:
    return {"kind": "voice", "media": media_path(_inner(fields, "Voice").get("MediaId"))}


def _written_video(fields: Fields) -> Bubble:
    video = _inner(fields, "Video")
    return {
        "kind": "video",
        "media": media_path(video.get("MediaId")),
        "picture": media_path(video.get("ThumbMediaId")),
        "title": video.get("Title"),
        "description": video.get("Description"),
    }


def _written_music(fields: Fields) -> Bubble:
    music = _inner(fields, "Music")
    return {
        "kind": "music",
        "title": music.get("Title"),
        "description": music.get("Description"),
        "url": music.get("MusicUrl"),
        "picture": media_path(music.get("ThumbMediaId")),
    }


def _written_link(fields: Fields) -> Bubble:
    return {
        "kind": "link",
        "title": fields.get("Title"),
        "description": fields.get("Description"),
        "url": fields.get("Url"),
    }


def _written_news(fields: Fields) -> Bubble:
    articles = [article for article in articles_of(fields) if isinstance(article, Mapping)]
    first = articles[0] if articles else {}
    more = [str(article.get("Title", "")) for article in articles[1:]]
    return {
        "kind": "news",
        "title": first.get("Title"),
        "description": first.get("Description"),
        "url": first.get("Url"),
        "picture": first.get("PicUrl"),
        "tail": "\n".join(more),
    }


def _written_page(fields: Fields) -> Bubble:
    return {
        "kind": "page",
        "title": fields.get("Title"),
        "path": fields.get("PagePath"),
        "appid": fields.get("AppId"),
        "picture": media_path(fields.get("ThumbMediaId")),
    }


def _written_location(fields: Fields) -> Bubble:
    coordinates = f"{fields.get('Location_X')}, {fields.get('Location_Y')}"
    return {"kind": "other", "title": "location", "description": f"{fields.get('Label') or ''} {coordinates}".strip()}


def _event(fields: Fields) -> Bubble:
    about = fields.get("EventKey") or fields.get("SessionFrom") or fields.get("KfAccount")
    return {"kind": "event", "title": fields.get("Event"), "description": about and str(about)}


_WRITTEN: Mapping[str, Callable[[Fields], Bubble]] = {
    "text": _written_text,
    "image": _written_image,
    "voice": _written_voice,
    "video": _written_video,
    "shortvideo": _written_video,
    "music": _written_music,
    "link": _written_link,
    "news": _written_news,
    "miniprogrampage": _written_page,
    "location": _written_location,
    "event": _event,
}


def media_path(media_id: object) -> str | None:
    """Return the path of a file of the platform on the page's server."""
    return f"/media/{quote(media_id, safe='')}" if isinstance(media_id, str) and media_id else None
