"""The client of WeChat's customer-service API. Implements ``wxbot.delivery.channel.Channel``.

A message needs three calls, so URLs are built once per token and limits once per client, not once per call.
Sources: docs/wechat.md, sections "Typing", "Sending" and "Cloud calls".
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from yarl import URL

from wxbot.clock import Clock
from wxbot.errors import AccountNotAllowed, DeliveryUnknown, MediaNotFound, RequestNotSent, TokenRefused, WxbotError
from wxbot.model.media import Media
from wxbot.model.replies import Reply
from wxbot.store.port import SharedValues
from wxbot.typing_indicator.port import Permit, TypingCommand
from wxbot.wechat.api.address import ApiAddress
from wxbot.wechat.api.media_cache import MediaCache
from wxbot.wechat.api.media_calls import MediaCalls, ReadAnswer
from wxbot.wechat.api.send_body import send_body
from wxbot.wechat.api.token import TokenProvider, Tokens
from wxbot.wechat.api.wechatpy_bridge import ThreadTokens, wechatpy_client
from wxbot.wechat.http.transport import Limits, Transport, limits, parse_response

SEND_PATH = "/cgi-bin/message/custom/send"
TYPING_PATH = "/cgi-bin/message/custom/typing"
BUSINESS_TYPING_PATH = "/cgi-bin/message/custom/business/typing"

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""An encoder of raw UTF-8, because WeChat has shown \\uXXXX escapes to users (docs/wechat.md, "Known traps")."""

MEDIA_TIMEOUTS = 6
"""An upload or a download may take this many times longer than another call, because files are large."""

_log = logging.getLogger(__name__)


