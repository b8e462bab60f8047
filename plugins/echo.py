"""The smallest bot: it repeats the user's text."""

from wxbot import Context, Plugin

plugin = Plugin("echo", description="Repeats every text that no other plugin handles")


@plugin.fallback
async def echo(ctx: Context) -> str | None:
    return ctx.text or None
