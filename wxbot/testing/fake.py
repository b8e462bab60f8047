"""FakeWeChat: the double of WeChat's platform, with real HTTP in both directions."""

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
    """WeChat's platform for one account: it serves the API, pushes to the bot and keeps WeChat's rules.

    It listens from the moment it is made until ``close`` (or the end of the ``with`` block), in one thread of its own,
    and may be used from every thread. Several may run side by side. Rules and errcodes: docs/wechat.md.

    ``clock``: RealClock or ManualClock. ``mode``: "safe", "compatible" or "plain" pushes, or "cloud" for pushes into a
    container. ``format``: of pushes and answers; Official Accounts have XML only, except in cloud mode.
    ``account_kind``: "unverified" is an Official Account without customer-service API. ``quota``: another table of
    allowances. ``events_open_window``: whether what the user does besides writing (entering, clicking a menu) opens the
    30 s window; WeChat does not say.

    Plain attributes, to be changed at any time: ``callback_url``; ``tries`` in all per push; ``patience``, seconds by
    the clock until a try is given up; ``retry_pause``, seconds by the clock after an answer WeChat does not take (None:
    what is left of ``patience``); ``in_order``, whether a user's push waits until the one before was answered or has
    failed once; ``deliver_twice_at_once``, whether the first try is made twice at the same moment; ``cloud_env`` and
    ``cloud_owner``, name and owner (an appid; empty: this account) of the environment the container runs in.
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
        format: Format = "xml",  # noqa: A002 (the field's word)
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
            raise ValueError("Official Accounts push XML only, except into a container")
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
        """Stop delivering and serving. Nothing is left: no thread, no socket, no task."""
        self._running.close()

    # -- the account

    @property
    def appid(self) -> str:
        return self.platform.account.appid

    def settings(self) -> dict[str, str]:
        """Return the environment variables with which a bot finds this platform."""
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
            rows = (f"{deed}={allowed.messages}/{allowed.seconds:.0f}s" for deed, allowed in self._quota.items())
            settings["WXBOT_QUOTA"] = ", ".join(rows)
        return settings

    @property
    def token_lifetime(self) -> float:
        """``expires_in`` of the next access token, in seconds."""
        return self.platform.tokens.lifetime

    @token_lifetime.setter
    def token_lifetime(self, seconds: float) -> None:
        self.platform.tokens.lifetime = seconds

    @property
    def token_overlap(self) -> float:
        """Seconds a classic access token works on after the next one was fetched."""
        return self.platform.tokens.overlap

    @token_overlap.setter
    def token_overlap(self, seconds: float) -> None:
        self.platform.tokens.overlap = seconds

    @property
    def token_fetches(self) -> int:
        """How many access tokens were handed out, by both calls."""
        return self.platform.tokens.fetches

    # -- files

    @property
    def mini_program_uploads(self) -> set[str]:
        """The kinds of file a Mini Program may upload; WeChat's pages differ, so the set may be changed."""
        return self.platform.mini_program_uploads

    @mini_program_uploads.setter
    def mini_program_uploads(self, kinds: set[str]) -> None:
        self.platform.mini_program_uploads = kinds

    @property
    def media(self) -> dict[str, StoredFile]:
        """All files WeChat still keeps, by media_id: those of the bot and those users sent."""
        with self.record_log.changed:
            return self.platform.media.all()

    @property
    def uploads(self) -> list[StoredFile]:
        """The files the bot uploaded, in order, even if they are gone by now."""
        with self.record_log.changed:
            return list(self.platform.media.uploads)

    def add_media(
        self, kind: MediaKind, content: bytes, filename: str = "", content_type: str = "", media_id: str = ""
    ) -> str:
        """Put a file of any size and content into WeChat's store; return its media_id, a new one unless given."""
        return self._running.add_media(kind, content, filename, content_type, media_id)

    def picture_url(self, media_id: str) -> str:
        """Return an address on this server where a picture or video can be fetched without a token."""
        return self._running.picture_url(media_id)

    def forget_media(self, media_id: str) -> None:
        """Let WeChat lose a file: 40007 from now on. Raises KeyError if it never was there."""
        with self.record_log.changed:
            self.platform.media.forget(media_id)

    # -- users

    def user(self, name: str, openid: str = "") -> User:
        """Return the user of this name; made on first mention, with an openid derived from the name unless given."""
        with self.record_log.changed:
            if name not in self._users:
                chosen = openid or _openid_of(name)
                self.platform.add_user(name, chosen)
                self._users[name] = User(self._running, name, chosen)
            return self._users[name]

    @property
    def users(self) -> list[User]:
        """All users so far."""
        with self.record_log.changed:
            return list(self._users.values())

    def act(self, user: User, msg_type: str, fields: Mapping[str, Any]) -> Push:
        """Let ``user`` do something now; the push is delivered in the background (``User`` has handier names)."""
        return self._running.act(user.openid, msg_type, fields)

    # -- human agents

    def agent(self, account: str) -> Agent:
        """Return the human agent with this account, such as "kf1@account"; made on first mention."""
        with self.record_log.changed:
            if account not in self._agents:
                self._agents[account] = Agent(self._running, account)
            return self._agents[account]

    def report(self, user: User, event: str, **fields: Any) -> Push:
        """Push an event that concerns ``user`` without being their deed; it is delivered in the background."""
        return self._running.report(user.openid, event, fields)

    # -- pushes by hand

    @property
    def held(self) -> int | None:
        """How many pushes ``hold`` has kept back so far; None if it is not on."""
        return self._running.delivery.held

    def hold(self) -> None:
        """Keep back all pushes until ``release``. The users' deeds count from the moment they do them."""
        self._running.delivery.hold()

    def release(self, order: Sequence[Push] | Literal["reversed"] | None = None) -> None:
        """Deliver what was kept back: each user's in their order or, one after the other, in the ``order`` given."""
        self._running.delivery.release(order)

    def verify(self) -> bool:
        """Save the callback URL in WeChat's console: does the bot answer the GET with the echostr?"""
        return not self.why_not_verified()

    def why_not_verified(self) -> str:
        """Return what the bot did instead of answering the GET that verifies its callback URL; empty if it did.

        Raises aiohttp.ClientError if there is no answer.
        """
        echostr = str(10**18 + secrets.randbelow(9 * 10**18))
        timestamp, nonce = str(int(self.clock.now())), str(secrets.randbelow(10**9))
        query = {"signature": envelope.sign(self.keys.token, timestamp, nonce), "echostr": echostr}
        query |= {"timestamp": timestamp, "nonce": nonce}
        status, body = self.push_raw(query, b"", method="GET")
        if status != 200:
            return f"answered with HTTP {status}" + (": is the Token the same on both sides?" if status == 403 else "")
        return "" if body == echostr.encode() else "did not answer with the echostr: is this its callback URL?"

    def probe(self) -> bool:
        """Save the path of the container in the console: does the bot answer WeChat's test request?"""
        body = envelope.to_text({"action": "CheckContainerPath"}, self.format).encode()
        status, answer = self.push_raw({}, body, self._container_headers(""))
        return status == 200 and answer in (b"", b"success")

    def push_headers(self, openid: str = "") -> dict[str, str]:
        """Return WeChat's own headers of a push about this user: only into a container there are any."""
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
        """Return query and body of a push with these fields, signed now with this account's keys by default."""
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
        """Send one request to the callback URL as it stands, outside of all records; return its status and body."""
        headers = {"Content-Type": content_type(self.format), **(headers or {})}
        request = self._running.delivery.request(method, query, body, headers)
        answer = self._running.background.run(request, _RAW_TIMEOUT)
        return answer.status, answer.body

    # -- what happened

    @property
    def timeline(self) -> list[Record]:
        """All records, in order."""
        with self.record_log.changed:
            return list(self.record_log.records)

    @property
    def violations(self) -> list[Record]:
        """What a bot should not do, in order.

        Calls refused because of timing or quota (45015, 45047, 45072, 45080, 45081), needless CancelTypings, and
        passive answers that would transfer an event to a human agent.
        """
        with self.record_log.changed:
            return list(self.record_log.violations)

    @property
    def needless_cancels(self) -> list[Record]:
        """The CancelTypings that came while nothing was showing (WeChat accepts them; they are also violations)."""
        return [record for record in self.violations if record.needless]

    def on_record(self, callback: Callable[[Record], None]) -> Callable[[], None]:
        """Call ``callback`` with each record as it is made, under the lock: be quick, do not raise.

        Returns a function that ends it.
        """
        with self.record_log.changed:
            self.record_log.listeners.append(callback)
        return lambda: self.record_log.listeners.remove(callback)

    def waits_until(self, predicate: Callable[[], bool], timeout: float = 10.0, why: str = "what was asked") -> None:
        """Block until ``predicate`` holds, looking at it with every record; at most ``timeout`` real seconds.

        Raises AssertionError with the whole timeline.
        """
        self.record_log.wait_until(predicate, timeout, why)

    def waits_until_quiet(
        self, settle: float = 0.5, timeout: float = 60.0, *, unless: Callable[[], bool] = lambda: False
    ) -> None:
        """Block until no push is under way, nobody is shown typing, and nothing has come for ``settle`` real seconds.

        Nobody can know what a bot does later than that without typing. ``unless``: do not wait any longer once it is
        true. Raises AssertionError with the whole timeline after ``timeout`` real seconds.
        """
        deadline = monotonic() + timeout
        with self.record_log.changed:
            while not unless():
                if not self.record_log.changed.wait(settle) and not self._running.is_at_work:
                    return
                if monotonic() > deadline:
                    raise AssertionError(f"after {timeout:g} s still not quiet\n{self.record_log.as_text()}")


def _openid_of(name: str) -> str:
    """Return "o" and the name, filled up with _ to 28 characters; a name that does not fit is replaced by its hash."""
    if re.fullmatch(r"[A-Za-z0-9_-]{0,26}[A-Za-z0-9-]", name):
        return ("o" + name).ljust(_OPENID_LENGTH, "_")
    return ("o" + hashlib.sha256(name.encode()).hexdigest())[:_OPENID_LENGTH]
