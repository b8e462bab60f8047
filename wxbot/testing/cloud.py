"""FakeCloud, which simulates the part of WeChat Cloud Hosting that a bot in a container calls.

The rules are in docs/wechat.md, "Cloud calls".
"""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from wxbot.testing.api import Api, Call
from wxbot.testing.background import Background
from wxbot.testing.clock import Clock
from wxbot.testing.fake import FakeWeChat
from wxbot.testing.server import Server

TOKEN_LIFETIME = 30 * 60.0
"""Seconds for which a cloudbase_access_token is valid."""
CUSTOMER_SERVICE = frozenset(
    {
        "/cgi-bin/message/custom/send",
        "/cgi-bin/message/custom/typing",
        "/cgi-bin/media/upload",
        "/cgi-bin/media/get",
    }
)
"""The API paths that customer service needs, as the console lists them."""

Spelling = Literal["errcode", "errCode"]

_TOKEN_FILE = ".tencentcloudbase/wx/cloudbase_access_token"  # noqa: S105 (a path)
_MISSING, _WRONG, _EXPIRED, _NOT_LISTED, _NO_PERMISSION = 41001, 40001, 42001, 85107, 85105


class FakeCloud:
    """A simulated environment of Cloud Hosting, which adds the credentials to the API calls of a bot in its container.

    ``wechats``: the accounts that use the environment. The first one owns it. A call is for the owner unless it has
    a ``from_appid``. The FakeWeChat of that account processes and records the call; inject faults there. The
    environment serves from its creation until ``close`` or the end of the ``with`` block.

    ``token_mode``: a call must have the cloudbase_access_token of ``token_file``; otherwise it must have no token.
    ``clock``: the clock of the first account by default.

    Attributes that may be changed at any time: ``paths``, the API paths that may be called; ``ready``, False while the
    interface service is off or starting; ``spelling``, the spelling of the keys in an answer.
    """

    def __init__(self, *wechats: FakeWeChat, clock: Clock | None = None, token_mode: bool = False) -> None:
        if not wechats:
            raise ValueError("FakeCloud needs at least one FakeWeChat: the first one is the owner")
        self.paths: set[str] = set(CUSTOMER_SERVICE)
        self.ready = True
        self.spelling: Spelling = "errcode"
        self.token_mode = token_mode
        self._wechats = wechats
        self._clock = clock or wechats[0].clock
        self._apis = {wechat.appid: Api(wechat.platform, lambda call: 0) for wechat in wechats}
        self._tokens: dict[str, float] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="fake-cloud-")
        self.token_file = Path(self._folder.name) / _TOKEN_FILE
        self.token_file.parent.mkdir(parents=True)
        for wechat in wechats[1:]:
            wechat.cloud_owner = wechats[0].appid
        self._start()

    def _start(self) -> None:
        self._closed = False
        if self.token_mode:
            self.rotate_token()
        self._background = Background("fake-cloud")
        self._server = _Sidecar(self, self._apis[self._wechats[0].appid])
        try:
            self._background.run(self._server.start("127.0.0.1", 0))
        except BaseException:
            self.close()
            raise
        self.api_base = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; close all threads and sockets, delete all files. The FakeWeChats stay open."""
        if self._closed:
            return
        self._closed = True
        for wechat in self._wechats:
            wechat.cloud_owner = ""
        try:
            self._background.run(self._server.close())
        finally:
            self._background.close()
            self._folder.cleanup()

    def settings(self, wechat: FakeWeChat | None = None) -> dict[str, str]:
        """Return the environment variables of a bot in the container for ``wechat``, by default the owner."""
        chosen = wechat or self._wechats[0]
        settings = {
            "WXBOT_APPID": chosen.appid,
            "WXBOT_ACCOUNT_KIND": chosen.platform.account.kind,
            "WXBOT_CLOUD_CALL": "token" if self.token_mode else "open",
            "WXBOT_API_BASE": self.api_base,
        }
        return {**settings, "WXBOT_CLOUD_TOKEN_FILE": str(self.token_file)} if self.token_mode else settings

    def rotate_token(self, revoke: bool = False) -> str:
        """Write a new token into ``token_file`` and return it. ``revoke``: older tokens become invalid at once."""
        if revoke:
            self._tokens.clear()
        token = secrets.token_urlsafe(90)
        self._tokens[token] = self._clock.now() + TOKEN_LIFETIME
        fresh = self.token_file.with_suffix(".new")
        fresh.write_text(token, "utf-8")
        fresh.replace(self.token_file)
        return token

    # -- used by the server

    def api_for(self, call: Call) -> Api | None:
        """Return the API of the account that a call is for; None if the environment does not have the account."""
        return self._apis.get(call.query.get("from_appid", "") or self._wechats[0].appid)

    def refusal_of(self, call: Call) -> int:
        """Return the errcode of a call that Cloud Hosting rejects; 0 if the call reaches the API."""
        if not self.ready:
            return _MISSING
        if errcode := self._token_errcode(call) if self.token_mode else self._unwanted_token_errcode(call):
            return errcode
        if call.path not in self.paths:
            return _NOT_LISTED
        return 0 if self.api_for(call) else _NO_PERMISSION

    def _unwanted_token_errcode(self, call: Call) -> int:
        return _EXPIRED if "access_token" in call.query else 0

    def _token_errcode(self, call: Call) -> int:
        if "access_token" in call.query:
            return _WRONG
        token = call.query.get("cloudbase_access_token", "")
        if not token:
            return _MISSING
        return 0 if self._clock.now() < self._tokens.get(token, 0.0) else _WRONG


class _Sidecar(Server):
    """The HTTP server of one environment, for all of its accounts."""

    def __init__(self, cloud: FakeCloud, owner: Api) -> None:
        super().__init__(owner.platform, owner)
        self._cloud = cloud

    async def _answer(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        api = self._cloud.api_for(call) or self._api
        if errcode := self._cloud.refusal_of(call):
            return self._respond(call, api.refuse(call, errcode))
        return await self._serve(request, call, api)

    def _respond(self, call: Call, answer: dict[str, Any]) -> web.Response:
        response = super()._respond(call, {self._spelled(name): value for name, value in answer.items()})
        response.headers["x-openapi-seqid"] = secrets.token_hex(16)
        return response

    def _spelled(self, name: str) -> str:
        camel_case = {"errcode": "errCode", "errmsg": "errMsg"} if self._cloud.spelling == "errCode" else {}
        return camel_case.get(name, name)
