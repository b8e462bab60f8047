"""A dialogue of two questions: predicates choose the handler by what this user was asked last."""

from collections.abc import Callable

from wxbot import Context, Plugin, TextMessage

plugin = Plugin("booking", description="Books a table, one question at a time")


def asked(question: str) -> Callable[[Context], bool]:
    """True for a text of a user who was asked ``question`` last."""
    return lambda ctx: ctx.state.get("asked") == question and isinstance(ctx.message, TextMessage)


@plugin.text("cancel", "取消")
async def cancel(ctx: Context) -> str:
    """Registered first, so it wins at every step."""
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
