"""The door on WeChat Cloud Hosting: pushes come over its internal network, neither encrypted nor signed. Pure.

Sources: docs/wechat.md, section "Cloud calls", and
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/guide/weixin/push.md
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/development/weixin/index.md (headers)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxbot.errors import InvalidPush
from wxbot.wechat.push.callback import NO_HEADERS, PassiveAnswer, Push, clear_answer, push_of
from wxbot.wechat.push.codec import fields_of, format_of

SOURCE_HEADER = "x-wx-source"
"""Every push has it. WeChat's pages write it with and without an s at the end; this is the documented spelling."""

_APPID_HEADERS = ("x-wx-from-appid", "x-wx-appid")
"""The account a push is for: the first where the environment is another account's (资源复用), else the second."""

_PATH_CHECK = "CheckContainerPath"
_LONGEST_PATH_CHECK = 256


class CloudCallback:
    """Opens and checks the pushes of one account that Cloud Hosting delivers; safe to share between threads.

    There is no secret in them: whoever can reach the container over the internet can make them up. So public access
    to the container must be off, or the way to it must take the header from strangers (docs/wechat.md).
    """

    def __init__(self, appid: str) -> None:
        self._appid = appid

    def verify(self, query: Mapping[str, str]) -> str:
        """Cloud Hosting verifies no URL by GET. Raises InvalidPush (403)."""
        raise InvalidPush(
            "on WeChat Cloud Hosting no URL is verified; for pushes over the internet, set WXBOT_TOKEN", 403
        )

    def open(
        self,
        query: Mapping[str, str],
        body: bytes,
        now: float,
        received_at: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Push | None:
        """As ``Callback.open``. ``headers`` decide, in any case; query and ``now`` count for nothing.

        None as well for the check that WeChat's console makes when the path is saved.
        """
        if _is_path_check(body):
            return None  # it asks for nothing but an answer, and whether it has the header is not documented
        self._check_headers({name.lower(): value for name, value in headers.items()})
        fields = fields_of(body)
        if fields.pop("Encrypt", None) is not None and "FromUserName" not in fields:
            raise InvalidPush("the push is encrypted, which WeChat Cloud Hosting does not do: set WXBOT_TOKEN", 403)
        return push_of(fields, format_of(body), received_at)

    def answer(self, push: Push, fields: Mapping[str, Any], now: float) -> PassiveAnswer:
        """As ``Callback.answer``; nothing is encrypted."""
        return clear_answer(push, fields)

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        if not headers.get(SOURCE_HEADER):
            raise InvalidPush("the push has no X-WX-SOURCE header, so it is not from WeChat Cloud Hosting", 403)
        named = next((headers[name] for name in _APPID_HEADERS if headers.get(name)), self._appid)
        if named != self._appid:
            raise InvalidPush("the push is for another account: check WXBOT_APPID", 403)


def _is_path_check(body: bytes) -> bool:
    if len(body) > _LONGEST_PATH_CHECK or _PATH_CHECK.encode() not in body:
        return False
    fields = fields_of(body)
    return set(fields) == {"action"} and fields["action"] == _PATH_CHECK
