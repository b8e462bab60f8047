"""The settings, read once from the environment and ``.env`` and checked together. Secrets are printed as ``***``.

Every setting is an environment variable with the prefix ``WXBOT_``. docs/configuration.md lists them in one table, and
a test compares the table with this class. wxbot/settings/accounts_file.py reads the settings of several accounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from wxbot.model.accounts import ACCOUNTS, AccountKind, decode_aes_key
from wxbot.model.media import MIB
from wxbot.model.quota import Allowance, Allowances, parse_allowances
from wxbot.model.replies import KINDS
from wxbot.model.user_actions import USER_ACTIONS

PREFIX = "WXBOT_"
PLUGIN_PREFIX = "WXBOT_PLUGIN_"
ACCOUNTS_VARIABLE = "WXBOT_ACCOUNTS"
"""The variable with the path of the accounts file, for several accounts (wxbot/settings/accounts_file.py)."""

_REDIS_ADDRESS = re.compile(r"rediss?(\+sentinel)?://[^\s/]+")
_AMQP_ADDRESS = re.compile(r"amqps?://[^\s/]+")

CALLBACK_PATH = "/wechat"
_OTHER_PATHS = re.compile(r"/(healthz|readyz|metrics|send(/.*)?)")
"""Paths that wxbot uses for other purposes (wxbot/server/web.py)."""
_APPID = re.compile(r"[A-Za-z0-9_-]+")

MIN_SEND_KEY = 16
"""Minimum length of ``WXBOT_SEND_KEY``, in characters."""

MISSING = "Field required"
"""Pydantic's message for a missing value."""
NOT_GIVEN = SecretStr("")
"""The default of a required secret. It is a value of its own, because an empty secret is a different problem."""

_Names = Annotated[tuple[str, ...], NoDecode]
_Paths = Annotated[tuple[Path, ...], NoDecode]


_Model = TypeVar("_Model")


