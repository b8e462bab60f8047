"""Helpers for tests of transcripts: a transcript with every step, and a bot to record and replay with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wxbot import Context, Plugin
from wxbot.playground.replay.player import play
from wxbot.playground.transcript import (
    ClearFaults,
    Clicks,
    ClicksMenuItem,
    Closes,
    DeliverTwiceAtOnce,
    Does,
    Enters,
    Fault,
    Follows,
    Forward,
    HandsOver,
    Hold,
    InOrder,
    Leaves,
    Matches,
    Redeliver,
    Release,
    RevokeToken,
    Says,
    Scans,
    Sees,
    Sends,
    SendsCard,
    SendsLink,
    SendsLocation,
    SendsPicture,
    SendsShortVideo,
    SendsVideo,
    SendsVoice,
    SetFormat,
    SetMode,
    Step,
    Takes,
    Transcript,
    Views,
    Waits,
    Writes,
)
from wxbot.server.assembly import make_bot
from wxbot.testing import FakeWeChat, LeapingClock, serve, settings_for

TYPED = ("Typing", "CancelTyping")

ANYWHERE: tuple[Step, ...] = (
    Says("amy", "你好"),
    Sees("amy", (*TYPED, "你好")),
    Says("Bob: \"the\" 'best' #1", "two lines:\n  the second\n\nand 'more' \"quotes\" 😀"),
    Sees("Bob: \"the\" 'best' #1", (Matches(r"^Order \d+$"), "yes", "x\ny", "1", "")),
    Sees("amy", ("long" * 40, "Typing"), within=90),
    Says("import", "def"),
    Says("l", "a name of one letter"),
    SendsPicture("amy"),
    SendsPicture("amy", b"tiny"),
    SendsPicture("amy", bytes(range(256)) * 3),
    Does("amy", "CLICK", {"EventKey": "menu-1", "n": 1, "f": 1.5, "b": True, "none": None}),
    Does("amy", "scancode_push", {"ScanCodeInfo": {"ScanType": "qrcode", "all": ["a", 2]}, "no name": "x"}),
    Sends("amy", "text", {"Content": "any", "bizmsgmenuid": "7"}),
    Takes("kf1@x", "amy"),
    Writes("kf1@x", "您好", "amy"),
    HandsOver("kf1@x", "amy", "kf2@x"),
    Closes("kf2@x", "amy"),
    Closes("kf2@x", "amy", "TIMEOUT"),
    Redeliver("amy"),
    Redeliver("amy", 2),
    Waits(0.1),
    Forward(31),
    Forward(0.25),
    Fault("send", "fail"),
    Fault("send", "fail", errcode=45047, times=None),
    Fault("typing", "http", status=502, acted=True),
    Fault("token", "drop"),
    Fault("upload", "slow", seconds=2, times=3),
    Fault("download", "hang", times=None),
    ClearFaults(),
    RevokeToken(),
    SetMode("compatible"),
    SetFormat("xml"),
    DeliverTwiceAtOnce(),
    DeliverTwiceAtOnce(False),
    InOrder(False),
    Hold(),
    Says("amy", "kept back"),
    Release(),
    Release("reversed"),
    Sees("amy", ()),
)
MINI_PROGRAM = Transcript(
    "miniprogram",
    "safe",
    "json",
    (*ANYWHERE, Enters("amy"), Enters("amy", "shop"), SendsCard("amy", "Shoes", "pages/1", "wx1"), SetFormat("json")),
)
OFFICIAL = Transcript(
    "official",
    "compatible",
    "xml",
    (
        *ANYWHERE,
        SendsVoice("amy"),
        SendsVoice("amy", b"sound" * 20, "speex"),
        SendsVideo("amy"),
        SendsVideo("amy", b"film"),
        SendsShortVideo("amy"),
        SendsLocation("amy", 39.9, 116.4, "北京", 15),
        SendsLocation("amy", -1.0, 0.0),
        SendsLink("amy", "A page"),
        SendsLink("amy", "A page", "long", "http://127.0.0.1/1"),
        ClicksMenuItem("amy", "Yes"),
        Follows("amy"),
        Follows("amy", "7", "t"),
        Leaves("amy"),
        Scans("amy", "7"),
        Scans("amy", "7", "t"),
        Clicks("amy", "menu-1"),
        Views("amy", "http://127.0.0.1/2"),
        Views("amy", "http://127.0.0.1/2", "2"),
    ),
    typing=False,
)


def parrot(*, answer: str = "{}") -> Plugin:
    """Return a plugin that echoes each text. ``story`` gets two parts, ``silence`` no reply."""
    plugin = Plugin("parrot")

    @plugin.text("story")
    async def story(ctx: Context) -> AsyncIterator[str]:
        yield "one"
        await asyncio.sleep(0.5)
        yield "two"

    @plugin.text("silence")
    async def silence(ctx: Context) -> None:
        return None

    @plugin.image
    async def picture(ctx: Context) -> str:
        return "a picture"

    @plugin.fallback
    async def back(ctx: Context) -> str | None:
        return answer.format(ctx.text) if ctx.text else None

    return plugin


@contextmanager
def session(
    store: Path, *plugins: Plugin, bot: bool = True, **choices: Any
) -> Iterator[tuple[FakeWeChat, LeapingClock]]:
    """Run a platform and its clock, with a bot. ``choices``: arguments of FakeWeChat."""
    clock = LeapingClock()
    with FakeWeChat(clock, **{"format": "json", **choices}) as wechat:
        if not bot:
            yield wechat, clock
            return
        chosen = plugins or (parrot(),)
        with serve(make_bot(settings_for(wechat, store), plugins=chosen, clock=clock)) as address:
            wechat.callback_url = address
            yield wechat, clock


def played(transcript: Transcript, store: Path, *plugins: Plugin, **choices: Any) -> list[str]:
    """Replay ``transcript`` to a new bot. Return the differences."""
    with session(
        store, *plugins, mode=transcript.mode, format=transcript.format, account_kind=transcript.account_kind
    ) as (wechat, clock):
        return play(transcript, wechat, clock.advance, **choices)
