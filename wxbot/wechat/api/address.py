"""The address of WeChat's API and the credentials in a call's query. This module does no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from yarl import URL

API_BASE = "https://api.weixin.qq.com"


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """The address of WeChat's API. ``base`` is a URL without a path.

    ``token_parameter`` is the query parameter of the access token; empty means that calls carry no token.
    ``from_appid`` names the account if WeChat Cloud Hosting serves several accounts; empty names none.
    Sources: docs/wechat.md, sections "Access tokens" and "Cloud calls".
    """

    base: str = API_BASE
    token_parameter: str = "access_token"  # noqa: S105 - a parameter's name
    from_appid: str = ""

    def url(self, path: str, token: str, **query: str) -> URL:
        """Return the URL of one call. It contains the token, so it must not appear in an error or a log."""
        return URL(self.base + path).with_query({**query, **self.credentials(token)})

    def credentials(self, token: str) -> dict[str, str]:
        """Return the query parameters that identify the caller."""
        parameters = {self.token_parameter: token} if self.token_parameter else {}
        return {**parameters, "from_appid": self.from_appid} if self.from_appid else parameters
