"""Read settings from the environment and from .env; report unknown and misspelt names."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dotenv import dotenv_values
from pydantic import (
    TypeAdapter,
    ValidationError,
)

from wxbot.errors import ConfigError
from wxbot.settings.schema import ACCOUNTS_VARIABLE, MISSING, PLUGIN_PREFIX, PREFIX, Settings, _Model

READ_ELSEWHERE = frozenset({"WXBOT_BIND", ACCOUNTS_VARIABLE})
"""Variables that gunicorn.conf.py and wxbot/settings/accounts_file.py read."""

_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)")
"""Variables that Kubernetes sets in every container if the name of a service begins with ``wxbot``."""


def load_settings(*, env_file: str | None = ".env", **overrides: Any) -> Settings:
    """Return the settings of one account from the environment, ``.env`` and ``overrides``.

    Raises ConfigError that lists every problem. An unknown ``WXBOT_`` variable is a problem too, because most likely it
    is a misspelt setting. ``wxbot.settings.accounts_file.load_accounts`` reads the settings of several accounts.
    """
    problems = misspelt_settings(read_environment(env_file), overrides)
    try:
        settings = Settings(**{"_env_file": env_file, **overrides})
    except ValidationError as error:
        problems += [problem_of(PREFIX, details["loc"], details["msg"]) for details in error.errors()]
    else:
        if not problems:
            return settings
    raise ConfigError(problems)


def load_plugin_settings(
    plugin: str,
    model: type[_Model],
    environ: Mapping[str, str] | None = None,
    of_account: Mapping[str, Any] | None = None,
) -> _Model:
    """Return a plugin's own settings: fields of ``model`` from ``WXBOT_PLUGIN_<PLUGIN>_<FIELD>``. Raises ConfigError.

    ``of_account``: values of one account of several, by field. They override the environment.
    """
    prefix, own = _plugin_prefix(plugin), dict(of_account or {})
    environ = read_environment() if environ is None else environ
    values = {field: environ[prefix + field.upper()] for field in _fields(model) if prefix + field.upper() in environ}
    try:
        return TypeAdapter(model).validate_python({**values, **own})
    except ValidationError as error:
        problems = [
            f"plugin_settings.{plugin}.{'.'.join(map(str, details['loc']))}: {plain(details['msg'])}"
            if details["loc"] and details["loc"][0] in own
            else problem_of(prefix, details["loc"], details["msg"])
            for details in error.errors()
        ]
    raise ConfigError(problems)


def unknown_plugin_settings(
    given: Mapping[str, Mapping[str, Any]], plugins: Mapping[str, type[Any] | None]
) -> list[str]:
    """Return a problem for each of an account's plugin settings that no plugin reads.

    ``given``: the settings by plugin and field. ``plugins``: the settings class of each plugin by its name.
    """
    known = [
        f"plugin_settings.{plugin}.{field}"
        for plugin, model in plugins.items()
        if model is not None
        for field in _fields(model)
    ]
    names = [f"plugin_settings.{plugin}.{field}" for plugin, values in given.items() for field in values]
    return unknown_names(names, known, "is a setting of no plugin that was found")


def misspelt_plugin_settings(
    plugins: Mapping[str, type[Any] | None], environ: Mapping[str, str] | None = None
) -> list[str]:
    """Return a problem for each ``WXBOT_PLUGIN_…`` variable that no plugin reads.

    ``plugins``: the settings class of each plugin by its name.
    """
    known = [
        _plugin_prefix(plugin) + field.upper()
        for plugin, model in plugins.items()
        if model is not None
        for field in _fields(model)
    ]
    given = [name for name in (read_environment() if environ is None else environ) if name.startswith(PLUGIN_PREFIX)]
    return unknown_names(given, [*known, *_names_of_settings()], "is a setting of no plugin that was found")


def misspelt_settings(environ: Mapping[str, str], overrides: Iterable[str]) -> list[str]:
    """Return a problem for each ``WXBOT_`` variable, and each override, that is not a setting."""
    names = [
        name
        for name, value in environ.items()
        if name.startswith(PREFIX) and not name.startswith(PLUGIN_PREFIX) and not _is_of_kubernetes(name, value)
    ]
    names += [PREFIX + name.upper() for name in overrides if not name.startswith("_")]
    return unknown_names(names, [*_names_of_settings(), *READ_ELSEWHERE], "is not a setting")


def unknown_names(names: Iterable[str], known: Sequence[str], problem: str) -> list[str]:
    """Return ``problem`` for each of ``names`` that is not ``known``, with the most similar known name, if any."""
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
    return name != "WXBOT_PORT" or "://" in value  # a plain number is not from Kubernetes: the user means WXBOT_BIND


def _plugin_prefix(plugin: str) -> str:
    return f"{PLUGIN_PREFIX}{plugin.upper().replace('-', '_')}_"


def _fields(model: type[Any]) -> list[str]:
    """Return the names with which the fields of ``model``, a pydantic model or a dataclass, are given."""
    fields = getattr(model, "model_fields", None)
    if fields is None:
        return [field.name for field in dataclasses.fields(model) if field.init]
    return [field.alias or name for name, field in fields.items()]


def read_environment(env_file: str | None = ".env") -> dict[str, str]:
    """Return the variables of ``.env`` and of the environment, which overrides it, with names in capitals.

    ``Settings`` reads them in the same way. Raises ConfigError if the file is not UTF-8.
    """
    try:
        in_file = dotenv_values(env_file) if env_file else {}
    except UnicodeDecodeError:
        raise ConfigError([f"{env_file} is not UTF-8: save it as UTF-8"]) from None
    given = {name.upper(): value for name, value in in_file.items() if value is not None}
    return given | {name.upper(): value for name, value in os.environ.items()}


def problem_of(prefix: str, location: tuple[int | str, ...], message: str) -> str:
    """Return the text of a problem that pydantic found. ``prefix``: the beginning of the variable's name.

    ``location``: the setting and the position in its value; empty for a problem of several settings together.
    """
    name = prefix + "_".join(str(part) for part in location).upper()
    message = plain(message)
    if message == MISSING:
        return f"{name} is missing"
    return f"{name}: {message}" if location else message  # a message about several settings names them itself


def plain(message: str) -> str:
    """Return the message of a ValueError without the prefix that pydantic adds."""
    return message.removeprefix("Value error, ")
