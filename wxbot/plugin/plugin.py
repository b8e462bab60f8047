"""What a plugin author touches: ``Plugin`` to register handlers on, ``Context`` to read from.

A handler takes the context and returns its answer: a ``str`` or a reply, or None for deliberate silence; or it yields
several. It may be ``async def`` or plain ``def`` (then it runs in a thread). It never talks to WeChat itself, so the
typing indicator, order, retries and errors are wxbot's business alone.
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
"""Whether a message is for a human agent: False or None, True for any of them, or a certain one's kf_account."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered function and the messages it is for."""

    plugin: str
    function: Callable[[Context], Any]
    matches: Matcher
    purpose: str
    ai: bool | None = None

    @property
    def name(self) -> str:
        return f"{self.plugin}.{getattr(self.function, '__name__', repr(self.function))}"


def _bare(method: Callable[Concatenate[Plugin, _P], _R]) -> Callable[Concatenate[Plugin, _P], _R]:
    """A decorator that is written without parentheses says so to who writes them."""

    @functools.wraps(method)
    def checked(self: Plugin, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not args and not kwargs:
            raise PluginError(f"plugin {self.name!r}: write @plugin.{method.__name__} without parentheses")
        return method(self, *args, **kwargs)

    return checked


class Plugin:
    """A named set of handlers; the bot collects them from the plugin folder and from installed packages.

    ``settings`` is a pydantic model or dataclass: its fields are read from ``WXBOT_PLUGIN_<NAME>_<FIELD>`` and checked
    at the start. ``ai``: its answers carry WeChat's note that they were made by AI (None: as ``WXBOT_AI_MARK`` says).
    Raises PluginError for a name that is not lower-case letters, digits, ``-`` and ``_``.
    """

    def __init__(
        self, name: str, *, description: str = "", settings: type[Any] | None = None, ai: bool | None = None
    ) -> None:
        if not _NAME.fullmatch(str(name)):
            raise PluginError(f"a plugin's name is lower-case letters, digits, - and _, not {name!r}")
        if settings is not None and not _has_fields(settings):
            raise PluginError(f"plugin {name!r}: settings= takes a pydantic model or dataclass, not {settings!r}")
        self.name = name
        self.description = description
        self.settings = settings
        self.ai = ai
        self.handlers: list[Handler] = []
        self.handover_rules: list[HandoverRule] = []
        self.fallback_handler: Handler | None = None
        self.setup_function: Callable[[Any], Any] | None = None
        self.unfinished: list[str] = []
        """Registrations that no handler has followed yet."""

    def __repr__(self) -> str:
        return f"Plugin({self.name!r})"

    def text(self, *wanted: str | re.Pattern[str]) -> Callable[[HandlerT], HandlerT]:
        """Handle text: any of ``wanted``, or every text if none is given.

        A ``str`` must be the whole text, blanks around it and case aside; a compiled pattern is searched for, and its
        match is ``ctx.match``.
        """
        for item in wanted:
            if not isinstance(item.pattern if isinstance(item, re.Pattern) else item, str):
                raise PluginError(
                    f"plugin {self.name!r}: text() takes words and compiled patterns, not {item!r};"
                    " write @plugin.text() with parentheses"
                )
        purpose = "text " + (" | ".join(_shown(item) for item in wanted) if wanted else "(any)")
        return self._registering(_text_matcher(wanted), purpose)

    @_bare
    def image(self, handler: HandlerT) -> HandlerT:
        """Handle pictures."""
        return self._registering(lambda ctx: isinstance(ctx.message, ImageMessage), "image")(handler)

    @_bare
    def voice(self, handler: HandlerT) -> HandlerT:
        """Handle speech."""
        return self._registering(lambda ctx: isinstance(ctx.message, VoiceMessage), "voice")(handler)

    @_bare
    def video(self, handler: HandlerT) -> HandlerT:
        """Handle videos, short ones too."""
        return self._registering(lambda ctx: isinstance(ctx.message, VideoMessage), "video")(handler)

    @_bare
    def location(self, handler: HandlerT) -> HandlerT:
        """Handle places that users send."""
        return self._registering(lambda ctx: isinstance(ctx.message, LocationMessage), "location")(handler)

    @_bare
    def link(self, handler: HandlerT) -> HandlerT:
        """Handle links that users share."""
        return self._registering(lambda ctx: isinstance(ctx.message, LinkMessage), "link")(handler)

    def menu(self, *ids: str) -> Callable[[HandlerT], HandlerT]:
        """Handle clicks on items of a ``MenuReply``: those with one of ``ids``, or all if none is given."""
        if not all(ids):
            raise PluginError(f"plugin {self.name!r}: an item of a menu has an id that is not empty")
        return self._registering(
            lambda ctx: (
                isinstance(ctx.message, TextMessage)
                and bool(ctx.message.menu_id)
                and (not ids or ctx.message.menu_id in ids)
            ),
            "menu " + (" | ".join(ids) or "(any)"),
        )

    @_bare
    def mini_program_page(self, handler: HandlerT) -> HandlerT:
        """Handle mini-program cards."""
        return self._registering(lambda ctx: isinstance(ctx.message, MiniProgramPageMessage), "mini_program_page")(
            handler
        )

    def event(self, *names: str) -> Callable[[HandlerT], HandlerT]:
        """Handle events by WeChat's names, such as ``user_enter_tempsession``; case does not matter."""
        if not names or not all(isinstance(name, str) for name in names):
            raise PluginError(
                f"plugin {self.name!r}: event() takes the names of events, such as 'subscribe', not {_listed(names)}"
            )
        wanted = {name.lower() for name in names}
        return self._registering(
            lambda ctx: isinstance(ctx.message, EventMessage) and ctx.message.event in wanted,
            "event " + " | ".join(sorted(wanted)),
        )

    def on(self, predicate: Callable[[Context], bool]) -> Callable[[HandlerT], HandlerT]:
        """Handle every message for which ``predicate(ctx)`` is true: by kind, by the user's state, by a resource."""
        if inspect.iscoroutinefunction(predicate) or inspect.isasyncgenfunction(predicate):
            raise PluginError(
                f"plugin {self.name!r}: the predicate {predicate.__name__} of on() must be a plain function;"
                " if it is the handler, write @plugin.on(predicate) above it"
            )
        self._checked(predicate, "predicate")
        return self._registering(predicate, f"on {getattr(predicate, '__name__', 'predicate')}")

    @_bare
    def fallback(self, handler: HandlerT) -> HandlerT:
        """Handle every message, known kind or not, that no handler of any plugin wants. Events do not come here."""
        if self.fallback_handler is not None:
            raise PluginError(
                f"plugin {self.name!r} has two fallbacks: {self.fallback_handler.name} and {self._checked(handler)}"
            )
        self._checked(handler)
        self.fallback_handler = Handler(self.name, handler, lambda _: True, "fallback", self.ai)
        return handler

    @_bare
    def hands_over(self, rule: HandoverRule) -> HandoverRule:
        """Ask ``rule(message)`` for every message before it is taken: True, or an agent's account, hands it to people.

        The hand-over is the answer to WeChat's push, so the rule must be quick (it is a plain ``def`` and runs while
        WeChat waits), and it sees the message only. Events are never handed over. Rules of all plugins are asked in
        their order; one that raises counts as False.
        """
        self._checked(rule, "rule", "the message")
        if inspect.iscoroutinefunction(rule):
            raise PluginError(f"plugin {self.name!r}: a hands_over rule must be a plain def: WeChat waits for it")
        self.handover_rules.append(rule)
        return rule

    @_bare
    def setup(self, function: SetupT) -> SetupT:
        """Run ``function(settings)`` once at the start; what it returns is ``ctx.resource``. Errors stop the start.

        It is a plain ``def``: there is no event loop yet.
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
        """The function's name. Raises PluginError if it cannot be called with one argument."""
        name = f"{self.name}.{getattr(function, '__name__', repr(function))}"
        if not callable(function):
            raise PluginError(f"{role} {name} is not a function; is there a pair of parentheses too many?")
        try:
            inspect.signature(function).bind(None)
        except TypeError:
            raise PluginError(f"{role} {name} must take exactly one argument, {argument}") from None
        except ValueError:  # written in C, and does not say what it takes
            return name
        return name


def _has_fields(settings: Any) -> bool:
    return isinstance(settings, type) and (dataclasses.is_dataclass(settings) or hasattr(settings, "model_fields"))


def _listed(names: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, names)) or "nothing"


def _shown(item: str | re.Pattern[str]) -> str:
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
