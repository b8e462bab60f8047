"""The router: it chooses the handler of a message, the first one that matches in the order of the plugins."""

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
    """The handler that was chosen for a message, and its context."""

    handler: Handler
    context: Context


class Router:
    """The router of one bot.

    Raises PluginError if two plugins have the same name, more than one has a fallback, or a decorator has no handler.
    """

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        _check_clashes(plugins)
        _check_unfinished(plugins)
        self.plugins = tuple(plugins)
        self._fallback = next((plugin.fallback_handler for plugin in plugins if plugin.fallback_handler), None)

    def choose(self, context_for: Callable[[str], Context]) -> Choice | None:
        """Return the first handler that matches the message, else the fallback; None if there is neither.

        The fallback gets no events. ``context_for`` makes the context for a plugin's name. An exception of a plugin's
        predicate is not caught.
        """
        for plugin in self.plugins:
            context = context_for(plugin.name)
            for handler in plugin.handlers:
                match = handler.matches(context)
                if match:
                    context._match = match if isinstance(match, re.Match) else None  # noqa: SLF001 - same package
                    return Choice(handler, context)
        return self._fall_back(context_for)

    def agent_for(self, message: Message) -> str | None:
        """Return the agent to whom a ``hands_over`` rule hands the message over: "" for any agent, None for none.

        A rule that raises is logged and counts as False.
        """
        for plugin in self.plugins:
            for rule in plugin.handover_rules:
                try:
                    agent = rule(message)
                except Exception:
                    log.exception("hands_over rule failed and counts as False: plugin=%s", plugin.name)
                    continue
                if agent:
                    return agent if isinstance(agent, str) else ""
        return None

    def _fall_back(self, context_for: Callable[[str], Context]) -> Choice | None:
        if self._fallback is None:
            return None
        context = context_for(self._fallback.plugin)
        return None if isinstance(context.message, EventMessage) else Choice(self._fallback, context)


def _check_clashes(plugins: Sequence[Plugin]) -> None:
    seen: dict[str, Plugin] = {}
    fallbacks = [plugin.fallback_handler.name for plugin in plugins if plugin.fallback_handler]
    for plugin in plugins:
        if plugin.name in seen:
            raise PluginError(
                f"two plugins have the name {plugin.name!r}; rename one, or leave out both (WXBOT_PLUGINS)"
            )
        seen[plugin.name] = plugin
    if len(fallbacks) > 1:
        raise PluginError(f"more than one fallback: {', '.join(fallbacks)}; select plugins with WXBOT_PLUGINS")


def _check_unfinished(plugins: Sequence[Plugin]) -> None:
    for plugin in plugins:
        if plugin.unfinished:
            raise PluginError(
                f"plugin {plugin.name!r}: the decorator for {plugin.unfinished[0]} has no handler below"
                " it; does @plugin.on lack its parentheses and predicate?"
            )


def example_handler(message: Message) -> str:
    """Return the source of a handler for messages such as ``message``, for a log line."""
    decorators = {
        "TextMessage": "@plugin.text()",
        "ImageMessage": "@plugin.image",
        "VoiceMessage": "@plugin.voice",
        "VideoMessage": "@plugin.video",
        "ShortVideoMessage": "@plugin.video",
        "LocationMessage": "@plugin.location",
        "LinkMessage": "@plugin.link",
        "MiniProgramPageMessage": "@plugin.mini_program_page",
    }
    fallback = f"@plugin.event({message.event!r})" if isinstance(message, EventMessage) else "@plugin.fallback"
    decorator = decorators.get(type(message).__name__, fallback)
    return f"{decorator}\nasync def answer(ctx: Context) -> str:\n    return ..."
