"""Handlers whose course a test directs from its own process."""

import asyncio
import json
import os
import re
import signal
from dataclasses import dataclass

from wxbot import Context, Plugin
from wxbot.typing_indicator import indicator as typing_indicator

# The machine may be busy, and its typing calls slow: no reply shall overtake one.
typing_indicator.MAX_REPLY_DELAY = 5.0


@dataclass
class Stage:
    """``WXBOT_PLUGIN_HANDLERS_PORT``: where the test listens."""

    port: int


plugin = Plugin("handlers", description="Directed by a test", settings=Stage)


async def word_of_the_test(ctx: Context) -> str | None:
    """Tell the test that this message is being worked, and return what it says; None if it has gone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ctx.settings.port)
    try:
        visit = {"openid": ctx.openid, "text": ctx.text, "pid": os.getpid(), "attempt": ctx.attempt}
        writer.write(json.dumps(visit).encode() + b"\n")
        line = await reader.readline()
        return str(json.loads(line)) if line.endswith(b"\n") else None
    finally:
        writer.close()


@plugin.text(re.compile(r"^ask .*"))
async def ask(ctx: Context) -> str | None:
    """Answer what the test says."""
    return await word_of_the_test(ctx)


@plugin.text(re.compile(r"^work (\d+) .*"))
async def work(ctx: Context) -> str:
    """Take some milliseconds, then say which process has answered."""
    await asyncio.sleep(int(ctx.match[1]) / 1000)
    return f"{ctx.text} | {os.getpid()}"


@plugin.text("crash")
async def crash(ctx: Context) -> str:
    """What a bug in a C library does, when the test says so."""
    if await word_of_the_test(ctx) is not None:
        os.kill(os.getpid(), signal.SIGSEGV)
    return "unreachable"


@plugin.text("exit")
def leave(ctx: Context) -> str:
    """What a careless library does, when the test says so."""
    if asyncio.run(word_of_the_test(ctx)) is not None:
        os._exit(0)
    return "unreachable"


@plugin.fallback
async def echo(ctx: Context) -> str:
    return f"re: {ctx.text}"
