"""The response to a push: a passive reply, or the transfer to human agents, as XML or JSON.

This module does no I/O. Sources: docs/wechat.md, section "Passive replies", and
https://developers.weixin.qq.com/doc/subscription/guide/product/message/Passive_user_reply_message.html
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/development/weixin/callback.md (JSON)
"""

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
from wxbot.wechat.api.send_body import media_id_of
from wxbot.wechat.push.codec import NOT_IN_XML, Format
from wxbot.wechat.push.crypto import cdata

# --- the fields of a response ---


def passive_fields(push_fields: Mapping[str, Any], reply: Reply, now: float) -> dict[str, Any]:
    """Return the fields of a passive reply to the push with ``push_fields``. ``now`` is in seconds since 1970.

    The files of ``reply`` must have been uploaded. Raises InvalidReply if one has not, or if WeChat accepts no passive
    reply of this type.
    """
    if reply.msg_type not in _PASSIVE:
        raise InvalidReply(
            f"a push cannot be answered with a reply of type {reply.msg_type}: "
            f"WeChat accepts only {', '.join(_PASSIVE)}"
        )
    return {**_head(push_fields, reply.msg_type, now), **_PASSIVE[reply.msg_type](reply)}


def transfer_fields(push_fields: Mapping[str, Any], now: float, agent: str = "") -> dict[str, Any]:
    """Return the fields of a response that transfers the user's message to the human agents, or only to ``agent``."""
    head = _head(push_fields, "transfer_customer_service", now)
    return {**head, "TransInfo": {"KfAccount": agent}} if agent else head


def _head(push_fields: Mapping[str, Any], msg_type: str, now: float) -> dict[str, Any]:
    return {
        "ToUserName": push_fields["FromUserName"],
        "FromUserName": push_fields.get("ToUserName", ""),
        "CreateTime": int(now),
        "MsgType": msg_type,
    }


def _passive_text(reply: TextReply) -> dict[str, Any]:
    return {"Content": reply.text}


def _passive_image(reply: ImageReply) -> dict[str, Any]:
    return {"Image": {"MediaId": media_id_of(reply, "image")}}


def _passive_voice(reply: VoiceReply) -> dict[str, Any]:
    return {"Voice": {"MediaId": media_id_of(reply, "voice")}}


def _passive_video(reply: VideoReply) -> dict[str, Any]:
    video = {"MediaId": media_id_of(reply, "video"), "Title": reply.title, "Description": reply.description}
    return {"Video": _without_empty(video)}


def _passive_music(reply: MusicReply) -> dict[str, Any]:
    music = {
        "Title": reply.title,
        "Description": reply.description,
        "MusicUrl": reply.url,
        "HQMusicUrl": reply.hq_url,
        "ThumbMediaId": media_id_of(reply, "thumb"),
    }
    return {"Music": _without_empty(music)}


def _passive_news(reply: NewsReply) -> dict[str, Any]:
    # All four fields are written, even if they are empty, because WeChat's page says that they are required.
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
    "news": _passive_news,
}


def _without_empty(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}


# --- XML and JSON ---


def to_text(fields: Mapping[str, Any], form: Format) -> str:
    """Return ``fields`` as XML or JSON. ``form`` is the format of the account's pushes."""
    return to_xml(fields) if form == "xml" else to_json(fields)


def to_xml(fields: Mapping[str, Any]) -> str:
    """Return ``fields`` in WeChat's XML: texts as CDATA, numbers bare, dicts nested, lists as repeated elements.

    Characters that XML cannot express become U+FFFD. An XML parser reads a carriage return as a line feed.
    """
    return f"<xml>{_elements(fields)}</xml>"


def to_json(fields: Mapping[str, Any]) -> str:
    """Return ``fields`` as JSON in raw UTF-8. A list that XML wraps in ``item`` is a plain list in JSON."""
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
