"""Handlers whose replies name the user's message and the process that sent them."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from wxbot import Context, Plugin


@dataclass
class HostSettings:
    """The settings. ``host``: the name of the host of this process (``WXBOT_PLUGIN_CROWD_HOST``)."""

    host: str


plugin = Plugin("crowd", description="For tests on several hosts", settings=HostSettings)


@plugin.text(re.compile(r"^m(\d+) takes (\d+)$"))
async def work(ctx: Context) -> str:
    """Wait some milliseconds, then reply."""
    await asyncio.sleep(int(ctx.match[2]) / 1000)
    return text_of(ctx, 1, 1)


@plugin.text(re.compile(r"^m(\d+) takes (\d+) in (\d+) parts$"))
async def story(ctx: Context) -> AsyncIterator[str]:
    """Reply in several parts within some milliseconds."""
    parts = int(ctx.match[3])
    for part in range(1, parts + 1):
        await asyncio.sleep(int(ctx.match[2]) / 1000 / parts)
        yield text_of(ctx, part, parts)


@plugin.text(re.compile(r"^m(\d+) hangs$"))
async def hang(ctx: Context) -> AsyncIterator[str]:
    """Send the first part, then hang in the first attempt; a second attempt ends."""
    yield text_of(ctx, 1, 2)
    if ctx.attempt == 1:
        await asyncio.sleep(100)
    yield text_of(ctx, 2, 2)


def text_of(ctx: Context, part: int, parts: int) -> str:
    return f"m{ctx.match[1]} {part}/{parts} by {ctx.settings.host}:{os.getpid()} try {ctx.attempt}"
