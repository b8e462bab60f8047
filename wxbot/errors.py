"""Every error wxbot raises, in one tree.

::

    WxbotError
    ├── ConfigError            settings that cannot work, all problems in one report
    ├── PluginError            a plugin broke its contract; names plugin and function
    ├── InvalidReply           a reply that cannot be sent as it is; names its kind or file, and the limit
    ├── SendNotAllowed                 this user may not be written to now; says since when and why
    ├── InvalidRequest         an HTTP request that is refused; becomes a 4xx
    │   └── InvalidPush        a push that is not genuine or cannot be read
    ├── ReplyNotReady             the answer to a push is not ready; WeChat asks again
    ├── StoreUnavailable       the store cannot promise anything now; becomes a 500
    │   └── IncompleteCopy           what it holds of the account is half a copy, and nobody may work it
    ├── CopyFailed             a store was not copied to another one; says what to do
    ├── LeaseLost              another process owns this conversation by now
    └── WeChatError            a call to WeChat's API did not end well
        ├── RequestNotSent         WeChat never saw the call: safe to repeat
        ├── TokenUnavailable   no access token until a person mends something; nothing was sent
        ├── DeliveryUnknown         WeChat may have acted on the call: never repeat a send
        └── ApiError           WeChat answered with an errcode
            ├── SystemBusy         -1, 45011: worth another try
            ├── TokenRefused       40001, 40014, 41001, 42001
            ├── TypingWindowClosed   45080: no interaction in the last 30 seconds
            ├── AlreadyTyping      45081: Typing is showing
            ├── AccountNotAllowed  40101, 40200, 48001, 48004, 85105, 85107: no such call for this account or address
            ├── MediaNotFound          40007: WeChat does not have, or no longer has, this file
            ├── ReplyWindowClosed    45015: the user must write first
            └── ReplyQuotaExceeded    45047: no messages left until the user writes

No text here ever holds a secret or a URL with a token in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class WxbotError(Exception):
    """Base of everything wxbot raises on purpose."""


class ConfigError(WxbotError):
    """The settings cannot work. Carries every problem found, not only the first."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"the configuration has {len(self.problems)} problem(s):{lines}")


class PluginError(WxbotError):
    """A plugin or one of its handlers broke the contract of docs/plugins.md."""


class InvalidReply(WxbotError):
    """A reply that cannot be sent as it is: a kind this account has not, a file too large or of a wrong type."""


class SendNotAllowed(WxbotError):
    """WeChat does not let this user be written to now: they must do something first. Nothing was sent."""


class InvalidRequest(WxbotError):
    """An HTTP request that is refused: the response has ``status`` and ``reason``.

    ``reason`` is one line without a secret, which may be logged and sent to the client.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class InvalidPush(InvalidRequest):
    """A push that is not from WeChat, not for this account, or that cannot be read."""


class ReplyNotReady(WxbotError):
    """The answer to a push is not ready yet. WeChat has hung up by now, and delivers the same push again."""


class StoreUnavailable(WxbotError):
    """The store cannot keep a promise now (locked, full, gone). WeChat gets a 500 and delivers again."""


class IncompleteCopy(StoreUnavailable):
    """Copying the account into this store was begun and not finished: nothing of it is taken or answered."""

    def __init__(self, appid: str) -> None:
        super().__init__(
            f"the store holds half a copy of the account {appid}: its copy is still running, or has died and "
            "`python -m wxbot store copy` must be run again"
        )


class CopyFailed(WxbotError):
    """One store was not copied to another one; the text says why, and what to do."""


class LeaseLost(WxbotError):
    """This process no longer owns the conversation; whoever does will answer."""


class WeChatError(WxbotError):
    """A call to WeChat's API did not end well."""

    retryable: ClassVar[bool] = False


class RequestNotSent(WeChatError):
    """The call never reached WeChat (no connection, no token): repeating it cannot double anything."""

    retryable = True


class TokenUnavailable(WeChatError):
    """WeChat gives this account no token until a person mends something; the text says what. Nothing was sent."""


class DeliveryUnknown(WeChatError):
    """The call was written but its answer never came: WeChat may have acted on it."""


class ApiError(WeChatError):
    """WeChat answered with an errcode other than 0.

    ``call`` is the path of the call, ``errmsg`` WeChat's own words (with its ``rid``, good for support requests).
    """

    def __init__(self, call: str, errcode: int, errmsg: str) -> None:
        super().__init__(f"WeChat refused {call}: errcode {errcode}, {errmsg}")
        self.call = call
        self.errcode = errcode
        self.errmsg = errmsg


class SystemBusy(ApiError):
    """-1 or 45011: WeChat did not do it and asks for another try later."""

    retryable = True


class TokenRefused(ApiError):
    """40001, 40014, 41001, 42001: the access token is not, or no longer, the right one."""


class TypingWindowClosed(ApiError):
    """45080: no message from or to this user in the last 30 seconds."""


class AlreadyTyping(ApiError):
    """45081: Typing is showing already."""


class AccountNotAllowed(ApiError):
    """40101, 40200, 48001, 48004, 85105, 85107: this account, or this address, does not offer the call."""


class MediaNotFound(ApiError):
    """40007: WeChat has no such file, or no longer: temporary media live for three days."""


class ReplyWindowClosed(ApiError):
    """45015: outside the time in which this user may be answered, or the user has left."""


class ReplyQuotaExceeded(ApiError):
    """45047: every message the user's last action allowed has been sent."""


_BY_ERRCODE: dict[int, type[ApiError]] = {
    -1: SystemBusy,
    45011: SystemBusy,
    40001: TokenRefused,
    40014: TokenRefused,
    41001: TokenRefused,
    42001: TokenRefused,
    45080: TypingWindowClosed,
    45081: AlreadyTyping,
    40101: AccountNotAllowed,
    40200: AccountNotAllowed,
    48001: AccountNotAllowed,
    48004: AccountNotAllowed,
    85105: AccountNotAllowed,
    85107: AccountNotAllowed,
    40007: MediaNotFound,
    45015: ReplyWindowClosed,
    45047: ReplyQuotaExceeded,
}


def api_error(call: str, errcode: int, errmsg: str) -> ApiError:
    """The error type that fits ``errcode`` (docs/wechat.md, section "Error codes")."""
    return _BY_ERRCODE.get(errcode, ApiError)(call, errcode, errmsg)
