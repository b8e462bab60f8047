"""The way to the user: WeChat's customer-service calls over HTTP. Implements ``ports.Channel``.

This is the hot path (three calls per message), so URLs and timeouts are built once per token and not per call.
Sources: docs/wechat.md, sections "Typing", "Sending" and "Cloud calls".
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from yarl import URL

from wxbot.clock import Clock
from wxbot.errors import AccountNotAllowed, DeliveryUnknown, MediaNotFound, RequestNotSent, TokenRefused, WxbotError
from wxbot.model.media import Media
from wxbot.model.replies import Reply
from wxbot.store.port import MediaStore, TokenStore
from wxbot.typing_indicator.port import Permit, TypingCommand
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.media_cache import MediaCache
from wxbot.wechat.api.media_calls import MediaCalls, ReadAnswer
from wxbot.wechat.api.send_body import send_body
from wxbot.wechat.api.token import TokenProvider, Tokens
from wxbot.wechat.api.wechatpy_bridge import ThreadTokens, wechatpy_client
from wxbot.wechat.http.transport import Limits, Transport, answer_of, limits

SEND_PATH = "/cgi-bin/message/custom/send"
TYPING_PATH = "/cgi-bin/message/custom/typing"
BUSINESS_TYPING_PATH = "/cgi-bin/message/custom/business/typing"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""Raw UTF-8, because users have seen \\uXXXX escapes as text (docs/wechat.md, "Known traps")."""

MEDIA_TIMEOUTS = 6
"""How many times longer than another call an upload or a download may take: files are large."""

_log = logging.getLogger(__name__)


class TokenAndMediaStore(TokenStore, MediaStore, Protocol):
    """What a client keeps for all processes."""


