"""The answer to a push: a passive reply, or the transfer to human agents, as XML or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from wxbot.errors import InvalidReply
from wxbot.model.replies import (
    ImageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
)
from wxbot.wechat.api.send_body import _NEWS, _media_id
from wxbot.wechat.push.codec import NOT_IN_XML, Format
from wxbot.wechat.push.crypto import cdata

# --- answered to a push ---


def passive_fields(push_fields: Mapping[str, Any], reply: Reply, now: float) -> dict[str, Any]:
    """The fields of an answer to the push with ``push_fields``. The media of ``reply`` are media ids by now.

    Raises InvalidReply for a kind that no push is answered with.
    """
    if reply.msg_type not in _PASSIVE:
        raise InvalidReply(
            f"a push cannot be answered with a reply of the kind {reply.msg_type}, only with {', '.join(_PASSIVE)}"
        )
    return {**_head(push_fields, reply.msg_type, now), **_PASSIVE[reply.msg_type](reply)}


def transfer_fields(push_fields: Mapping[str, Any], now: float, agent: str = "") -> dict[str, Any]:
    """The fields of an answer that hands the message of the push to the human agents, or to ``agent`` alone."""
    head = _head(push_fields, "transfer_customer_service", now)
    return {**head, "TransInfo": {"KfAccount": agent}} if agent else head


def _head(push_fields: Mapping[str, Any], kind: str, now: float) -> dict[str, Any]:
    return {
        "ToUserName": push_fields["FromUserName"],
        "FromUserName": push_fields.get("ToUserName", ""),
        "CreateTime": int(now),
        "MsgType": kind,
    }


def _passive_text(reply: TextReply) -> dict[str, Any]:
    return {"Content": reply.text}


def _passive_image(reply: ImageReply) -> dict[str, Any]:
    return {"Image": {"MediaId": _media_id(reply, "image")}}


def _passive_voice(reply: VoiceReply) -> dict[str, Any]:
    return {"Voice": {"MediaId": _media_id(reply, "voice")}}


def _passive_video(reply: VideoReply) -> dict[str, Any]:
    video = {"MediaId": _media_id(reply, "video"), "Title": reply.title, "Description": reply.description}
    return {"Video": _without_empty(video)}


def _passive_music(reply: MusicReply) -> dict[str, Any]:
    music = {
        "Title": reply.title,
        "Description": reply.description,
        "MusicUrl": reply.url,
        "HQMusicUrl": reply.hq_url,
        "ThumbMediaId": _media_id(reply, "thumb"),
    }
    return {"Music": _without_empty(music)}


def _passive_news(reply: NewsReply) -> dict[str, Any]:
    # All four are written, also empty: WeChat's page calls them necessary.
    article = {
        "Title": reply.title,
        "Description": reply.description,
        "PicUrl": reply.picture_url,
        "Url": reply.url,
    }
    return {"ArticleCount": 1, "Articles": {"item": [article]}}


_PASSIVE: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "text": _passive_text,
    "image": _passive_image,
    "voice": _passive_voice,
    "video": _passive_video,
    "music": _passive_music,
    _NEWS: _passive_news,
}


def _without_empty(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


def to_text(fields: Mapping[str, Any], form: Format) -> str:
    """``fields`` in the data format of the account, in which its pushes come."""
    return to_xml(fields) if form == "xml" else to_json(fields)


def to_xml(fields: Mapping[str, Any]) -> str:
    """``fields`` as WeChat writes XML: texts as CDATA, numbers bare, dicts nested, lists as repeated elements.

    Characters that XML has no form for become U+FFFD. Carriage returns become line feeds where it is read.
    """
    return f"<xml>{_elements(fields)}</xml>"


def to_json(fields: Mapping[str, Any]) -> str:
    """``fields`` as JSON in raw UTF-8. What only wraps a list in XML (``item``) is a plain list there."""
    return json.dumps({name: _unwrapped(value) for name, value in fields.items()}, ensure_ascii=False)


def _elements(fields: Mapping[str, Any]) -> str:
    return "".join(_element(name, value) for name, value in fields.items())


def _element(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "".join(_element(name, each) for each in value)
    if isinstance(value, Mapping):
        return f"<{name}>{_elements(value)}</{name}>"
    if isinstance(value, int | float):
        return f"<{name}>{value}</{name}>"
    return f"<{name}>{cdata(NOT_IN_XML.sub(chr(0xFFFD), str(value)))}</{name}>"


def _unwrapped(value: Any) -> Any:
    is_wrapped = isinstance(value, Mapping) and set(value) == {"item"} and isinstance(value["item"], list)
    return value["item"] if is_wrapped else value
