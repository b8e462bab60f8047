"""Fill a store with every kind of record. tests/data/store_format is the result of an earlier commit."""

from __future__ import annotations

import hashlib
import json
import math
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from tests.store.support import ALICE, APPID, BOB, NOW, outcome, some
from wxbot.delivery.deferred import DeferredReplies, with_deferred
from wxbot.model.media import Media
from wxbot.model.quota import Quota
from wxbot.model.replies import (
    ArticleReply,
    ImageReply,
    LinkReply,
    MenuItem,
    MenuReply,
    MiniProgramPageReply,
    MusicReply,
    NewsReply,
    Reply,
    TextReply,
    VideoReply,
    VoiceReply,
    reply_to_json,
)
from wxbot.store import port
from wxbot.store.copying_port import BulkStore, DedupRecord, StoredConversation, StoredMessage
from wxbot.store.port import Store
from wxbot.store.records import (
    ClaimRequest,
    ConversationKey,
    ConversationRecord,
    Handover,
    IncomingMessage,
    Progress,
    SharedValue,
)
from wxbot.wechat.push.callback import dedup_key

DATA = Path(__file__).parents[1] / "data" / "store_format"
SQLITE, LISTING = DATA / "store.sqlite3", DATA / "redis.json"
OTHER, INCOMPLETE = "wxfedcba9876543210", "wx00000000000000aa"
CAROL, DAVE, ERIN, FRANK, GINA = (ConversationKey(APPID, name) for name in ("carol", "dave", "erin", "frank", "gina"))
WALTER = ConversationKey(OTHER, "walter")
LEASE, DAY = 8.0, 86_400.0
TWO_DAYS = NOW + 2 * DAY

CAT = b"\xff\xd8\xff\xe0 a picture of a cat"
CAT_DIGEST = hashlib.sha256(b"image\0" + CAT).hexdigest()
PICTURE = Media(CAT, "image/jpeg", "猫.jpg")
REPLIES: tuple[Reply, ...] = (
    TextReply('你好 😀 "quoted" <b>&\n', ai=True, agent="kf1@shop", joint=""),
    ImageReply("IMAGE-ID_1"),
    ImageReply(PICTURE, ai=False),
    VoiceReply(Media(b"#!AMR speech", "audio/amr", "voice.amr")),
    VideoReply("VIDEO-ID_1", PICTURE, title="a title", description="a description"),
    VideoReply("VIDEO-ID_2"),
    MusicReply(
        "http://127.0.0.1/a", PICTURE, title="a title", description="a description", hq_url="http://127.0.0.1/b"
    ),
    NewsReply("a title", "http://127.0.0.1/a", description="a description", picture_url="http://127.0.0.1/b"),
    LinkReply("a title", "http://127.0.0.1/a", description="a description", thumb_url="http://127.0.0.1/b"),
    MiniProgramPageReply("a title", "pages/a?b=c", PICTURE, appid="wx1111111111111111"),
    MenuReply("a head", [MenuItem("101", "yes"), MenuItem("102", "no")], tail="a tail"),
    ArticleReply("ARTICLE-ID_1"),
)
UNSENT = tuple(map(reply_to_json, REPLIES))
LEFT_OVER = (reply_to_json(TextReply("left over")), reply_to_json(ImageReply(PICTURE)))
TO_DO: tuple[dict[str, Any], ...] = (
    {"kind": "_doubtful", "reply": UNSENT[0]},
    UNSENT[5],
    {"kind": "_hand_over", "until": NOW + 900, "agent": "kf2@shop"},
    {"kind": "_failure", "reason": "handler echo failed", "said": 2},
)
"""The remaining work of a turn besides replies (wxbot/delivery/turn.py)."""
RUN_AGAIN: tuple[dict[str, Any], ...] = (UNSENT[1], {"kind": "_again"})
PLUGINS: dict[str, Any] = {"echo": {"count": 7, "names": ["阿明", None, True, 1.5], "nested": {"empty": {}}}}
DEFERRED = DeferredReplies(
    unannounced=(TextReply("nobody told"), *REPLIES[2:4]), announced=(TextReply("on request"), REPLIES[10])
)
STATE = with_deferred(PLUGINS, DEFERRED)
ONLY_ANNOUNCED = with_deferred(PLUGINS, DeferredReplies(announced=(TextReply("the rest"),)))
TOKEN = SharedValue("this-is-no-real-token", NOW + 7200)


def text(key: ConversationKey, words: str, msg_id: str) -> dict[str, Any]:
    """Return the fields of a text message as XML has them."""
    return _push(key, MsgType="text", Content=words, MsgId=msg_id)


