"""Settings from the environment and ``.env``: read once, checked as a whole, secrets printed as ``***``.

Every setting is an environment variable with the prefix ``WXBOT_``. docs/configuration.md has them in one table, which
a test compares with this class. `wxbot/settings/accounts_file.py` reads the settings of several accounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from wxbot.model.accounts import AccountKind, decode_aes_key, reply_kinds
from wxbot.model.media import MIB
from wxbot.model.quota import Allowance, Allowances, allowances_of, parse_allowances
from wxbot.model.replies import KINDS
from wxbot.model.user_actions import USER_ACTIONS

PREFIX = "WXBOT_"
PLUGIN_PREFIX = "WXBOT_PLUGIN_"
ACCOUNTS_VARIABLE = "WXBOT_ACCOUNTS"
"""The file with the accounts, where one deployment has several (wxbot/settings/accounts_file.py)."""

_REDIS_ADDRESS = re.compile(r"rediss?(\+sentinel)?://[^\s/]+")
_AMQP_ADDRESS = re.compile(r"amqps?://[^\s/]+")

CALLBACK_PATH = "/wechat"
_OTHER_PATHS = re.compile(r"/(healthz|readyz|metrics|send(/.*)?)")
"""Addresses that wxbot itself has beside the callback (wxbot/server/web.py)."""
_APPID = re.compile(r"[A-Za-z0-9_-]+")

SHORTEST_KEY = 16
"""Characters that ``WXBOT_SEND_KEY`` must have at least."""

MISSING = "Field required"
"""Pydantic's own message for what is not there."""
NOT_GIVEN = SecretStr("")
"""Stands for a secret that nobody gave; an empty one is another one."""

_Names = Annotated[tuple[str, ...], NoDecode]
_Paths = Annotated[tuple[Path, ...], NoDecode]


_Model = TypeVar("_Model")


