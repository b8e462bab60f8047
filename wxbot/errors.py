"""All errors of wxbot, in one tree.

::

    WxbotError
    ├── ConfigError                 the settings cannot work; lists all problems
    ├── PluginError                 a plugin broke its contract; names the plugin and the function
    ├── InvalidReply                the reply cannot be sent; names its type or file, and the limit
    ├── SendNotAllowed              WeChat accepts no message to this user now; says why
    ├── InvalidRequest              an HTTP request is refused; becomes a 4xx
    │   └── InvalidPush             a push is not from WeChat or cannot be read
    ├── ReplyNotReady               the reply to a push is not ready; WeChat redelivers the push
    ├── StoreUnavailable            the store cannot store anything now; becomes a 500
    │   └── IncompleteCopy          the store holds an incomplete copy of the account
    ├── CopyFailed                  a store was not copied to another store; says what to do
    ├── LeaseLost                   another process owns this conversation now
    └── WeChatError                 a call of WeChat's API failed
        ├── RequestNotSent          the request was not sent: safe to repeat
        ├── TokenUnavailable        no access token until the configuration is fixed; the request was not sent
        ├── DeliveryUnknown         the request was sent, but there is no response: do not repeat a send
        └── ApiError                WeChat responded with an errcode
            ├── SystemBusy          -1, 45011: try again later
            ├── TokenRefused        40001, 40014, 41001, 42001: the access token is not valid
            ├── TypingWindowClosed  45080: no interaction in the last 30 seconds
            ├── AlreadyTyping       45081: the typing indicator is already showing
            ├── AccountNotAllowed   40101, 40200, 48001, 48004, 85105, 85107: no such call for this account or address
            ├── MediaNotFound       40007: WeChat does not have this media file, or has deleted it
            ├── ReplyWindowClosed   45015: the user must write first
            └── ReplyQuotaExceeded  45047: no messages are left until the user's next action

The texts contain no secret and no URL with a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class WxbotError(Exception):
    """The base class of all errors of wxbot."""


class ConfigError(WxbotError):
    """The settings cannot work. ``problems`` has one text for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"the configuration has {len(self.problems)} problem(s):{lines}")


class PluginError(WxbotError):
    """A plugin or one of its handlers broke the contract of docs/plugins.md."""


class InvalidReply(WxbotError):
    """A reply that cannot be sent: this account does not have its type, or a file is too large or of a wrong format."""


class SendNotAllowed(WxbotError):
    """WeChat accepts no message to this user until their next action. Nothing was sent."""


class InvalidRequest(WxbotError):
    """An HTTP request that is refused: the response has ``status`` and ``reason``.

    ``reason`` is one line without a secret, which may be logged and sent to the client.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class InvalidPush(InvalidRequest):
    """A push that is not from WeChat, not for this account, or cannot be read."""


class ReplyNotReady(WxbotError):
    """The reply to a push is not ready. WeChat has closed the connection by now, and redelivers the push."""


class StoreUnavailable(WxbotError):
    """The store cannot store anything now (locked, full, not reachable). WeChat gets a 500 and redelivers the push."""


class IncompleteCopy(StoreUnavailable):
    """The store holds an incomplete copy of the account. Its messages are neither accepted nor processed."""

    def __init__(self, appid: str) -> None:
        super().__init__(
            f"the store holds an incomplete copy of the account {appid}: wait until the copy has finished, or if it "
            "has stopped, run `python -m wxbot store copy` again"
        )


class CopyFailed(WxbotError):
    """A store was not copied to another store. The text says why, and what to do."""


class LeaseLost(WxbotError):
    """This process no longer owns the conversation. Another process owns it and processes its messages."""


class WeChatError(WxbotError):
    """A call of WeChat's API failed. ``retryable``: the call may be repeated."""

    retryable: ClassVar[bool] = False


class RequestNotSent(WeChatError):
    """The request was not sent (no connection, no token), so it is safe to repeat the call."""

    retryable = True


class TokenUnavailable(WeChatError):
    """WeChat issues no access token until the configuration is fixed; the text says how. The request was not sent."""


class DeliveryUnknown(WeChatError):
    """The request was sent, but there is no response: it is unknown whether WeChat executed the call."""


class ApiError(WeChatError):
    """WeChat responded with an errcode other than 0.

    ``call``: the path of the call. ``errmsg``: WeChat's own text, with the ``rid`` that WeChat's support asks for.
    """

    def __init__(self, call: str, errcode: int, errmsg: str) -> None:
        super().__init__(f"WeChat refused {call}: errcode {errcode}, {errmsg}")
        self.call = call
        self.errcode = errcode
        self.errmsg = errmsg


class SystemBusy(ApiError):
    """-1 or 45011: WeChat did not execute the call. It can be tried again later."""

    retryable = True


class TokenRefused(ApiError):
    """40001, 40014, 41001, 42001: the access token is not valid, or has expired."""


class TypingWindowClosed(ApiError):
    """45080: no message from or to this user in the last 30 seconds."""


class AlreadyTyping(ApiError):
    """45081: the typing indicator is already showing."""


class AccountNotAllowed(ApiError):
    """40101, 40200, 48001, 48004, 85105, 85107: WeChat does not offer the call to this account, or at this address."""


class MediaNotFound(ApiError):
    """40007: WeChat does not have this media file, or has deleted it: temporary media expire after three days."""


class ReplyWindowClosed(ApiError):
    """45015: the time limit for replies to this user is over, or the user has unsubscribed."""


class ReplyQuotaExceeded(ApiError):
    """45047: all messages that the user's last action allows have been sent."""


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
    """Return the error for ``errcode`` (docs/wechat.md, section "Error codes")."""
    return _BY_ERRCODE.get(errcode, ApiError)(call, errcode, errmsg)
