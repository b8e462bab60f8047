"""Dead letters with unconfirmed replies that an operator retries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.stories.support import SORRY, Start, advance_until_seen, dead_letters, in_store, replies
from wxbot import Context, Plugin
from wxbot.testing import FakeWeChat, ManualClock, User


@pytest.mark.xfail(strict=True, reason="the confirmed copy of A counts twice, so B is skipped")
def test_a_retried_letter_with_an_unconfirmed_reply_loses_no_reply(
    wechat: FakeWeChat, alice: User, clock: ManualClock, start: Start, tmp_path: Path
) -> None:
    plugin = Plugin("p")
    runs: list[int] = []

    @plugin.text()
    async def answer(ctx: Context) -> AsyncIterator[str]:
        runs.append(1)
        yield "A"
        if len(runs) == 1:
            raise RuntimeError("x")
        if len(runs) == 2:
            wechat.faults.fail("send", -1, times=4)
        yield "B"
        yield "C"

    bot = start(plugin)
    wechat.faults.drop("send", acted=False)
    alice.says("hi").wait()
    alice.waits_for(SORRY)
    (letter,) = dead_letters(bot, alice)
    in_store(tmp_path / "wxbot.db", lambda s: s.remove_dead_letter(bot.appid, letter.seq, clock.now()))
    advance_until_seen(clock, alice, "C")
    assert replies(alice)[1:] == ["A", "B", "C"], runs
