"""What every store promises when everything happens at once: nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from tests.store.support import APPID, NOW, Stores, arrival, outcome, text_of
from wxbot.errors import LeaseLost
from wxbot.store.port import Store
from wxbot.store.records import ConversationKey

USERS = [ConversationKey(APPID, f"user {n}") for n in range(3)]
MESSAGES = 60


class Desk:
    """Owners that claim what waits and answer it, until everything was read."""

    def __init__(self, expected: int) -> None:
        self.read: dict[ConversationKey, list[str]] = defaultdict(list)
        self.left = expected
        self.done = asyncio.Event()

    async def work(self, store: Store, owner: str) -> None:
        """As a process without wake-ups works: look for what waits, claim it, go on until it is released."""
        while not self.done.is_set():
            for key in await store.waiting(USERS[0].appid, NOW, 10):
                await self._answer(store, owner, key)

    async def _answer(self, store: Store, owner: str, key: ConversationKey) -> None:
        claim = await store.claim(key, owner, NOW, 60.0)
        if claim is None:
            return
        pending = claim.pending
        while True:
            self.read[key].append(text_of(pending))
            self.left -= 1
            following = await store.settle(claim.lease, outcome(pending), NOW, go_on=True)
            if following is None:
                break
            pending = following
        if self.left <= 0:
            self.done.set()


def test_messages_that_come_while_others_are_answered_are_read_once_and_in_order(stores: Stores) -> None:
    """One thread per user and process delivers, every message twice, while two processes answer."""
    one, two = stores.open(), stores.open()
    texts = [f"message {n}" for n in range(MESSAGES)]

    def deliver(key: ConversationKey) -> int:
        return sum(store.accept(arrival(text, key)).new for text in texts for store in (one, two))

    async def story() -> Desk:
        desk = Desk(len(USERS) * MESSAGES)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(USERS)) as pool:
            delivering = [loop.run_in_executor(pool, deliver, key) for key in USERS]
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(desk.work(one, "one"))
                group.create_task(desk.work(two, "two"))
            assert await asyncio.gather(*delivering) == [MESSAGES] * len(USERS)
        return desk

    desk = stores.runner.run(story())
    assert desk.read == dict.fromkeys(USERS, texts)


def test_owners_that_die_at_random_leave_nothing_undone(stores: Stores) -> None:
    """Seeded. An owner that dies between reading and settling makes the next one read it again, and never skip one."""
    chance = random.Random(20_240_229)
    one, two = stores.worker("one"), stores.worker("two")
    texts = [f"message {n}" for n in range(MESSAGES)]
    one.accept(*(arrival(text, key) for text in texts for key in USERS))
    read: dict[ConversationKey, list[str]] = defaultdict(list)
    now, lost = NOW, 0
    while keys := one.waiting(now):
        key = chance.choice(keys)
        worker = chance.choice((one, two))
        claim = worker.claims(key, now, seconds=1.0)
        if text_of(claim.pending) not in read[key]:
            read[key].append(text_of(claim.pending))
        if chance.random() < 0.3:  # it dies; the next one takes over when the lease has run out
            now += 1.0
            heir = (two if worker is one else one).claims(key, now, seconds=1.0)
            assert text_of(heir.pending) == text_of(claim.pending)
            try:
                worker.settles(claim.lease, claim.pending, now=now)
            except LeaseLost:
                lost += 1
            claim, worker = heir, two if worker is one else one
        worker.settles(claim.lease, claim.pending, now=now, go_on=False)
    assert read == dict.fromkeys(USERS, texts)
    assert lost > 10
