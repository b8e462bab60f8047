"""The settings in small frozen groups: those of one account in ``AccountSettings``, the others in ``ProcessSettings``.

Every setting has one flat name, which is WXBOT_NAME in the environment and a key in lower case in the accounts file.
docs/configuration.md lists all settings with the docstrings of the fields, and a test compares them. Secrets print as
``***``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from wxbot.model.accounts import ACCOUNTS, Account, AccountKind, decode_aes_key
from wxbot.model.media import MIB
from wxbot.model.quota import Allowance, Allowances, parse_allowances
from wxbot.model.replies import KINDS
from wxbot.model.user_actions import USER_ACTIONS

PREFIX = "WXBOT_"
PLUGIN_PREFIX = "WXBOT_PLUGIN_"
ACCOUNTS_VARIABLE = "WXBOT_ACCOUNTS"
"""The variable with the path of the accounts file, for several accounts (wxbot/settings/accounts_file.py)."""
CALLBACK_PATH = "/wechat"
MIN_SEND_KEY = 16
"""Minimum length of ``WXBOT_SEND_KEY``, in characters."""
MISSING = "Field required"
"""Pydantic's message for a missing value."""
NOT_GIVEN = SecretStr("")
"""The default of a required secret. It is a value of its own, because an empty secret is a different problem."""

