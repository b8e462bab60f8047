"""Handlers that a test controls from its own process."""

import asyncio
import json
import os
import re
import signal
from dataclasses import dataclass

from wxbot import Context, Plugin
from wxbot.typing_indicator import indicator as typing_indicator

# On a busy machine typing calls may be slow. No reply must be sent before its typing call has ended.
typing_indicator.MAX_REPLY_DELAY = 5.0


@dataclass
class HandlerSettings:
    """The settings. ``port``: the port on which the test listens (``WXBOT_PLUGIN_HANDLERS_PORT``)."""

    port: int


plugin = Plugin("handlers", description="Controlled by a test", settings=HandlerSettings)


async def reply_of_the_test(ctx: Context) -> str | None:
    """Report to the test that this handler runs, and return the reply that it gives; None if the test has ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ctx.settings.port)
    try:
        report = {"openid": ctx.openid, "text": ctx.text, "pid": os.getpid(), "attempt": ctx.attempt}
        writer.write(json.dumps(report).encode() + b"\n")
        line = await reader.readline()
        return str(json.loads(line)) if line.endswith(b"\n") else None
    finally:
        writer.close()


@plugin.text(re.compile(r"^ask .*"))
async def ask(ctx: Context) -> str | None:
    """Return the reply that the test gives."""
    return await reply_of_the_test(ctx)


@plugin.text(re.compile(r"^work (\d+) .*"))
async def work(ctx: Context) -> str:
    """Wait some milliseconds, then reply with the process id."""
    await asyncio.sleep(int(ctx.match[1]) / 1000)
    return f"{ctx.text} | {os.getpid()}"


@plugin.text("crash")
async def crash(ctx: Context) -> str:
    """Crash as a bug in a C library does, when the test gives a reply."""
    if await reply_of_the_test(ctx) is not None:
        signal.raise_signal(signal.SIGSEGV)  # to this thread, which then runs no further; os.kill may reach another
    return "unreachable"


@plugin.text("exit")
def leave(ctx: Context) -> str:
    """End the process as a careless library does, when the test gives a reply."""
    if asyncio.run(reply_of_the_test(ctx)) is not None:
        os._exit(0)
    return "unreachable"


@plugin.fallback
async def echo(ctx: Context) -> str:
    return f"re: {ctx.text}"
