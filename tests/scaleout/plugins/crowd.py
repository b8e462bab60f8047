"""Answers that say which message they belong to, and which process gave them."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from wxbot import Context, Plugin


@dataclass
class Place:
    """``WXBOT_PLUGIN_CROWD_HOST``: the name of the host that this process is on."""

    host: str


plugin = Plugin("crowd", description="For tests on several hosts", settings=Place)


@plugin.text(re.compile(r"^m(\d+) takes (\d+)$"))
async def work(ctx: Context) -> str:
    """Take some milliseconds."""
    await asyncio.sleep(int(ctx.match[2]) / 1000)
    return said(ctx, 1, 1)


@plugin.text(re.compile(r"^m(\d+) takes (\d+) in (\d+) parts$"))
async def story(ctx: Context) -> AsyncIterator[str]:
    """The same, and say something after each part."""
    parts = int(ctx.match[3])
    for part in range(1, parts + 1):
        await asyncio.sleep(int(ctx.match[2]) / 1000 / parts)
        yield said(ctx, part, parts)


@plugin.text(re.compile(r"^m(\d+) hangs$"))
async def hang(ctx: Context) -> AsyncIterator[str]:
    """Say who works it, and come to an end only if somebody else had to begin anew."""
    yield said(ctx, 1, 2)
    if ctx.attempt == 1:
        await asyncio.sleep(100)
    yield said(ctx, 2, 2)


def said(ctx: Context, part: int, parts: int) -> str:
    return f"m{ctx.match[1]} {part}/{parts} by {ctx.settings.host}:{os.getpid()} try {ctx.attempt}"
