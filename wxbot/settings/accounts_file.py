"""Several accounts in one deployment: ``WXBOT_ACCOUNTS`` names a TOML file such as examples/accounts.toml.

A section contains the settings of one account, with their names in lower case. Settings of the whole process come from
the environment, and so do the defaults of the other settings. Secrets must not be in the file: ``${NAME}`` is replaced
by the value of an environment variable.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wxbot.errors import ConfigError, PluginError
from wxbot.settings.problems import did_you_mean
from wxbot.settings.schema import (
    ACCOUNT_SETTINGS,
    ACCOUNTS_VARIABLE,
    CALLBACK_PATH,
    PREFIX,
    PROCESS_SETTINGS,
    AccountSettings,
)

SHORT_NAMES: Mapping[str, str] = {"kind": "account_kind"}
PLUGIN_SETTINGS = "plugin_settings"

_NAME = re.compile(r"[a-z0-9_-]+")
_REFERENCE = re.compile(r"(\$?)\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYS = [*ACCOUNT_SETTINGS.keys() - {"callback_path"}, *SHORT_NAMES, PLUGIN_SETTINGS]


@dataclass(slots=True)
class Section:
    """The values that were read for one account, and their problems.

    ``label`` names the file and the section in error texts. ``given`` has values by setting, and ``keys`` the key of
    each setting in the file, which may be a short name. A single account has no label and no keys. Further problems
    of settings that are ``refused`` are not reported.
    """

    name: str
    label: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    plugin_settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def refuse(self, key: str, problem: str) -> None:
        """Add a problem of ``key``. ``problem`` is the text after the key, such as ``: must not be empty``."""
        self.problems.append(f"{self.label} {key}{problem}")
        self.refused.add(SHORT_NAMES.get(key, key))

    def title_of(self, name: str) -> str:
        """Return the name of a setting for an error text: its key in the file, or its variable."""
        if name in self.keys or (self.label and name in ACCOUNT_SETTINGS and ACCOUNT_SETTINGS[name].is_own):
            return f"{self.label} {self.keys.get(name, name)}"
        return name and PREFIX + name.upper()


class AccountsFile:
    """The content of the file at ``path``: one section for each account, in the file's order.

    ``environ``: the variables that values may reference; ``referenced`` are the names of those that were. Raises
    ConfigError if the file cannot be read at all.
    """

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self.referenced: set[str] = set()
        tables = _tables(path)
        self._problems = [f"{path}: {problem}" for problem in _wrong_sections(tables)]
        self.sections = [
            self._section(name, table)
            for name, table in tables.items()
            if isinstance(table, dict) and _NAME.fullmatch(name)
        ]
        _refuse_duplicate_appids(self.sections)

    def problems_with(self, given: Mapping[str, Any]) -> list[str]:
        """Return the problems outside of the sections. ``given``: values in the environment by setting.

        A setting of one account must be in the file and not in the environment.
        """
        doubled = [name for name, each in ACCOUNT_SETTINGS.items() if each.is_own and str(given.get(name, "")).strip()]
        ways = {"callback_path": f"the paths are {CALLBACK_PATH}/<account>"}
        return self._problems + [
            f"{ACCOUNT_SETTINGS[name].variable} and {ACCOUNTS_VARIABLE} exclude each other: "
            + ways.get(name, f"write {name} into its account's section of {self._path}")
            for name in doubled
        ]

    def _section(self, name: str, table: Mapping[str, Any]) -> Section:
        section = Section(name, f"{self._path} [{name}]", given={"callback_path": f"{CALLBACK_PATH}/{name}"})
        for key, value in table.items():
            if key == PLUGIN_SETTINGS:
                section.plugin_settings = self._plugin_settings(section, value)
            elif problem := _problem_with_key(section, key):
                section.refuse(key, problem)
            else:
                self._read_value(section, key, value)
        return section

    def _read_value(self, section: Section, key: str, value: Any) -> None:
        name = SHORT_NAMES.get(key, key)
        setting = ACCOUNT_SETTINGS[name]
        section.keys[name] = key
        if setting.is_secret and not _is_reference(value):
            variable = f"{section.name}_{name}".upper().replace("-", "_")
            section.refuse(
                key,
                " is a secret and must not be in the file: "
                f'write {key} = "${{{variable}}}" and set {variable} in the environment',
            )
        elif isinstance(value, bool) and setting.field.annotation is not bool:
            section.refuse(key, ": must not be true or false")
        elif name == "plugins" and value == []:
            section.refuse(key, ": must not be empty: leave it out for all plugins")
        else:
            section.given[name] = self._filled(section, key, value)

    def _plugin_settings(self, section: Section, value: Any) -> Mapping[str, Mapping[str, Any]]:
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

    def _filled(self, section: Section, key: str, value: Any) -> Any:
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
            self.referenced.add(name.upper())
            if name.upper() not in self._environ:
                section.refuse(key, f": {name} is not set in the environment")
            return self._environ.get(name.upper(), "")

        return _REFERENCE.sub(value_of, value)


def problems_of(account: AccountSettings, error: ConfigError | PluginError) -> list[str]:
    """Return the problems of an account; for one of several, with its name first and the keys of its section."""
    problems = []
    for problem in error.problems if isinstance(error, ConfigError) else [str(error)]:
        for name, key in account.keys.items():
            problem = re.sub(rf"\b{PREFIX}{name.upper()}\b", key, problem)
        problems.append(f"[{account.name}] {problem}" if account.name else problem)
    return problems


def _problem_with_key(section: Section, key: str) -> str:
    """Return the text after ``key`` if it must not be in ``section``, else ""."""
    name = SHORT_NAMES.get(key, key)
    if name in PROCESS_SETTINGS:
        return f" is a setting of the whole process: set {PROCESS_SETTINGS[name].variable} in the environment"
    if name == "callback_path":
        return f" is always {CALLBACK_PATH}/{section.name}, from the section's name: leave it out"
    if name in section.keys:
        return f" and {section.keys[name]} are the same setting: write it once"
    if name in ACCOUNT_SETTINGS:
        return ""
    meant = key.lower().removeprefix(PREFIX.lower())
    if meant in _KEYS:
        return " is not a setting: write names in lower case"
    return " is not a setting of an account" + did_you_mean(meant, _KEYS)


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


def _refuse_duplicate_appids(sections: list[Section]) -> None:
    """Add a problem for an AppID of two sections, because their bots would process each other's messages."""
    first: dict[str, str] = {}
    for section in sections:
        appid = section.given.get("appid")
        if not isinstance(appid, str) or not appid:
            continue
        same = appid.strip().casefold()  # an AppID in another case is a typing mistake
        if same in first:
            section.refuse(section.keys["appid"], f" is also the AppID of [{first[same]}]: write only one section")
        first.setdefault(same, section.name)


def _is_reference(value: Any) -> bool:
    """Return True if a secret is only a reference, or empty."""
    if not isinstance(value, str):
        return False
    found = _REFERENCE.fullmatch(value)
    return not value or (found is not None and not found[1])
