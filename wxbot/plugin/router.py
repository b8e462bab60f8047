"""Finds the plugins and chooses the handler of a message: the first that matches, in the order of the plugins."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from wxbot.errors import PluginError
from wxbot.model.messages import EventMessage, Message
from wxbot.plugin.context import Context
from wxbot.plugin.plugin import Handler, Plugin

log = logging.getLogger("wxbot.router")


class Choice(NamedTuple):
    """The handler of a message, and the context it will get."""

    handler: Handler
    context: Context


class Router:
    """Chooses handlers. Raises PluginError if two plugins share a name or more than one has a fallback."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        _refuse_clashes(plugins)
        _refuse_unfinished(plugins)
        self.plugins = tuple(plugins)
        self._fallback = next((plugin.fallback_handler for plugin in plugins if plugin.fallback_handler), None)

    def choose(self, context_for: Callable[[str], Context]) -> Choice | None:
        """The first handler that wants the message, else the fallback, which gets no events. None: nobody.

        ``context_for`` makes the context of a plugin, by its name. Raises what a plugin's predicate raises.
        """
        for plugin in self.plugins:
            context = context_for(plugin.name)
            for handler in plugin.handlers:
                found = handler.matches(context)
                if found:
                    context._match = found if isinstance(found, re.Match) else None  # noqa: SLF001 - the same package
                    return Choice(handler, context)
        return self._fall_back(context_for)

    def agent_for(self, message: Message) -> str | None:
        """Whether a rule of the plugins hands ``message`` to people: the agent's account, empty for any, or None."""
        for plugin in self.plugins:
            for rule in plugin.handover_rules:
                try:
                    wanted = rule(message)
                except Exception:
                    log.exception("a hands_over rule of plugin %r failed and counts as False", plugin.name)
                    continue
                if wanted:
                    return wanted if isinstance(wanted, str) else ""
        return None

    def _fall_back(self, context_for: Callable[[str], Context]) -> Choice | None:
        if self._fallback is None:
            return None
        context = context_for(self._fallback.plugin)
        return None if isinstance(context.message, EventMessage) else Choice(self._fallback, context)


def _refuse_clashes(plugins: Sequence[Plugin]) -> None:
    seen: dict[str, Plugin] = {}
    fallbacks = [plugin.fallback_handler.name for plugin in plugins if plugin.fallback_handler]
    for plugin in plugins:
        if plugin.name in seen:
            raise PluginError(f"two plugins are called {plugin.name!r}; rename one, or use neither (WXBOT_PLUGINS)")
        seen[plugin.name] = plugin
    if len(fallbacks) > 1:
        raise PluginError(f"more than one fallback: {', '.join(fallbacks)}; choose plugins with WXBOT_PLUGINS")


def _refuse_unfinished(plugins: Sequence[Plugin]) -> None:
    for plugin in plugins:
        if plugin.unfinished:
            raise PluginError(
                f"plugin {plugin.name!r}: {plugin.unfinished[0]} is above no handler;"
                " does @plugin.on lack its parentheses and predicate?"
            )
