"""The port of the channel: the calls through which replies reach a user.

A row of ``wxbot.model.accounts`` says what an account may do with the calls. Another kind of account needs another row
and another implementation of this port.
"""

from __future__ import annotations

from typing import Any, Protocol

from wxbot.model.media import Media
from wxbot.model.replies import Reply
from wxbot.typing_indicator.port import Permit, TypingCalls


class Channel(TypingCalls, Protocol):
    """The channel to the user, such as WeChat's customer-service API. Every call raises only WeChatError.

    A call may wait for a token or a connection, or its process may be paused, and meanwhile another process may take
    over the conversation. So ``permit`` is called directly before each request is written, with no suspension in
    between. If it returns False, nothing is written, and the call raises RequestNotSent.
    """

    async def open(self) -> None:
        """Prepare for calls on the running event loop. Raises nothing, because it opens no connection."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def send(self, openid: str, reply: Reply, *, send_id: str, permit: Permit) -> None:
        """Send ``reply``, and first upload its media if WeChat does not have them.

        The media must have been read (``wxbot.model.media.read_media``). ``send_id``: the same for each attempt to send
        the same message, for a platform that recognizes repeats; at most 32 characters.
        """
        ...

    async def prepare(self, reply: Reply) -> None:
        """Upload the media of ``reply`` in advance, because an upload takes long. A failure raises nothing."""
        ...

    async def uploaded(self, reply: Reply) -> Reply:
        """Return ``reply`` with media ids in place of files, for use as a passive reply."""
        ...

    async def download(self, media_id: str) -> Media:
        """Download a file that a user sent."""
        ...

    def wechatpy(self) -> Any:
        """Return a wechatpy client that uses the same access token."""
        ...
