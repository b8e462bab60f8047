"""WeChat's errmsg for each errcode (docs/wechat.md, "Error codes")."""

from __future__ import annotations

import secrets

_MESSAGES = {
    -1: "system error",
    0: "ok",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40004: "invalid media type",
    40005: "invalid file type",
    40007: "invalid media_id",
    40008: "invalid message type",
    40009: "invalid media size",
    40013: "invalid appid",
    40014: "invalid access_token",
    40033: "invalid charset. please check your request, if include \\uxxxx will create fail!",
    40066: "invalid url",
    40101: "missing parameter",
    40125: "invalid appsecret",
    40200: "invalid account type",
    41001: "access_token missing",
    41002: "appid missing",
    41004: "appsecret missing",
    41005: "media data missing",
    42001: "access_token expired",
    43001: "require GET method",
    43002: "require POST method",
    44002: "empty post data",
    44004: "empty content",
    45002: "content size out of limit",
    45008: "article size out of limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    45015: "response out of time limit or subscription is canceled",
    45047: "out of response count limit",
    45072: "invalid command",
    45080: "a message must have been sent to or received from the user in the last 30 seconds",
    45081: "already typing",
    45162: "invalid type",
    47001: "data format error",
    48001: "api unauthorized",
    85105: "no permission for this account",
    85107: "api is not in the list of the open interface service",
}


class Refused(Exception):
    """Raised if WeChat answers a call with ``errcode``."""

    def __init__(self, errcode: int) -> None:
        super().__init__(errcode)
        self.errcode = errcode


def errmsg(errcode: int) -> str:
    """Return the errmsg of ``errcode``. An error has a request id (``rid``), as in WeChat's answers."""
    message = _MESSAGES.get(errcode, "refused")
    if errcode == 0:
        return message
    rid = "-".join(secrets.token_hex(4) for _ in range(3))
    return f"{message} rid: {rid}"
