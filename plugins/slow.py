"""Work that takes its time: the user sees 对方正在输入… meanwhile, and the plugin need not know."""

import asyncio
import re

from wxbot import Context, Plugin

plugin = Plugin("slow", description="slow 8: answers after 8 seconds")


@plugin.text(re.compile(r"^(?:slow|慢)\s*(\d{1,3})$"))
async def slow(ctx: Context) -> str:
    seconds = int(ctx.match[1])
    await asyncio.sleep(seconds)
    return f"That took {seconds} s."
