"""Several accounts in one deployment: ``WXBOT_ACCOUNTS`` names a TOML file such as examples/accounts.toml.

A section holds what belongs to one account, under the names of the settings in lower case. What concerns the whole
process comes from the environment, as do the defaults of everything else. No secret stands in the file: ``${NAME}``
takes the value of an environment variable. Without ``WXBOT_ACCOUNTS`` there is one account, all from the environment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from wxbot.errors import ConfigError, PluginError
from wxbot.settings.environment import (
    load_settings,
    misspelt_settings,
    plain,
    problem_of,
    read_environment,
    unknown_names,
)
from wxbot.settings.schema import ACCOUNTS_VARIABLE, CALLBACK_PATH, MISSING, PREFIX, Settings

OWN = frozenset({"appid", "secret", "token", "aes_key", "previous_aes_key", "send_key", "business_id", "callback_path"})
"""Settings that two accounts never share: beside the file, the environment must not have them."""

SHARED = frozenset(
    {
        "store_url",
        "broker_url",
        "sqlite_synchronous",
        "redis_replicas",
        "role",
        "lease_seconds",
        "poll_seconds",
        "drain_seconds",
        "api_timeout",
        "max_conversations",
        "max_body_bytes",
        "log_level",
    }
)
"""Settings of the whole process: the file must not have them. gunicorn.conf.py reads some of them as well."""

SHORT_NAMES: Mapping[str, str] = {"kind": "account_kind"}
PLUGIN_SETTINGS = "plugin_settings"

_NAME = re.compile(r"[a-z0-9_-]+")
_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELDS = [name for name in Settings.model_fields if name not in SHARED | {"callback_path"}]
_KEYS = [*_FIELDS, *SHORT_NAMES, PLUGIN_SETTINGS]
_SECRETS = frozenset(
    name
    for name, each in Settings.model_fields.items()
    if each.annotation is SecretStr or SecretStr in get_args(each.annotation)
)
_FLAGS = frozenset(name for name, each in Settings.model_fields.items() if each.annotation is bool)


def load_accounts(*, env_file: str | None = ".env", **overrides: Any) -> dict[str, Settings]:
    """The settings of every account by its name, in the file's order; without ``WXBOT_ACCOUNTS`` of one, named "".

    ``overrides`` are settings of the whole process, or, without a file, any. Raises ConfigError with every problem of
    every section; a secret's value is in none of them.
    """
    environ = read_environment(env_file)
    path = environ.get(ACCOUNTS_VARIABLE, "").strip()
    if not path:
        return {"": load_settings(env_file=env_file, **overrides)}
    return _AccountsFile(path, environ, env_file, overrides).accounts()


def all_secrets(accounts: Mapping[str, Settings]) -> tuple[str, ...]:
    """Every secret value of every account, for the log's redaction. Never print them."""
    return tuple(secret for settings in accounts.values() for secret in settings.secrets())


@dataclass(slots=True)
class _Section:
    """One account as it stands in the file: ``given`` by setting, ``written`` as which key each was written."""

    name: str
    place: str
    given: dict[str, Any] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    plugin_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    """Settings with a problem already: they are not looked at again."""

    def refuse(self, key: str, problem: str) -> None:
        """``problem`` begins with what follows the key, such as ``: must not be empty``."""
        self.problems.append(f"{self.place} {key}{problem}")
        self.told.add(SHORT_NAMES.get(key, key))


