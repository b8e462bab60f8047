"""The composer: it turns a handler's reply into messages that WeChat accepts.

It checks the reply, reads its files and splits long text. It blocks, because it reads files. Every error is an
InvalidReply, which names the reply or file and the limit.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from wxbot.errors import InvalidReply
from wxbot.model.accounts import Account
from wxbot.model.media import MAX_BYTES, Media, read_media
from wxbot.model.replies import MiniProgramPageReply, Reply, TextReply, checked
from wxbot.model.text_splitting import split_parts
from wxbot.settings.schema import ReplySettings


@dataclass(frozen=True, slots=True)
class Composer:
    """The composer of one account."""

    account: Account
    settings: ReplySettings

    def messages(self, reply: Reply, ai: bool | None = None) -> list[Reply]:
        """Return the messages for ``reply``: several for a long text, none for a blank one. Raises InvalidReply.

        ``ai`` is the plugin's AI mark, which is used if the reply itself has none.
        """
        reply = checked(reply)
        self._check(reply)
        if reply.ai is None and self.account.has_ai_mark and (ai is not None or self.settings.ai_mark):
            reply = dataclasses.replace(reply, ai=True if ai is None else ai)
        return self._texts(reply) if isinstance(reply, TextReply) else [self._with_media(reply)]

    def _texts(self, reply: TextReply) -> list[Reply]:
        parts = split_parts(reply.text, self.settings.text_bytes)
        return [
            dataclasses.replace(reply, text=part.text, joint=part.joint if number else reply.joint)
            for number, part in enumerate(parts)
            if part.text.strip()
        ]

    def _check(self, reply: Reply) -> None:
        if reply.msg_type not in self.settings.reply_types:
            raise InvalidReply(
                f"this account ({self.account.title}) cannot send the type {reply.msg_type!r}"
                f" ({type(reply).__name__}); it can send {', '.join(sorted(self.settings.reply_types))}"
            )
        if reply.agent and not self.account.names_agents:
            raise InvalidReply(f"{type(reply).__name__}: only an Official Account can send in an agent's name")
        if isinstance(reply, MiniProgramPageReply) and not self.account.has_pages and not reply.appid:
            raise InvalidReply("MiniProgramPageReply: an Official Account must set the mini program's appid (appid=…)")

    def _with_media(self, reply: Reply) -> Reply:
        limits = {**MAX_BYTES, "image": self.settings.image_bytes}
        read: dict[str, Any] = {}
        for name, kind in reply.media.items():
            source = getattr(reply, name)
            if source is not None:
                read[name] = read_media(source, kind, limits)
                self._check_passive(read[name], name)
        return dataclasses.replace(reply, **read) if read else reply

    def _check_passive(self, media: str | Media, name: str) -> None:
        if self.account.is_passive and isinstance(media, Media) and media.content_type == "image/gif":
            raise InvalidReply(f"{media.filename or name} is GIF, which WeChat does not accept as a passive reply")