class Settings(BaseSettings):
    """All settings of one account. ``load_settings`` makes them and reports all problems in one ConfigError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    # The account
    account_kind: AccountKind = Field(
        "miniprogram",
        description=(
            "`miniprogram`, `official` (verified Official Account) or `unverified` (Official Account "
            "without the customer-service API, passive replies only)"
        ),
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
    aes_key: SecretStr | None = Field(None, description="EncodingAESKey (43 characters); empty means plaintext mode")
    previous_aes_key: SecretStr | None = Field(
        None, description="The previous EncodingAESKey, still accepted during a key change"
    )

    # The webhook
    callback_path: str = Field(CALLBACK_PATH, pattern=r"^/[\w./-]*$", description="Path of the callback URL")
    max_body_bytes: int = Field(
        1024 * 1024, gt=0, description="Maximum size of a push, in bytes; a larger one gets a 413"
    )
    max_skew_seconds: float = Field(
        300,
        ge=0,
        description="Maximum difference between a push's timestamp and the local clock, in seconds; 0 turns the check "
        "off",
    )

    # WeChat's API
    api_base: str = Field(
        "",
        validate_default=True,
        pattern=r"^(https?://[^/]+)?$",
        description="Base URL of WeChat's API; empty means https://api.weixin.qq.com, with cloud call http://",
    )
    clock_file: Path | None = Field(
        None, description="For the playground only: a file with the number of seconds to add to the machine's clock"
    )
    api_timeout: float = Field(10, gt=0, description="Timeout of a call of WeChat's API, in seconds")
    token_call: Literal["stable", "classic"] = Field(
        "stable",
        description="Interface that issues the access token: `stable` (stable_token) or `classic` (cgi-bin/token)",
    )
    typing_path: str = Field(
        "", pattern=r"^(/[\w./-]+)?$", description="Path of the typing call; empty chooses it by `WXBOT_BUSINESS_ID`"
    )
    business_id: str = Field("", description="`businessid` of a customer-service sub-merchant; most accounts have none")
    cloud_token_file: Path = Field(
        Path("/.tencentcloudbase/wx/cloudbase_access_token"),
        description="File with the token for `WXBOT_CLOUD_CALL=token`",
    )
    cloud_from_appid: bool = Field(
        False,
        description="Add the account (`from_appid`) to each cloud call; needed if the environment belongs to another "
        "account",
    )

    # Replies
    quota: Annotated[Allowances, NoDecode] = Field(
        {}, description="Rows of WeChat's quota table that differ for this account, such as `message=20/48h`"
    )
    reply_types: _Names = Field(
        (),
        description="Types of reply (WeChat's msgtype) that this account may send; empty means those in docs/wechat.md",
    )
    image_bytes: int = Field(2 * MIB, gt=0, description="Maximum size of an image to send, in bytes")
    ai_mark: bool = Field(False, description="Mark messages as generated by AI (`aimsgcontext`)")
    send_key: SecretStr | None = Field(
        None, description="Key for other systems that send messages through `/send`; empty turns `/send` off"
    )

    # Human agents
    handover_seconds: float = Field(
        1800,
        gt=0,
        description="Maximum duration of a handover to human agents, in seconds; the bot does not reply during it",
    )
    resume_words: _Names = Field(
        ("返回机器人",), description="Words with which a user returns from human agents to the bot, separated by commas"
    )

    # The typing indicator
    typing: bool = Field(True, description="Show the typing indicator while a handler runs")
    typing_delay: float = Field(0, ge=0, lt=30, description="Delay before the first Typing, in seconds")
    typing_margin: float = Field(
        1.5,
        ge=1,
        lt=30,
        description="Safety margin before the 30-second window closes, in seconds; Typing is not called in it",
    )

    # Processing
    store_url: str = Field(
        "sqlite:///wxbot.db",
        repr=False,
        description="Address of the store: `sqlite:///PATH`, or `redis://…` for several machines (docs/scaling.md)",
    )
    broker_url: str = Field(
        "",
        repr=False,
        description="Address of the broker for separate workers: `redis://…` or `amqp://…`; empty means no broker",
    )
    sqlite_synchronous: Literal["full", "normal"] = Field(
        "full",
        description="`full`: messages survive a power loss; `normal`: they survive only a crash of the process",
    )
    redis_replicas: int = Field(
        0, ge=0, description="Replicas that must have a message before it is acknowledged (Redis only)"
    )
    role: Literal["webhook", "worker"] = Field(
        "webhook",
        description="Role of this process if there is a broker; `python -m wxbot worker` sets it",
    )
    handler_timeout: float = Field(120, gt=0, description="Timeout of a handler, in seconds")
    handler_threads: int = Field(32, gt=0, description="Threads for plain `def` handlers")
    max_conversations: int = Field(
        10_000, gt=0, description="Maximum number of users that one process handles at the same time"
    )
    max_attempts: int = Field(3, gt=0, description="Attempts before a message becomes a dead letter")
    retry_seconds: float = Field(
        5, gt=0, description="Wait before the second attempt, in seconds; doubles with each attempt"
    )
    lease_seconds: float = Field(
        8,
        ge=1,
        description="Lease duration: a process that stops renewing for this long loses its conversations, in seconds",
    )
    poll_seconds: float = Field(
        1, gt=0, description="Interval at which the inbox is polled for messages without a wake-up, in seconds"
    )
    drain_seconds: float = Field(25, ge=0, description="Time for running handlers to finish at shutdown, in seconds")
    dedup_seconds: float = Field(86_400, ge=60, description="How long dedup keys are stored, in seconds")
    dead_letter_seconds: float = Field(2_592_000, ge=60, description="How long dead letters are stored, in seconds")
    state_seconds: float = Field(
        31_536_000, ge=60, description="How long `ctx.state` is stored after a user's last message, in seconds"
    )

    # Plugins
    plugin_folders: _Paths = Field((Path("plugins"),), description="Plugin folders, separated by commas")
    plugins: _Names = Field(
        (), description="Names of the plugins to use, in this order, separated by commas; empty means all plugins"
    )

    # Texts for users
    text_bytes: int = Field(
        2000, ge=100, le=2048, description="Maximum length of the text in one message, in UTF-8 bytes"
    )
    error_text: str = Field(
        "抱歉，出了点问题，请稍后再试。", description="Reply to the user if a handler fails; empty sends nothing"
    )
    timeout_text: str = Field(
        "抱歉，这次处理超时了，请稍后再试。",
        description="Reply to the user if a handler times out; empty sends nothing",
    )
    continue_words: _Names = Field(
        ("继续",), description="Words with which a user asks for the rest of a long reply, separated by commas"
    )
    continue_text: str = Field(
        "（未完，发送“继续”接着看）",
        min_length=1,
        max_length=100,
        description="Notice at the end of the last message that could be sent of a longer reply",
    )
    pending_text: str = Field(
        "还在处理中，请稍后发送“继续”查看回复。",
        min_length=1,
        max_length=500,
        description="Passive reply of an unverified account if the handler's reply is not ready in time",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Minimum log level")

    # Set only if there are several accounts (see ``of_account``)
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
            raise ValueError("must not begin or end with blanks")
        if not _APPID.fullmatch(value):
            raise ValueError("must contain only a-z, A-Z, 0-9, - and _: copy it from WeChat's console")
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
            raise ValueError("must not be empty: copy it from WeChat's console")
        if info.field_name == "token":
            raise ValueError("must not be empty: set it, or leave it out to accept unsigned pushes")
        return secret

    @field_validator("callback_path")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if _OTHER_PATHS.fullmatch(re.sub("/+", "/", value).rstrip("/")):
            raise ValueError("is reserved: wxbot uses /healthz, /readyz, /metrics, /send and the paths below /send")
        return value

    @field_validator("send_key")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        key = value.get_secret_value()
        if len(key) < MIN_SEND_KEY:
            raise ValueError(
                f"must have at least {MIN_SEND_KEY} characters, because a guessed key can send to your users"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("must have ASCII characters only and no blanks, because it is sent in an HTTP header")
        if set(key) & set("\"'\\"):
            raise ValueError("must have no quotes and no backslashes, because log redaction would not find it")
        return value

    @field_validator("quota", mode="before")
    @classmethod
    def _read_quota(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # a table in the accounts file
            value = ", ".join(f"{action}={each}" for action, each in value.items())
        return _quota_from(value) if isinstance(value, str) else value

    @field_validator("reply_types")
    @classmethod
    def _known_kinds(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        account = ACCOUNTS[info.data.get("account_kind", "miniprogram")]
        possible = account.sends if account.is_passive else KINDS
        for number, kind in enumerate(value, 1):
            if kind not in KINDS:  # the text does not quote it, because it may be a misplaced secret
                raise ValueError(f"number {number} is not a type of reply; use {', '.join(KINDS)}")
            if kind not in possible:
                raise ValueError(
                    f"{kind} cannot be a passive reply, and an unverified account sends only passive replies; "
                    f"use {', '.join(sorted(possible))}"
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
                raise ValueError("must not be empty: leave it out if pushes come over Cloud Hosting's internal network")
            return None
        decode_aes_key(value.get_secret_value())
        if in_cloud and info.data.get("token") is NOT_GIVEN:
            raise ValueError(
                "needs the Token of the message push as well: without it, unsigned pushes would be accepted"
            )
        if info.field_name == "previous_aes_key" and info.data.get("aes_key", value) is None:
            raise ValueError("needs the current EncodingAESKey as well: without it, no push can be decrypted")
        return value

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value.startswith("sqlite:///") and value != "sqlite:///":
            return value
        if _REDIS_ADDRESS.match(value):
            return value
        raise ValueError(
            "is not an address of a store; use sqlite:///PATH, such as sqlite:////var/lib/wxbot.db, or "
            "redis://HOST:6379/0 (rediss:// for TLS, redis+sentinel://HOST:26379,HOST:26379/NAME for Sentinel)"
        )

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if not value or _REDIS_ADDRESS.match(value) or _AMQP_ADDRESS.match(value):
            return value
        raise ValueError("is not an address of a broker; use redis://HOST:6379/1 or amqp://USER:PASSWORD@HOST:5672/")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.broker_url and self.store_url.startswith("sqlite:"):
            raise ValueError(
                "WXBOT_BROKER_URL needs a store that several machines can share: set WXBOT_STORE_URL to redis://…"
            )
        if self.role == "worker" and not self.broker_url:
            raise ValueError("a worker needs a broker: set WXBOT_BROKER_URL (docs/scaling.md)")
        return self

    @property
    def allowances(self) -> Allowances:
        """Return the allowance of each user action: the number of messages and the time limit."""
        return {**ACCOUNTS[self.account_kind].allowances, **self.quota}

    @property
    def reply_kinds(self) -> frozenset[str]:
        """Return the types of reply (msgtype) that this account may send."""
        return frozenset(self.reply_types or ACCOUNTS[self.account_kind].sends)

    @property
    def account(self) -> str:
        """Return the account's name if there are several accounts, else ""."""
        return self._account

    @property
    def plugin_settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Return this account's own plugin settings, by plugin name. They override ``WXBOT_PLUGIN_…``."""
        return self._plugin_settings

    @property
    def written(self) -> Mapping[str, str]:
        """Return the key of each setting in the account's section of the accounts file; empty for a single account."""
        return self._written

    def of_account(
        self,
        name: str,
        plugin_settings: Mapping[str, Mapping[str, Any]] | None = None,
        written: Mapping[str, str] | None = None,
    ) -> Self:
        """Return the same settings for the account ``name`` of several. The callback path is ``/wechat/<name>``.

        ``plugin_settings`` and ``written`` replace the properties of these names; None leaves them unchanged.
        """
        made = self.model_copy(update={"callback_path": f"{CALLBACK_PATH}/{name}"})
        made._account = name  # noqa: SLF001 - the copy was made here
        if plugin_settings is not None:
            made._plugin_settings = plugin_settings  # noqa: SLF001
        if written is not None:
            made._written = written  # noqa: SLF001
        return made

    def secrets(self) -> tuple[str, ...]:
        """Return every secret value, for the redaction of log lines. Never print them."""
        given = (self.secret, self.token, self.aes_key, self.previous_aes_key, self.send_key)
        in_addresses = [password_in(url) for url in (self.store_url, self.broker_url)]
        in_addresses += [unquote(password) for password in in_addresses]
        return (*(secret.get_secret_value() for secret in given if secret is not None), *filter(None, in_addresses))