class _AccountsFile:
    """Reads the file; all problems are collected, and told together in the end."""

    def __init__(
        self, path: str, environ: Mapping[str, str], env_file: str | None, overrides: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._environ = environ
        self._env_file = env_file
        self._overrides = overrides
        self._referenced: set[str] = set()

    def accounts(self) -> dict[str, Settings]:
        """Raises ConfigError."""
        tables = _tables(self._path)
        problems = [f"{self._path}: {problem}" for problem in _misplaced(tables)]
        sections = [
            self._section(name, table)
            for name, table in tables.items()
            if isinstance(table, dict) and _NAME.fullmatch(name)
        ]
        _refuse_twins(sections)
        problems += self._problems_of_the_environment()
        made = {section.name: self._settings(section) for section in sections}
        problems += [problem for section in sections for problem in section.problems]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))  # what is wrong in the environment is so for each account
        return {name: settings for name, settings in made.items() if settings is not None}

    def _problems_of_the_environment(self) -> list[str]:
        left = {name: value for name, value in self._environ.items() if name not in self._referenced}
        return misspelt_settings(left, self._overrides) + [
            _not_beside(self._path, name) for name in Settings.model_fields if name in OWN and self._is_set(name)
        ]

    def _is_set(self, name: str) -> bool:
        return bool(self._environ.get(PREFIX + name.upper(), "").strip())

    # One section

    def _section(self, name: str, table: Mapping[str, Any]) -> _Section:
        section = _Section(name, f"{self._path} [{name}]")
        for key, value in table.items():
            if key == PLUGIN_SETTINGS:
                section.plugin_settings = self._plugin_settings(section, value)
            elif self._is_allowed(section, key):
                self._take(section, key, value)
        return section

    def _is_allowed(self, section: _Section, key: str) -> bool:
        name = SHORT_NAMES.get(key, key)
        if name in SHARED:
            section.refuse(key, f" concerns the whole process: set {PREFIX}{name.upper()} in the environment")
        elif name == "callback_path":
            section.refuse(key, f" is {CALLBACK_PATH}/{section.name}, by the section's name; leave it out")
        elif name not in _FIELDS:
            similar = unknown_names([key.lower().removeprefix("wxbot_")], _KEYS, "is not a setting of an account")
            section.refuse(key, _after_name(similar) or " is not a setting; names are in lower case here")
        elif name in section.written:
            section.refuse(key, f" and {section.written[name]} are the same setting; write it once")
        else:
            return True
        return False

    def _take(self, section: _Section, key: str, value: Any) -> None:
        name = SHORT_NAMES.get(key, key)
        section.written[name] = key
        if name in _SECRETS and not _is_reference(value):
            variable = f"{section.name}_{name}".upper().replace("-", "_")
            section.refuse(
                key,
                " must not stand in the file, which is no place for secrets: "
                f'write {key} = "${{{variable}}}" and set {variable} in the environment',
            )
        elif isinstance(value, bool) and name not in _FLAGS:
            section.refuse(key, ": true and false mean nothing here")
        elif name == "plugins" and value == []:
            section.refuse(key, ": must not be empty; leave it out for all plugins")
        else:
            section.given[name] = self._filled(section, key, value)

    def _plugin_settings(self, section: _Section, value: Any) -> Mapping[str, Mapping[str, Any]]:
        if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
            section.refuse(PLUGIN_SETTINGS, f": write a section [{section.name}.{PLUGIN_SETTINGS}.NAME] for a plugin")
            return {}
        return {
            plugin: {
                key: self._filled(section, f"{PLUGIN_SETTINGS}.{plugin}.{key}", each) for key, each in fields.items()
            }
            for plugin, fields in value.items()
        }

    def _filled(self, section: _Section, key: str, value: Any) -> Any:
        """``value`` with every ``${NAME}`` in it replaced; what cannot be is a problem of the section's."""
        if isinstance(value, dict):
            return {name: self._filled(section, key, each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._filled(section, key, each) for each in value]
        if not isinstance(value, str):
            return value

        def value_of(found: re.Match[str]) -> str:
            escaped, name = found.groups()
            if escaped:
                return found[0].removeprefix("$")
            if not _VARIABLE.fullmatch(name):
                section.refuse(key, ": between ${ and } stands the name of an environment variable")
                return ""
            self._referenced.add(name.upper())
            if name.upper() not in self._environ:
                section.refuse(key, f": {name} is not set in the environment")
                return ""
            return self._environ[name.upper()]

        return _REFERENCE.sub(value_of, value)

    def _settings(self, section: _Section) -> Settings | None:
        # Whatever belongs to one account is given here, so that none of it is taken from the environment.
        unset = {name: Settings.model_fields[name].default for name in OWN}
        values = {**unset, "appid": "", **section.given, **self._overrides}
        try:
            made = Settings(**{**values, "_env_file": self._env_file})
        except ValidationError as error:
            for details in error.errors():
                self._refuse(section, details["loc"], details["msg"])
            return None
        return made.of_account(section.name, section.plugin_settings, section.written)

    def _refuse(self, section: _Section, place: tuple[int | str, ...], message: str) -> None:
        name = str(place[0]) if place else ""
        if name in section.told:
            return
        if name in section.given:
            inside = "".join(f"[{part}]" for part in place[1:])
            section.refuse(section.written[name], f"{inside}: {plain(message)}")
        elif plain(message) == MISSING or name == "appid":
            section.refuse(name, " is missing")
        else:
            section.problems.append(problem_of(PREFIX, place, message))


def _tables(path: str) -> dict[str, Any]:
    """What the file says. Raises ConfigError."""
    try:
        tables = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; {ACCOUNTS_VARIABLE} names it"
    except UnicodeDecodeError:
        problem = "is not UTF-8: save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}{_about_names(path, str(error))}"
    except RecursionError:
        problem = "is no file of accounts: its brackets are nested too deeply"
    except ValueError:  # a number of thousands of digits
        problem = "is no file of accounts: it holds a number that is far too long"
    else:
        if tables:
            return tables
        problem = "has no account in it: write a section such as [orders] for each one"
    raise ConfigError([f"{path} {problem}"])


def _about_names(path: str, error: str) -> str:
    """What to know of names where the line that ``error`` tells of holds one."""
    found = re.search(r"at line (\d+)", error)
    lines = Path(path).read_bytes().decode("utf-8-sig").split("\n")
    line = lines[int(found[1]) - 1] if found and int(found[1]) <= len(lines) else ""
    if not line.lstrip().startswith("["):
        return ""
    return "; an account's name is of lower-case letters, digits, - and _, such as [club-house]"


def _misplaced(tables: Mapping[str, Any]) -> Iterator[str]:
    for name, table in tables.items():
        if isinstance(table, list) and table and all(isinstance(each, dict) for each in table):
            yield f"[[{name}]] has a pair of brackets too many; write [{name}]"
        elif not isinstance(table, dict):
            yield f"{name} stands in no section; write it below the name of its account, such as [orders]"
        elif not _NAME.fullmatch(name):
            yield f"[{name}] is no name for an account: it is a part of addresses, so use a-z, 0-9, - and _ only"


def _refuse_twins(sections: list[_Section]) -> None:
    """Two bots of one account in one process would take each other's messages."""
    first: dict[str, str] = {}
    for section in sections:
        appid = section.given.get("appid")
        if not isinstance(appid, str) or not appid:
            continue
        same = appid.strip().casefold()  # the same in another case is a slip of the pen
        if same in first:
            section.refuse(section.written["appid"], f" is that of [{first[same]}] as well; write one section only")
        first.setdefault(same, section.name)


def _not_beside(path: str, name: str) -> str:
    variable = PREFIX + name.upper()
    if name == "callback_path":
        return f"{variable} must not be set beside {ACCOUNTS_VARIABLE}: the paths are {CALLBACK_PATH}/ and a name"
    return f"{variable} must not be set beside {ACCOUNTS_VARIABLE}: write {name} into its account's section of {path}"


def _is_reference(value: Any) -> bool:
    """Whether a secret is nothing but a reference, or nothing at all."""
    if not isinstance(value, str):
        return False
    found = _REFERENCE.fullmatch(value)
    return not value or (found is not None and not found[1])


def _after_name(problems: list[str]) -> str:
    return "".join(problem[problem.index(" is ") :] for problem in problems)


def problems_of(settings: Settings, error: ConfigError | PluginError) -> list[str]:
    """What is wrong with one account of several, with its name in front and by the keys of its section."""
    told = error.problems if isinstance(error, ConfigError) else [str(error)]
    return [_by_key(f"[{settings.account}] {problem}", settings) for problem in told]


def _by_key(problem: str, settings: Settings) -> str:
    """``problem`` with the keys of the account's section in place of the variables that it does not use."""
    for name, key in settings.written.items():
        problem = re.sub(rf"\bWXBOT_{name.upper()}\b", key, problem)
    return problem
