"""A plugin for the browser tests: the text of a message selects the handler's behaviour."""

from __future__ import annotations

import asyncio
import re
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

from wxbot import (
    Context,
    ImageMessage,
    ImageReply,
    LinkReply,
    MenuClickEvent,
    MenuReply,
    MiniProgramPageReply,
    Plugin,
)

plugin = Plugin("stories", description="The bot of the browser tests")


@plugin.text(re.compile(r"^slow (\d+(?:\.\d+)?)$"))
async def slow(ctx: Context) -> str:
    """Reply after some seconds."""
    await asyncio.sleep(float(ctx.match[1]))
    return f"That took {ctx.match[1]} s."


@plugin.text(re.compile(r"^wait for ([\w-]+)$"))
async def wait_for(ctx: Context) -> str:
    """Reply when a file of this name exists in the bot's folder."""
    await wait_for_file(ctx.match[1])
    return f"There is {ctx.match[1]}."


@plugin.text(re.compile(r"^parts (\d+)$"))
async def parts(ctx: Context) -> AsyncIterator[str]:
    """Reply with several messages."""
    for number in range(1, int(ctx.match[1]) + 1):
        yield f"Part {number}"


@plugin.text("picture")
async def picture(ctx: Context) -> ImageReply:
    return ImageReply(png(0, 160, 90))


@plugin.text("card")
async def card(ctx: Context) -> MiniProgramPageReply:
    return MiniProgramPageReply("Your orders", "pages/orders", png(40, 90, 200))


@plugin.text("menu")
async def menu(ctx: Context) -> MenuReply:
    return MenuReply("Did that help?", [("101", "Yes"), ("102", "No")], "Thank you.")


@plugin.text("link")
async def link(ctx: Context) -> LinkReply:
    return LinkReply("A page", "https://example.com/page", "What is on it")


@plugin.text("words")
async def words(ctx: Context) -> str:
    """Reply with links inside a text, and with text that must not become an element of the page."""
    return (
        'Read <a href="https://example.com/">this</a> or say '
        '<a href="weixin://bizmsgmenu?msgmenucontent=menu&msgmenuid=7">menu</a>. <img src=x> <b>not bold</b>'
    )


@plugin.text("crash")
async def crash(ctx: Context) -> str:
    raise RuntimeError("this plugin is broken on purpose")


@plugin.event("subscribe")
async def welcome(ctx: Context) -> str:
    return "Welcome."


@plugin.event("CLICK")
async def key(ctx: Context) -> str:
    assert isinstance(ctx.message, MenuClickEvent)
    return f"You clicked: {ctx.message.key}"


@plugin.image
async def seen(ctx: Context) -> str:
    assert isinstance(ctx.message, ImageMessage)
    return "A nice picture."


@plugin.text(re.compile("."))
async def echo(ctx: Context) -> str:
    return f"You said: {ctx.text}"


async def wait_for_file(name: str) -> None:
    """Wait until a file of this name exists in the bot's folder."""
    while not Path(name).exists():  # noqa: ASYNC110, ASYNC240 - a new file causes no event
        await asyncio.sleep(0.02)


def png(red: int, green: int, blue: int, width: int = 120, height: int = 90) -> bytes:
    """Return an image of one colour."""
    return png_of(width, height, bytes((red, green, blue)), zlib.compress(bytes(width + 1) * height))


def png_of(width: int, height: int, palette: bytes, lines: bytes) -> bytes:
    """Return an image from a palette (red, green and blue of each colour) and compressed lines of palette indices."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", lines),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
