"""Test the registration of handlers: every mistake is a PluginError that names its place when the bot starts."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from tests.plugin.messages import IMAGE, PAGE, VOICE, choose, chosen, context_for, event, text
from wxbot import Context, Message, Plugin, PluginError
from wxbot.plugin.router import Router
from wxbot.server.assembly import make_plugins
from wxbot.settings.environment import load_settings


@pytest.fixture
def shop() -> Plugin:
    return Plugin("shop")


@pytest.fixture
def untyped(shop: Plugin) -> Any:
    """Return the plugin without its types, for calls that a type checker refuses."""
    return shop


async def status(ctx: Context) -> str:
    return "open"


def hours(ctx: Context) -> str:
    return "9 to 5"


def none() -> str:
    return ""


def two(ctx: Context, more: str) -> str:
    return ""


def keyword(ctx: Context, *, more: str) -> str:
    return ""


async def connect(settings: None) -> str:
    return "connected"


class ShopModel(pydantic.BaseModel):
    door: str = "front"


@dataclasses.dataclass
class ShopSettings:
    door: str = "front"


# -- mistakes


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        (lambda shop: shop.text(status), r"plugin 'shop': text\(\).*status.*with parentheses"),
        (lambda shop: shop.event(status), r"plugin 'shop': event\(\).*status"),
        (lambda shop: shop.event(), r"plugin 'shop': event\(\) needs names of events.*not nothing"),
        (lambda shop: shop.on(status), r"plugin 'shop': the predicate status of on\(\) must be a plain function"),
        (lambda shop: shop.text("hours")(hours(None)), r"shop\.'9 to 5' is not a function"),  # type: ignore[arg-type]
        (lambda shop: shop.on(lambda: True), r"predicate shop\.<lambda> must take exactly one argument, the context"),
        (lambda shop: [shop.fallback(status), shop.fallback(hours)], "two fallbacks: shop.status and shop.hours"),
        (lambda shop: shop.setup(connect), r"setup shop\.connect must be a plain def"),
        (lambda shop: shop.setup(none), r"setup shop\.none must take exactly one argument, the settings"),
        (lambda shop: [shop.setup(hours), shop.setup(hours)], "'shop' has two setups; the second is shop.hours"),
        *((lambda shop, p=p: shop.on(p), r"predicate shop\..* is not a function") for p in (None, True, "text")),
        *(
            (lambda shop, w=w: shop.text("hi", w), r"'shop': text\(\) needs str or compiled patterns, not ")
            for w in (None, 42, b"bytes", ["a", "list"], re.compile(rb"bytes"))
        ),
    ],
)
def test_a_mistake_raises_an_error(shop: Plugin, mistake: Callable[[Any], object], error: str) -> None:
    with pytest.raises(PluginError, match=error):
        mistake(shop)


@pytest.mark.parametrize(
    ("register", "error"),
    [
        (lambda shop: shop.text("hi"), "plugin 'shop': the decorator for text 'hi' has no handler below it"),
        (lambda shop: shop.on(hours), "plugin 'shop': the decorator for on hours has no handler below it"),
    ],
)
def test_a_decorator_without_a_handler_raises_an_error(
    shop: Plugin, register: Callable[[Any], object], error: str
) -> None:
    """Raise when the router is made. ``@plugin.on`` without parentheses takes the handler for a predicate."""
    register(shop)
    with pytest.raises(PluginError, match=error):
        Router([shop])


def test_decorators_with_handlers_raise_no_error(shop: Plugin) -> None:
    both = shop.text("hi")
    both(status)
    both(hours)
    shop.text("hi")(status)
    Router([shop])


@pytest.mark.parametrize("name", ["image", "mini_program_page", "fallback", "setup"])
def test_needless_parentheses_or_arguments_raise_an_error(untyped: Any, name: str) -> None:
    with pytest.raises(PluginError, match=f"plugin 'shop': write @plugin.{name} without parentheses"):
        getattr(untyped, name)()
    with pytest.raises(
        PluginError, match=r"shop\.'hi' is not a function; does its decorator have parentheses too many"
    ):
        getattr(untyped, name)("hi")


@pytest.mark.parametrize("function", [none, two, keyword])
@pytest.mark.parametrize("way", ["text", "image", "event", "on", "fallback"])
def test_a_handler_with_other_arguments_raises_an_error(untyped: Any, function: Any, way: str) -> None:
    ways = {
        "text": untyped.text("hi"),
        "image": untyped.image,
        "event": untyped.event("subscribe"),
        "on": untyped.on(lambda ctx: True),
        "fallback": untyped.fallback,
    }
    with pytest.raises(PluginError, match=rf"handler shop\.{function.__name__} must take exactly one argument"):
        ways[way](function)
    assert not untyped.handlers
    assert untyped.fallback_handler is None


def test_more_arguments_with_defaults_are_accepted(shop: Plugin) -> None:
    def any_arguments(*arguments: Any, **more: Any) -> str:
        return ""

    def default(ctx: Context, more: str = "") -> str:
        return more

    for function in (any_arguments, default, functools.partial(two, more="more")):
        shop.text("hi")(function)
    assert len(shop.handlers) == 3


def test_two_plugins_with_a_fallback_or_the_same_name_raise_an_error(shop: Plugin) -> None:
    with pytest.raises(PluginError, match="two plugins have the name 'shop'"):
        Router([shop, Plugin("shop")])
    other = Plugin("other")
    shop.fallback(status)
    other.fallback(hours)
    with pytest.raises(PluginError, match=r"more than one fallback: shop\.status, other\.hours.*WXBOT_PLUGINS"):
        Router([shop, other])


@pytest.mark.parametrize("name", ["", "Shop", "my shop", "1shop", "-shop", "shop!", "店", "shop\n", None, 42])
def test_an_invalid_name_raises_an_error(name: Any) -> None:
    with pytest.raises(PluginError, match="a plugin's name must be lower-case letters, digits, - and _, not "):
        Plugin(name)


@pytest.mark.parametrize("name", ["shop", "my-shop", "my_shop", "shop24", "s"])
def test_a_valid_name_is_accepted(name: str) -> None:
    assert Plugin(name).name == name


@pytest.mark.parametrize("wrong", [ShopSettings(), ShopModel(), dict, str, {"door": str}, "door"])
def test_settings_without_fields_raise_an_error(wrong: Any) -> None:
    with pytest.raises(PluginError, match="plugin 'shop': settings= must be a pydantic model or dataclass, not "):
        Plugin("shop", settings=wrong)


def test_match_without_a_pattern_and_wechatpy_without_a_bot_raise_an_error(shop: Plugin) -> None:
    shop.text("hi")(status)
    ctx = context_for(text("hi"), shop)
    with pytest.raises(PluginError, match=r"plugin 'shop' reads ctx\.match in a handler that has no compiled pattern"):
        _ = ctx.match
    with pytest.raises(PluginError, match=r"ctx\.wechatpy needs a running bot"):
        _ = ctx.wechatpy


# -- the results of decorators


def test_decorators_return_the_function_unchanged(shop: Plugin) -> None:
    assert shop.text("hi")(status) is status
    assert shop.image(status) is status
    assert shop.mini_program_page(status) is status
    assert shop.event("subscribe")(status) is status
    assert shop.on(lambda ctx: True)(status) is status
    assert shop.fallback(status) is status

    assert shop.setup(hours) is hours


def test_a_handler_has_a_purpose_and_a_name(shop: Plugin) -> None:
    shop.text("hi", re.compile("^a+$"))(status)
    shop.text()(status)
    shop.image(status)
    shop.mini_program_page(status)
    shop.event("Subscribe", "CLICK")(status)
    shop.on(hours_wanted)(status)
    purposes = ["text 'hi' | /^a+$/", "text (any)", "image", "mini_program_page", "event click | subscribe"]
    assert [handler.purpose for handler in shop.handlers] == [*purposes, "on hours_wanted"]
    assert {handler.name for handler in shop.handlers} == {"shop.status"}


def hours_wanted(ctx: Context) -> bool:
    return "hours" in ctx.text


# -- words and patterns


@pytest.mark.parametrize("said", ["hours", "Hours", " HOURS\n", "\u3000hours "])
def test_a_word_must_equal_the_whole_text(shop: Plugin, said: str) -> None:
    shop.text("Hours ", "open")(hours)
    assert chosen(text(said), shop) == "shop.hours"


@pytest.mark.parametrize("said", ["hours?", "the hours", "hour", "ho urs", ""])
def test_a_word_does_not_match_a_part_of_the_text(shop: Plugin, said: str) -> None:
    shop.text("hours")(hours)
    assert chosen(text(said), shop) is None


def test_words_are_case_folded(shop: Plugin) -> None:
    shop.text("STRASSE", "营业时间")(hours)
    assert chosen(text("straße"), shop) == "shop.hours"
    assert chosen(text("营业时间"), shop) == "shop.hours"


def test_patterns_are_searched_in_the_text(shop: Plugin) -> None:
    shop.text(re.compile(r"order (\d+)"), re.compile(r"(\d+) pieces"))(status)
    for said, number in [("my order 42 please", "42"), ("7 pieces", "7"), ("3 pieces of order 5", "5")]:
        ctx = context_for(text(said), shop)
        assert ctx.match[1] == number, "the first pattern that matches, not the first position"
    assert chosen(text("Order 42"), shop) is None, "a pattern is case-sensitive"


def test_patterns_are_searched_in_the_unchanged_text(shop: Plugin) -> None:
    shop.text(re.compile(r"^hi$"))(status)
    assert chosen(text(" hi"), shop) is None


def test_an_empty_match_is_a_match(shop: Plugin) -> None:
    shop.text(re.compile("x*"))(status)
    ctx = context_for(text("hi"), shop)
    assert ctx.match[0] == ""


def test_words_precede_patterns_in_one_registration(shop: Plugin) -> None:
    shop.text(re.compile("h."), "hi")(status)
    ctx = context_for(text("hi"), shop)
    assert ctx._match is None


def test_text_without_words_matches_every_text_and_nothing_else(shop: Plugin) -> None:
    shop.text()(status)
    assert chosen(text("anything"), shop) == "shop.status"
    assert [chosen(message, shop) for message in (IMAGE, PAGE, VOICE, event("click"))] == [None] * 4


# -- message types


def test_each_message_type_has_its_decorator(shop: Plugin) -> None:
    def named(name: str) -> Any:
        async def handler(ctx: Context) -> str:
            return name

        handler.__name__ = name
        return handler

    shop.text()(named("text"))
    shop.image(named("image"))
    shop.mini_program_page(named("page"))
    shop.event("user_enter_tempsession", "CLICK")(named("event"))
    shop.fallback(named("fallback"))
    messages = [text("hi"), IMAGE, PAGE, event("USER_enter_tempsession"), event("click"), VOICE]
    expected = ["shop.text", "shop.image", "shop.page", "shop.event", "shop.event", "shop.fallback"]
    assert [chosen(message, shop) for message in messages] == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [(text("hi"), "shop.status"), (IMAGE, "shop.status"), (VOICE, "shop.status"), (event("subscribe"), None)],
)
def test_the_fallback_gets_all_but_events(shop: Plugin, message: Message, expected: str | None) -> None:
    shop.fallback(status)
    assert chosen(message, shop) == expected


def test_the_first_match_wins_in_the_order_of_plugins_and_lines() -> None:
    one, two = Plugin("one"), Plugin("two")
    two.text("hi")(status)
    one.fallback(hours)
    assert chosen(text("hi"), one, two) == "two.status", "the fallback comes after all handlers of all plugins"
    one.text("hi")(status)
    one.text("hi")(hours)
    assert chosen(text("hi"), one, two) == "one.status"
    assert chosen(text("hi"), two, one) == "two.status"


def test_the_match_of_one_plugin_is_not_passed_to_another() -> None:
    one, two = Plugin("one"), Plugin("two")
    one.text(re.compile("(never)"))(status)
    two.text("hi")(hours)
    ctx = context_for(text("hi"), one, two)
    assert (ctx.plugin, ctx._match) == ("two", None)


# -- predicates


def test_a_predicate_gets_the_state_and_the_resource(shop: Plugin) -> None:
    shop.on(lambda ctx: ctx.state.get("asked") == "size" and ctx.text in ctx.resource)(status)
    sizes = {"S", "M", "L"}
    assert chosen(text("M"), shop, state={"asked": "size"}, resource=sizes) == "shop.status"
    assert chosen(text("XS"), shop, state={"asked": "size"}, resource=sizes) is None
    assert chosen(text("M"), shop, resource=sizes) is None


def test_a_predicate_may_be_any_callable(shop: Plugin) -> None:
    class Wants:
        def __call__(self, ctx: Context) -> bool:
            return "hi" in ctx.text

    shop.on(Wants())(status)
    shop.on(functools.partial(lambda word, ctx: word in ctx.text, "ho"))(hours)
    assert chosen(text("hi"), shop) == "shop.status"
    assert chosen(text("ho"), shop) == "shop.hours"


def test_a_predicate_may_match_events(shop: Plugin) -> None:
    shop.on(lambda ctx: True)(status)
    assert chosen(event("anything"), shop) == "shop.status"


def test_an_exception_of_a_predicate_is_passed_on(shop: Plugin) -> None:
    shop.on(lambda ctx: ctx.state["asked"] == "size")(status)
    with pytest.raises(KeyError):
        choose(text("hi"), shop)


# -- plugins given by a program


def test_a_program_may_give_plugins_and_gets_their_settings_and_resources() -> None:
    shop = Plugin("shop", settings=ShopSettings)
    shop.setup(lambda settings: f"the {settings.door} door")
    bare = Plugin("bare")
    chosen = make_plugins(load_settings(appid="wx1", secret="s", token="t").accounts[""], [shop, bare])
    assert dict(chosen.settings) == {"shop": ShopSettings()}
    assert dict(chosen.resources) == {"shop": "the front door", "bare": None}
