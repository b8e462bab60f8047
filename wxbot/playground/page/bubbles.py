"""The messages on the phone: one bubble for each user action and each message, in any of WeChat's formats."""

from __future__ import annotations

from collections.abc import Mapping
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


_TITLES = {"title": "title", "description": "description"}
_MEDIA = {"media": "mediaid", "picture": "thumbmediaid"}
_SHAPES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "text": ("text", {"text": "content"}),
    "image": ("image", {"picture": "mediaid"}),
    "voice": ("voice", {"media": "mediaid"}),
    "video": ("video", {**_MEDIA, **_TITLES}),
    "shortvideo": ("video", _MEDIA),
    "music": ("music", {**_TITLES, "url": "musicurl", "picture": "thumbmediaid"}),
    "link": ("link", {**_TITLES, "url": "url", "picture": "thumburl"}),
    "news": ("news", {**_TITLES, "url": "url", "picture": "picurl"}),
    "miniprogrampage": (
        "page",
        {"title": "title", "path": "pagepath", "appid": "appid", "picture": "thumbmediaid"},
    ),
    "msgmenu": ("menu", {"text": "headcontent", "tail": "tailcontent"}),
}
"""The bubble for each type of message: its kind, and the field for each part of it.

The API, pushes and passive replies spell a field differently (media_id, MediaId). ``_plain`` spells it as here.
"""


def _drawn(kind: str, content: Fields) -> Bubble:
    """Return the bubble for a message of type ``kind`` with this content."""
    shape, parts = _SHAPES[kind]
    fields = _plain(content)
    bubble: Bubble = {"kind": shape}
    for part, name in parts.items():
        value = fields.get(name)
        bubble[part] = media_path(value) if name.endswith("mediaid") else value
    return bubble


def _plain(fields: Fields) -> Bubble:
    return {name.replace("_", "").lower(): value for name, value in fields.items()}


# -- messages sent by the API: {"msgtype": "text", "text": {"content": …}}


def _sent(body: Fields) -> Bubble:
    kind = str(body.get("msgtype", ""))
    content = body.get(kind)
    drawn = _sent_content(kind, content if isinstance(content, Mapping) else {})
    note = body.get("aimsgcontext")
    if isinstance(note, Mapping) and note.get("is_ai_msg") == 1:
        drawn["ai"] = True
    return drawn


def _sent_content(kind: str, content: Fields) -> Bubble:
    if kind == "news":
        return _drawn(kind, content["articles"][0])
    if kind == "msgmenu":
        items = [{"id": str(item["id"]), "label": item["content"]} for item in content.get("list") or []]
        return {**_drawn(kind, content), "items": items}
    if kind in _SHAPES:
        return _drawn(kind, content)
    description = content.get("title") or content.get("media_id") or content.get("article_id") or content.get("card_id")
    return {"kind": "other", "title": kind, "description": description}


# -- pushes and passive replies: {"MsgType": "text", "Content": …}

_INNER = {"image": "Image", "voice": "Voice", "video": "Video", "music": "Music"}
"""The inner element of a passive reply. A push has the same fields at the top level."""


def _pushed_or_passive(fields: Fields, what: str) -> Bubble:
    kind = str(fields.get("MsgType", ""))
    if kind == "event":
        about = fields.get("EventKey") or fields.get("SessionFrom") or fields.get("KfAccount")
        return {"kind": "event", "title": fields.get("Event"), "description": about and str(about)}
    if kind == "location":
        where = f"{fields.get('Label') or ''} {fields.get('Location_X')}, {fields.get('Location_Y')}"
        return {"kind": "other", "title": "location", "description": where.strip()}
    if kind == "news":
        first, *more = [article for article in articles_of(fields) if isinstance(article, Mapping)] or [{}]
        return {**_drawn(kind, first), "tail": "\n".join(str(article.get("Title", "")) for article in more)}
    if kind not in _SHAPES:
        return {"kind": "other", "title": kind, "description": what}
    inner = fields.get(_INNER.get(kind, ""))
    return _drawn(kind, inner if isinstance(inner, Mapping) else fields)


def media_path(media_id: object) -> str | None:
    """Return the path of a file of the platform on the page's server."""
    return f"/media/{quote(media_id, safe='')}" if isinstance(media_id, str) and media_id else None
