"""``Plugin``: the registration of handlers.

A handler takes the context and returns its reply: a ``str``, a ``Reply``, or None to send nothing. A generator yields
several replies. A handler may be ``async def``, or a plain ``def``, which runs in a thread. It does not call WeChat
itself: wxbot manages the typing indicator, the order, the retries and the errors.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from wxbot.errors import PluginError
from wxbot.model.messages import (
    EventMessage,
    ImageMessage,
    LinkMessage,
    LocationMessage,
    Message,
    MiniProgramPageMessage,
    TextMessage,
    VideoMessage,
    VoiceMessage,
)
from wxbot.model.replies import Reply
from wxbot.plugin.context import Context

Answer = str | Reply | None
HandlerFunction = (
    Callable[["Context"], Awaitable[Answer]]
    | Callable[["Context"], AsyncIterator[Answer]]
    | Callable[["Context"], Iterator[Answer]]
    | Callable[["Context"], Answer]
)
HandlerT = TypeVar("HandlerT", bound=HandlerFunction)
SetupT = TypeVar("SetupT", bound=Callable[[Any], Any])
_P = ParamSpec("_P")
_R = TypeVar("_R")

Matcher = Callable[["Context"], "re.Match[str] | bool | None"]
HandoverRule = Callable[[Message], bool | str | None]
"""A rule that returns True if a message is for any human agent, an agent's kf_account if it is for that agent, and
False or None if it is for the bot."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler function, with the matcher of its messages.

    ``purpose`` describes the messages, such as "image", for logs and errors. ``ai`` is the plugin's AI mark.
    """

    plugin: str
    function: Callable[[Context], Any]
    matches: Matcher
    purpose: str
    ai: bool | None = None

    @property
    def name(self) -> str:
        """Return the name for logs and errors: ``plugin.function``."""
        return f"{self.plugin}.{getattr(self.function, '__name__', repr(self.function))}"


def _without_parentheses(method: Callable[Concatenate[Plugin, _P], _R]) -> Callable[Concatenate[Plugin, _P], _R]:
    """Make a decorator raise PluginError if it is written with parentheses."""

    @functools.wraps(method)
    def checked(self: Plugin, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not args and not kwargs:
            raise PluginError(f"plugin {self.name!r}: write @plugin.{method.__name__} without parentheses")
        return method(self, *args, **kwargs)

    return checked


class Plugin:
    """A named set of handlers. The bot finds plugins in the plugin folders and in installed packages.

    ``settings`` is a pydantic model or dataclass; its fields are read from ``WXBOT_PLUGIN_<NAME>_<FIELD>`` and checked
    at the start. ``ai``: the plugin's replies carry WeChat's note that AI made them (None: use ``WXBOT_AI_MARK``).
    Raises PluginError if ``name`` has other characters than lower-case letters, digits, ``-`` and ``_``.
    """

    def __init__(
        self, name: str, *, description: str = "", settings: type[Any] | None = None, ai: bool | None = None
    ) -> None:
        if not _NAME.fullmatch(str(name)):
            raise PluginError(f"a plugin's name must be lower-case letters, digits, - and _, not {name!r}")
        if settings is not None and not _has_fields(settings):
            raise PluginError(f"plugin {name!r}: settings= must be a pydantic model or dataclass, not {settings!r}")
        self.name = name
        self.description = description
        self.settings = settings
        self.ai = ai
        self.handlers: list[Handler] = []
        self.handover_rules: list[HandoverRule] = []
        self.fallback_handler: Handler | None = None
        self.setup_function: Callable[[Any], Any] | None = None
        self.unfinished: list[str] = []
        """Purposes of the decorators that have no handler yet."""

    def __repr__(self) -> str:
        return f"Plugin({self.name!r})"

    def text(self, *wanted: str | re.Pattern[str]) -> Callable[[HandlerT], HandlerT]:
        """Handle texts that match any of ``wanted``, or every text if none is given.

        A ``str`` must equal the whole text, without case and without the blanks around it. A compiled pattern is
        searched in the text, and its match is ``ctx.match``.
        """
        for item in wanted:
            if not isinstance(item.pattern if isinstance(item, re.Pattern) else item, str):
                raise PluginError(
                    f"plugin {self.name!r}: text() needs str or compiled patterns, not {item!r};"
                    " write @plugin.text() with parentheses"
                )
        purpose = "text " + (" | ".join(_described(item) for item in wanted) if wanted else "(any)")
        return self._registering(_text_matcher(wanted), purpose)

    @_without_parentheses
    def image(self, handler: HandlerT) -> HandlerT:
        """Handle images."""
        return self._registering(lambda ctx: isinstance(ctx.message, ImageMessage), "image")(handler)

    @_without_parentheses
    def voice(self, handler: HandlerT) -> HandlerT:
        """Handle voice messages."""
        return self._registering(lambda ctx: isinstance(ctx.message, VoiceMessage), "voice")(handler)

    @_without_parentheses
    def video(self, handler: HandlerT) -> HandlerT:
        """Handle videos and short videos."""
        return self._registering(lambda ctx: isinstance(ctx.message, VideoMessage), "video")(handler)

    @_without_parentheses
    def location(self, handler: HandlerT) -> HandlerT:
        """Handle locations that users send."""
        return self._registering(lambda ctx: isinstance(ctx.message, LocationMessage), "location")(handler)

    @_without_parentheses
    def link(self, handler: HandlerT) -> HandlerT:
        """Handle links that users share."""
        return self._registering(lambda ctx: isinstance(ctx.message, LinkMessage), "link")(handler)

    def menu(self, *ids: str) -> Callable[[HandlerT], HandlerT]:
        """Handle clicks on the items of a ``MenuReply`` with one of these ``ids``, or on all items if none is given."""
        if not all(ids):
            raise PluginError(f"plugin {self.name!r}: the id of a menu item must not be empty")
        return self._registering(
            lambda ctx: (
                isinstance(ctx.message, TextMessage)
                and bool(ctx.message.menu_id)
                and (not ids or ctx.message.menu_id in ids)
            ),
            "menu " + (" | ".join(ids) or "(any)"),
        )

    @_without_parentheses
    def mini_program_page(self, handler: HandlerT) -> HandlerT:
        """Handle mini-program cards."""
        return self._registering(lambda ctx: isinstance(ctx.message, MiniProgramPageMessage), "mini_program_page")(
            handler
        )

    def event(self, *names: str) -> Callable[[HandlerT], HandlerT]:
        """Handle events with these names of WeChat, such as ``user_enter_tempsession``; case does not matter."""
        if not names or not all(isinstance(name, str) for name in names):
            raise PluginError(
                f"plugin {self.name!r}: event() needs names of events, such as 'subscribe', not {_listed(names)}"
            )
        wanted = {name.lower() for name in names}
        return self._registering(
            lambda ctx: isinstance(ctx.message, EventMessage) and ctx.message.event in wanted,
            "event " + " | ".join(sorted(wanted)),
        )

    def on(self, predicate: Callable[[Context], bool]) -> Callable[[HandlerT], HandlerT]:
        """Handle every message for which ``predicate(ctx)`` is true.

        The predicate may test the message, the user's state (``ctx.state``) or the resource (``ctx.resource``).
        """
        if inspect.iscoroutinefunction(predicate) or inspect.isasyncgenfunction(predicate):
            raise PluginError(
                f"plugin {self.name!r}: the predicate {predicate.__name__} of on() must be a plain function;"
                " if it is the handler, write @plugin.on(predicate) above it"
            )
        self._checked(predicate, "predicate")
        return self._registering(predicate, f"on {getattr(predicate, '__name__', 'predicate')}")

    @_without_parentheses
    def fallback(self, handler: HandlerT) -> HandlerT:
        """Handle every message that no handler of any plugin matches, also of an unknown type, but no events."""
        if self.fallback_handler is not None:
            raise PluginError(
                f"plugin {self.name!r} has two fallbacks: {self.fallback_handler.name} and {self._checked(handler)}"
            )
        self._checked(handler)
        self.fallback_handler = Handler(self.name, handler, lambda _: True, "fallback", self.ai)
        return handler

    @_without_parentheses
    def hands_over(self, rule: HandoverRule) -> HandoverRule:
        """Call ``rule(message)`` for every message before it is stored; True or an agent's account hands it over.

        The rule must be quick, because it runs while WeChat waits for the response to the push: the response hands the
        message over. The rule is a plain ``def`` and gets only the message. Events are never handed over. The rules of
        all plugins are called in the order of the plugins; a rule that raises counts as False.
        """
        self._checked(rule, "rule", "the message")
        if inspect.iscoroutinefunction(rule):
            raise PluginError(f"plugin {self.name!r}: a hands_over rule must be a plain def: WeChat waits for it")
        self.handover_rules.append(rule)
        return rule

    @_without_parentheses
    def setup(self, function: SetupT) -> SetupT:
        """Run ``function(settings)`` once at the start; its return value is ``ctx.resource``. An error stops the start.

        The function must be a plain ``def``, because there is no event loop yet.
        """
        name = self._checked(function, "setup", "the settings")
        if inspect.iscoroutinefunction(function):
            raise PluginError(f"setup {name} must be a plain def: there is no event loop at the start")
        if self.setup_function is not None:
            raise PluginError(f"plugin {self.name!r} has two setups; the second is {name}")
        self.setup_function = function
        return function

    def _registering(self, matcher: Matcher, purpose: str) -> Callable[[HandlerT], HandlerT]:
        self.unfinished.append(purpose)

        def register(handler: HandlerT) -> HandlerT:
            self._checked(handler)
            if purpose in self.unfinished:
                self.unfinished.remove(purpose)
            self.handlers.append(Handler(self.name, handler, matcher, purpose, self.ai))
            return handler

        return register

    def _checked(self, function: Any, role: str = "handler", argument: str = "the context") -> str:
        """Return the function's name. Raises PluginError if it cannot be called with one argument."""
        name = f"{self.name}.{getattr(function, '__name__', repr(function))}"
        if not callable(function):
            raise PluginError(f"{role} {name} is not a function; does its decorator have parentheses too many?")
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            raise PluginError(f"{role} {name} must take exactly one argument, {argument}") from None
        except ValueError:  # a function written in C has no signature
            return name
        return name


def _has_fields(settings: Any) -> bool:
    return isinstance(settings, type) and (dataclasses.is_dataclass(settings) or hasattr(settings, "model_fields"))


def _listed(names: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _described(item: str | re.Pattern[str]) -> str:
    return repr(item) if isinstance(item, str) else f"/{item.pattern}/"


def _text_matcher(wanted: tuple[str | re.Pattern[str], ...]) -> Matcher:
    words = {item.strip().casefold() for item in wanted if isinstance(item, str)}
    patterns = [item for item in wanted if isinstance(item, re.Pattern)]

    def matches(ctx: Context) -> re.Match[str] | bool | None:
        if not isinstance(ctx.message, TextMessage):
            return None
        if not wanted or ctx.text.strip().casefold() in words:
            return True
        return next((found for pattern in patterns if (found := pattern.search(ctx.text))), None)

    return matches
