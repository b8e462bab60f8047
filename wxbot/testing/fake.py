"""FakeWeChat: the simulated platform, with real HTTP in both directions."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Literal, Self

from wxbot.testing import envelope
from wxbot.testing.agents import Agent
from wxbot.testing.clock import Clock, RealClock
from wxbot.testing.envelope import Format, Keys, Mode
from wxbot.testing.exchange import Redactor
from wxbot.testing.media import MediaKind, StoredFile
from wxbot.testing.platform import Account, Platform
from wxbot.testing.push import Push, content_type
from wxbot.testing.records import Record
from wxbot.testing.rules import AccountKind, Quota
from wxbot.testing.running import RunningPlatform
from wxbot.testing.user import User

_OPENID_LENGTH = 28
_RAW_TIMEOUT = 30.0


class FakeWeChat:
    """The simulated platform for one account. It serves the API, pushes to the bot and enforces WeChat's rules.

    It serves from its creation until ``close`` or the end of the ``with`` block, in one thread of its own. It is
    thread-safe. Several may run at the same time. The rules and errcodes are in docs/wechat.md.

    ``clock``: RealClock (default), ManualClock or LeapingClock.
    ``mode``: "safe", "compatible" or "plain" pushes, or "cloud" for pushes into a container.
    ``format``: "xml" or "json", of pushes and their answers. Official Accounts have XML only, except in cloud mode.
    ``account_kind``: "miniprogram", "official", or "unverified" (an Official Account without customer-service API).
    ``quota``: a table of allowances in place of WeChat's.
    ``events_open_window``: user actions that are not messages (entering, clicking a menu) open the 30-second window.
    WeChat does not say whether they do.

    These attributes may be changed at any time:
    ``callback_url``: the URL of the bot; empty for no pushes.
    ``tries``: maximum number of attempts per push.
    ``push_timeout``: seconds by the clock until an attempt times out.
    ``retry_pause``: seconds by the clock between an answer that WeChat does not accept and the next attempt; None for
    the remaining seconds of ``push_timeout``.
    ``in_order``: a user's push waits until the first attempt of the one before is over.
    ``deliver_twice_at_once``: the first attempt is made twice at the same moment.
    ``cloud_env``, ``cloud_owner``: name and owner (an appid; empty for this account) of the container's environment.
    """

    push_timeout = 5.0
    in_order = True
    deliver_twice_at_once = False
    cloud_env = "prod-0123456789"
    cloud_owner = ""

    def __init__(
        self,
        clock: Clock | None = None,
        appid: str = "wx0123456789abcdef",
        secret: str | None = None,
        token: str | None = None,
        aes_key: str | None = None,
        mode: Mode = "safe",
        format: Format = "xml",  # noqa: A002 (the word of WeChat's console)
        account_kind: AccountKind = "miniprogram",
        callback_url: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        original_id: str = "gh_0123456789ab",
        quota: Quota | None = None,
        events_open_window: bool = True,
        token_lifetime: float = 7200.0,
        token_overlap: float = 300.0,
        tries: int = 3,
        retry_pause: float | None = None,
    ) -> None:
        if account_kind != "miniprogram" and format != "xml" and mode != "cloud":
            raise ValueError("format must be xml: an Official Account has JSON in cloud mode only")
        self.mode: Mode = mode
        self.format: Format = format
        self.callback_url = callback_url
        self.tries = tries
        self.retry_pause = retry_pause
        self.keys = Keys(appid, token or secrets.token_hex(16), aes_key or envelope.new_aes_key())
        self.clock: Clock = clock or RealClock()
        account = Account(appid, secret or secrets.token_hex(16), original_id, account_kind)
        self.platform = Platform(self.clock, account, quota, events_open_window)
        self.platform.redactor = Redactor([account.secret, self.keys.token, self.keys.aes_key])
        self.record_log = self.platform.record_log
        self.token_lifetime = token_lifetime
        self.token_overlap = token_overlap
        self.faults = self.platform.faults
        self._quota = quota
        self._users: dict[str, User] = {}
        self._agents: dict[str, Agent] = {}
        self._running = RunningPlatform(self.platform, self, host, port)
        self.api_base = self.platform.origin

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop delivering and serving. Close all threads, sockets and tasks."""
        self._running.close()

    # -- the account

    @property
    def appid(self) -> str:
        return self.platform.account.appid

    def settings(self) -> dict[str, str]:
        """Return the environment variables of a bot that uses this platform."""
        settings = {
            "WXBOT_APPID": self.appid,
            "WXBOT_SECRET": self.platform.account.secret,
            "WXBOT_TOKEN": self.keys.token,
            "WXBOT_API_BASE": self.api_base,
        }
        if self.platform.account.kind != "miniprogram":
            settings["WXBOT_ACCOUNT_KIND"] = self.platform.account.kind
        if self.mode in ("safe", "compatible"):
            settings["WXBOT_AES_KEY"] = self.keys.aes_key
        if self._quota is not None:
            rows = (f"{action}={allowed.messages}/{allowed.seconds:.0f}s" for action, allowed in self._quota.items())
            settings["WXBOT_QUOTA"] = ", ".join(rows)
        return settings

    @property
    def token_lifetime(self) -> float:
        """Return the ``expires_in`` of the next access token, in seconds. It may be set."""
        return self.platform.tokens.lifetime

    @token_lifetime.setter
    def token_lifetime(self, seconds: float) -> None:
        self.platform.tokens.lifetime = seconds

    @property
    def token_overlap(self) -> float:
        """Return for how many seconds a token of cgi-bin/token stays valid after the next call. It may be set."""
        return self.platform.tokens.overlap

    @token_overlap.setter
    def token_overlap(self, seconds: float) -> None:
        self.platform.tokens.overlap = seconds

    @property
    def token_fetches(self) -> int:
        """Return how many times a bot fetched an access token, with either token call."""
        return self.platform.tokens.fetches

    # -- files

    @property
    def mini_program_uploads(self) -> set[str]:
        """Return the kinds of file that a Mini Program may upload. It may be set, because WeChat's pages contradict."""
        return self.platform.mini_program_uploads

    @mini_program_uploads.setter
    def mini_program_uploads(self, kinds: set[str]) -> None:
        self.platform.mini_program_uploads = kinds

    @property
    def media(self) -> dict[str, StoredFile]:
        """Return all files that have not expired, by media_id: those of the bot and those of users."""
        with self.record_log.changed:
            return self.platform.media.all()

    @property
    def uploads(self) -> list[StoredFile]:
        """Return the files that the bot uploaded, in order, expired ones included."""
        with self.record_log.changed:
            return list(self.platform.media.uploads)

    def add_media(
        self, kind: MediaKind, content: bytes, filename: str = "", content_type: str = "", media_id: str = ""
    ) -> str:
        """Store a file of any size and content in WeChat. Return its media_id, which is new by default."""
        return self._running.add_media(kind, content, filename, content_type, media_id)

    def media_url(self, media_id: str) -> str:
        """Return a URL on this server where the file can be downloaded without a token."""
        return self._running.media_url(media_id)

    def forget_media(self, media_id: str) -> None:
        """Delete a file; calls with its media_id get errcode 40007. Raises KeyError if the media_id is unknown."""
        with self.record_log.changed:
            self.platform.media.forget(media_id)

    # -- users

    def user(self, name: str, openid: str = "") -> User:
        """Return the user with this name. The first call creates it, by default with an openid made from the name."""
        with self.record_log.changed:
            if name not in self._users:
                chosen = openid or _openid_of(name)
                self.platform.add_user(name, chosen)
                self._users[name] = User(self._running, name, chosen)
            return self._users[name]

    @property
    def users(self) -> list[User]:
        """Return all users so far."""
        with self.record_log.changed:
            return list(self._users.values())

    def act(self, user: User, msg_type: str, fields: Mapping[str, Any]) -> Push:
        """Process a user action now and deliver its push in the background. ``User`` has a method for each kind."""
        return self._running.act(user.openid, msg_type, fields)

    # -- human agents

    def agent(self, account: str) -> Agent:
        """Return the human agent with this account, such as "kf1@account". The first call creates the agent."""
        with self.record_log.changed:
            if account not in self._agents:
                self._agents[account] = Agent(self._running, account)
            return self._agents[account]

    def report(self, user: User, event: str, **fields: Any) -> Push:
        """Push an event about ``user`` that is not a user action. It is delivered in the background."""
        return self._running.report(user.openid, event, fields)

    # -- control of pushes

    @property
    def held(self) -> int | None:
        """Return the number of held pushes; None if ``hold`` was not called."""
        return self._running.delivery.held

    def hold(self) -> None:
        """Hold all pushes until ``release``. User actions still count from the moment when they happen."""
        self._running.delivery.hold()

    def release(self, order: Sequence[Push] | Literal["reversed"] | None = None) -> None:
        """Deliver the held pushes: those of each user in order, or with ``order`` one after the other in that order."""
        self._running.delivery.release(order)

    def verify(self) -> bool:
        """Return True if the bot passes the check of its callback URL: it answers the GET with the echostr."""
        return not self.why_not_verified()

    def why_not_verified(self) -> str:
        """Return the reason why the bot fails the check of its callback URL; empty if it passes.

        Raises aiohttp.ClientError if there is no response.
        """
        echostr = str(10**18 + secrets.randbelow(9 * 10**18))
        timestamp, nonce = str(int(self.clock.now())), str(secrets.randbelow(10**9))
        query = {"signature": envelope.sign(self.keys.token, timestamp, nonce), "echostr": echostr}
        query |= {"timestamp": timestamp, "nonce": nonce}
        status, body = self.push_raw(query, b"", method="GET")
        if status != 200:
            return f"answered with HTTP {status}" + (": is the Token the same on both sides?" if status == 403 else "")
        return "" if body == echostr.encode() else "did not answer with the echostr: check the callback URL"

    def probe(self) -> bool:
        """Return True if the bot answers WeChat's test request for the path of a container (CheckContainerPath)."""
        body = envelope.to_text({"action": "CheckContainerPath"}, self.format).encode()
        status, answer = self.push_raw({}, body, self._container_headers(""))
        return status == 200 and answer in (b"", b"success")

    def push_headers(self, openid: str = "") -> dict[str, str]:
        """Return the X-WX headers of a push about this user; empty unless the push goes into a container."""
        return self._container_headers(openid) if self.mode == "cloud" else {}

    def _container_headers(self, openid: str) -> dict[str, str]:
        owner = self.cloud_owner or self.appid
        headers = {"X-WX-SOURCE": "wx_client", "X-WX-APPID": owner, "X-WX-ENV": self.cloud_env}
        prefix = "X-WX-"
        if owner != self.appid:
            prefix = "X-WX-FROM-"
            headers["X-WX-FROM-APPID"] = self.appid
        return {**headers, prefix + "OPENID": openid} if openid else headers

    def envelope(
        self,
        fields: Mapping[str, Any],
        *,
        mode: Mode | None = None,
        format: Format | None = None,  # noqa: A002
        timestamp: str | None = None,
        nonce: str | None = None,
        keys: Keys | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """Return the query and body of a push with these fields, by default signed now with this account's keys."""
        timestamp = timestamp or str(int(self.clock.now()))
        nonce = nonce or str(secrets.randbelow(10**9))
        return envelope.push(fields, keys or self.keys, mode or self.mode, format or self.format, timestamp, nonce)

    def push_raw(
        self,
        query: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> tuple[int, bytes]:
        """Send one request to the callback URL, unchanged and without a record. Return its status and body."""
        headers = {"Content-Type": content_type(self.format), **(headers or {})}
        request = self._running.delivery.request(method, query, body, headers)
        answer = self._running.background.run(request, _RAW_TIMEOUT)
        return answer.status, answer.body

    # -- records

    @property
    def timeline(self) -> list[Record]:
        """Return all records, in order."""
        with self.record_log.changed:
            return list(self.record_log.records)

    @property
    def violations(self) -> list[Record]:
        """Return the records of what a bot should not do, in order.

        These are calls that were rejected because of timing or quota (45015, 45047, 45072, 45080, 45081), needless
        CancelTypings, and passive replies that try to transfer an event to a human agent.
        """
        with self.record_log.changed:
            return list(self.record_log.violations)

    @property
    def needless_cancels(self) -> list[Record]:
        """Return the CancelTypings while nothing was showing. WeChat accepts them; they are in ``violations`` too."""
        return [record for record in self.violations if record.needless]

    def on_record(self, callback: Callable[[Record], None]) -> Callable[[], None]:
        """Call ``callback`` with each new record. Return a function that ends this.

        ``callback`` runs with the lock held, so it must be fast and must not raise.
        """
        with self.record_log.changed:
            self.record_log.listeners.append(callback)
        return lambda: self.record_log.listeners.remove(callback)

    def waits_until(self, predicate: Callable[[], bool], timeout: float = 10.0, why: str = "the predicate") -> None:
        """Block until ``predicate`` is true. It is called again for each new record.

        Raises AssertionError with all records after ``timeout`` real seconds. ``why`` is part of its text.
        """
        self.record_log.wait_until(predicate, timeout, why)

    def waits_until_quiet(
        self, settle: float = 0.5, timeout: float = 60.0, *, unless: Callable[[], bool] = lambda: False
    ) -> None:
        """Block until no push is being delivered, no indicator is showing, and no record came for ``settle`` seconds.

        A bot that is silent for longer than ``settle`` without typing may still reply later. ``unless``: stop waiting
        when it returns True. Both times are real seconds. Raises AssertionError with all records after ``timeout``.
        """
        deadline = monotonic() + timeout
        with self.record_log.changed:
            while not unless():
                if not self.record_log.changed.wait(settle) and not self._running.is_busy:
                    return
                if monotonic() > deadline:
                    raise AssertionError(
                        f"timed out after {timeout:g} s waiting for the bot to be quiet\n{self.record_log.as_text()}"
                    )


def _openid_of(name: str) -> str:
    """Return "o" and the name, padded with _ to 28 characters. A name that does not fit is replaced by its hash."""
    if re.fullmatch(r"[A-Za-z0-9_-]{0,26}[A-Za-z0-9-]", name):
        return ("o" + name).ljust(_OPENID_LENGTH, "_")
    return ("o" + hashlib.sha256(name.encode()).hexdigest())[:_OPENID_LENGTH]
