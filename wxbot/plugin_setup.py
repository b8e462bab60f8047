"""Finds, selects and prepares the plugins of a bot, all problems in one report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wxbot.config import Settings, load_plugin_settings, misspelt_plugin_settings
from wxbot.errors import ConfigError, PluginError
from wxbot.plugin import Plugin
from wxbot.router import Router, find_plugins, select_plugins


@dataclass(frozen=True, slots=True)
class PluginSet:
    """The plugins of a bot, ready to answer. ``settings`` and ``resources`` are by plugin name."""

    router: Router
    settings: Mapping[str, Any]
    resources: Mapping[str, Any]


def load_plugins(settings: Settings, plugins: Sequence[Plugin] | None = None) -> PluginSet:
    """The plugins that ``settings`` asks for, or ``plugins``; set up. Raises ConfigError, PluginError."""
    found = find_plugins(settings.plugin_folders) if plugins is None else plugins
    if not found:
        folders = ", ".join(str(folder.resolve()) for folder in settings.plugin_folders)
        raise PluginError(f"there are no plugins in {folders}, so nothing would be answered")
    router = Router(select_plugins(found, settings.plugins))
    # Plugins given by a program are part of a whole, and what else is set may be meant for the others.
    misspelt = misspelt_plugin_settings({plugin.name: plugin.settings for plugin in found}) if plugins is None else []
    chosen = _configure(router.plugins, misspelt)
    return PluginSet(router, chosen, {plugin.name: _set_up(plugin, chosen) for plugin in router.plugins})


def _configure(plugins: Sequence[Plugin], problems: Sequence[str]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    problems = list(problems)
    for plugin in plugins:
        if plugin.settings is not None:
            try:
                chosen[plugin.name] = load_plugin_settings(plugin.name, plugin.settings)
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
