"""The smallest bot: says back what it hears."""

from wxbot import Context, Plugin

plugin = Plugin("echo", description="Says back every text that no other plugin wants")


@plugin.fallback
async def echo(ctx: Context) -> str | None:
    return ctx.text or None
