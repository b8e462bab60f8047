"""The environment of a settings test, and helpers that load settings and compare problems."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from wxbot.errors import ConfigError
from wxbot.settings.environment import load_settings
from wxbot.settings.schema import Settings

SECRET = "5ecretValue0123456789abcdef"
TOKEN = "t0kenValueABCDEF"
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
PREVIOUS_AES_KEY = "ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210abcdefg"
CLUB_SECRET = "club5ecret0123456789"
CLUB_TOKEN = "clubT0ken"
SECRETS = (SECRET, TOKEN, AES_KEY, PREVIOUS_AES_KEY, CLUB_SECRET, CLUB_TOKEN)


class Environment:
    """The environment of one test: an empty folder and no variables of wxbot."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.patch = patch
        self.folder = folder
        for name in [name for name in os.environ if name.upper().startswith("WXBOT_")]:
            patch.delenv(name)
        patch.chdir(folder)

    def set(self, **values: str) -> None:
        """Set variables: ``appid="wx1"`` sets WXBOT_APPID."""
        self.set_variables({f"WXBOT_{name.upper()}": value for name, value in values.items()})

    def set_variables(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            self.patch.setenv(name, value)

    def write_env_file(self, *lines: str) -> None:
        (self.folder / ".env").write_text("\n".join(lines), encoding="utf-8")

    def write_accounts(self, *text: str) -> None:
        """Write accounts.toml, and set WXBOT_ACCOUNTS."""
        (self.folder / "accounts.toml").write_text("\n".join(text), encoding="utf-8")
        self.set(accounts="accounts.toml")


@pytest.fixture
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    return Environment(monkeypatch, tmp_path)


def values(settings: Settings, account: str = "") -> dict[str, Any]:
    """Return the values of the process and of one account by the flat names of the settings."""
    wholes = (settings.process, settings.accounts[account])
    groups = [group for whole in wholes for _, group in whole if isinstance(group, BaseModel)]
    return {
        str(field.validation_alias or name): getattr(group, name)
        for group in groups
        for name, field in type(group).model_fields.items()
    }


def load(account: str = "", **overrides: Any) -> dict[str, Any]:
    """Load the settings, and return the values by flat name."""
    return values(load_settings(**overrides), account)


def problems(**overrides: Any) -> list[str]:
    """Load the settings, and return the problems. Check that no secret is in the error."""
    with pytest.raises(ConfigError) as caught:
        load_settings(**overrides)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(caught.value.args)
    assert [secret for secret in SECRETS if secret in text] == []
    return list(caught.value.problems)
