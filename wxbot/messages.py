"""What users write and what a bot answers: frozen values without behaviour, ready to be stored.

Incoming messages are made from the fields of a decrypted push (``message_from``); the fields stay beside them in
``raw``, so nothing WeChat sends is out of a plugin's reach. Field names on the wire are WeChat's own
(docs/wechat.md, section "Messages and events").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message or event of one user.

    ``created_at`` is WeChat's CreateTime and ``received_at`` the arrival at our door, both in seconds since 1970.
    ``msg_id`` is WeChat's MsgId as text; events have none and it is empty. ``account`` is the original id (``gh_…``).
    """

    appid: str
    openid: str
    account: str
    created_at: int
    received_at: float
    msg_id: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage(Message):
    """Text, exactly as written: blanks around it are kept."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMessage(Message):
    """A picture. ``media_id`` is good for three days; ``pic_url`` is WeChat's link to it."""

    media_id: str
    pic_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgramPageMessage(Message):
    """A mini-program card. ``thumb_media_id`` and ``thumb_url`` are temporary."""

    title: str
    page_appid: str
    page_path: str
    thumb_url: str
    thumb_media_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMessage(Message):
    """Something the user did, such as entering the session (``user_enter_tempsession``).

    ``event`` is in lower case, because documents and SDKs differ in case. ``key`` is EventKey or SessionFrom.
    """

    event: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownMessage(Message):
    """A well-signed push of a kind wxbot does not know; ``kind`` is its MsgType and ``raw`` has its fields."""

    kind: str


@dataclass(frozen=True, slots=True)
class TextReply:
    """Text for the user. Longer than one message allows, it is split at sentence ends."""

    text: str


Reply = TextReply
"""Everything a handler may answer with besides a plain ``str``."""


def reply_to_json(reply: Reply) -> dict[str, Any]:
    """``reply`` as JSON values, for the store."""
    return {"kind": "text", "text": reply.text}


def reply_from_json(value: Mapping[str, Any]) -> Reply:
    """The reply that ``reply_to_json`` wrote down. Raises ValueError for a kind that another version wrote."""
    kind = value["kind"]
    if kind != "text":
        raise ValueError(f"this version of wxbot knows no reply of the kind {kind!r}")
    return TextReply(value["text"])


def message_from(appid: str, fields: Mapping[str, Any], received_at: float) -> Message:
    """The typed message in a push's ``fields``, which the codec has checked (wxbot/wechat/codec.py).

    Never fails on missing optional fields: what is not there is empty.
    """
    head: dict[str, Any] = {
        "appid": appid,
        "openid": _text(fields, "FromUserName"),
        "account": _text(fields, "ToUserName"),
        "created_at": int(fields["CreateTime"]),
        "received_at": received_at,
        "msg_id": _text(fields, "MsgId"),
        "raw": fields,
    }
    kind = _text(fields, "MsgType").lower()
    if kind == "text":
        return TextMessage(**head, text=_text(fields, "Content"))
    if kind == "image":
        return ImageMessage(**head, media_id=_text(fields, "MediaId"), pic_url=_text(fields, "PicUrl"))
    if kind == "miniprogrampage":
        return MiniProgramPageMessage(
            **head,
            title=_text(fields, "Title"),
            page_appid=_text(fields, "AppId"),
            page_path=_text(fields, "PagePath"),
            thumb_url=_text(fields, "ThumbUrl"),
            thumb_media_id=_text(fields, "ThumbMediaId"),
        )
    if kind == "event":
        key = _text(fields, "EventKey") or _text(fields, "SessionFrom")
        return EventMessage(**head, event=_text(fields, "Event").lower(), key=key)
    return UnknownMessage(**head, kind=_text(fields, "MsgType"))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else "" if value is None else str(value)
