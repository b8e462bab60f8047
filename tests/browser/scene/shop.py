"""The bot of a small shop, for the screenshots in README and docs."""

from __future__ import annotations

from tests.browser.plugins.stories import png, wait_for_file
from wxbot import Context, ImageReply, MiniProgramPageReply, Plugin

plugin = Plugin("shop", description="What the pictures of the playground show")
FOUND = "parcel-was-found"
"""The file that the handler of parcel questions waits for."""

_ANSWERS = {
    "hello": "Hello! Ask me about orders, parcels and returns.",
    "can i return a mug?": "Yes, within 30 days. It must be unused, and we pay the postage.",
    "你好": "您好！订单、物流、退换货，都可以问我。",
    "可以退货吗？": "30 天内可以退货，商品需未使用，运费由我们承担。",
}


@plugin.event("user_enter_tempsession")
async def welcome(ctx: Context) -> str:
    return "Welcome to the tea shop. 欢迎光临！"


@plugin.text("My orders", "我的订单")
async def orders(ctx: Context) -> MiniProgramPageReply:
    title = "Your orders" if ctx.text.isascii() else "您的订单"
    return MiniProgramPageReply(title, "pages/orders", png(214, 158, 86, 300, 240))


@plugin.text("Do you have the green one?")
async def green(ctx: Context) -> ImageReply:
    return ImageReply(png(92, 148, 100, 160, 120))


@plugin.text("Where is my parcel?", "我的快递到哪了？")
async def parcel(ctx: Context) -> str:
    """Reply late, so that typing is showing on the screenshot."""
    await wait_for_file(FOUND)
    return "It left Hangzhou this morning." if ctx.text.isascii() else "今天早上已从杭州发出。"


@plugin.on(lambda ctx: ctx.text.lower() in _ANSWERS)
async def answer(ctx: Context) -> str:
    return _ANSWERS[ctx.text.lower()]
