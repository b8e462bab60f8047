"""Tests of the settings of plugins: fields from variables and from an account's section."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pydantic
import pytest

from tests.settings.support import SECRET, TOKEN, Environment, empty_environment
from wxbot.errors import ConfigError
from wxbot.settings.plugin_settings import load_plugin_settings, misspelt_plugin_settings

__all__ = ["empty_environment"]


@dataclasses.dataclass
class Shop:
    name: str
    open_hours: float = 8.0
    door: Path = Path("front")
    rooms: int = dataclasses.field(default=1, init=False)


class Bank(pydantic.BaseModel):
    url: pydantic.HttpUrl
    retries: int = pydantic.Field(3, ge=0)
    api_key: pydantic.SecretStr = pydantic.SecretStr("")
    limit: int = pydantic.Field(1, alias="dailyLimit")


def test_fields_get_their_types(empty_environment: Environment) -> None:
    empty_environment.set(plugin_shop_name="Corner", plugin_shop_open_hours="7.5", plugin_shop_door="back")
    assert load_plugin_settings("shop", Shop) == Shop("Corner", 7.5, Path("back"))
    empty_environment.set(plugin_my_bank_url="https://bank", plugin_my_bank_retries="5", plugin_my_bank_dailylimit="9")
    bank = load_plugin_settings("my-bank", Bank)
    assert (str(bank.url), bank.retries, bank.limit) == ("https://bank/", 5, 9)


def test_the_environment_overrides_the_env_file_and_an_account_overrides_both(empty_environment: Environment) -> None:
    empty_environment.write_env_file("WXBOT_PLUGIN_SHOP_NAME=from file", "wxbot_plugin_shop_door=side")
    empty_environment.set(plugin_shop_name="from environment")
    assert load_plugin_settings("shop", Shop) == Shop("from environment", door=Path("side"))
    assert load_plugin_settings("shop", Shop, of_account={"name": "its own"}) == Shop("its own", door=Path("side"))


def test_all_problems_are_named_by_their_source_and_without_secrets(empty_environment: Environment) -> None:
    empty_environment.set(plugin_bank_url=SECRET, plugin_bank_retries=TOKEN)
    with pytest.raises(ConfigError) as caught:
        load_plugin_settings("bank", Bank, of_account={"dailyLimit": TOKEN})
    named = [problem.split(":")[0] for problem in caught.value.problems]
    assert named == ["WXBOT_PLUGIN_BANK_URL", "WXBOT_PLUGIN_BANK_RETRIES", "plugin_settings.bank.dailyLimit"]
    assert not [secret for secret in (SECRET, TOKEN) if secret in str(caught.value)]
    with pytest.raises(ConfigError) as caught:
        load_plugin_settings("shop", Shop)
    assert caught.value.problems == ("WXBOT_PLUGIN_SHOP_NAME is missing",)


def test_two_plugins_with_a_common_prefix_get_their_own_settings() -> None:
    class Strict(pydantic.BaseModel, extra="forbid"):
        name: str

    given = {"WXBOT_PLUGIN_SHOP_NAME": "a", "WXBOT_PLUGIN_SHOP_TWO_NAME": "b"}
    assert load_plugin_settings("shop", Strict, given) == Strict(name="a")
    assert load_plugin_settings("shop-two", Strict, given) == Strict(name="b")
    assert misspelt_plugin_settings({"shop": Strict, "shop-two": Strict}, given) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("WXBOT_PLUGIN_SHOP_NAM", "; did you mean WXBOT_PLUGIN_SHOP_NAME?"),
        ("WXBOT_PLUGIN_SHOPS_NAME", "; did you mean WXBOT_PLUGIN_SHOP_NAME?"),
        ("WXBOT_PLUGIN_SHOP_ROOMS", ""),
        ("WXBOT_PLUGIN_ECHO_LOUD", ""),
        ("WXBOT_PLUGIN_FOLDER", "; did you mean WXBOT_PLUGIN_FOLDERS?"),
    ],
)
def test_a_misspelt_plugin_setting_is_a_problem(name: str, problem: str) -> None:
    found = {"shop": Shop, "echo": None}
    (text,) = misspelt_plugin_settings(found, {name: "x", "WXBOT_PLUGIN_FOLDERS": "here", "WXBOT_PLUGINS": "shop"})
    assert text.startswith(f"{name} is a setting of no plugin that was found")
    assert text.endswith(problem)