class WeChatClient:
    """A client of WeChat's API for one account. Call ``open`` on the running event loop. Calls raise only WeChatError.

    ``timeout`` and ``typing_timeout`` limit a whole call, in seconds. A refused token is replaced once per call.
    ``permit`` is explained in ``Channel``; a call without one is always written. ``read_answer`` parses WeChat's
    responses (``transport.parse_response``). ``store`` and ``clock`` serve the cache of media ids.
    """

    def __init__(
        self,
        *,
        appid: str,
        transport: Transport,
        tokens: Tokens,
        store: SharedValues,
        clock: Clock,
        address: ApiAddress = ApiAddress(),  # noqa: B008 - frozen
        read_answer: ReadAnswer = parse_response,
        timeout: float = 10.0,
        typing_timeout: float = 3.0,
        typing_path: str = "",
        business_id: str = "",
    ) -> None:
        self._appid = appid
        self._transport = transport
        self._tokens = tokens
        self._address = address
        self._parse_response = read_answer
        self._timeout = timeout
        self._limits = limits(timeout)
        self._typing_limits = limits(typing_timeout)
        self._typing_path = typing_path or (BUSINESS_TYPING_PATH if business_id else TYPING_PATH)
        self._typing_extra = {"businessid": business_id} if business_id else {}
        self._urls: dict[str, URL] = {}
        self._urls_token = ""
        self._typing_advice_logged = False
        self._wechatpy: Any = None
        self._files = MediaCalls(tokens, address, seconds=timeout * MEDIA_TIMEOUTS, read_answer=read_answer)
        self._cache = MediaCache(appid, self._files.upload, store, clock)

    async def open(self) -> None:
        """Prepare for calls on the running event loop. Call it after a fork. It opens no connection yet."""
        await self._transport.open()
        await self._files.open()
        tokens = ThreadTokens(self._tokens, asyncio.get_running_loop(), self._timeout * 2)
        self._wechatpy = wechatpy_client(self._appid, tokens, self._address, self._timeout)

    async def close(self) -> None:
        """Close every connection, and cancel a running token fetch and running uploads."""
        bridge, self._wechatpy = self._wechatpy, None
        if bridge is not None:
            bridge._http.close()  # noqa: SLF001 - wechatpy_client sets it
        await self._cache.close()
        if isinstance(self._tokens, TokenProvider):
            await self._tokens.close()
        await self._files.close()
        await self._transport.close()

    async def send(self, openid: str, reply: Reply, *, send_id: str = "", permit: Permit | None = None) -> None:
        """Send one message. Raises WeChatError. If the error is ``retryable``, the message was not delivered.

        Files are uploaded first. If WeChat no longer has an uploaded file, it is uploaded again and the message is sent
        once more. Raises MediaNotFound if WeChat has no file for a media id of the plugin. ``send_id`` is not used,
        because WeChat does not recognize a repeated message.
        """
        if reply.media:
            await self._send_with_files(openid, reply, permit)
        else:
            await self._call_confirmed(SEND_PATH, send_body(openid, reply), self._limits, permit)

    async def prepare(self, reply: Reply) -> None:
        """Upload the files of ``reply`` before ``send`` needs them. A failure is only logged: ``send`` tries again."""
        try:
            await self._cache.uploaded(reply)
        except WxbotError as error:
            _log.info("media not uploaded in advance, will upload when sending: error=%s", error)

    async def uploaded(self, reply: Reply) -> Reply:
        """Upload the files of ``reply`` and return it with media ids, for a passive reply. Raises WeChatError."""
        return await self._cache.uploaded(reply)

    async def download(self, media_id: str) -> Media:
        """Download the file of a media id. Raises WeChatError; MediaNotFound if WeChat does not have the file."""
        return await self._files.download(media_id)

    async def typing(self, openid: str, command: TypingCommand, *, permit: Permit | None = None) -> None:
        """Show the typing indicator (``Typing``) or hide it (``CancelTyping``). Raises WeChatError."""
        body = {"touser": openid, "command": command, **self._typing_extra}
        try:
            await self._call_confirmed(self._typing_path, body, self._typing_limits, permit)
        except AccountNotAllowed as error:
            self._log_typing_advice(error)
            raise

    async def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST ``body`` as JSON to another ``path`` of the API and return WeChat's response. Raises WeChatError."""
        return await self._call_with_token(path, body, self._limits, None)

    def wechatpy(self) -> Any:
        """Return wechatpy's client, which uses the same token. It blocks, so only plain ``def`` handlers may use it."""
        if self._wechatpy is None:
            raise RequestNotSent("wechatpy's client exists only while the bot runs")
        return self._wechatpy

    async def _send_with_files(self, openid: str, reply: Reply, permit: Permit | None) -> None:
        ready = await self._cache.uploaded(reply, permit)
        try:
            await self._call_confirmed(SEND_PATH, send_body(openid, ready), self._limits, permit)
        except MediaNotFound:
            if ready is reply:
                raise
        else:
            return
        ready = await self._cache.uploaded(reply, permit, refused=ready)
        await self._call_confirmed(SEND_PATH, send_body(openid, ready), self._limits, permit)

    async def _call_confirmed(self, path: str, body: Mapping[str, Any], timeout: Limits, permit: Permit | None) -> None:
        """Call ``path`` and check that WeChat confirmed success, because a proxy may return ``{}``."""
        answer = await self._call_with_token(path, body, timeout, permit)
        if "errcode" not in answer and "errCode" not in answer:
            raise DeliveryUnknown(f"{path} was sent, but the answer has no errcode")

    async def _call_with_token(
        self, path: str, body: Mapping[str, Any], timeout: Limits, permit: Permit | None
    ) -> dict[str, Any]:
        data = _JSON.encode(body).encode("utf-8", "replace")  # a lone surrogate becomes "?"
        token = await self._tokens.get()
        try:
            return await self._post(path, data, token, timeout, permit)
        except TokenRefused:
            pass
        return await self._post(path, data, await self._tokens.replace(token), timeout, permit)

    async def _post(self, path: str, data: bytes, token: str, timeout: Limits, permit: Permit | None) -> dict[str, Any]:
        status, answer = await self._transport.exchange("POST", self._url(path, token), data, timeout, path, permit)
        return self._parse_response(path, status, answer, (token,))

    def _url(self, path: str, token: str) -> URL:
        if token != self._urls_token:
            self._urls, self._urls_token = {}, token
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._address.url(path, token)
        return url

    def _log_typing_advice(self, error: AccountNotAllowed) -> None:
        if self._typing_advice_logged:
            return
        self._typing_advice_logged = True
        _log.warning(
            "WeChat offers this account no typing indicator: path=%s errcode=%d errmsg=%s. "
            "%s Replies are not affected.",
            self._typing_path,
            error.errcode,
            error.errmsg,
            _TYPING_ADVICE.get(error.errcode, _TYPING_ADVICE[40200]),
        )


_TYPING_ADVICE: Mapping[int, str] = {
    40101: "This path requires the parameter businessid. Set WXBOT_BUSINESS_ID if the account is a customer-service "
    "sub-merchant; otherwise leave WXBOT_BUSINESS_ID and WXBOT_TYPING_PATH empty.",
    40200: "This kind of account has no typing indicator (an Official Account must be verified). If yours should have "
    "one, set WXBOT_TYPING_PATH to the other path. Set WXBOT_TYPING=false to stop these calls.",
    85105: "Check the account's permissions in WeChat's console, or set WXBOT_TYPING=false to stop these calls.",
    85107: "Set WXBOT_TYPING=false to stop these calls.",
    48001: "The account lacks the customer-service permission. Check the account's permissions in WeChat's console, or "
    "set WXBOT_TYPING=false to stop these calls.",
}
"""Advice for the operator, by errcode."""
