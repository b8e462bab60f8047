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
"""Variables that other modules read: gunicorn.conf.py and wxbot/settings/accounts_file.py."""

_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)")
"""What Kubernetes puts into every container beside a service whose name begins with ``wxbot``."""


def load_settings(*, env_file: str | None = ".env", **overrides: Any) -> Settings:
    """Settings from the environment, ``.env`` and ``overrides``. Raises ConfigError that lists every problem.

    A ``WXBOT_`` variable that means nothing is a problem too: most likely it is a setting misspelt. These are the
    settings of one account: ``wxbot.settings.accounts_file.load_accounts`` knows of several.
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
    """A plugin's own settings: fields of ``model`` from ``WXBOT_PLUGIN_<PLUGIN>_<FIELD>``. Raises ConfigError.

    ``of_account`` is what one account of several sets for itself, by field: it wins.
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
    """A problem for each of an account's own plugin settings that no plugin reads. ``plugins``: class by name."""
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
    """A problem for each ``WXBOT_PLUGIN_…`` variable that no plugin reads. ``plugins``: settings class by name."""
    known = [
        _plugin_prefix(plugin) + field.upper()
        for plugin, model in plugins.items()
        if model is not None
        for field in _fields(model)
    ]
    given = [name for name in (read_environment() if environ is None else environ) if name.startswith(PLUGIN_PREFIX)]
    return unknown_names(given, [*known, *_names_of_settings()], "is a setting of no plugin that was found")


def misspelt_settings(environ: Mapping[str, str], overrides: Iterable[str]) -> list[str]:
    """A problem for each ``WXBOT_`` variable, and each override, that is no setting."""
    names = [
        name
        for name, value in environ.items()
        if name.startswith(PREFIX) and not name.startswith(PLUGIN_PREFIX) and not _is_of_kubernetes(name, value)
    ]
    names += [PREFIX + name.upper() for name in overrides if not name.startswith("_")]
    return unknown_names(names, [*_names_of_settings(), *READ_ELSEWHERE], "is not a setting")


def unknown_names(names: Iterable[str], known: Sequence[str], problem: str) -> list[str]:
    """``problem`` for each of ``names`` that is not ``known``, with what was meant as far as it can be guessed."""
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


def read_environment(env_file: str | None = ".env") -> dict[str, str]:
    """The environment laid over ``.env``, as Settings itself reads them: names in capitals. Raises ConfigError."""
    try:
        in_file = dotenv_values(env_file) if env_file else {}
    except UnicodeDecodeError:
        raise ConfigError([f"{env_file} is not UTF-8: save it as UTF-8"]) from None
    given = {name.upper(): value for name, value in in_file.items() if value is not None}
    return given | {name.upper(): value for name, value in os.environ.items()}


def problem_of(prefix: str, place: tuple[int | str, ...], message: str) -> str:
    """A problem that pydantic found, in our words; ``prefix`` is of the variable's name."""
    name = prefix + "_".join(str(part) for part in place).upper()
    message = plain(message)
    if message == MISSING:
        return f"{name} is missing"
    return f"{name}: {message}" if place else message  # what concerns several settings names them itself


def plain(message: str) -> str:
    """Pydantic's message without what it puts before ours."""
    return message.removeprefix("Value error, ")
