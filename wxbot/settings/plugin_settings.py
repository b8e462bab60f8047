"""Read the settings of plugins, and report those that no plugin reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from wxbot.errors import ConfigError
from wxbot.settings.environment import VARIABLES, read_environment
from wxbot.settings.problems import invalid_value, unknown_names
from wxbot.settings.schema import PLUGIN_PREFIX

_Model = TypeVar("_Model")
_READ_BY_NONE = "is a setting of no plugin that was found"


def load_plugin_settings(
    plugin: str,
    model: type[_Model],
    environ: Mapping[str, str] | None = None,
    of_account: Mapping[str, Any] | None = None,
) -> _Model:
    """Return a plugin's own settings: fields of ``model`` from ``WXBOT_PLUGIN_<PLUGIN>_<FIELD>``. Raises ConfigError.

    ``of_account``: values of one account of several, by field. They override the environment.
    """
    own = of_account or {}
    environ = read_environment() if environ is None else environ
    variables = {field: _variable(plugin, field) for field in _fields(model)}
    values = {field: environ[name] for field, name in variables.items() if name in environ}
    try:
        return TypeAdapter(model).validate_python({**values, **own})
    except ValidationError as error:
        problems = []
        for details in error.errors():
            field = str(details["loc"][0]) if details["loc"] else ""
            name = f"plugin_settings.{plugin}.{field}" if field in own else _variable(plugin, field)
            problems.append(invalid_value(name, details["loc"][1:], details["msg"]))
    raise ConfigError(problems)


def unknown_plugin_settings(
    given: Mapping[str, Mapping[str, Any]], plugins: Mapping[str, type[Any] | None]
) -> list[str]:
    """Return a problem for each of an account's plugin settings that no plugin reads.

    ``given``: the settings by plugin and field. ``plugins``: the settings class of each plugin by its name.
    """
    known = [f"plugin_settings.{plugin}.{field}" for plugin, field in _all_fields(plugins)]
    names = [f"plugin_settings.{plugin}.{field}" for plugin, values in given.items() for field in values]
    return unknown_names(names, known, _READ_BY_NONE)


def misspelt_plugin_settings(
    plugins: Mapping[str, type[Any] | None], environ: Mapping[str, str] | None = None
) -> list[str]:
    """Return a problem for each ``WXBOT_PLUGIN_…`` variable that no plugin reads.

    ``plugins``: the settings class of each plugin by its name.
    """
    known = [_variable(plugin, field) for plugin, field in _all_fields(plugins)]
    given = [name for name in (read_environment() if environ is None else environ) if name.startswith(PLUGIN_PREFIX)]
    return unknown_names(given, [*known, *VARIABLES], _READ_BY_NONE)


def _variable(plugin: str, field: str) -> str:
    return f"{PLUGIN_PREFIX}{plugin.replace('-', '_')}_{field}".upper()


def _all_fields(plugins: Mapping[str, type[Any] | None]) -> list[tuple[str, str]]:
    return [(plugin, field) for plugin, model in plugins.items() if model is not None for field in _fields(model)]


def _fields(model: type[Any]) -> list[str]:
    """Return the names with which the fields of ``model``, a pydantic model or a dataclass, are given."""
    fields = getattr(model, "model_fields", None)
    if fields is None:
        return [field.name for field in dataclasses.fields(model) if field.init]
    return [field.alias or name for name, field in fields.items()]
