"""Several accounts in one deployment: ``WXBOT_ACCOUNTS`` names a TOML file such as examples/accounts.toml.

A section contains the settings of one account, with their names in lower case. Settings of the whole process come from
the environment, and so do the defaults of the other settings. Secrets must not be in the file: ``${NAME}`` is replaced
by the value of an environment variable. Without ``WXBOT_ACCOUNTS`` there is one account, and all its settings come from
the environment.
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
"""Settings of one account that are never shared. If there is a file, they must not be in the environment."""

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
"""Settings of the whole process. They must not be in the file. gunicorn.conf.py reads some of them too."""

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
    """Return the settings of every account by its name, in the file's order; without a file, of one account named "".

    ``overrides``: settings of the whole process, or any settings if there is no file. Raises ConfigError with the
    problems of all sections, which contain no secret.
    """
    environ = read_environment(env_file)
    path = environ.get(ACCOUNTS_VARIABLE, "").strip()
    if not path:
        return {"": load_settings(env_file=env_file, **overrides)}
    return _AccountsFile(path, environ, env_file, overrides).accounts()


def all_secrets(accounts: Mapping[str, Settings]) -> tuple[str, ...]:
    """Return every secret value of every account, for the redaction of log lines. Never print them."""
    return tuple(secret for settings in accounts.values() for secret in settings.secrets())


@dataclass(slots=True)
class _Section:
    """A section of the file: one account. ``label`` names the file and the section in error texts."""

    name: str
    label: str
    given: dict[str, Any] = field(default_factory=dict)
    """The values by setting."""
    written: dict[str, str] = field(default_factory=dict)
    """The key of each setting in the file, which may be a short name."""
    plugin_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Settings that have a problem already. Further problems of these settings are not reported."""

    def refuse(self, key: str, problem: str) -> None:
        """Add a problem of ``key``. ``problem`` is the text after the key, such as ``: must not be empty``."""
        self.problems.append(f"{self.label} {key}{problem}")
        self.refused.add(SHORT_NAMES.get(key, key))


class _AccountsFile:
    """A reader of the file. It collects all problems and reports them together."""

    def __init__(
        self, path: str, environ: Mapping[str, str], env_file: str | None, overrides: Mapping[str, Any]
    ) -> None:
        self._path = path
        self._environ = environ
        self._env_file = env_file
        self._overrides = overrides
        self._referenced: set[str] = set()

    def accounts(self) -> dict[str, Settings]:
        """Return the settings of every account by its name. Raises ConfigError."""
        tables = _tables(self._path)
        problems = [f"{self._path}: {problem}" for problem in _wrong_sections(tables)]
        sections = [
            self._section(name, table)
            for name, table in tables.items()
            if isinstance(table, dict) and _NAME.fullmatch(name)
        ]
        _refuse_duplicate_appids(sections)
        problems += self._environment_problems()
        made = {section.name: self._settings(section) for section in sections}
        problems += [problem for section in sections for problem in section.problems]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))  # each account repeats the problems of the environment
        return {name: settings for name, settings in made.items() if settings is not None}

    def _environment_problems(self) -> list[str]:
        unreferenced = {name: value for name, value in self._environ.items() if name not in self._referenced}
        return misspelt_settings(unreferenced, self._overrides) + [
            _set_in_environment(self._path, name)
            for name in Settings.model_fields
            if name in OWN and self._is_set(name)
        ]

    def _is_set(self, name: str) -> bool:
        return bool(self._environ.get(PREFIX + name.upper(), "").strip())

    # One section

    def _section(self, name: str, table: Mapping[str, Any]) -> _Section:
        section = _Section(name, label=f"{self._path} [{name}]")
        for key, value in table.items():
            if key == PLUGIN_SETTINGS:
                section.plugin_settings = self._plugin_settings(section, value)
            elif self._is_allowed(section, key):
                self._read_value(section, key, value)
        return section

    def _is_allowed(self, section: _Section, key: str) -> bool:
        name = SHORT_NAMES.get(key, key)
        if name in SHARED:
            section.refuse(key, f" is a setting of the whole process: set {PREFIX}{name.upper()} in the environment")
        elif name == "callback_path":
            section.refuse(key, f" is always {CALLBACK_PATH}/{section.name}, from the section's name: leave it out")
        elif name not in _FIELDS:
            similar = unknown_names([key.lower().removeprefix("wxbot_")], _KEYS, "is not a setting of an account")
            section.refuse(key, _after_name(similar) or " is not a setting: write names in lower case")
        elif name in section.written:
            section.refuse(key, f" and {section.written[name]} are the same setting: write it once")
        else:
            return True
        return False

    def _read_value(self, section: _Section, key: str, value: Any) -> None:
        name = SHORT_NAMES.get(key, key)
        section.written[name] = key
        if name in _SECRETS and not _is_reference(value):
            variable = f"{section.name}_{name}".upper().replace("-", "_")
            section.refuse(
                key,
                " is a secret and must not be in the file: "
                f'write {key} = "${{{variable}}}" and set {variable} in the environment',
            )
        elif isinstance(value, bool) and name not in _FLAGS:
            section.refuse(key, ": must not be true or false")
        elif name == "plugins" and value == []:
            section.refuse(key, ": must not be empty: leave it out for all plugins")
        else:
            section.given[name] = self._filled(section, key, value)

    def _plugin_settings(self, section: _Section, value: Any) -> Mapping[str, Mapping[str, Any]]:
        if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
            section.refuse(
                PLUGIN_SETTINGS, f": write a section [{section.name}.{PLUGIN_SETTINGS}.NAME] for each plugin"
            )
            return {}
        return {
            plugin: {
                key: self._filled(section, f"{PLUGIN_SETTINGS}.{plugin}.{key}", each) for key, each in fields.items()
            }
            for plugin, fields in value.items()
        }

    def _filled(self, section: _Section, key: str, value: Any) -> Any:
        """Return ``value`` with every ``${NAME}`` replaced. A name that is not set is a problem of ``section``."""
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
                section.refuse(key, ": write the name of an environment variable between ${ and }")
                return ""
            self._referenced.add(name.upper())
            if name.upper() not in self._environ:
                section.refuse(key, f": {name} is not set in the environment")
                return ""
            return self._environ[name.upper()]

        return _REFERENCE.sub(value_of, value)

    def _settings(self, section: _Section) -> Settings | None:
        # All settings of one account are given here, so that none of them comes from the environment.
        unset = {name: Settings.model_fields[name].default for name in OWN}
        values = {**unset, "appid": "", **section.given, **self._overrides}
        try:
            made = Settings(**{**values, "_env_file": self._env_file})
        except ValidationError as error:
            for details in error.errors():
                self._refuse(section, details["loc"], details["msg"])
            return None
        return made.of_account(section.name, section.plugin_settings, section.written)

    def _refuse(self, section: _Section, location: tuple[int | str, ...], message: str) -> None:
        """Add a problem that pydantic found, unless its setting has a problem already."""
        name = str(location[0]) if location else ""
        if name in section.refused:
            return
        if name in section.given:
            position = "".join(f"[{part}]" for part in location[1:])
            section.refuse(section.written[name], f"{position}: {plain(message)}")
        elif plain(message) == MISSING or name == "appid":
            section.refuse(name, " is missing")
        else:
            section.problems.append(problem_of(PREFIX, location, message))


