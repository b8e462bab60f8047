"""Where a call goes: the API's address, and what its query says about who calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

API_BASE = "https://api.weixin.qq.com"


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """``base`` without a path. ``token_parameter``: the name under which the token goes; empty: it does not go at all.

    ``from_appid``: the account that is meant, where WeChat Cloud Hosting serves several; empty names none.
    Sources: docs/wechat.md, sections "Access tokens" and "Cloud calls".
    """

    base: str = API_BASE
    token_parameter: str = "access_token"  # noqa: S105 - a parameter's name
    from_appid: str = ""

    def url(self, path: str, token: str, **query: str) -> URL:
        """The URL of one call. It holds the token: it must stand in no error and no log."""
        return URL(self.base + path).with_query({**query, **self.credentials(token)})

    def credentials(self, token: str) -> dict[str, str]:
        """The parameters that say who calls."""
        given = {self.token_parameter: token} if self.token_parameter else {}
        return {**given, "from_appid": self.from_appid} if self.from_appid else given
