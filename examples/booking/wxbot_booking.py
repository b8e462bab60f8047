"""A dialogue of two questions. Predicates choose the handler by the last question to the user."""

from collections.abc import Callable

from wxbot import Context, Plugin, TextMessage

plugin = Plugin("booking", description="Books a table, one question at a time")


def asked(question: str) -> Callable[[Context], bool]:
    """Return a predicate that is True for a text of a user whose last question was ``question``."""
    return lambda ctx: ctx.state.get("asked") == question and isinstance(ctx.message, TextMessage)


@plugin.text("cancel", "取消")
async def cancel(ctx: Context) -> str:
    """End the dialogue at any step. This handler is registered first, so it is asked first."""
    ctx.state.clear()
    return "好的，已取消。"


@plugin.on(asked("people"))
async def people(ctx: Context) -> str:
    number = ctx.text.strip()
    if not (number.isdecimal() and 1 <= int(number) <= 12):
        return "请回复 1 到 12 之间的数字。"
    ctx.state.update(asked="time", people=int(number))
    return "几点到？例如 19:00"


@plugin.on(asked("time"))
async def time(ctx: Context) -> str:
    number = ctx.state["people"]
    ctx.state.clear()
    return f"已预订：{number} 位，{ctx.text.strip()}。"


@plugin.text("book", "订位")
async def book(ctx: Context) -> str:
    ctx.state["asked"] = "people"
    return "几位用餐？"
