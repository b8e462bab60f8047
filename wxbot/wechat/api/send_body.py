"""How replies are written for WeChat, and read from another system that writes them the same way. Pure.

Sources: docs/wechat.md, sections "Sending" and "Passive answers", and
https://developers.weixin.qq.com/doc/service/api/customer/message/api_sendcustommessage
https://developers.weixin.qq.com/doc/subscription/guide/product/message/Passive_user_reply_message.html
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/development/weixin/callback.md (JSON)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wxbot.errors import InvalidReply
from wxbot.model.media import is_media_id
from wxbot.model.replies import (
    KINDS,
    MenuItem,
    Reply,
)

_TOUSER_CHARS = 128
_MENU = "msgmenu"
_NEWS = "news"


class _Field(NamedTuple):
    """One text of a message: its name at WeChat, and ours. ``needed``: WeChat wants it to be there and not empty."""

    name: str
    ours: str
    needed: bool = True


_FIELDS: Mapping[str, tuple[_Field, ...]] = {
    "text": (_Field("content", "text"),),
    "image": (_Field("media_id", "image"),),
    "voice": (_Field("media_id", "voice"),),
    "video": (
        _Field("media_id", "video"),
        _Field("thumb_media_id", "thumb", needed=False),
        _Field("title", "title", needed=False),
        _Field("description", "description", needed=False),
    ),
    "music": (
        _Field("title", "title", needed=False),
        _Field("description", "description", needed=False),
        _Field("musicurl", "url"),
        _Field("hqmusicurl", "hq_url", needed=False),
        _Field("thumb_media_id", "thumb"),
    ),
    _NEWS: (
        _Field("title", "title"),
        _Field("description", "description", needed=False),
        _Field("url", "url"),
        _Field("picurl", "picture_url", needed=False),
    ),
    "link": (
        _Field("title", "title"),
        _Field("description", "description", needed=False),
        _Field("url", "url"),
        _Field("thumb_url", "thumb_url", needed=False),
    ),
    "miniprogrampage": (
        _Field("title", "title"),
        _Field("appid", "appid", needed=False),
        _Field("pagepath", "page_path"),
        _Field("thumb_media_id", "thumb"),
    ),
    "mpnewsarticle": (_Field("article_id", "article_id"),),
}
"""By msgtype, in the order of WeChat's page. ``msgmenu`` has a list and stands for itself."""

_WRITTEN_EMPTY = frozenset({("link", "description"), ("link", "thumb_url")})
"""WeChat's page calls them necessary; a bot need not have them."""


# --- sent through the API ---


def send_body(openid: str, reply: Reply) -> dict[str, Any]:
    """The body of custom/send. The media of ``reply`` are media ids by now, or InvalidReply is raised."""
    body = {"touser": openid, "msgtype": reply.msg_type, reply.msg_type: _SENT[reply.msg_type](reply)}
    if reply.ai is not None:
        body["aimsgcontext"] = {"is_ai_msg": int(reply.ai)}
    if reply.agent:
        body["customservice"] = {"kf_account": reply.agent}
    return body


def _sent_text(reply: Any) -> dict[str, Any]:
    return {"content": reply.text}


def _sent_fields(reply: Reply) -> dict[str, Any]:
    written = {}
    for each in _FIELDS[reply.msg_type]:
        value = _text_of(reply, each.ours)
        if value or each.needed or (reply.msg_type, each.name) in _WRITTEN_EMPTY:
            written[each.name] = value
    return written


def _sent_music(reply: Any) -> dict[str, Any]:
    # WeChat's page wants the second address as well, though most have one only.
    return {**_sent_fields(reply), "hqmusicurl": reply.hq_url or reply.url}


def _sent_news(reply: Any) -> dict[str, Any]:
    return {"articles": [_sent_fields(reply)]}


def _sent_menu(reply: Any) -> dict[str, Any]:
    items = [{"id": item.id, "content": item.text} for item in reply.items]
    menu = {"head_content": reply.head, "list": items}
    return {**menu, "tail_content": reply.tail} if reply.tail else menu


_SENT: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    **dict.fromkeys(_FIELDS, _sent_fields),
    "text": _sent_text,
    "music": _sent_music,
    _NEWS: _sent_news,
    _MENU: _sent_menu,
}


def _text_of(reply: Reply, name: str) -> str:
    value = getattr(reply, name)
    if name in reply.media:
        return _media_id(reply, name)
    return str(value)


