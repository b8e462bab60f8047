"""Examples of handlers. ``python -m wxbot playground --demo`` plays them."""

import asyncio
from collections.abc import AsyncIterator

from wxbot import Context, Plugin

plugin = Plugin("demo", description="Several messages, stored state, an image, events, and a failure")


@plugin.text("story", "故事")
async def story(ctx: Context) -> AsyncIterator[str]:
    """Send several messages. Each is sent at once, and the typing indicator shows again before the next."""
    yield "从前有座山。"
    await asyncio.sleep(1)
    yield "山里有座庙。"
    await asyncio.sleep(1)
    yield "庙里有个老和尚。"


@plugin.text("count", "计数")
def count(ctx: Context) -> str:
    """Count in ``ctx.state``, which is stored for each user. A plain ``def`` handler runs in a thread."""
    ctx.state["times"] = ctx.state.get("times", 0) + 1
    return f"你问了 {ctx.state['times']} 次。"


@plugin.text("crash", "出错")
async def crash(ctx: Context) -> str:
    """Fail. The user gets WXBOT_ERROR_TEXT, the message becomes a dead letter, and other users are not affected."""
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
