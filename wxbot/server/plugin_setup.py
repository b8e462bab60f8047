"""Finds, selects and prepares the plugins of a bot, all problems in one report."""

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
from wxbot.settings.environment import load_plugin_settings, misspelt_plugin_settings, unknown_plugin_settings


@dataclass(frozen=True, slots=True)
class PluginSet:
    """The plugins of a bot, ready to answer. ``settings`` and ``resources`` are by plugin name.

    ``found``: the settings class of every plugin that was found in folders, chosen or not.
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
    """Find the plugins called ``names`` in ``folders``, or take ``plugins``; read their settings and set them up.

    ``account``: the account's name where there are several. ``values``: settings of plugins, by plugin name, beside
    those in the environment. Raises ConfigError, PluginError.
    """
    found = find_plugins(folders, account) if plugins is None else plugins
    if not found:
        searched = ", ".join(str(folder.resolve()) for folder in folders)
        raise PluginError(f"there are no plugins in {searched}, so nothing would be answered")
    router = Router(select_plugins(found, names))
    known = {plugin.name: plugin.settings for plugin in found}
    problems = unknown_plugin_settings(values, known)
    # Plugins given by a program are part of a larger program, and other settings may belong to that. The same is true
    # of several accounts: see ``misspelt_everywhere``.
    if plugins is None and not account:
        problems += misspelt_plugin_settings(known)
    chosen = _configure(router.plugins, values, problems)
    resources = {plugin.name: _set_up(plugin, chosen) for plugin in router.plugins}
    return PluginSet(router, chosen, resources, known if plugins is None else {})


def misspelt_everywhere(sets: Iterable[PluginSet]) -> list[str]:
    """A problem for each ``WXBOT_PLUGIN_…`` variable that none of the accounts' plugins reads.

    Nothing is said if a program has given plugins.
    """
    found = [each.found for each in sets]
    if not all(found):
        return []
    announced = [{problem.split()[0]: problem for problem in misspelt_plugin_settings(each)} for each in found]
    nowhere = set.intersection(*map(set, announced))
    return [max((each[name] for each in announced), key=len) for name in sorted(nowhere)]  # the longest has a guess


def _configure(
    plugins: Sequence[Plugin], of_account: Mapping[str, Mapping[str, Any]], problems: Sequence[str]
) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    problems = list(problems)
    for plugin in plugins:
        if plugin.settings is not None:
            try:
                own = of_account.get(plugin.name)
                chosen[plugin.name] = load_plugin_settings(plugin.name, plugin.settings, of_account=own)
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(problems)
    return chosen


def _set_up(plugin: Plugin, chosen: Mapping[str, Any]) -> Any:
    if plugin.setup_function is None:
        return None
    try:
        return plugin.setup_function(chosen.get(plugin.name))
    except PluginError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"the setup of plugin {plugin.name!r} failed: {error!r}") from error
