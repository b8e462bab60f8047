"""Cloud call on WeChat Cloud Hosting: who gives the token, and what the errors that are its own mean in words.

In the mode ``open`` a sidecar of the container adds the credential, and no token goes with a call. In the mode
``token`` the platform writes cloudbase_access_token into a file. Neither knows the AppSecret.

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
from wxbot.wechat.http.transport import answer_of

CloudMode = Literal["open", "token"]

CLOUD_TOKEN_PARAMETER = "cloudbase_access_token"  # noqa: S105 - a parameter's name
"""Under the name access_token it would be refused (40001)."""

_LONGEST_TOKEN = 4096
_BAD_GATEWAY = 502
_TOKEN_MISSING, _TOKEN_NOT_READY = 41001, 85113

_NO_SERVICE = (
    "the open interface service (开放接口服务) is switched off in the console of Cloud Hosting, or no new version of "
    "the service was built since it was switched on, or this one is still starting"
)
_OWN_TOKEN = "with WXBOT_CLOUD_CALL=open no token may go with a call, so something on the way has added one"  # noqa: S105
_EXPLANATIONS: Mapping[int, str] = {
    85107: "add this path to the list of the open interface service in the console of Cloud Hosting, and build a new "
    "version of the service",
    85105: "this account has no permission for the call, or it is of the wrong kind; if the environment belongs to "
    "another account, set WXBOT_CLOUD_FROM_APPID=true",
    48001: "this account has no permission for the call, or it is of the wrong kind; if the environment belongs to "
    "another account, set WXBOT_CLOUD_FROM_APPID=true",
    85112: "a link inside of Cloud Hosting is broken; if it lasts, build a new version of the service",
    _TOKEN_NOT_READY: "Cloud Hosting has no token for this account yet: it takes some minutes",
}


class NoTokens:
    """The tokens of the mode ``open``: none. The calls go without."""

    async def get(self) -> str:
        return ""

    async def replace(self, refused: str) -> str:
        return ""


class CloudFileTokens:
    """The token in the file that the platform renews every ten minutes; each is good for thirty.

    The file is looked at before each call and read when it has changed. Raises RequestNotSent if there is no token in it,
    or none other than the refused one: what was not sent may be tried again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._seen: tuple[int, int, int] | None = None

    async def get(self) -> str:
        """The token in the file."""
        return self._current()

    async def replace(self, refused: str) -> str:
        """Read it again, whatever the file's time says."""
        self._seen = None
        token = self._current()
        if token == refused:
            raise RequestNotSent(
                f"no access token: WeChat does not take the one in {self._path}, which the platform renews every ten "
                "minutes; if this lasts, see whether the interface service is switched on in the console"
            )
        return token

    def _current(self) -> str:
        # Blocking, but for microseconds: the file is a few hundred bytes in the container's memory.
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
            f"no access token: {self._path} cannot be read ({problem}). Cloud Hosting writes it into containers that "
            "have the service for it (WXBOT_CLOUD_TOKEN_FILE, or WXBOT_CLOUD_CALL=open without it)"
        )

    def _read(self) -> str:
        with self._path.open("rb") as file:
            token = file.read(_LONGEST_TOKEN).decode("ascii", "replace").strip()
        if token and token.isascii() and token.isprintable():
            return token
        raise RequestNotSent(f"no access token: {self._path} holds none yet; the platform writes one every ten minutes")


def cloud_answer_of(mode: CloudMode, call: str, status: int, body: bytes, secrets: Iterable[str]) -> dict[str, Any]:
    """As ``transport.answer_of``; the errors of Cloud Hosting say what to do."""
    try:
        return answer_of(call, status, body, secrets)
    except ApiError as error:
        failure = _explained(mode, error)
    except DeliveryUnknown as error:
        failure = _lost(call, status, error)
    raise failure


def _explained(mode: CloudMode, error: ApiError) -> WeChatError:
    if mode == "open" and (error.errcode == _TOKEN_MISSING or "access_token missing" in error.errmsg):
        return RequestNotSent(f"{error.call} was refused by Cloud Hosting ({error.errmsg}): {_NO_SERVICE}")
    explanation = _EXPLANATIONS.get(error.errcode, "")
    if mode == "open" and (isinstance(error, TokenRefused) or "access_token expired" in error.errmsg):
        explanation = _OWN_TOKEN
    if not explanation:
        return error
    kind = SystemBusy if error.errcode == _TOKEN_NOT_READY else type(error)
    return kind(error.call, error.errcode, f"{error.errmsg} ({explanation})")


def _lost(call: str, status: int, error: DeliveryUnknown) -> DeliveryUnknown:
    if status != _BAD_GATEWAY:
        return error
    return DeliveryUnknown(f"{error}; if this lasts, {call} may not be on the list of the open interface service")
