"""The port of the channel: how replies reach a user."""

from __future__ import annotations

from typing import Any, Protocol

from wxbot.model.media import Media
from wxbot.model.replies import Reply
from wxbot.typing_indicator.port import Permit, TypingCalls


class Channel(TypingCalls, Protocol):
    """The way to the user: WeChat's customer-service API. Every call raises only WeChatError.

    A call may wait for a token or a connection, or its whole process be stopped, until somebody else answers the user.
    So ``permit`` is asked directly before each request of the call is written, with no suspension in between. If it
    says no, nothing is written, and the call raises RequestNotSent.
    """

    async def send(self, openid: str, reply: Reply, *, permit: Permit) -> None:
        """Its media have been read (``wxbot.model.media``); what WeChat does not have of them is uploaded first."""
        ...

    async def prepare(self, reply: Reply) -> None:
        """Do ahead what takes long: upload the media of ``reply``. Best effort; raises nothing."""
        ...

    async def uploaded(self, reply: Reply) -> Reply:
        """``reply`` with media ids in place of files, for an answer that is not sent but given to a push."""
        ...

    async def download(self, media_id: str) -> Media:
        """The file a user sent."""
        ...

    def wechatpy(self) -> Any:
        """wechatpy's own client on the same token."""
        ...
