"""A tour of what handlers can do; the demo plays it."""

import asyncio
from collections.abc import AsyncIterator

from wxbot import Context, Plugin

plugin = Plugin("demo", description="Several parts, a memory, a picture, an event, and a failure")


@plugin.text("story", "故事")
async def story(ctx: Context) -> AsyncIterator[str]:
    """Several messages in a row: each is sent at once, and Typing shows again in between."""
    yield "从前有座山。"
    await asyncio.sleep(1)
    yield "山里有座庙。"
    await asyncio.sleep(1)
    yield "庙里有个老和尚。"


@plugin.text("count", "计数")
def count(ctx: Context) -> str:
    """A plain function runs in a thread; ``ctx.state`` remembers this user."""
    ctx.state["times"] = ctx.state.get("times", 0) + 1
    return f"你问了 {ctx.state['times']} 次。"


@plugin.text("crash", "出错")
async def crash(ctx: Context) -> str:
    """A plugin's fault: the user is told, the message is kept as a dead letter, nobody else notices."""
    raise RuntimeError("this plugin is broken on purpose")


@plugin.image
async def picture(ctx: Context) -> str:
    return "收到图片 / a picture"


@plugin.event("user_enter_tempsession")
async def welcome(ctx: Context) -> str:
    return "欢迎 / welcome"


@plugin.event("subscribe")
async def followed(ctx: Context) -> str:
    return "谢谢关注 / thank you for following"


@plugin.event("CLICK")
async def clicked(ctx: Context) -> str:
    return f"你点了 {ctx.message.raw['EventKey']}"