def _media_id(reply: Reply, name: str) -> str:
    value = getattr(reply, name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise InvalidReply(
        f"the {name} of a reply of the kind {reply.msg_type} is not with WeChat yet: it must be uploaded"
    )


# --- written by another system ---


def reply_from_body(body: Mapping[str, Any]) -> tuple[str, Reply]:
    """Openid and reply in a body that is written as for WeChat's own custom/send.

    Raises InvalidReply, with a sentence that names the field, for what WeChat or wxbot would not understand: nothing
    in ``body`` is left out silently.
    """
    if not isinstance(body, Mapping):
        raise InvalidReply("the body must be a JSON object")
    openid, kind = _needed_text(body, "touser", ""), _needed_text(body, "msgtype", "")
    if len(openid) > _TOUSER_CHARS or not openid.isprintable():
        raise InvalidReply(f"touser is longer than {_TOUSER_CHARS} characters or holds control characters")
    if kind not in KINDS:
        raise InvalidReply(f"msgtype is {_shown(kind)}, which is none of {', '.join(KINDS)}")
    _only(body, {"touser", "msgtype", kind, "aimsgcontext", "customservice"}, "")
    content = _needed_object(body, kind, "")
    own = _menu_from(content) if kind == _MENU else _fields_from(content, kind)
    return openid, KINDS[kind](**own, ai=_ai_from(body), agent=_agent_from(body))


def _fields_from(content: Mapping[str, Any], kind: str) -> dict[str, Any]:
    where = f"{kind}."
    if kind == _NEWS:
        _only(content, {"articles"}, where)
        content, where = _only_article(content), "news.articles[0]."
    fields = _FIELDS[kind]
    _only(content, {each.name for each in fields}, where)
    read = {}
    for each in fields:
        value = _needed_text(content, each.name, where) if each.needed else _optional_text(content, each.name, where)
        if value and each.ours in KINDS[kind].media and not is_media_id(value):
            raise InvalidReply(f"{where}{each.name} is no media id of WeChat's")
        if value:
            read[each.ours] = value
    return read


def _only_article(news: Mapping[str, Any]) -> Mapping[str, Any]:
    articles = _needed_list(news, "articles", "news.")
    if len(articles) > 1:
        raise InvalidReply("news.articles has more than one article, and WeChat takes one for each message")
    if not isinstance(articles[0], Mapping):
        raise InvalidReply("news.articles[0] must be a JSON object")
    return articles[0]


def _menu_from(content: Mapping[str, Any]) -> dict[str, Any]:
    where = "msgmenu."
    _only(content, {"head_content", "list", "tail_content"}, where)
    items = [_item_from(item, f"msgmenu.list[{n}]") for n, item in enumerate(_needed_list(content, "list", where))]
    return {
        "head": _needed_text(content, "head_content", where),
        "items": items,
        "tail": _optional_text(content, "tail_content", where),
    }


def _item_from(item: Any, name: str) -> MenuItem:
    if not isinstance(item, Mapping):
        raise InvalidReply(f"{name} must be a JSON object")
    _only(item, {"id", "content"}, f"{name}.")
    given = item.get("id")
    if isinstance(given, int) and not isinstance(given, bool):
        item = {**item, "id": str(given)}
    return MenuItem(_needed_text(item, "id", f"{name}."), _needed_text(item, "content", f"{name}."))


def _ai_from(body: Mapping[str, Any]) -> bool | None:
    if "aimsgcontext" not in body:
        return None
    context = _needed_object(body, "aimsgcontext", "")
    _only(context, {"is_ai_msg"}, "aimsgcontext.")
    if context.get("is_ai_msg") not in (0, 1):
        raise InvalidReply("aimsgcontext.is_ai_msg must be 0 or 1")
    return bool(context["is_ai_msg"])


def _agent_from(body: Mapping[str, Any]) -> str:
    if "customservice" not in body:
        return ""
    service = _needed_object(body, "customservice", "")
    _only(service, {"kf_account"}, "customservice.")
    return _needed_text(service, "kf_account", "customservice.")


def _only(fields: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in fields:
        if name not in known:
            there_are = ", ".join(sorted(known))
            raise InvalidReply(f"{where}{_shown(name)} is no field that wxbot knows; there are {there_are}")


def _needed_text(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = _optional_text(fields, name, where)
    if value.strip():
        return value
    raise InvalidReply(f"{where}{name} is {'empty' if name in fields else 'missing'}")


def _optional_text(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = fields.get(name, "")
    if isinstance(value, str):
        return value
    raise InvalidReply(f"{where}{name} must be a text")


def _needed_object(fields: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    if name not in fields:
        raise InvalidReply(f"{where}{name} is missing")
    value = fields[name]
    if isinstance(value, Mapping):
        return value
    raise InvalidReply(f"{where}{name} must be a JSON object")


def _needed_list(fields: Mapping[str, Any], name: str, where: str) -> list[Any]:
    if name not in fields:
        raise InvalidReply(f"{where}{name} is missing")
    value = fields[name]
    if isinstance(value, list) and value:
        return value
    raise InvalidReply(f"{where}{name} must be a list with something in it")


def _shown(text: object) -> str:
    """Foreign text, short and on one line."""
    return repr(text)[:82]
