"""Read the body of ``/send``, which another system writes in the format of custom/send. All functions are pure.

Source: docs/wechat.md, section "Sending". ``wxbot/wechat/api/send_body.py`` writes the same format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxbot.errors import InvalidReply
from wxbot.model.media import is_media_id
from wxbot.model.replies import KINDS, MenuItem, Reply
from wxbot.wechat.api.send_body import FIELDS, MENU, NEWS

_MAX_OPENID_CHARS = 128


def reply_from_body(body: Mapping[str, Any]) -> tuple[str, Reply]:
    """Return the openid and the reply in a body that has the format of custom/send.

    Raises InvalidReply, which names the field, for everything that WeChat or wxbot does not understand. No part of
    ``body`` is ignored.
    """
    if not isinstance(body, Mapping):
        raise InvalidReply("the body must be a JSON object")
    openid, msg_type = _required_text(body, "touser", ""), _required_text(body, "msgtype", "")
    if len(openid) > _MAX_OPENID_CHARS or not openid.isprintable():
        raise InvalidReply(f"touser is longer than {_MAX_OPENID_CHARS} characters or has control characters")
    if msg_type not in KINDS:
        raise InvalidReply(f"msgtype is {_shown(msg_type)}, but must be one of {', '.join(KINDS)}")
    _check_names(body, {"touser", "msgtype", msg_type, "aimsgcontext", "customservice"}, "")
    content = _required_object(body, msg_type, "")
    values = _menu_values(content) if msg_type == MENU else _field_values(content, msg_type)
    return openid, KINDS[msg_type](**values, ai=_ai_from(body), agent=_agent_from(body))


def _field_values(content: Mapping[str, Any], msg_type: str) -> dict[str, Any]:
    where = f"{msg_type}."
    if msg_type == NEWS:
        _check_names(content, {"articles"}, where)
        content, where = _single_article(content), "news.articles[0]."
    fields = FIELDS[msg_type]
    _check_names(content, {field.name for field in fields}, where)
    values = {}
    for field in fields:
        value = (_required_text if field.required else _optional_text)(content, field.name, where)
        if value and field.attribute in KINDS[msg_type].media and not is_media_id(value):
            raise InvalidReply(f"{where}{field.name} is not a media id of WeChat")
        if value:
            values[field.attribute] = value
    return values


def _single_article(news: Mapping[str, Any]) -> Mapping[str, Any]:
    articles = _required_list(news, "articles", "news.")
    if len(articles) > 1:
        raise InvalidReply("news.articles has more than one article, but WeChat accepts one per message")
    if not isinstance(articles[0], Mapping):
        raise InvalidReply("news.articles[0] must be a JSON object")
    return articles[0]


def _menu_values(content: Mapping[str, Any]) -> dict[str, Any]:
    where = "msgmenu."
    _check_names(content, {"head_content", "list", "tail_content"}, where)
    items = [_item_from(item, f"msgmenu.list[{n}]") for n, item in enumerate(_required_list(content, "list", where))]
    return {
        "head": _required_text(content, "head_content", where),
        "items": items,
        "tail": _optional_text(content, "tail_content", where),
    }


def _item_from(item: Any, name: str) -> MenuItem:
    if not isinstance(item, Mapping):
        raise InvalidReply(f"{name} must be a JSON object")
    _check_names(item, {"id", "content"}, f"{name}.")
    item_id = item.get("id")
    if isinstance(item_id, int) and not isinstance(item_id, bool):
        item = {**item, "id": str(item_id)}
    return MenuItem(_required_text(item, "id", f"{name}."), _required_text(item, "content", f"{name}."))


def _ai_from(body: Mapping[str, Any]) -> bool | None:
    if "aimsgcontext" not in body:
        return None
    context = _required_object(body, "aimsgcontext", "")
    _check_names(context, {"is_ai_msg"}, "aimsgcontext.")
    if context.get("is_ai_msg") not in (0, 1):
        raise InvalidReply("aimsgcontext.is_ai_msg must be 0 or 1")
    return bool(context["is_ai_msg"])


def _agent_from(body: Mapping[str, Any]) -> str:
    if "customservice" not in body:
        return ""
    service = _required_object(body, "customservice", "")
    _check_names(service, {"kf_account"}, "customservice.")
    return _required_text(service, "kf_account", "customservice.")


def _check_names(fields: Mapping[str, Any], known: set[str], where: str) -> None:
    for name in fields:
        if name not in known:
            raise InvalidReply(f"{where}{_shown(name)} is not a known field; known fields: {', '.join(sorted(known))}")


def _required_text(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = _optional_text(fields, name, where)
    if value.strip():
        return value
    raise InvalidReply(f"{where}{name} is {'empty' if name in fields else 'missing'}")


def _optional_text(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = fields.get(name, "")
    if isinstance(value, str):
        return value
    raise InvalidReply(f"{where}{name} must be a string")


def _required_object(fields: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    if name not in fields:
        raise InvalidReply(f"{where}{name} is missing")
    value = fields[name]
    if isinstance(value, Mapping):
        return value
    raise InvalidReply(f"{where}{name} must be a JSON object")


def _required_list(fields: Mapping[str, Any], name: str, where: str) -> list[Any]:
    if name not in fields:
        raise InvalidReply(f"{where}{name} is missing")
    value = fields[name]
    if isinstance(value, list) and value:
        return value
    raise InvalidReply(f"{where}{name} must be a list with at least one item")


def _shown(text: object) -> str:
    """Return ``text`` of the request for an error: quoted, short and on one line."""
    return repr(text)[:82]
