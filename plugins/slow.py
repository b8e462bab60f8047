"""A slow handler. The user sees 对方正在输入… while it runs; the plugin does nothing for that."""

import asyncio
import re

from wxbot import Context, Plugin

plugin = Plugin("slow", description="Replies to a text such as slow 8 after 8 seconds")


@plugin.text(re.compile(r"^(?:slow|慢)\s*(\d{1,3})$"))
async def slow(ctx: Context) -> str:
    seconds = int(ctx.match[1])
    await asyncio.sleep(seconds)
    return f"That took {seconds} s."