def password_in(url: str) -> str:
    """Return the password in an address as it is written there, still encoded; "" if there is none."""
    _, at, _ = url.rpartition("@")
    user_and_password = url[: url.rindex("@")].partition("://")[2] if at else ""
    return user_and_password.partition(":")[2]


def without_password(url: str) -> str:
    """Return ``url`` with ``***`` in place of the password."""
    password = password_in(url)
    shown = url.replace(f":{password}@", ":***@") if password else url
    return re.sub(r"(password=)[^&]*", r"\1***", shown)


def _quota_from(written: str) -> Allowances:
    """Return the rows of a quota. Raises ValueError, which does not quote the row: it may be a misplaced secret."""
    quota: dict[str, Allowance] = {}
    for number, row in enumerate(filter(str.strip, written.split(",")), 1):
        try:
            quota |= parse_allowances(row)
        except ValueError:
            raise ValueError(
                f"row {number} is not a row of a quota; write rows such as message=5/48h, enter=2/1m "
                f"(user actions: {', '.join(USER_ACTIONS)}; times in s, m, h or d)"
            ) from None
    return quota


class _Group(BaseModel):
    model_config = {"frozen": True}


class TypingSettings(_Group):
    enabled: bool = True
    delay: float = 0.0
    margin: float = 1.5


class HandlerSettings(_Group):
    timeout: float = 120.0
    threads: int = 32
    max_attempts: int = 3
    retry_seconds: float = 5.0
    error_text: str = ""
    timeout_text: str = ""


class HandoverSettings(_Group):
    seconds: float = 1800.0
    resume_words: frozenset[str] = frozenset()


class ReplySettings(_Group):
    text_bytes: int = 2000
    continue_words: frozenset[str] = frozenset()
    continue_text: str = "…"


class DispatcherSettings(_Group):
    lease_seconds: float = 8.0
    poll_seconds: float = 1.0
    max_conversations: int = 10_000
