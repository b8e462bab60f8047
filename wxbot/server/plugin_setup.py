"""Find, select and set up the plugins of a bot. All problems are reported together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wxbot.errors import ConfigError, PluginError
from wxbot.plugin.discovery import find_plugins, select_plugins
from wxbot.plugin.plugin import Plugin
from wxbot.plugin.router import Router
from wxbot.settings.plugin_settings import load_plugin_settings, misspelt_plugin_settings, unknown_plugin_settings


@dataclass(frozen=True, slots=True)
class PluginSet:
    """The plugins of a bot after their setup. ``settings`` and ``resources`` are mappings by plugin name.

    ``found``: the settings class of every plugin that was found in folders, selected or not, by plugin name.
    """

    router: Router
    settings: Mapping[str, Any]
    resources: Mapping[str, Any]
    found: Mapping[str, type[Any] | None]


def load_plugins(
    plugins: Sequence[Plugin] | None = None,
    *,
    folders: Sequence[Path] = (),
    names: Sequence[str] = (),
    account: str = "",
    values: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> PluginSet:
    """Find the plugins called ``names`` in ``folders``, or use ``plugins``; read their settings and set them up.

    ``account``: the account's name if there are several accounts. ``values``: settings of plugins by plugin name, in
    addition to those in the environment. Raises ConfigError, PluginError.
    """
    found = find_plugins(folders, account) if plugins is None else plugins
    if not found:
        searched = ", ".join(str(folder.resolve()) for folder in folders)
        raise PluginError(f"there are no plugins in {searched}: without plugins the bot answers no message")
    router = Router(select_plugins(found, names))
    known = {plugin.name: plugin.settings for plugin in found}
    problems = unknown_plugin_settings(values, known)
    # If a program passes plugins, other variables may belong to that program. If there are several accounts, another
    # account's plugin may read the variable: ``misspelt_everywhere`` checks that.
    if plugins is None and not account:
        problems += misspelt_plugin_settings(known)
    settings = _settings_of(router.plugins, values, problems)
    resources = {plugin.name: _set_up(plugin, settings) for plugin in router.plugins}
    return PluginSet(router, settings, resources, known if plugins is None else {})


def misspelt_everywhere(sets: Iterable[PluginSet]) -> list[str]:
    """Return a problem for each ``WXBOT_PLUGIN_…`` variable that no plugin of any account reads.

    Return nothing if a program has passed the plugins.
    """
    found = [each.found for each in sets]
    if not all(found):
        return []
    problems = [{problem.split()[0]: problem for problem in misspelt_plugin_settings(each)} for each in found]
    read_nowhere = set.intersection(*map(set, problems))
    # The longest text of a problem is the one with "did you mean …?".
    return [max((each[name] for each in problems), key=len) for name in sorted(read_nowhere)]


def _settings_of(
    plugins: Sequence[Plugin], of_account: Mapping[str, Mapping[str, Any]], problems: Sequence[str]
) -> dict[str, Any]:
    """Return the settings of each plugin by its name. Raises ConfigError with all problems, also ``problems``."""
    settings: dict[str, Any] = {}
    problems = list(problems)
    for plugin in plugins:
        if plugin.settings is not None:
            try:
                own = of_account.get(plugin.name)
                settings[plugin.name] = load_plugin_settings(plugin.name, plugin.settings, of_account=own)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings


def _set_up(plugin: Plugin, settings: Mapping[str, Any]) -> Any:
    """Call the plugin's setup function, and return its result. Raises PluginError."""
    if plugin.setup_function is None:
        return None
    try:
        return plugin.setup_function(settings.get(plugin.name))
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"the setup of plugin {plugin.name!r} failed: {error!r}") from error