def _tables(path: str) -> dict[str, Any]:
    """Return the content of the file. Raises ConfigError."""
    try:
        tables = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}; check {ACCOUNTS_VARIABLE}"
    except UnicodeDecodeError:
        problem = "is not UTF-8: save it as UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not TOML: {error}{_advice_on_names(path, str(error))}"
    except RecursionError:
        problem = "is not an accounts file: its brackets are nested too deeply"
    except ValueError:  # a number of thousands of digits
        problem = "is not an accounts file: it contains a number that is too long"
    else:
        if tables:
            return tables
        problem = "contains no account: write a section such as [orders] for each one"
    raise ConfigError([f"{path} {problem}"])


def _advice_on_names(path: str, error: str) -> str:
    """Return the rule for names if the line in the text of ``error`` is a section's head, else ""."""
    found = re.search(r"at line (\d+)", error)
    lines = Path(path).read_bytes().decode("utf-8-sig").split("\n")
    line = lines[int(found[1]) - 1] if found and int(found[1]) <= len(lines) else ""
    if not line.lstrip().startswith("["):
        return ""
    return "; an account's name contains only lower-case letters, digits, - and _, such as [club-house]"


def _wrong_sections(tables: Mapping[str, Any]) -> Iterator[str]:
    """Yield a problem for each entry of the file that is not the section of an account."""
    for name, table in tables.items():
        if isinstance(table, list) and table and all(isinstance(each, dict) for each in table):
            yield f"[[{name}]] has too many brackets: write [{name}]"
        elif not isinstance(table, dict):
            yield f"{name} is in no section: write it below the name of its account, such as [orders]"
        elif not _NAME.fullmatch(name):
            yield f"[{name}] is not a valid account name: use only a-z, 0-9, - and _, because it is part of a path"


def _refuse_duplicate_appids(sections: list[_Section]) -> None:
    """Add a problem for an AppID of two sections, because their bots would process each other's messages."""
    first: dict[str, str] = {}
    for section in sections:
        appid = section.given.get("appid")
        if not isinstance(appid, str) or not appid:
            continue
        same = appid.strip().casefold()  # an AppID in another case is a typing mistake
        if same in first:
            section.refuse(section.written["appid"], f" is also the AppID of [{first[same]}]: write only one section")
        first.setdefault(same, section.name)


def _set_in_environment(path: str, name: str) -> str:
    """Return the problem of a setting that is in the environment but must be in the file."""
    variable = PREFIX + name.upper()
    if name == "callback_path":
        return f"{variable} and {ACCOUNTS_VARIABLE} exclude each other: the paths are {CALLBACK_PATH}/<account>"
    return f"{variable} and {ACCOUNTS_VARIABLE} exclude each other: write {name} into its account's section of {path}"


def _is_reference(value: Any) -> bool:
    """Return True if a secret is only a reference, or empty."""
    if not isinstance(value, str):
        return False
    found = _REFERENCE.fullmatch(value)
    return not value or (found is not None and not found[1])


def _after_name(problems: list[str]) -> str:
    return "".join(problem[problem.index(" is ") :] for problem in problems)


def problems_of(settings: Settings, error: ConfigError | PluginError) -> list[str]:
    """Return the problems of one account of several, with its name first and the keys of its section."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    return [_with_keys(f"[{settings.account}] {problem}", settings) for problem in problems]


def _with_keys(problem: str, settings: Settings) -> str:
    """Return ``problem`` with the keys of the account's section in place of the names of variables."""
    for name, key in settings.written.items():
        problem = re.sub(rf"\bWXBOT_{name.upper()}\b", key, problem)
    return problem
