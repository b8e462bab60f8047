"""Settings from the environment and ``.env``: read once, checked as a whole, secrets printed as ``***``.

Every setting is an environment variable with the prefix ``WXBOT_``. docs/configuration.md has them in one table, which
a test holds against this class.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from dotenv import dotenv_values
from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from wxbot.errors import ConfigError

PREFIX = "WXBOT_"
PLUGIN_PREFIX = "WXBOT_PLUGIN_"

_Names = Annotated[tuple[str, ...], NoDecode]
_Paths = Annotated[tuple[Path, ...], NoDecode]


_Model = TypeVar("_Model")


class Settings(BaseSettings):
    """Everything a deployment can choose. Build it with ``load_settings`` to get all problems in one ConfigError."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
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
        1.5, ge=0, lt=30, description="Stop this many seconds before the 30-second window shuts"
    )

    # The work
    store_url: str = Field("sqlite:///wxbot.db", description="Where the inbox lives: `sqlite:///PATH`")
    sqlite_synchronous: Literal["full", "normal"] = Field(
        "full", description="`full` survives a power loss, `normal` only the death of the process"
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
        if not value.startswith("sqlite:///") or value == "sqlite:///":
            raise ValueError("is not an address wxbot knows; write sqlite:///PATH, such as sqlite:////var/lib/wxbot.db")
        return value

    def secrets(self) -> tuple[str, ...]:
        """Every secret value, for the log's redaction. Never print them."""
        held = (self.secret, self.token, self.aes_key, self.previous_aes_key)
        return tuple(secret.get_secret_value() for secret in held if secret is not None)


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


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, ``.env`` and ``overrides``. Raises ConfigError that lists every problem."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = [_problem(PREFIX, details["loc"], details["msg"]) for details in error.errors()]
    raise ConfigError(problems)


def load_plugin_settings(plugin: str, model: type[_Model], environ: Mapping[str, str] | None = None) -> _Model:
    """A plugin's own settings: fields of ``model`` from ``WXBOT_PLUGIN_<PLUGIN>_<FIELD>``. Raises ConfigError."""
    prefix = f"{PLUGIN_PREFIX}{plugin.upper().replace('-', '_')}_"
    values = {
        name.removeprefix(prefix).lower(): value
        for name, value in (_environment() if environ is None else environ).items()
        if name.startswith(prefix)
    }
    try:
        return TypeAdapter(model).validate_python(values)
    except ValidationError as error:
        problems = [_problem(prefix, details["loc"], details["msg"]) for details in error.errors()]
    raise ConfigError(problems)


def _environment() -> dict[str, str]:
    """The environment laid over ``.env``, as Settings itself reads them."""
    in_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return in_file | dict(os.environ)


def _problem(prefix: str, place: tuple[int | str, ...], message: str) -> str:
    name = prefix + "_".join(str(part) for part in place).upper()
    if message == "Field required":
        return f"{name} is missing"
    return f"{name}: {message.removeprefix('Value error, ')}"
