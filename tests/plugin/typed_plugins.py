"""Plugins for the type checker. This module is checked by mypy and never run.

An expected error is ignored by its name. mypy reports an ignore that is not needed, so each line can fail the check.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import assert_type

from wxbot import Context, Plugin, Reply, TextReply


@dataclass
class Settings:
    door: str = "front"


plugin = Plugin("typed", description="Checked, not run", settings=Settings)


# -- every kind of handler is accepted


@plugin.text("coroutine", re.compile("^c"))
async def coroutine(ctx: Context) -> str:
    return ctx.match[0]


@plugin.text()
def function(ctx: Context) -> str:
    return ctx.text


@plugin.image
async def perhaps(ctx: Context) -> str | None:
    return ctx.text or None


@plugin.mini_program_page
def reply(ctx: Context) -> Reply:
    return TextReply(ctx.openid)


@plugin.event("subscribe", "click")
async def parts(ctx: Context) -> AsyncIterator[str]:
    yield "one"
    yield "two"


@plugin.on(lambda ctx: ctx.state.get("asked") == "size")
def parts_in_a_thread(ctx: Context) -> Iterator[str | TextReply]:
    yield "one"
    yield TextReply("two")


@plugin.fallback
async def silent(ctx: Context) -> None:
    ctx.log.info("%s wrote", ctx.openid)


@plugin.setup
def connect(settings: Settings) -> str:
    return settings.door


# -- a decorator does not change the type, so that a test can call the handler


async def call_them(ctx: Context) -> None:
    assert_type(await coroutine(ctx), str)
    assert_type(function(ctx), str)
    assert_type(await perhaps(ctx), str | None)
    assert_type(parts(ctx), AsyncIterator[str])
    assert_type(connect(Settings()), str)


# -- mistakes


@plugin.text()  # type: ignore[type-var]
async def answers_a_number(ctx: Context) -> int:
    return 42


@plugin.image  # type: ignore[type-var]
async def answers_a_number_to_a_picture(ctx: Context) -> int:
    return 42


@plugin.fallback  # type: ignore[type-var]
async def yields_numbers(ctx: Context) -> AsyncIterator[int]:
    yield 42


@plugin.text()  # noqa: RET503 - this is the mistake
async def forgets_to_answer(ctx: Context) -> str:  # type: ignore[return]
    if ctx.text:
        return "yes"


@plugin.text()
async def forgets_an_await(ctx: Context) -> str:
    return coroutine(ctx)  # type: ignore[return-value]


@plugin.text()
async def misspells(ctx: Context) -> str:
    return ctx.txt  # type: ignore[attr-defined, no-any-return]


@plugin.text()  # type: ignore[type-var]
async def takes_too_much(ctx: Context, more: str) -> str:
    return more


@plugin.text()  # type: ignore[type-var]
async def takes_the_wrong_thing(text: str) -> str:
    return text


@plugin.text  # type: ignore[arg-type]
async def lacks_parentheses(ctx: Context) -> str:
    return ctx.text


@plugin.image()  # type: ignore[call-arg, untyped-decorator]
async def has_parentheses_too_many(ctx: Context) -> str:
    return ctx.text


@plugin.on  # type: ignore[arg-type]
async def lacks_a_predicate(ctx: Context) -> str:
    return ctx.text


@plugin.event(42)  # type: ignore[arg-type]
async def names_no_event(ctx: Context) -> str:
    return ctx.text


async def optional_match(ctx: Context) -> str:
    """Use ``ctx.match`` without a check for None, because it is never optional."""
    assert_type(ctx.match, re.Match[str])
    return ctx.match[0]
