"""Read the settings from the environment, ``.env`` and the accounts file, and report all problems at once."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import ValidationError

from wxbot.errors import ConfigError
from wxbot.settings.accounts_file import AccountsFile, Section
from wxbot.settings.problems import invalid_value, unknown_names
from wxbot.settings.schema import (
    ACCOUNT_SETTINGS,
    ACCOUNTS_VARIABLE,
    PLUGIN_PREFIX,
    PREFIX,
    PROCESS_SETTINGS,
    AccountSettings,
    ProcessSettings,
    Settings,
)

Whole = TypeVar("Whole", AccountSettings, ProcessSettings)

READ_ELSEWHERE = frozenset({"WXBOT_BIND", ACCOUNTS_VARIABLE})
"""Variables that gunicorn.conf.py and ``load_settings`` read."""

VARIABLES = tuple(setting.variable for setting in (*ACCOUNT_SETTINGS.values(), *PROCESS_SETTINGS.values()))
"""The names of all settings in the environment."""

_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)")
"""Variables that Kubernetes sets in every container if the name of a service begins with ``wxbot``."""


def load_settings(*, env_file: str | None = ".env", **overrides: Any) -> Settings:
    """Return the settings from the environment, ``.env``, ``overrides``, and the accounts file if there is one.

    ``overrides``: values by setting, in lower case, such as ``log_level="ERROR"``; they replace variables, so that
    ``accounts=""`` turns the accounts file off. Raises ConfigError that lists every problem and contains no secret. An
    unknown ``WXBOT_`` variable is a problem too, because most likely it is a misspelt setting.
    """
    environ = read_environment(env_file)
    variables = {**environ, **{PREFIX + name.upper(): value for name, value in overrides.items()}}
    given = {name.removeprefix(PREFIX).lower(): variables[name] for name in VARIABLES if name in variables}
    path = str(variables.get(ACCOUNTS_VARIABLE, "")).strip()
    file = AccountsFile(path, environ) if path else None
    problems = _misspelt(variables, file.referenced if file else ())
    problems += file.problems_with(given) if file else []
    process = _filled(ProcessSettings, given, Section("", problems=problems))
    accounts = {}
    for section in file.sections if file else [Section("", given=given)]:
        facts = {"name": section.name, "keys": section.keys, "plugin_settings": section.plugin_settings}
        values = {**_defaults(given), **section.given}
        accounts[section.name] = _filled(AccountSettings, values, section, **facts)
        problems += section.problems
    if process is None or problems:
        raise ConfigError(list(dict.fromkeys(problems)))  # each account repeats the problems of the defaults
    return Settings(process, {name: account for name, account in accounts.items() if account is not None})


def read_environment(env_file: str | None = ".env") -> dict[str, str]:
    """Return the variables of ``.env`` and of the environment, which overrides it, with names in capitals.

    Raises ConfigError if the file is not UTF-8.
    """
    try:
        in_file = dotenv_values(env_file) if env_file else {}
    except UnicodeDecodeError:
        raise ConfigError([f"{env_file} is not UTF-8: save it as UTF-8"]) from None
    given = {name.upper(): value for name, value in in_file.items() if value is not None}
    return given | {name.upper(): value for name, value in os.environ.items()}


def _filled(model: type[Whole], given: Mapping[str, Any], section: Section, **facts: Any) -> Whole | None:
    """Return ``model`` with its groups filled from ``given``; None if a value is a problem, which ``section`` gets.

    Each group takes the values of its own settings. ``facts``: the fields of ``model`` that are no groups.
    """
    groups = dict.fromkeys(model.model_fields.keys() - facts.keys(), given)
    try:
        return model.model_validate({**facts, **groups}, context=given)
    except ValidationError as error:
        for details in error.errors():
            name = str(details["loc"][1]) if details["loc"] else ""
            if name not in section.refused:
                problem = invalid_value(section.title_of(name), details["loc"][2:], details["msg"])
                section.problems.append(problem)
    return None


def _defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``given`` that apply to every account."""
    return {name: given[name] for name in given.keys() & ACCOUNT_SETTINGS if not ACCOUNT_SETTINGS[name].is_own}


def _misspelt(variables: Mapping[str, Any], referenced: Collection[str]) -> list[str]:
    ours = [
        name
        for name in variables
        if name.startswith(PREFIX) and not name.startswith(PLUGIN_PREFIX) and not _is_of_kubernetes(name, variables)
    ]
    return unknown_names(set(ours).difference(referenced), [*VARIABLES, *READ_ELSEWHERE], "is not a setting")


def _is_of_kubernetes(name: str, variables: Mapping[str, Any]) -> bool:
    if not _OF_KUBERNETES.fullmatch(name.removeprefix(PREFIX)):
        return False
    # A plain number is not from Kubernetes: the user means WXBOT_BIND.
    return name != "WXBOT_PORT" or "://" in str(variables[name])