class WeChatClient:
    """WeChat's API for one account. ``open`` it inside the running loop; every call raises only WeChatError.

    ``timeout`` and ``typing_timeout`` bound a whole call, in seconds. A refused token is replaced once per call.
    ``permit`` is that of ``ports.Channel``; without one a call may always be made. ``read_answer`` reads WeChat's
    answers (``transport.answer_of``). ``shelf`` and ``clock`` are for the files that WeChat has already.
    """

    def __init__(
        self,
        *,
        appid: str,
        transport: Transport,
        tokens: Tokens,
        shelf: MediaStore,
        clock: Clock,
        address: ApiAddress = ApiAddress(),  # noqa: B008 - frozen
        read_answer: ReadAnswer = answer_of,
        timeout: float = 10.0,
        typing_timeout: float = 3.0,
        typing_path: str = "",
        business_id: str = "",
    ) -> None:
        self._appid = appid
        self._transport = transport
        self._tokens = tokens
        self._address = address
        self._answer_of = read_answer
        self._timeout = timeout
        self._limits = limits(timeout)
        self._typing_limits = limits(typing_timeout)
        self._typing_path = typing_path or (BUSINESS_TYPING_PATH if business_id else TYPING_PATH)
        self._typing_extra = {"businessid": business_id} if business_id else {}
        self._urls: dict[str, URL] = {}
        self._urls_token = ""
        self._hint_given = False
        self._wechatpy: Any = None
        self._files = MediaCalls(tokens, address, seconds=timeout * MEDIA_TIMEOUTS, read_answer=read_answer)
        self._cache = MediaCache(appid, self._files.upload, shelf, clock)

    async def open(self) -> None:
        """Create the connection pool on the running loop (after any fork); no connection is made yet."""
        await self._transport.open()
        await self._files.open()
        tokens = ThreadTokens(self._tokens, asyncio.get_running_loop(), self._timeout * 2)
        self._wechatpy = wechatpy_client(self._appid, tokens, self._address, self._timeout)

    async def close(self) -> None:
        """Close every connection and give up a token fetch and uploads that are under way."""
        bridge, self._wechatpy = self._wechatpy, None
        if bridge is not None:
            bridge._http.close()  # noqa: SLF001 - ours: wechatpy_client put it there
        await self._cache.close()
        if isinstance(self._tokens, TokenProvider):
            await self._tokens.close()
        await self._files.close()
        await self._transport.close()

    async def send(self, openid: str, reply: Reply, *, permit: Permit | None = None) -> None:
        """Send one message. Raises WeChatError; only what is ``retryable`` was certainly not delivered.

        Files are uploaded first. If WeChat has lost one meanwhile, it is uploaded anew and the message sent once more;
        MediaNotFound is raised for what was given as a media id.
        """
        if reply.media:
            await self._send_with_files(openid, reply, permit)
        else:
            await self._order(SEND_PATH, send_body(openid, reply), self._limits, permit)

    async def prepare(self, reply: Reply) -> None:
        """Upload the files of ``reply`` ahead of ``send``. Best effort: what fails is tried again there."""
        try:
            await self._cache.uploaded(reply)
        except WxbotError as error:
            _log.info("a file was not uploaded ahead: %s", error)

    async def uploaded(self, reply: Reply) -> Reply:
        """``reply`` with media ids in place of files, for an answer to a push. Raises WeChatError."""
        return await self._cache.uploaded(reply)

    async def download(self, media_id: str) -> Media:
        """The file behind a media id. Raises WeChatError: MediaNotFound if WeChat does not have it (any more)."""
        return await self._files.download(media_id)

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit | None = None) -> None:
        """Show (``Typing``) or end (``CancelTyping``) the typing indicator. Raises WeChatError."""
        body = {"touser": openid, "command": command, **self._typing_extra}
        try:
            await self._order(self._typing_path, body, self._typing_limits, permit)
        except AccountNotAllowed as error:
            self._hint(error)
            raise

    async def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST ``body`` as JSON to any other call of the API and return WeChat's answer. Raises WeChatError."""
        return await self._authorised(path, body, self._limits, None)

    def wechatpy(self) -> Any:
        """wechatpy's own client on the same token, for plain ``def`` handlers (it blocks)."""
        if self._wechatpy is None:
            raise RequestNotSent("wechatpy's client is there only while the bot runs")
        return self._wechatpy

    async def _send_with_files(self, openid: str, reply: Reply, permit: Permit | None) -> None:
        ready = await self._cache.uploaded(reply, permit)
        try:
            await self._order(SEND_PATH, send_body(openid, ready), self._limits, permit)
        except MediaNotFound:
            if ready is reply:
                raise
        else:
            return
        ready = await self._cache.uploaded(reply, permit, refused=ready)
        await self._order(SEND_PATH, send_body(openid, ready), self._limits, permit)

    async def _order(self, path: str, body: Mapping[str, Any], timeout: Limits, permit: Permit | None) -> None:
        """A call whose success WeChat states; ``{}`` from something in between is no success."""
        answer = await self._authorised(path, body, timeout, permit)
        if "errcode" not in answer and "errCode" not in answer:
            raise DeliveryUnknown(f"{path} was sent, but the answer has no errcode")

    async def _authorised(
        self, path: str, body: Mapping[str, Any], timeout: Limits, permit: Permit | None
    ) -> dict[str, Any]:
        data = _JSON.encode(body).encode("utf-8", "replace")  # half a surrogate pair has no UTF-8: it becomes "?"
        token = await self._tokens.get()
        try:
            return await self._post(path, data, token, timeout, permit)
        except TokenRefused:
            pass
        return await self._post(path, data, await self._tokens.replace(token), timeout, permit)

    async def _post(self, path: str, data: bytes, token: str, timeout: Limits, permit: Permit | None) -> dict[str, Any]:
        status, answer = await self._transport.exchange("POST", self._url(path, token), data, timeout, path, permit)
        return self._answer_of(path, status, answer, (token,))

    def _url(self, path: str, token: str) -> URL:
        if token != self._urls_token:
            self._urls, self._urls_token = {}, token
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._address.url(path, token)
        return url

    def _hint(self, error: AccountNotAllowed) -> None:
        if self._hint_given:
            return
        self._hint_given = True
        _log.warning(
            "WeChat offers this account no typing indicator at %s (errcode %d: %s). %s Replies are not affected.",
            self._typing_path,
            error.errcode,
            error.errmsg,
            _TYPING_HINTS.get(error.errcode, _TYPING_HINTS[40200]),
        )


_TYPING_HINTS: Mapping[int, str] = {
    40101: "A parameter is missing: this address wants a businessid. Set WXBOT_BUSINESS_ID if the account is a "
    "customer-service sub-merchant, or leave WXBOT_BUSINESS_ID and WXBOT_TYPING_PATH empty if it is not.",
    40200: "This kind of account has none (an Official Account must be verified). If yours should have one, try the "
    "other address with WXBOT_TYPING_PATH; WXBOT_TYPING=false stops the calls.",
    85105: "See the account's permissions in WeChat's console; WXBOT_TYPING=false stops the calls.",
    85107: "WXBOT_TYPING=false stops the calls.",
    48001: "The account lacks the customer-service permission: see the account's permissions in WeChat's console; "
    "WXBOT_TYPING=false stops the calls.",
}
