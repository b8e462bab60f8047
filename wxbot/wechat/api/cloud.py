"""Cloud calls on WeChat Cloud Hosting: the source of the token, and explanations of Cloud Hosting's own errors.

In the mode ``open``, calls carry no token, because a sidecar of the container adds the credential. In the mode
``token``, the platform writes cloudbase_access_token into a file. Neither mode needs the AppSecret.

Sources: docs/wechat.md, section "Cloud calls", and
https://developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/open.md
https://developers.weixin.qq.com/minigame/dev/wxcloudrun/src/guide/weixin/faq.html
https://developers.weixin.qq.com/minigame/dev/wxcloud/guide/container/cloudcall.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from wxbot.errors import ApiError, DeliveryUnknown, RequestNotSent, SystemBusy, TokenRefused, WeChatError
from wxbot.wechat.http.transport import parse_response

CloudMode = Literal["open", "token"]

CLOUD_TOKEN_PARAMETER = "cloudbase_access_token"  # noqa: S105 - a parameter's name
"""WeChat refuses this token under the name access_token (40001)."""

_MAX_TOKEN_BYTES = 4096
_BAD_GATEWAY = 502
_TOKEN_MISSING, _TOKEN_NOT_READY = 41001, 85113

_NO_SERVICE = (
    "Cloud Hosting added no credential. Switch on the open interface service (开放接口服务) in the console and build "
    "a new version of the service; if you have done so, wait until the new version has started"
)
_OWN_TOKEN = "WXBOT_CLOUD_CALL=open sends no token, so a proxy between the bot and WeChat adds one: remove it"  # noqa: S105
_EXPLANATIONS: Mapping[int, str] = {
    85107: "the path is not on the list of the open interface service: add it in the console of Cloud Hosting, and "
    "build a new version of the service",
    85105: "this account has no permission for the call, or is of the wrong kind; if the environment belongs to "
    "another account, set WXBOT_CLOUD_FROM_APPID=true",
    48001: "this account has no permission for the call, or is of the wrong kind; if the environment belongs to "
    "another account, set WXBOT_CLOUD_FROM_APPID=true",
    85112: "a connection inside Cloud Hosting failed; if this lasts, build a new version of the service",
    _TOKEN_NOT_READY: "Cloud Hosting has no token for this account yet: wait some minutes",
}


class NoTokens:
    """The tokens of the mode ``open``: always empty, because calls carry no token."""

    async def get(self) -> str:
        return ""

    async def replace(self, refused: str) -> str:
        return ""


class CloudFileTokens:
    """The token in a file, which the platform renews every ten minutes. A token is valid for thirty minutes.

    The file is checked before each call and read when it has changed. Raises RequestNotSent if the file has no token,
    or only the refused one; the caller may retry then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._seen: tuple[int, int, int] | None = None

    async def get(self) -> str:
        """Return the token in the file."""
        return self._current()

    async def replace(self, refused: str) -> str:
        """Read the file again, even if it seems unchanged, and return the token."""
        self._seen = None
        token = self._current()
        if token == refused:
            raise RequestNotSent(
                f"no access token: WeChat refused the token in {self._path}, which the platform renews every ten "
                "minutes; if this lasts, check that the open interface service is switched on in the console"
            )
        return token

    def _current(self) -> str:
        # This blocks only for microseconds, because the file has a few hundred bytes and is in the container's memory.
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._token, self._seen = self._read(), seen
        except OSError as error:
            self._seen = None
            problem = error.strerror or type(error).__name__
        else:
            return self._token
        raise RequestNotSent(
            f"no access token: {self._path} cannot be read ({problem}). Cloud Hosting writes this file only if the "
            "container has the service for it: check WXBOT_CLOUD_TOKEN_FILE, or set WXBOT_CLOUD_CALL=open"
        )

    def _read(self) -> str:
        with self._path.open("rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
        if token and token.isascii() and token.isprintable():
            return token
        raise RequestNotSent(
            f"no access token: {self._path} has no token yet; the platform writes one every ten minutes"
        )


def parse_cloud_response(
    mode: CloudMode, call: str, status: int, body: bytes, secrets: Iterable[str]
) -> dict[str, Any]:
    """Parse a response as ``transport.parse_response`` does, and explain the errors of Cloud Hosting."""
    try:
        return parse_response(call, status, body, secrets)
    except ApiError as error:
        failure = _explained(mode, error)
    except DeliveryUnknown as error:
        failure = _explained_gateway_error(call, status, error)
    raise failure


def _explained(mode: CloudMode, error: ApiError) -> WeChatError:
    if mode == "open" and (error.errcode == _TOKEN_MISSING or "access_token missing" in error.errmsg):
        return RequestNotSent(f"{error.call} was refused ({error.errmsg}): {_NO_SERVICE}")
    explanation = _EXPLANATIONS.get(error.errcode, "")
    if mode == "open" and (isinstance(error, TokenRefused) or "access_token expired" in error.errmsg):
        explanation = _OWN_TOKEN
    if not explanation:
        return error
    kind = SystemBusy if error.errcode == _TOKEN_NOT_READY else type(error)
    return kind(error.call, error.errcode, f"{error.errmsg} ({explanation})")


def _explained_gateway_error(call: str, status: int, error: DeliveryUnknown) -> DeliveryUnknown:
    if status != _BAD_GATEWAY:
        return error
    return DeliveryUnknown(f"{error}; if this lasts, check that {call} is on the list of the open interface service")
