"""The callback on WeChat Cloud Hosting, whose internal network delivers pushes without encryption or signature.

This module does no I/O. Sources: docs/wechat.md, section "Cloud calls", and
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/guide/weixin/push.md
https://developers.weixin.qq.com/miniprogram/dev/wxcloudservice/wxcloudrun/src/development/weixin/index.md (headers)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wxbot.errors import InvalidPush
from wxbot.wechat.push.callback import NO_HEADERS, Push, PushResponse, plaintext_response, push_of
from wxbot.wechat.push.codec import fields_of, format_of

SOURCE_HEADER = "x-wx-source"
"""The header that every push has. WeChat's pages also write it with an s at the end; the documented name has none."""

_APPID_HEADERS = ("x-wx-from-appid", "x-wx-appid")
"""The headers that name the account of a push. The first is set if the environment belongs to another account
(资源复用), otherwise the second."""

_PATH_CHECK = "CheckContainerPath"
_LONGEST_PATH_CHECK = 256


class CloudCallback:
    """A parser of the pushes that Cloud Hosting delivers for one account. Threads may share it.

    Such a push proves nothing: anybody who can reach the container over the internet can forge one. So public access to
    the container must be off, or a proxy must remove the header from requests of the internet (docs/wechat.md).
    """

    def __init__(self, appid: str) -> None:
        self._appid = appid

    def verify(self, query: Mapping[str, str]) -> str:
        """Raise InvalidPush (403), because Cloud Hosting never verifies a URL with a GET request."""
        raise InvalidPush(
            "WeChat Cloud Hosting verifies no URL: set WXBOT_TOKEN to receive pushes over the internet", 403
        )

    def open(
        self,
        query: Mapping[str, str],
        body: bytes,
        now: float,
        received_at: float,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Push | None:
        """Return the push in a POST request, as ``Callback.open`` does.

        The names in ``headers`` may have any case. ``query`` and ``now`` are not used. The result is None also for the
        test request that WeChat's console sends when the path is saved.
        """
        if _is_path_check(body):
            return None  # checked before the headers, because it is not documented whether this request has them
        self._check_headers({name.lower(): value for name, value in headers.items()})
        fields = fields_of(body)
        if fields.pop("Encrypt", None) is not None and "FromUserName" not in fields:
            raise InvalidPush("the push is encrypted, so it is not from WeChat Cloud Hosting: set WXBOT_TOKEN", 403)
        return push_of(fields, format_of(body), received_at)

    def make_response(self, push: Push, fields: Mapping[str, Any], now: float) -> PushResponse:
        """Return ``fields`` as the response to ``push``, in its format, unencrypted. ``now`` is not used."""
        return plaintext_response(push, fields)

    def _check_headers(self, headers: Mapping[str, str]) -> None:
        if not headers.get(SOURCE_HEADER):
            raise InvalidPush("the push has no X-WX-SOURCE header, so it is not from WeChat Cloud Hosting", 403)
        named = next((headers[name] for name in _APPID_HEADERS if headers.get(name)), self._appid)
        if named != self._appid:
            raise InvalidPush("the push is for another account: set WXBOT_APPID to the AppID of this account", 403)


def _is_path_check(body: bytes) -> bool:
    if len(body) > _LONGEST_PATH_CHECK or _PATH_CHECK.encode() not in body:
        return False
    fields = fields_of(body)
    return set(fields) == {"action"} and fields["action"] == _PATH_CHECK
