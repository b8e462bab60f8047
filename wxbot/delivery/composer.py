"""The composer: it turns a handler's reply into messages that WeChat accepts.

It checks the reply, reads its files and splits long text. It blocks, because it reads files. Every error is an
InvalidReply, which names the reply or file and the limit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wxbot.delivery.text_splitting import split_parts
from wxbot.errors import InvalidReply
from wxbot.model.accounts import Account
from wxbot.model.media import MAX_BYTES, Media, MediaKind, read_media
from wxbot.model.replies import MenuItem, MenuReply, MiniProgramPageReply, Reply, TextReply


@dataclass(frozen=True, slots=True)
class Composer:
    """The composer of one account. ``reply_types``: the types of reply (msgtype) that it may send.

    ``text_bytes`` and ``media_bytes`` are the limits of one message. ``ai_mark``: mark every message as made by AI.
    """

    account: Account
    reply_types: frozenset[str]
    text_bytes: int = 2000
    media_bytes: Mapping[MediaKind, int] = field(default_factory=lambda: MAX_BYTES)
    ai_mark: bool = False

    def messages(self, reply: Reply, ai: bool | None = None) -> list[Reply]:
        """Return the messages for ``reply``: several for a long text, none for a blank one. Raises InvalidReply.

        ``ai`` is the plugin's AI mark, which is used if the reply itself has none.
        """
        self._check(reply)
        reply = _without_surrogates(reply)
        if reply.ai is None and self.account.has_ai_mark and (ai is not None or self.ai_mark):
            reply = dataclasses.replace(reply, ai=True if ai is None else ai)
        return self._texts(reply) if isinstance(reply, TextReply) else [self._with_media(reply)]

    def _texts(self, reply: TextReply) -> list[Reply]:
        parts = split_parts(reply.text, self.text_bytes)
        return [
            dataclasses.replace(reply, text=part.text, joint=part.joint if number else reply.joint)
            for number, part in enumerate(parts)
            if part.text.strip()
        ]

    def _check(self, reply: Reply) -> None:
        if reply.ai is not None and not isinstance(reply.ai, bool):
            raise InvalidReply(f"{type(reply).__name__}: ai must be True, False or None, not {reply.ai!r}")
        if reply.msg_type not in self.reply_types:
            raise InvalidReply(
                f"this account ({self.account.title}) cannot send the type {reply.msg_type!r}"
                f" ({type(reply).__name__}); it can send {', '.join(sorted(self.reply_types))}"
            )
        if reply.agent and not self.account.names_agents:
            raise InvalidReply(f"{type(reply).__name__}: only an Official Account can send in an agent's name")
        _check_texts(reply)
        if isinstance(reply, MiniProgramPageReply) and not self.account.has_pages and not reply.appid:
            raise InvalidReply("MiniProgramPageReply: an Official Account must set the mini program's appid (appid=…)")
        if isinstance(reply, MenuReply) and not reply.items:
            raise InvalidReply("MenuReply has no items to click")

    def _with_media(self, reply: Reply) -> Reply:
        read: dict[str, Any] = {}
        for name, kind in reply.media.items():
            source = getattr(reply, name)
            if source is not None:
                read[name] = read_media(source, kind, self.media_bytes)
                self._check_passive(read[name], name)
        return dataclasses.replace(reply, **read) if read else reply

    def _check_passive(self, media: str | Media, name: str) -> None:
        if self.account.is_passive and isinstance(media, Media) and media.content_type == "image/gif":
            raise InvalidReply(f"{media.filename or name} is GIF, which WeChat does not accept as a passive reply")


def _without_surrogates(reply: Reply) -> Reply:
    """Return ``reply`` with "?" in place of lone surrogates (halves of emoji), because UTF-8 cannot encode them."""
    changed: dict[str, Any] = {}
    for each in dataclasses.fields(reply):
        value = getattr(reply, each.name)
        encodable = _encodable(value) if isinstance(value, str) else value
        if isinstance(reply, MenuReply) and each.name == "items":
            encodable = tuple(MenuItem(_encodable(item.id), _encodable(item.text)) for item in value)
        if encodable != value:
            changed[each.name] = encodable
    return dataclasses.replace(reply, **changed) if changed else reply


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()


def _check_texts(reply: Reply) -> None:
    for each in dataclasses.fields(reply):
        value = getattr(reply, each.name)
        if each.type == "str":
            if not isinstance(value, str):
                raise InvalidReply(f"{type(reply).__name__}: {each.name} must be a str, not {type(value).__name__}")
            if not value and each.default is dataclasses.MISSING and not isinstance(reply, TextReply):
                raise InvalidReply(f"{type(reply).__name__}: {each.name} is empty")
