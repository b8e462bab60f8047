"""Old and new workers share a store during a deploy: an old worker leaves unreadable messages to a new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.stories.support import Log, Start, advance_until, dead_letters, in_store
from wxbot import Context, Plugin
from wxbot.conversation.pipeline import UNREADABLE_WAIT
from wxbot.model.replies import Reply, TextReply, reply_from_json
from wxbot.server.bot import Bot
from wxbot.store.records import ConversationKey, ConversationRecord, IncomingMessage, Outcome
from wxbot.store.sqlite.store import SqliteStore
from wxbot.testing import FakeWeChat, ManualClock

UNREADABLE = "stored message cannot be read"
NEW_KIND = {"kind": "hologram", "text": "said by a newer version"}


def read_by_a_newer_version(value: Mapping[str, Any]) -> Reply:
    return TextReply(value["text"]) if value["kind"] == "hologram" else reply_from_json(value)


class UnreadableReply:
    """A bot, and a message of Alice with a pending reply of an unknown type, stored by a newer worker."""

    def __init__(self, wechat: FakeWeChat, clock: ManualClock, file: Path) -> None:
        self.bot: Bot
        self.clock = clock
        self.alice = wechat.user("alice")
        self.key = ConversationKey(wechat.appid, self.alice.openid)
        self._file = file
        in_store(file, self._leave_it_unsent)

    async def _leave_it_unsent(self, store: SqliteStore) -> None:
        now = self.clock.now()
        fields = {"MsgType": "text", "Content": "hi", "FromUserName": self.key.openid, "CreateTime": int(now)}
        store.accept(IncomingMessage(self.key, "msg:1", fields, now, ConversationRecord(now)))
        claim = await store.claim(self.key, "a newer worker", now, 8.0)
        assert claim is not None
        released = Outcome(claim.message.seq, "released", unsent=(NEW_KIND,))
        await store.complete(claim.lease, released, now, go_on=False)

    def due_at(self, at: float) -> bool:
        """Return True if a worker that polls at ``at`` would find the conversation."""

        async def look(store: SqliteStore) -> bool:
            return self.key in await store.waiting(self.key.appid, at, 10)

        return in_store(self._file, look)

    def minutes_pass_until(self, waits: Callable[[float], None]) -> None:
        advance_until(self.clock, waits, step=UNREADABLE_WAIT / 4)


@pytest.fixture
def s(wechat: FakeWeChat, clock: ManualClock, tmp_path: Path, start: Start) -> UnreadableReply:
    plugin = Plugin("echo")

    @plugin.fallback
    async def echo(ctx: Context) -> str:
        return f"{ctx.text}!"

    stored = UnreadableReply(wechat, clock, tmp_path / "wxbot.db")
    stored.bot = start(plugin, typing=False)
    return stored


@pytest.mark.parametrize("looks", [1, 2])
def test_an_old_worker_leaves_an_unreadable_reply_to_a_new_one(
    s: UnreadableReply, log: Log, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    s.alice.says("next").wait()
    s.minutes_pass_until(lambda limit: log.waits_for(UNREADABLE, times=looks, timeout=limit))
    monkeypatch.setattr("wxbot.delivery.remaining_work.reply_from_json", read_by_a_newer_version)
    s.minutes_pass_until(lambda limit: s.alice.waits_for("next!", timeout=limit))
    assert s.alice.saw == [NEW_KIND["text"], "next!"]
    assert log.count(UNREADABLE) == looks


def test_an_unreadable_reply_is_not_polled_for_a_minute(s: UnreadableReply, log: Log) -> None:
    looked_at = s.clock.now()
    log.waits_for(UNREADABLE)
    s.bot.stop(0)
    assert not s.due_at(looked_at + UNREADABLE_WAIT - 0.1)
    assert s.due_at(looked_at + UNREADABLE_WAIT)


def test_without_a_new_worker_an_unreadable_reply_is_a_dead_letter(s: UnreadableReply, log: Log) -> None:
    s.alice.says("next").wait()
    s.minutes_pass_until(lambda limit: s.alice.waits_for("next!", timeout=limit))
    assert s.alice.saw == ["next!"]
    assert log.count(UNREADABLE) == log.count("of=3 error=ValueError") == 3
    (letter,) = dead_letters(s.bot, s.alice)
    assert UNREADABLE in letter.reason
    assert "'hologram'" in letter.reason
    assert (letter.attempts, letter.unsent) == (3, (NEW_KIND,))
