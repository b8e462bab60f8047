"""Settings from the environment and ``.env``: read once, checked as a whole, secrets printed as ``***``.

Every setting is an environment variable with the prefix ``WXBOT_``. docs/configuration.md has them in one table, which
a test holds against this class.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import unquote

from dotenv import dotenv_values
from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from wxbot.errors import ConfigError

PREFIX = "WXBOT_"
PLUGIN_PREFIX = "WXBOT_PLUGIN_"
READ_ELSEWHERE = frozenset({"WXBOT_BIND"})
"""Variables that are none of these settings and yet no mistake: gunicorn.conf.py reads them."""

_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)")
"""What Kubernetes puts into every container beside a service whose name begins with ``wxbot``."""

_REDIS_ADDRESS = re.compile(r"rediss?(\+sentinel)?://[^\s/]+")
_AMQP_ADDRESS = re.compile(r"amqps?://[^\s/]+")

_Names = Annotated[tuple[str, ...], NoDecode]
_Paths = Annotated[tuple[Path, ...], NoDecode]


_Model = TypeVar("_Model")


class Settings(BaseSettings):
    """Everything a deployment can choose. Build it with ``load_settings`` to get all problems in one ConfigError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    # The account
    appid: str = Field(min_length=1, description="AppID of the Mini Program or Official Account")
    secret: SecretStr = Field(description="AppSecret of the account")
    token: SecretStr = Field(description="Token of the message push, as set in WeChat's console")
    aes_key: SecretStr | None = Field(None, description="EncodingAESKey (43 characters); unset means plaintext mode")
    previous_aes_key: SecretStr | None = Field(
        None, description="The EncodingAESKey before, accepted while it is changed"
    )

    # The webhook
    callback_path: str = Field("/wechat", pattern=r"^/[\w./-]*$", description="Path of the callback URL")
    max_body_bytes: int = Field(1024 * 1024, gt=0, description="Largest push accepted, in bytes; more gets a 413")
    max_skew_seconds: float = Field(
        300, ge=0, description="How far a push's timestamp may be from our clock, in seconds; 0 turns the check off"
    )

    # WeChat's API
    api_base: str = Field("https://api.weixin.qq.com", pattern=r"^https?://[^/]+$", description="Address of the API")
    api_timeout: float = Field(10, gt=0, description="Longest wait for an API answer, in seconds")
    token_call: Literal["stable", "classic"] = Field(
        "stable", description="`stable` (stable_token) or `classic` (cgi-bin/token)"
    )
    typing_path: str = Field(
        "", pattern=r"^(/[\w./-]+)?$", description="Path of the typing call; empty chooses by business_id"
    )
    business_id: str = Field("", description="`businessid` of a customer-service sub-merchant; most accounts have none")

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
    sweep_seconds: float = Field(1, gt=0, description="How often forgotten conversations are looked for, in seconds")
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

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least important log line shown"
    )

    @field_validator("plugin_folders", "plugins", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secret", "token")
    @classmethod
    def _not_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError("must not be empty: without it anybody could sign as WeChat, or no call would work")
        return value

    @field_validator("aes_key", "previous_aes_key")
    @classmethod
    def _is_aes_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        decode_aes_key(value.get_secret_value())
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

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log's redaction. Never print them."""
        held = (self.secret, self.token, self.aes_key, self.previous_aes_key)
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


def decode_aes_key(encoded: str) -> bytes:
    """The 32-byte AES key in an EncodingAESKey of 43 characters. Raises ValueError.

    Real keys may have unused bits set in their last character, so a strict decoder would refuse them.
    """
    if len(encoded) != 43 or not encoded.isascii() or not encoded.isalnum():
        raise ValueError("must be 43 characters of a-z, A-Z and 0-9, as WeChat's console shows it")
    try:
        return base64.b64decode(encoded + "=")
    except binascii.Error:
        raise ValueError("is not base64") from None


def load_settings(*, env_file: str | None = ".env", **overrides: Any) -> Settings:
    """Settings from the environment, ``.env`` and ``overrides``. Raises ConfigError that lists every problem.

    A ``WXBOT_`` variable that means nothing is a problem too: most likely it is a setting misspelt.
    """
    try:
        problems = _misspelt(_environment(env_file), overrides)
    except UnicodeDecodeError:
        raise ConfigError([f"{env_file} is not UTF-8: save it as UTF-8"]) from None
    try:
        settings = Settings(**{"_env_file": env_file, **overrides})
    except ValidationError as error:
        problems += [_problem(PREFIX, details["loc"], details["msg"]) for details in error.errors()]
    else:
        if not problems:
            return settings
    raise ConfigError(problems)


def load_plugin_settings(plugin: str, model: type[_Model], environ: Mapping[str, str] | None = None) -> _Model:
    """A plugin's own settings: fields of ``model`` from ``WXBOT_PLUGIN_<PLUGIN>_<FIELD>``. Raises ConfigError."""
    prefix = _plugin_prefix(plugin)
    environ = _environment() if environ is None else environ
    values = {field: environ[prefix + field.upper()] for field in _fields(model) if prefix + field.upper() in environ}
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        problems = [_problem(prefix, details["loc"], details["msg"]) for details in error.errors()]
    raise ConfigError(problems)


def misspelt_plugin_settings(
    plugins: Mapping[str, type[Any] | None], environ: Mapping[str, str] | None = None
) -> list[str]:
    """A problem for each ``WXBOT_PLUGIN_…`` variable that no plugin reads. ``plugins``: settings class by name."""
    known = [
        _plugin_prefix(plugin) + field.upper()
        for plugin, model in plugins.items()
        if model is not None
        for field in _fields(model)
    ]
    given = [name for name in (_environment() if environ is None else environ) if name.startswith(PLUGIN_PREFIX)]
    return _unknown(given, [*known, *_names_of_settings()], "is a setting of no plugin that was found")


def _misspelt(environ: Mapping[str, str], overrides: Iterable[str]) -> list[str]:
    names = [
        name
        for name, value in environ.items()
        if name.startswith(PREFIX) and not name.startswith(PLUGIN_PREFIX) and not _is_of_kubernetes(name, value)
    ]
    names += [PREFIX + name.upper() for name in overrides if not name.startswith("_")]
    return _unknown(names, [*_names_of_settings(), *READ_ELSEWHERE], "is not a setting")


def _unknown(names: Iterable[str], known: list[str], problem: str) -> list[str]:
    problems = []
    for name in sorted(set(names).difference(known)):
        similar = difflib.get_close_matches(name, known, 1, cutoff=0.8)
        problems.append(f"{name} {problem}" + "".join(f"; did you mean {other}?" for other in similar))
    return problems


def _names_of_settings() -> list[str]:
    return [PREFIX + name.upper() for name in Settings.model_fields]


def _is_of_kubernetes(name: str, value: str) -> bool:
    if not _OF_KUBERNETES.fullmatch(name.removeprefix(PREFIX)):
        return False
    return name != "WXBOT_PORT" or "://" in value  # a mere number there is somebody who means WXBOT_BIND


def _plugin_prefix(plugin: str) -> str:
    return f"{PLUGIN_PREFIX}{plugin.upper().replace('-', '_')}_"


def _fields(model: type[Any]) -> list[str]:
    """The names by which ``model``, a pydantic model or a dataclass, takes its fields."""
    fields = getattr(model, "model_fields", None)
    if fields is None:
        return [field.name for field in dataclasses.fields(model) if field.init]
    return [field.alias or name for name, field in fields.items()]


def _environment(env_file: str | None = ".env") -> dict[str, str]:
    """The environment laid over ``.env``, as Settings itself reads them: case does not matter in names."""
    in_file = dotenv_values(env_file) if env_file else {}
    given = {name.upper(): value for name, value in in_file.items() if value is not None}
    return given | {name.upper(): value for name, value in os.environ.items()}


def _problem(prefix: str, place: tuple[int | str, ...], message: str) -> str:
    name = prefix + "_".join(str(part) for part in place).upper()
    if message == "Field required":
        return f"{name} is missing"
    message = message.removeprefix("Value error, ")
    return f"{name}: {message}" if place else message  # what concerns several settings names them itself
