"""Write a reply as the body of custom/send, WeChat's call that sends a message.

This module does no I/O. Sources: docs/wechat.md, section "Sending", and
https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wxbot.errors import InvalidReply
from wxbot.model.replies import Reply

MENU = "msgmenu"
NEWS = "news"


class BodyField(NamedTuple):
    """One text field of a body. ``name`` is WeChat's, ``attribute`` is the reply's; WeChat rejects an empty one if
    ``required``."""

    name: str
    attribute: str
    required: bool = True


FIELDS: Mapping[str, tuple[BodyField, ...]] = {
    "text": (BodyField("content", "text"),),
    "image": (BodyField("media_id", "image"),),
    "voice": (BodyField("media_id", "voice"),),
    "video": (
        BodyField("media_id", "video"),
        BodyField("thumb_media_id", "thumb", required=False),
        BodyField("title", "title", required=False),
        BodyField("description", "description", required=False),
    ),
    "music": (
        BodyField("title", "title", required=False),
        BodyField("description", "description", required=False),
        BodyField("musicurl", "url"),
        BodyField("hqmusicurl", "hq_url", required=False),
        BodyField("thumb_media_id", "thumb"),
    ),
    NEWS: (
        BodyField("title", "title"),
        BodyField("description", "description", required=False),
        BodyField("url", "url"),
        BodyField("picurl", "picture_url", required=False),
    ),
    "link": (
        BodyField("title", "title"),
        BodyField("description", "description", required=False),
        BodyField("url", "url"),
        BodyField("thumb_url", "thumb_url", required=False),
    ),
    "miniprogrampage": (
        BodyField("title", "title"),
        BodyField("appid", "appid", required=False),
        BodyField("pagepath", "page_path"),
        BodyField("thumb_media_id", "thumb"),
    ),
    "mpnewsarticle": (BodyField("article_id", "article_id"),),
}
"""The fields of each msgtype, in the order of WeChat's page. ``msgmenu`` is not here, because it contains a list."""

_WRITTEN_EMPTY = frozenset({("link", "description"), ("link", "thumb_url")})
"""Fields that are written even if they are empty, because WeChat's page says that they are required."""


def send_body(openid: str, reply: Reply) -> dict[str, Any]:
    """Return the body of custom/send. Raises InvalidReply if a file of ``reply`` has not been uploaded."""
    body = {"touser": openid, "msgtype": reply.msg_type, reply.msg_type: _CONTENT[reply.msg_type](reply)}
    if reply.ai is not None:
        body["aimsgcontext"] = {"is_ai_msg": int(reply.ai)}
    if reply.agent:
        body["customservice"] = {"kf_account": reply.agent}
    return body


def media_id_of(reply: Reply, attribute: str) -> str:
    """Return the media id in ``attribute`` of ``reply``; empty if the attribute is None.

    Raises InvalidReply if the attribute is a file that has not been uploaded.
    """
    value = getattr(reply, attribute)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise InvalidReply(
        f"the {attribute} of a reply of type {reply.msg_type} has no media id: it must be uploaded first"
    )


def _text_content(reply: Any) -> dict[str, Any]:
    return {"content": reply.text}


def _fields_content(reply: Reply) -> dict[str, Any]:
    content = {}
    for field in FIELDS[reply.msg_type]:
        value = _value_of(reply, field.attribute)
        if value or field.required or (reply.msg_type, field.name) in _WRITTEN_EMPTY:
            content[field.name] = value
    return content


def _music_content(reply: Any) -> dict[str, Any]:
    # WeChat's page requires both addresses, but most replies have only one.
    return {**_fields_content(reply), "hqmusicurl": reply.hq_url or reply.url}


def _news_content(reply: Any) -> dict[str, Any]:
    return {"articles": [_fields_content(reply)]}


def _menu_content(reply: Any) -> dict[str, Any]:
    items = [{"id": item.id, "content": item.text} for item in reply.items]
    menu = {"head_content": reply.head, "list": items}
    return {**menu, "tail_content": reply.tail} if reply.tail else menu


_CONTENT: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    **dict.fromkeys(FIELDS, _fields_content),
    "text": _text_content,
    "music": _music_content,
    NEWS: _news_content,
    MENU: _menu_content,
}


def _value_of(reply: Reply, attribute: str) -> str:
    return media_id_of(reply, attribute) if attribute in reply.media else str(getattr(reply, attribute))