_REDIS_ADDRESS = re.compile(r"rediss?(\+sentinel)?://[^\s/]+")
_AMQP_ADDRESS = re.compile(r"amqps?://[^\s/]+")
_OTHER_PATHS = re.compile(r"/(healthz|readyz|metrics|send(/.*)?)")
"""Paths that wxbot uses for other purposes (wxbot/server/web.py)."""
_APPID = re.compile(r"[A-Za-z0-9_-]+")
_OWN = "never shared between accounts"
"""The mark of a setting that two accounts never share. Secrets need no mark, because they are never shared."""


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _casefold(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _given(info: ValidationInfo, name: str) -> str:
    """Return a setting of another group as it was given; "" if it was not. Its own group checks it."""
    value = (info.context or {}).get(name)
    return value if isinstance(value, str) else ""


def _given_account(info: ValidationInfo) -> Account:
    return ACCOUNTS.get(_given(info, "account_kind"), ACCOUNTS["miniprogram"])


_Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
_Paths = Annotated[tuple[Path, ...], BeforeValidator(_split_commas)]
_Words = Annotated[frozenset[str], BeforeValidator(_split_commas), AfterValidator(_casefold)]


class _Group(BaseModel):
    """Settings that belong together. Python code makes a group with the names of its fields, not with flat names."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False, populate_by_name=True)


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


# The groups of an account


class Credentials(_Group):
    """The account at WeChat, and its secrets."""

    kind: AccountKind = Field(default="miniprogram", validation_alias="account_kind")
    """`miniprogram`, `official` (verified Official Account) or `unverified` (Official Account without the
    customer-service API, passive replies only)."""
    cloud_call: Literal["off", "open", "token"] = "off"
    """On WeChat Cloud Hosting: `open` (calls without a token) or `token` (with cloudbase_access_token)."""
    appid: Annotated[str, _OWN]
    """AppID of the Mini Program or Official Account."""
    secret: SecretStr = Field(default=NOT_GIVEN, validate_default=True)
    """AppSecret of the account; not needed with cloud call."""
    token: SecretStr = Field(default=NOT_GIVEN, validate_default=True)
    """Token of the message push, as set in WeChat's console; not needed with cloud call."""
    aes_key: SecretStr | None = None
    """EncodingAESKey (43 characters); empty means plaintext mode."""
    previous_aes_key: SecretStr | None = None
    """The previous EncodingAESKey, still accepted during a key change."""
    send_key: SecretStr | None = None
    """Key for other systems that send messages through `/send`; empty turns `/send` off."""

    @property
    def account(self) -> Account:
        """Return what this kind of account can do."""
        return ACCOUNTS[self.kind]

    @field_validator("kind")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in ACCOUNTS:
            raise ValueError(f"must be one of {', '.join(ACCOUNTS)}")
        return value

    @field_validator("appid")
    @classmethod
    def _looks_like_an_appid(cls, value: str) -> str:
        if not value:
            raise ValueError("must not be empty: copy it from WeChat's console")
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


class PushSettings(_Group):
    """The settings of the message push."""

    path: Annotated[str, _OWN] = Field(default=CALLBACK_PATH, validation_alias="callback_path", pattern=r"^/[\w./-]*$")
    """Path of the callback URL."""
    max_skew_seconds: NonNegativeFloat = 300
    """Maximum difference between a push's timestamp and the local clock, in seconds; 0 turns the check off."""

    @field_validator("path")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if _OTHER_PATHS.fullmatch(re.sub("/+", "/", value).rstrip("/")):
            raise ValueError("is reserved: wxbot uses /healthz, /readyz, /metrics, /send and the paths below /send")
        return value


class ApiSettings(_Group):
    """The settings of the calls of WeChat's API. ``base`` is never empty."""

    base: str = Field(default="", validation_alias="api_base", validate_default=True, pattern=r"^(https?://[^/]+)?$")
    """Base URL of WeChat's API; empty means https://api.weixin.qq.com, with cloud call http://."""
    token_call: Literal["stable", "classic"] = "stable"  # noqa: S105 - the name of a call
    """Interface that issues the access token: `stable` (stable_token) or `classic` (cgi-bin/token)."""
    typing_path: str = Field(default="", pattern=r"^(/[\w./-]+)?$")
    """Path of the typing call; empty chooses it by `WXBOT_BUSINESS_ID`."""
    business_id: Annotated[str, _OWN] = ""
    """`businessid` of a customer-service sub-merchant; most accounts have none."""
    cloud_token_file: Path = Path("/.tencentcloudbase/wx/cloudbase_access_token")
    """File with the token for `WXBOT_CLOUD_CALL=token`."""
    cloud_from_appid: bool = False
    """Add the account (`from_appid`) to each cloud call; needed if the environment belongs to another account."""

    @field_validator("base")
    @classmethod
    def _usual_address(cls, value: str, info: ValidationInfo) -> str:
        in_cloud = _given(info, "cloud_call") in ("open", "token")
        return value or ("http" if in_cloud else "https") + "://api.weixin.qq.com"


class ReplySettings(_Group):
    """The limits of replies, and the texts about long and late replies.

    ``quota`` and ``reply_types`` are complete: they contain what the kind of the account adds to the given values.
    """

    quota: Allowances = Field(default={}, validate_default=True)
    """Rows of WeChat's quota table that differ for this account, such as `message=20/48h`."""
    reply_types: frozenset[str] = Field(default=frozenset(), validate_default=True)
    """Types of reply (WeChat's msgtype) that this account may send; empty means those in docs/wechat.md."""
    image_bytes: PositiveInt = 2 * MIB
    """Maximum size of an image to send, in bytes."""
    ai_mark: bool = False
    """Mark messages as generated by AI (`aimsgcontext`)."""
    text_bytes: int = Field(default=2000, ge=100, le=2048)
    """Maximum length of the text in one message, in UTF-8 bytes."""
    continue_words: _Words = frozenset({"继续"})
    """Words with which a user asks for the rest of a long reply, separated by commas."""
    continue_text: str = Field(default="（未完，发送“继续”接着看）", min_length=1, max_length=100)
    """Notice at the end of the last message that could be sent of a longer reply."""
    pending_text: str = Field(default="还在处理中，请稍后发送“继续”查看回复。", min_length=1, max_length=500)
    """Passive reply of an unverified account if the handler's reply is not ready in time."""

    @field_validator("quota", mode="before")
    @classmethod
    def _read_quota(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, Mapping):  # a table in the accounts file
            value = ", ".join(f"{action}={each}" for action, each in value.items())
        return {**_given_account(info).allowances, **_quota_from(value)} if isinstance(value, str) else value

    @field_validator("reply_types", mode="before")
    @classmethod
    def _known_types(cls, value: Any, info: ValidationInfo) -> Any:
        account = _given_account(info)
        possible = account.sends if account.is_passive else KINDS
        given = _split_commas(value)
        if not isinstance(given, (tuple, list, frozenset)):
            return given
        for number, each in enumerate(given, 1):
            if not isinstance(each, str) or each not in KINDS:  # it is not quoted, because it may be a misplaced secret
                raise ValueError(f"number {number} is not a type of reply; use {', '.join(KINDS)}")
            if each not in possible:
                raise ValueError(
                    f"{each} cannot be a passive reply, and an unverified account sends only passive replies; "
                    f"use {', '.join(sorted(possible))}"
                )
        return frozenset(given or account.sends)


class HandlerSettings(_Group):
    """The settings of handlers, and the replies to the user if a handler fails."""

    timeout: float = Field(default=120, validation_alias="handler_timeout", gt=0)
    """Timeout of a handler, in seconds."""
    threads: int = Field(default=32, validation_alias="handler_threads", gt=0)
    """Threads for plain `def` handlers."""
    max_attempts: PositiveInt = 3
    """Attempts before a message becomes a dead letter."""
    retry_seconds: PositiveFloat = 5
    """Wait before the second attempt, in seconds; doubles with each attempt."""
    error_text: str = "抱歉，出了点问题，请稍后再试。"
    """Reply to the user if a handler fails; empty sends nothing."""
    timeout_text: str = "抱歉，这次处理超时了，请稍后再试。"
    """Reply to the user if a handler times out; empty sends nothing."""


class HandoverSettings(_Group):
    """The settings of handovers to human agents."""

    seconds: float = Field(default=1800, validation_alias="handover_seconds", gt=0)
    """Maximum duration of a handover to human agents, in seconds; the bot does not reply during it."""
    resume_words: _Words = frozenset({"返回机器人"})
    """Words with which a user returns from human agents to the bot, separated by commas."""


class TypingSettings(_Group):
    """The settings of the typing indicator."""

    enabled: bool = Field(default=True, validation_alias="typing")
    """Show the typing indicator while a handler runs."""
    delay: float = Field(default=0, validation_alias="typing_delay", ge=0, lt=30)
    """Delay before the first Typing, in seconds."""
    margin: float = Field(default=1.5, validation_alias="typing_margin", ge=1, lt=30)
    """Safety margin before the 30-second window closes, in seconds; Typing is not called in it."""


class RetentionSettings(_Group):
    """The times for which the store keeps records after their processing."""

    dedup_seconds: float = Field(default=86_400, ge=60)
    """How long dedup keys are stored, in seconds."""
    dead_letter_seconds: float = Field(default=2_592_000, ge=60)
    """How long dead letters are stored, in seconds."""
    state_seconds: float = Field(default=31_536_000, ge=60)
    """How long `ctx.state` is stored after a user's last message, in seconds."""


class PluginSettings(_Group):
    """The choice of plugins. The settings of the plugins themselves are in ``AccountSettings.plugin_settings``."""

    folders: _Paths = Field(default=(Path("plugins"),), validation_alias="plugin_folders")
    """Plugin folders, separated by commas."""
    names: _Names = Field(default=(), validation_alias="plugins")
    """Names of the plugins to use, in this order, separated by commas; empty means all plugins."""


# The groups of the process


class StoreSettings(_Group):
    """The settings of the store, which all accounts share."""

    url: str = Field(default="sqlite:///wxbot.db", validation_alias="store_url", repr=False)
    """Address of the store: `sqlite:///PATH`, or `redis://…` for several machines (docs/scaling.md)."""
    sqlite_synchronous: Literal["full", "normal"] = "full"
    """`full`: messages survive a power loss; `normal`: they survive only a crash of the process."""
    redis_replicas: NonNegativeInt = 0
    """Replicas that must have a message before it is acknowledged (Redis only)."""

    @field_validator("url")
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


class BrokerSettings(_Group):
    """The settings of the broker between webhook processes and workers."""

    url: str = Field(default="", validation_alias="broker_url", repr=False)
    """Address of the broker for separate workers: `redis://…` or `amqp://…`; empty means no broker."""
    role: Literal["webhook", "worker"] = "webhook"
    """Role of this process if there is a broker; `python -m wxbot worker` sets it."""

    @field_validator("url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if not value or _REDIS_ADDRESS.match(value) or _AMQP_ADDRESS.match(value):
            return value
        raise ValueError("is not an address of a broker; use redis://HOST:6379/1 or amqp://USER:PASSWORD@HOST:5672/")


class DispatcherSettings(_Group):
    """The settings of the dispatcher, which claims conversations."""

    max_conversations: PositiveInt = 10_000
    """Maximum number of users that one process handles at the same time."""
    lease_seconds: float = Field(default=8, ge=1)
    """Lease duration: a process that stops renewing for this long loses its conversations, in seconds."""
    poll_seconds: PositiveFloat = 1
    """Interval at which the inbox is polled for messages without a wake-up, in seconds."""


class ServerSettings(_Group):
    """The settings of the process itself."""

    max_body_bytes: PositiveInt = 1024 * 1024
    """Maximum size of a push, in bytes; a larger one gets a 413."""
    api_timeout: PositiveFloat = 10
    """Timeout of a call of WeChat's API, in seconds."""
    drain_seconds: NonNegativeFloat = 25
    """Time for running handlers to finish at shutdown, in seconds."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Minimum log level."""
    clock_file: Path | None = None
    """For the playground only: a file with the number of seconds to add to the machine's clock."""


# The settings of a deployment


class AccountSettings(_Group):
    """The settings of one account: its groups, and facts from its section of the accounts file.

    ``name``: the account's name if there are several accounts, else "". ``plugin_settings``: this account's own
    settings of plugins, by plugin name; they override ``WXBOT_PLUGIN_…``. ``keys``: the key in the accounts file of
    each setting that is in the account's section, by the setting's name.
    """

    name: str = ""
    plugin_settings: Mapping[str, Mapping[str, Any]] = Field(default={}, repr=False, exclude=True)
    keys: Mapping[str, str] = Field(default={}, repr=False)
    credentials: Credentials
    push: PushSettings = PushSettings()
    api: ApiSettings = ApiSettings()
    replies: ReplySettings = ReplySettings()
    handlers: HandlerSettings = HandlerSettings()
    handover: HandoverSettings = HandoverSettings()
    typing: TypingSettings = TypingSettings()
    retention: RetentionSettings = RetentionSettings()
    plugins: PluginSettings = PluginSettings()


class ProcessSettings(_Group):
    """The settings that all accounts of a process share."""

    store: StoreSettings = StoreSettings()
    broker: BrokerSettings = BrokerSettings()
    dispatcher: DispatcherSettings = DispatcherSettings()
    server: ServerSettings = ServerSettings()

    @model_validator(mode="after")
    def _groups_fit_together(self) -> Self:
        if self.broker.url and self.store.url.startswith("sqlite:"):
            raise ValueError(
                "WXBOT_BROKER_URL needs a store that several machines can share: set WXBOT_STORE_URL to redis://…"
            )
        if self.broker.role == "worker" and not self.broker.url:
            raise ValueError("a worker needs a broker: set WXBOT_BROKER_URL (docs/scaling.md)")
        return self


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment. ``accounts`` are by account name; a single account is named ""."""

    process: ProcessSettings
    accounts: Mapping[str, AccountSettings]

    def secrets(self) -> tuple[str, ...]:
        """Return every secret value of the process and of all accounts, for the redaction of log lines."""
        passwords = [password_in(url) for url in (self.process.store.url, self.process.broker.url)]
        passwords += [unquote(password) for password in passwords]
        values = [value for account in self.accounts.values() for _, value in account.credentials]
        secrets = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        return tuple(filter(None, [*secrets, *passwords]))


# The flat names


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by its flat name."""

    name: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Return the name of the setting in the environment."""
        return PREFIX + self.name.upper()

    @property
    def is_secret(self) -> bool:
        """Return True if the value must not be shown and must not be in the accounts file."""
        return self.field.annotation is SecretStr or SecretStr in get_args(self.field.annotation)

    @property
    def is_own(self) -> bool:
        """Return True if accounts never share the value, so that it has no default in the environment."""
        return self.is_secret or _OWN in self.field.metadata


def _settings_in(model: type[BaseModel]) -> dict[str, Setting]:
    """Return the settings in the groups of ``model`` by their flat names."""
    fields = {
        str(field.validation_alias or name): field
        for each in model.model_fields.values()
        if isinstance(each.annotation, type) and issubclass(each.annotation, _Group)
        for name, field in each.annotation.model_fields.items()
    }
    return {name: Setting(name, field) for name, field in fields.items()}


ACCOUNT_SETTINGS: Mapping[str, Setting] = _settings_in(AccountSettings)
PROCESS_SETTINGS: Mapping[str, Setting] = _settings_in(ProcessSettings)


# Values


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