def image(key: ConversationKey) -> dict[str, Any]:
    """Return the fields of an image message as JSON has them."""
    return _push(key, CreateTime=int(NOW), MsgType="image", PicUrl="http://127.0.0.1/p", MediaId="M", MsgId=2**60 + 1)


def event(key: ConversationKey) -> dict[str, Any]:
    """Return the fields of an event, with nested fields."""
    info = {"Location_X": "31.2", "Location_Y": "121.5", "Scale": "15", "Label": "上海", "Poiname": ""}
    return _push(key, MsgType="event", Event="location_select", EventKey="V1", SendLocationInfo=info)


def proactive(key: ConversationKey) -> dict[str, Any]:
    """Return the fields of a proactive message (``bot.send``)."""
    return {"MsgType": "wxbot.send", "FromUserName": key.openid, "ToUserName": "", "CreateTime": int(NOW)}


def _push(key: ConversationKey, **fields: Any) -> dict[str, Any]:
    return {"ToUserName": "gh_0123456789ab", "FromUserName": key.openid, "CreateTime": str(int(NOW)), **fields}


async def live(store: Store, bulk: BulkStore) -> None:
    """Fill an empty store with every kind of record."""
    await store.ping()
    await _alice_is_retried_later(store)
    await _process_bob_and_carol(store)
    await _hand_dave_and_erin_over(store)
    await _reply_passively_to_frank(store)
    accept(store, GINA, proactive(GINA), named="s:a-key", interacted_at=0.0, unsent=UNSENT[:2])
    await _defer_replies_to_walter(store)
    await store.put(APPID, port.TOKEN, TOKEN, NOW)
    await store.put(OTHER, port.TOKEN, SharedValue("this-is-no-token-either", NOW), NOW)
    await store.lock(OTHER, port.TOKEN, NOW, 60.0, outdated="this-was-refused")
    await store.put(APPID, f"media:{CAT_DIGEST}", SharedValue("STORED-ID_1", TWO_DAYS), NOW)
    await store.put(OTHER, f"media:{CAT_DIGEST}", SharedValue("STORED-ID_2", TWO_DAYS), NOW)
    await _begin_incomplete_copy(bulk)


def accept(
    store: Store,
    key: ConversationKey,
    fields: Mapping[str, Any],
    *,
    named: str = "",
    at: float = NOW,
    interacted_at: float = NOW,
    quota: Quota | None = None,
    handover: Handover | None = None,
    request: ClaimRequest | None = None,
    **more: Any,
) -> None:
    """Accept a push that ``store`` has not seen."""
    change = ConversationRecord(interacted_at, quota=quota, handover=handover)
    incoming = IncomingMessage(key, named or dedup_key(fields), fields, at, change, **more)
    assert store.accept(incoming, request).new


async def _complete(store: Store, key: ConversationKey, *outcomes: dict[str, Any]) -> None:
    """Claim ``key`` and complete a message for each of ``outcomes``."""
    claim = await store.claim(key, "one", NOW, LEASE)
    for each in outcomes:
        result = outcome(some(claim).message, **each)
        claim = await store.complete(some(claim).lease, result, NOW, go_on=True)


async def _alice_is_retried_later(store: Store) -> None:
    accept(store, ALICE, text(ALICE, "first 😀", "7001"), quota=Quota(5, TWO_DAYS))
    accept(store, ALICE, image(ALICE), at=NOW + 0.25)
    accept(store, ALICE, event(ALICE), at=NOW + 0.5)
    later = {"status": "retry", "retry_at": NOW + 5, "reason": "busy", "sent": 2, "sent_at": NOW + 0.75}
    left = {"unsent": UNSENT, "state": STATE, "quota": Quota(3, TWO_DAYS), "typing_until": NOW + 9.5}
    await _complete(store, ALICE, {**later, **left})


async def _process_bob_and_carol(store: Store) -> None:
    accept(store, BOB, text(BOB, "held", "7002"), request=ClaimRequest("one", LEASE, 7.0))
    accept(store, BOB, text(BOB, "behind", "7003"))
    accept(store, CAROL, text(CAROL, "left alone", "7004"), quota=Quota(5, TWO_DAYS))
    claim = some(await store.claim(CAROL, "one", NOW, 0.5))
    state, quota = {"echo": {"count": 1}}, Quota(4, TWO_DAYS)
    change = ConversationRecord(NOW + 0.25, 0.0, quota, state=state)
    await store.checkpoint(claim.lease, change, Progress(claim.message.seq, 1, TO_DO))
    await store.checkpoint(claim.lease, ConversationRecord(typing_until=NOW + 7))