class Settings(BaseSettings):
    """Everything a deployment can choose. Build it with ``load_settings`` to get all problems in one ConfigError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    # The account
    account_kind: AccountKind = Field(
        "miniprogram",
        description="`miniprogram`, `official` (verified Official Account) or `unverified` (one without the "
        "customer-service API: it answers pushes)",
    )
    cloud_call: Literal["off", "open", "token"] = Field(
        "off",
        description="On WeChat Cloud Hosting: `open` (calls without a token) or `token` (with cloudbase_access_token)",
    )
    appid: str = Field(min_length=1, description="AppID of the Mini Program or Official Account")
    secret: SecretStr = Field(
        NOT_GIVEN, validate_default=True, description="AppSecret of the account; not needed with cloud call"
    )
    token: SecretStr = Field(
        NOT_GIVEN,
        validate_default=True,
        description="Token of the message push, as set in WeChat's console; not needed with cloud call",
    )
    aes_key: SecretStr | None = Field(None, description="EncodingAESKey (43 characters); unset means plaintext mode")
    previous_aes_key: SecretStr | None = Field(
        None, description="The EncodingAESKey before, accepted while it is changed"
    )

    # The webhook
    callback_path: str = Field(CALLBACK_PATH, pattern=r"^/[\w./-]*$", description="Path of the callback URL")
    max_body_bytes: int = Field(1024 * 1024, gt=0, description="Largest push accepted, in bytes; more gets a 413")
    max_skew_seconds: float = Field(
        300, ge=0, description="How far a push's timestamp may be from our clock, in seconds; 0 turns the check off"
    )

    # WeChat's API
    api_base: str = Field(
        "",
        validate_default=True,
        pattern=r"^(https?://[^/]+)?$",
        description="Address of the API; empty means https://api.weixin.qq.com, with cloud call http://",
    )
    clock_file: Path | None = Field(
        None, description="For simulators only: a file with the seconds our clock is ahead of the machine's"
    )
    api_timeout: float = Field(10, gt=0, description="Longest wait for an API answer, in seconds")
    token_call: Literal["stable", "classic"] = Field(
        "stable", description="`stable` (stable_token) or `classic` (cgi-bin/token)"
    )
    typing_path: str = Field(
        "", pattern=r"^(/[\w./-]+)?$", description="Path of the typing call; empty chooses by business_id"
    )
    business_id: str = Field("", description="`businessid` of a customer-service sub-merchant; most accounts have none")
    cloud_token_file: Path = Field(
        Path("/.tencentcloudbase/wx/cloudbase_access_token"), description="Where `WXBOT_CLOUD_CALL=token` reads it"
    )
    cloud_from_appid: bool = Field(
        False, description="Name the account in each cloud call (`from_appid`): the environment belongs to another one"
    )

    # What is sent
    quota: Annotated[Allowances, NoDecode] = Field(
        {}, description="Rows of WeChat's quota that are different for this account, such as `message=20/48h`"
    )
    reply_types: _Names = Field(
        (), description="Kinds of reply this account may send, if not those of docs/wechat.md (WeChat's msgtype)"
    )
    image_bytes: int = Field(2 * MIB, gt=0, description="Largest picture sent, in bytes")
    ai_mark: bool = Field(False, description="Show WeChat's note that a message was made by AI (`aimsgcontext`)")
    send_key: SecretStr | None = Field(
        None, description="Key for other systems to send messages through `/send`; unset means nobody may"
    )

    # Human agents
    handover_seconds: float = Field(
        1800, gt=0, description="Longest silence of the bot after a user was handed to human agents, in seconds"
    )
    resume_words: _Names = Field(
        ("返回机器人",), description="What a user writes to get the bot back from the agents, separated by commas"
    )

    # The typing indicator
    typing: bool = Field(True, description="Show Typing while a handler works")
    typing_delay: float = Field(0, ge=0, lt=30, description="Wait this many seconds before the first Typing")
    typing_margin: float = Field(
        1.5, ge=1, lt=30, description="Stop this many seconds before the 30-second window shuts"
    )

    # The work
    store_url: str = Field(
        "sqlite:///wxbot.db",
        repr=False,
        description="Where the inbox lives: `sqlite:///PATH`, or `redis://…` for several machines (docs/scaling.md)",
    )
    broker_url: str = Field(
        "",
        repr=False,
        description="Where wake-ups for workers of their own travel: `redis://…` or `amqp://…`; empty means none",
    )
    sqlite_synchronous: Literal["full", "normal"] = Field(
        "full", description="`full` survives a power loss, `normal` only the death of the process"
    )
    redis_replicas: int = Field(
        0, ge=0, description="Replicas that must have a message before it is acknowledged (Redis only)"
    )
    role: Literal["webhook", "worker"] = Field(
        "webhook",
        description="Which side of the broker this process is on, if there is one; `python -m wxbot worker` sets it",
    )
    handler_timeout: float = Field(120, gt=0, description="Longest time one handler may take, in seconds")
    handler_threads: int = Field(32, gt=0, description="Threads for plain `def` handlers")
    max_conversations: int = Field(10_000, gt=0, description="Users answered at the same time by one process")
    max_attempts: int = Field(3, gt=0, description="Tries before a message becomes a dead letter")
    retry_seconds: float = Field(5, gt=0, description="Wait before the second try, in seconds; doubles with each one")
    lease_seconds: float = Field(
        8, ge=1, description="A process silent for this long loses its conversations, in seconds"
    )
    poll_seconds: float = Field(1, gt=0, description="How often forgotten conversations are looked for, in seconds")
    drain_seconds: float = Field(25, ge=0, description="Time to finish running handlers at shutdown, in seconds")
    dedup_seconds: float = Field(86_400, ge=60, description="How long a push is remembered as seen, in seconds")
    dead_letter_seconds: float = Field(2_592_000, ge=60, description="How long a dead letter is kept, in seconds")
    state_seconds: float = Field(
        31_536_000, ge=60, description="How long a silent user's `ctx.state` is kept, in seconds"
    )

    # Plugins
    plugin_folders: _Paths = Field((Path("plugins"),), description="Folders with plugins, separated by commas")
    plugins: _Names = Field(
        (), description="Names of the plugins to use, in this order, separated by commas; empty means all found"
    )

    # What users read
    text_bytes: int = Field(2000, ge=100, le=2048, description="Longest text in one message, in UTF-8 bytes")
    error_text: str = Field(
        "抱歉，出了点问题，请稍后再试。", description="Sent when a handler fails; empty sends nothing"
    )
    timeout_text: str = Field(
        "抱歉，这次处理超时了，请稍后再试。", description="Sent when a handler takes too long; empty sends nothing"
    )
    continue_words: _Names = Field(
        ("继续",), description="What a user writes to read the rest of a long answer, separated by commas"
    )
    continue_text: str = Field(
        "（未完，发送“继续”接着看）",
        min_length=1,
        max_length=100,
        description="Stands at the end of what could be sent of a longer answer",
    )
    pending_text: str = Field(
        "还在处理中，请稍后发送“继续”查看回复。",
        min_length=1,
        max_length=500,
        description="Answered by an unverified account when the answer is not ready in time",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least important log line shown"
    )

    # Known only where one deployment has several accounts (see ``of_account``)
    _account: str = PrivateAttr("")
    _plugin_settings: Mapping[str, Mapping[str, Any]] = PrivateAttr(default_factory=dict)
    _written: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("plugin_folders", "plugins", "reply_types", "resume_words", "continue_words", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("appid")
    @classmethod
    def _looks_like_an_appid(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("must have no blanks around it")
        if not _APPID.fullmatch(value):
            raise ValueError("must be of a-z, A-Z, 0-9, - and _ only, as WeChat's console shows it")
        return value

    @field_validator("secret", "token", mode="wrap")
    @classmethod
    def _not_empty(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> SecretStr:
        in_cloud = info.data.get("cloud_call", "off") != "off"
        is_given = value is not NOT_GIVEN
        if not is_given and in_cloud:
            return NOT_GIVEN
        if not is_given:
            raise ValueError(MISSING)
        secret: SecretStr = handler(value)
        if secret.get_secret_value().strip():
            return secret
        if not in_cloud:
            raise ValueError("must not be empty: without it anybody could sign as WeChat, or no call would work")
        if info.field_name == "token":
            raise ValueError("must not be empty: unsigned pushes would be believed; leave it out if that is meant")
        return secret

    @field_validator("callback_path")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if _OTHER_PATHS.fullmatch(re.sub("/+", "/", value).rstrip("/")):
            raise ValueError("is wxbot's own: /healthz, /readyz, /metrics, /send and all below /send are taken")
        return value

    @field_validator("send_key")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        key = value.get_secret_value()
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"must have {SHORTEST_KEY} characters or more: whoever guesses it writes to your users")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("must have ASCII characters only, and no blanks: it travels in an HTTP header")
        if set(key) & set("\"'\\"):
            raise ValueError("must have no quotes and no backslashes: a log line could not hide it then")
        return value

    @field_validator("quota", mode="before")
    @classmethod
    def _read_quota(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # a table in the accounts' file
            value = ", ".join(f"{deed}={each}" for deed, each in value.items())
        return _quota_from(value) if isinstance(value, str) else value

    @field_validator("reply_types")
    @classmethod
    def _known_kinds(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_passive = info.data.get("account_kind") == "unverified"
        carried = reply_kinds("unverified") if is_passive else frozenset(KINDS)
        for number, kind in enumerate(value, 1):
            if kind not in KINDS:  # and is not shown: it may be a secret in the wrong place
                raise ValueError(f"number {number} is no kind of reply; there are {', '.join(KINDS)}")
            if kind not in carried:
                raise ValueError(
                    f"{kind} cannot be the answer to a push, and an unverified account sends nothing else; "
                    f"it can have {', '.join(sorted(carried))}"
                )
        return value

    @field_validator("api_base")
    @classmethod
    def _usual_address(cls, value: str, info: ValidationInfo) -> str:
        return value or ("https" if info.data.get("cloud_call", "off") == "off" else "http") + "://api.weixin.qq.com"

    @field_validator("aes_key", "previous_aes_key")
    @classmethod
    def _is_aes_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        in_cloud = info.data.get("cloud_call", "off") != "off"
        if value is None:
            return None
        if not value.get_secret_value():
            if in_cloud and info.field_name == "aes_key":
                raise ValueError("must not be empty: leave it out if pushes come over Cloud Hosting's inner network")
            return None
        decode_aes_key(value.get_secret_value())
        if in_cloud and info.data.get("token") is NOT_GIVEN:
            raise ValueError("needs the Token of the message push beside it: unsigned pushes would be believed")
        if info.field_name == "previous_aes_key" and info.data.get("aes_key", value) is None:
            raise ValueError("needs the EncodingAESKey of now beside it: without one no push is decrypted")
        return value

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value.startswith("sqlite:///") and value != "sqlite:///":
            return value
        if _REDIS_ADDRESS.match(value):
            return value
        raise ValueError(
            "is not an address wxbot knows; write sqlite:///PATH, such as sqlite:////var/lib/wxbot.db, or "
            "redis://HOST:6379/0 (rediss:// for TLS, redis+sentinel://HOST:26379,HOST:26379/NAME for Sentinel)"
        )

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if not value or _REDIS_ADDRESS.match(value) or _AMQP_ADDRESS.match(value):
            return value
        raise ValueError("is not an address wxbot knows; write redis://HOST:6379/1 or amqp://USER:PASSWORD@HOST:5672/")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.broker_url and self.store_url.startswith("sqlite:"):
            raise ValueError("WXBOT_BROKER_URL needs a WXBOT_STORE_URL that machines can share, such as redis://…")
        if self.role == "worker" and not self.broker_url:
            raise ValueError("a worker takes its work from WXBOT_BROKER_URL, which is not set (docs/scaling.md)")
        return self

    @property
    def allowances(self) -> Allowances:
        """What each deed of a user allows to be sent."""
        return {**allowances_of(self.account_kind), **self.quota}

    @property
    def reply_kinds(self) -> frozenset[str]:
        """The kinds of reply that handlers of this account may give."""
        return frozenset(self.reply_types) or reply_kinds(self.account_kind)

    @property
    def account(self) -> str:
        """The name of the account where one deployment has several, else empty."""
        return self._account

    @property
    def plugin_settings(self) -> Mapping[str, Mapping[str, Any]]:
        """What this account alone sets for its plugins, by plugin: it wins over ``WXBOT_PLUGIN_…``."""
        return self._plugin_settings

    @property
    def written(self) -> Mapping[str, str]:
        """As which key each setting stands in the account's section of the accounts' file; empty for one account."""
        return self._written

    def of_account(
        self,
        name: str,
        plugin_settings: Mapping[str, Mapping[str, Any]] | None = None,
        written: Mapping[str, str] | None = None,
    ) -> Self:
        """The same settings for the account ``name`` of several, whose callback path is ``/wechat/<name>``.

        ``written``: see there; None leaves it as it is.
        """
        made = self.model_copy(update={"callback_path": f"{CALLBACK_PATH}/{name}"})
        made._account = name  # noqa: SLF001 - a copy of our own
        if plugin_settings is not None:
            made._plugin_settings = plugin_settings  # noqa: SLF001
        if written is not None:
            made._written = written  # noqa: SLF001
        return made

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log's redaction. Never print them."""
        held = (self.secret, self.token, self.aes_key, self.previous_aes_key, self.send_key)
        in_addresses = [password_in(url) for url in (self.store_url, self.broker_url)]
        in_addresses += [unquote(password) for password in in_addresses]
        return (*(secret.get_secret_value() for secret in held if secret is not None), *filter(None, in_addresses))


def password_in(url: str) -> str:
    """The password that an address holds, as it was written there; empty if it holds none."""
    _, at, _ = url.rpartition("@")
    user_and_password = url[: url.rindex("@")].partition("://")[2] if at else ""
    return user_and_password.partition(":")[2]


def without_password(url: str) -> str:
    """``url`` fit to be shown."""
    password = password_in(url)
    shown = url.replace(f":{password}@", ":***@") if password else url
    return re.sub(r"(password=)[^&]*", r"\1***", shown)


def _quota_from(written: str) -> Allowances:
    """Raises ValueError that names the row by its number: what it says may be a secret in the wrong place."""
    quota: dict[str, Allowance] = {}
    for number, row in enumerate(filter(str.strip, written.split(",")), 1):
        try:
            quota |= parse_allowances(row)
        except ValueError:
            raise ValueError(
                f"row {number} is no row of a quota; write such as message=5/48h, enter=2/1m "
                f"(there are {', '.join(USER_ACTIONS)}; times in s, m, h or d)"
            ) from None
    return quota