async def _hand_dave_and_erin_over(store: Store) -> None:
    accept(store, DAVE, text(DAVE, "done", "7005"), quota=Quota(5, NOW + 3600))
    accept(store, DAVE, text(DAVE, "dead", "7006"))
    dead = {"status": "dead", "reason": "handler 猫 failed: KeyError('x')", "sent": 1, "unsent": RUN_AGAIN}
    to_agent = {"handover": Handover(TWO_DAYS, "kf1@shop"), "state": {"_rest": STATE["_rest"]}}
    await _complete(store, DAVE, {"status": "done", "sent": 1, "sent_at": NOW}, {**dead, **to_agent})
    accept(store, ERIN, text(ERIN, "for people", "7007"), handover=Handover(NOW + 3600), for_agents=True)


async def _reply_passively_to_frank(store: Store) -> None:
    for number in range(4):
        accept(store, FRANK, text(FRANK, f"passive {number}", f"800{number}"))
    claim = some(await store.claim(FRANK, "one", NOW, LEASE))
    for reply in (UNSENT[0], {}):
        assert await store.save_reply(claim.lease, claim.message.seq, reply)
        claim = some(await store.complete(claim.lease, outcome(claim.message), NOW, go_on=True))
    assert await store.give_up(FRANK, dedup_key(claim.message.fields)) is None
    released = outcome(claim.message, "released", sent=1, unsent=LEFT_OVER)
    await store.complete(claim.lease, released, NOW, go_on=False)


async def _defer_replies_to_walter(store: Store) -> None:
    accept(store, WALTER, text(WALTER, "done", "9001"), quota=Quota(5, TWO_DAYS))
    accept(store, WALTER, text(WALTER, "begun", "9002"))
    accept(store, WALTER, text(WALTER, "waiting", "9003"))
    later = {"status": "retry", "retry_at": NOW + 5, "reason": "busy", "unsent": LEFT_OVER, "state": ONLY_ANNOUNCED}
    await _complete(store, WALTER, {"status": "done", "sent": 1}, later)


async def _begin_incomplete_copy(bulk: BulkStore) -> None:
    assert await bulk.begin(INCOMPLETE, "half", 3)
    key, later = ConversationKey(INCOMPLETE, "hugo"), NOW + DAY
    waits = StoredMessage(1, "hugo", "m:1", text(key, "copied", "1"), NOW, 1, 1, LEFT_OVER)
    dead = StoredMessage(2, "hugo", "m:2", text(key, "dead", "2"), NOW, 3, 0, (), NOW, "a reason", later)
    record = ConversationRecord(NOW, NOW + 7, Quota(2, later), Handover(later, "kf1@shop"), STATE)
    known = StoredConversation("hugo", record, NOW)
    assert all(await bulk.restore(INCOMPLETE, "half", [waits, dead, DedupRecord(3, "hugo", "m:3", later), known], NOW))


# The content of a store


def listing() -> dict[str, Any]:
    """Return the content of a Redis at that commit, as ``listing_of`` wrote it."""
    stored: dict[str, Any] = json.loads(LISTING.read_text("utf-8"))
    return stored


def load(url: str) -> None:
    """Load that content into another Redis."""
    with redis.Redis.from_url(url) as client:
        for key, stored in listing().items():
            if stored["type"] == "string":
                client.set(key, stored["value"])
            else:
                (client.hset if stored["type"] == "hash" else client.zadd)(key, mapping=stored["value"])
            if "ttl" in stored:
                client.expire(key, stored["ttl"])


def tables_of(file: Path) -> dict[str, Any]:
    """Return the statements that created the file's tables, without comments, and all rows."""
    with closing(sqlite3.connect(file)) as db:
        made = db.execute("SELECT name, sql FROM sqlite_master").fetchall()
        content: dict[str, Any] = {f"sql of {name}": re.sub(r"--.*|\s+", " ", sql or "").split() for name, sql in made}
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            content[name] = [parsed(row) for row in db.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2')]  # noqa: S608
        content["version"] = db.execute("PRAGMA user_version").fetchone()
    return content


def listing_of(url: str) -> dict[str, Any]:
    """Return all keys of a Redis: type, value, and time to live in seconds, rounded to minutes."""
    listing: dict[str, Any] = {}
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in sorted(client.scan_iter()):
            listing[key] = {"type": client.type(key), "value": _value(client, key)}
            if (left := client.pttl(key)) >= 0:
                listing[key]["ttl"] = math.ceil(left / 60_000) * 60
    return listing


def _value(client: Any, key: str) -> Any:
    if (kind := client.type(key)) == "zset":
        return dict(client.zrange(key, 0, -1, withscores=True))
    return dict(sorted(client.hgetall(key).items())) if kind == "hash" else client.get(key)


def parsed(value: Any) -> Any:
    """Return ``value`` with its JSON parsed, because the order of keys does not matter."""
    if isinstance(value, dict):
        return {name: parsed(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [parsed(each) for each in value]
    return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") and value else value
